use crate::scan::lex::directives::LexModes;
use crate::scan::lex::lexer::lex;

const CXX: LexModes = LexModes {
    raw_strings: true,
    lines_end_raw_strings: false,
    digit_separators: true,
    trigraphs: false,
    splices_start_tokens: false,
    modules: false,
    no_digraphs: false,
    no_line_comments: false,
    blocks_before_lines: false,
    no_elifdef: false,
    no_dollars: false,
    assembler: false,
};

fn check_modes(modes: LexModes, source: &[u8], expect: &str) {
    let source_shown = String::from_utf8_lossy(source).into_owned();
    assert_eq!(lex(source, modes).to_string(), expect, "in {source_shown:?}");
}

fn check(source: &str, expect: &str) {
    check_modes(LexModes::default(), source.as_bytes(), expect);
}

#[test]
fn splices() {
    check("#inc\\\nlude \"a.h\"\n", "1: include \"a.h\"\n");
    check("#\\\n  include \"a.h\"\n", "1: include \"a.h\"\n");
    check("\\\n#include \"a\\\n.h\"\n#else", "2: include \"a.h\"\n4: else\n");
    check("#inc\\\r\nlude <a.h>\r\n#endif\r\n", "1: include <a.h>\n3: endif\n");
    check("#include \\ \n<a.h>", "1: include <a.h>\n");
    check("a \\\n#include \"no.h\"\n#include \"yes.h\"", "3: include \"yes.h\"\n");
    check("// \\\n#include \"no.h\"\n#undef X", "3: undef X\n");
    check("/\\\n* #undef X\n#undef Y *\\\n/ #undef Z", "4: undef Z\n");
    check("/\\\n* #undef X\n#undef Y *\\\n/\n #undef Z", "5: undef Z\n");
}

#[test]
fn comments() {
    check("/* a */ # /* b */ include /* c */ <d.h> /* e */\n", "1: include <d.h>\n");
    check("/* a\n#undef B\n*/ #undef C\n", "3: undef C\n");
    check("#define A /* x\ny */ 1 // z\n#undef A", "1: define A 1\n3: undef A\n");
    check("char *s = \"/*\";\n#undef A\n// */", "2: undef A\n");
    check("char s = '\"';\n#undef A\n// \"", "2: undef A\n");
    check("char *s = \"\\\"/*\";\n#undef A\n", "2: undef A\n");
    check(
        "#include \"a//b.h\"\n#include <a//b.h>\n#include <a/*b.h>\n#undef A",
        "1: include \"a//b.h\"\n2: include <a//b.h>\n3: include <a/*b.h>\n4: undef A\n",
    );
    check(
        "#if __has_include(<a//b.h>) && __has_include ( \"c//d\" ) // e\n",
        "1: if __has_include(<a//b.h>) && __has_include ( \"c//d\" )\n",
    );
    check("/*/ #undef A\n*/\n#undef B", "3: undef B\n");
    check("x = a / b; /**/\n#undef B /", "2: undef B /\n");
}

#[test]
fn quotes() {
    check("#if 0\ndon't /* stop\n#endif\n", "1: if 0\n3: endif\n");
    check("#error don't /* stop\n#undef A\n", "1: error don't /* stop\n2: undef A\n");
    check("\"unterminated\n#undef A\n", "2: undef A\n");
    check_modes(CXX, b"auto s = R\"x( /* \n#undef N\n)\" )x\";\n#undef A\n", "4: undef A\n");
    let in_lines = b"#define A R\"(\n#undef N\n)\"\nauto s = R\"(\n#undef N\n)\";\n#define B R\"(\\\n)\" 1\n#undef A\n";
    check_modes(CXX, in_lines, "1: define A R\"(\n#undef N\n)\"\n7: define B R\"()\" 1\n9: undef A\n");
    let gcc = LexModes { lines_end_raw_strings: true, ..CXX };
    check_modes(gcc, in_lines, "1: define A R\"(\n2: undef N\n7: define B R\"()\" 1\n9: undef A\n");
    check_modes(CXX, b"auto s = u8R\"( /* )\";\n#undef A\n", "2: undef A\n");
    check_modes(CXX, b"auto s = FOOR\"( /* )\";\n#undef A\n", "2: undef A\n");
    check("auto s = R\"( /* )\";\n#undef A\n", "2: undef A\n");
    check_modes(CXX, b"int n = 1'000; /* '\n#undef N\n*/\n#undef A", "4: undef A\n");
    check_modes(CXX, b"int n = u8'a'; char c = '/*';\n#undef A", "2: undef A\n");
    check("#include \"a\\b\"\n#include \"a\\\"\n", "1: include \"a\\b\"\n2: include \"a\\\"\n");
    check("#include \" a.h\"  extra\n", "1: include \" a.h\" extra\n");
    check("#include<a>\n#include\"b\"", "1: include <a>\n2: include \"b\"\n");
}

#[test]
fn spelling() {
    check("%:include <a>\n%\\\n:undef B\n", "1: include <a>\n2: undef B\n");
    check("\u{feff}#undef A", "1: undef A\n");
    check("\x0c#\x0cundef\x0bA", "1: undef A\n");
    check_modes(LexModes::default(), b"#undef\0A", "1: undef A\n");
    check("# 33 \"a\"\n#nonsense /*\n#undef A\n*/#undef B\n#undef C", "1: [line marker] 33 \"a\"\n5: undef C\n");
    check("#define  F( x,  y )   x  +\\\n  y  ", "1: define F( x, y ) x + y\n");
    let old = LexModes { no_digraphs: true, no_line_comments: true, ..LexModes::default() };
    check_modes(old, b"%:undef A\n#undef B //* c\n#undef D\n*/\n#undef E", "2: undef B /\n5: undef E\n");
    check_modes(
        old,
        b"#define A 1 // c\n#pragma a // /*\n*/\n#undef B",
        "1: define A 1 // c\n2: pragma a //\n4: undef B\n",
    );
    check_modes(old, b"a // b\n#warning // c\nd //* e\n*/\n#undef A", "1: [line comment]\n5: undef A\n");
    let old = LexModes { blocks_before_lines: true, ..LexModes::default() };
    check_modes(
        old,
        b"#undef A // c /*\n#undef B //* c\n#undef D\n*/\n#undef E",
        "1: undef A\n2: undef B /\n5: undef E\n",
    );
    let trigraphs = LexModes { trigraphs: true, ..LexModes::default() };
    check_modes(trigraphs, b"??=include \"a\"\n#inc??/\nlude <b>", "1: include \"a\"\n2: include <b>\n");
    check("??=include \"a\"\n", "");
    check("#undef A\r#undef B\r\n#undef C", "1: undef A\n2: undef B\n3: undef C\n");
}

#[test]
fn notable_words() {
    check(
        "_Pragma(\"push_macro(\\\"X\\\")\") // _Pragma(\"once\")\n#undef X",
        "1: [pragma] push_macro(\"X\")\n2: undef X\n",
    );
    check("/* __DATE__ */\nx = __TIME__;\n", "2: [time]\n");
    check("#define D __DATE__\n#if __COUNTER__\n", "1: define D __DATE__\n1: [time]\n2: if __COUNTER__\n");
    check("x__COUNTER__y __COUNTER__ /* __COUNTER__ */\n#else", "1: [counter]\n2: else\n");
    check("a.include();\n", "");
    check("c = \"__TIME__\" __DATE__ \".incbin\";\n", "1: [time]\n1: [within] __DATE__\n1: [input] .incbin\";\n\n");
    check("F(x) = (0, \"push_macro(", "");
    check("F (0, \"push_macro(", "1: [macro pragma] F\n");
    check("F(G(x), H(a /* ) */ \")\", push_macro(\"X\")", "1: [macro pragma] H\n1: [macro pragma] F\n");
    check(
        "F({ x;\n#define G(x) H(#x, G\\\n (once))\n }; once)",
        "2: define G(x) H(#x, G (once))\n3: [defined macro pragma] G\n3: [defined macro pragma] H\n\
         4: [macro pragma] F\n",
    );
    check(
        "F(_Pragma(\"once\"), _Pragma(once))",
        "1: [pragma] once\n1: [pragma argument] F\n1: [macro pragma] _Pragma\n1: [macro pragma] F\n",
    );
    check("#define G(f, once) H(once) (once)", "1: define G(f, once) H(once) (once)\n");
    check(
        "#define G( once ...) H(\"once\", x once)",
        "1: define G( once ...) H(\"once\", x once)\n1: [defined macro pragma] H\n",
    );
    let modules = LexModes { modules: true, ..CXX };
    check_modes(
        modules,
        b"module;\nmodule = 1;\nimport <a>;\nexport import b;\nimported x;\n",
        "1: [module]module\n3: [module]import\n4: [module]export\n"
            .replace("]m", "] m")
            .replace("]i", "] i")
            .replace("]e", "] e")
            .as_str(),
    );
}

#[test]
fn text_without_end() {
    for source in [
        "#",
        "#include",
        "#include <",
        "#include \"",
        "/*",
        "//",
        "\"",
        "'",
        "\\",
        "#define A \\",
        "%",
        "_Pragma(",
        "/",
        "#\\",
    ] {
        lex(source.as_bytes(), CXX);
        lex(source.as_bytes(), LexModes { trigraphs: true, modules: true, ..CXX });
    }
}
