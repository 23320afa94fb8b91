//! What is a directive, and what its operand is.

use crate::case::Case;
use pumphouse::fallback::Reason;

/// `text` as a source that includes `b.h` and nothing else, for gcc and clang.
#[track_caller]
fn includes_b(text: impl AsRef<[u8]>) {
    let mut case = Case::new().file("a.c", text).file("b.h", "int b;\n");
    case.needs("gcc a.c", &["b.h"]);
    case.needs("clang a.c", &["b.h"]);
}

/// `text` as a source that does not include `b.h`.
#[track_caller]
fn excludes_b(text: impl AsRef<[u8]>) {
    let mut case = Case::new().file("a.c", text).file("b.h", "int b;\n");
    for line in ["gcc a.c", "clang a.c"] {
        let closure = case.check(line);
        assert!(!case.holds(&closure, "b.h"), "{line}");
    }
}

#[test]
fn splices_stand_anywhere() {
    includes_b("#inc\\\nlude \"b.h\"\n");
    includes_b("#\\\ninclude \"b.h\"\n");
    includes_b("#include \"b\\\n.h\"\n");
    includes_b("#include\\\n\\\n\"b.h\"\n");
    includes_b("\\\n\\\n#include \"b.h\"\n");
    includes_b("#inc\\  \t\nlude \"b.h\"\n");
}

#[test]
fn carriage_returns_end_lines_and_stand_in_splices() {
    includes_b("int a;\r\n#inc\\\r\nlude \"b.h\"\r\n");
    includes_b("// comment\r\n#include \"b.h\"\r\nint x;\r\n");
    includes_b("#if 0 // \r\n#else\r\n#include \"b.h\"\r\n#endif\r\n");
}

#[test]
fn trigraphs_count_where_the_standard_says_so() {
    let text = "// what??/\n#include \"b.h\"\nint a;\n";
    let mut case = Case::new().file("a.c", text).file("b.h", "int b;\n");
    for line in [
        "gcc a.c",
        "clang a.c",
        "gcc -std=gnu11 a.c",
        "gcc -std=gnu99 a.c",
        "gcc -std=c99 -std=gnu99 a.c",
        "g++ -std=c++17 a.c",
    ] {
        case.needs(line, &["b.h"]);
    }
    for line in [
        "gcc -std=c99 a.c",
        "gcc -std=c11 a.c",
        "gcc -trigraphs a.c",
        "gcc -std=gnu99 -trigraphs a.c",
        "g++ -std=c++14 a.c",
        "clang -std=c11 a.c",
        "clang -ansi a.c",
    ] {
        let closure = case.check(line);
        assert!(!case.holds(&closure, "b.h"), "{line}");
    }
    // Whether C23 has them depends on the compiler's version.
    case.check("gcc -std=c2x a.c");
    let mut case = Case::new().file("a.c", "??=include \"b.h\"\n").file("b.h", "int b;\n");
    case.needs("gcc -std=c99 a.c", &["b.h"]);
    case.needs("gcc -ansi a.c", &["b.h"]);
    case.needs("clang -trigraphs a.c", &["b.h"]);
}

#[test]
fn digraphs_are_hashes() {
    includes_b("%:include \"b.h\"\n");
    includes_b("%: include \"b.h\"\n");
    includes_b("#define S(x) %:x\n#include S(b.h)\n");
}

#[test]
fn comments_are_blanks() {
    includes_b("/* c */#include \"b.h\"\n");
    includes_b("/* over\nlines */ # /* c */ include /* d */ \"b.h\" /* e */\n");
    includes_b("#include /* over\nlines */ \"b.h\"\n");
    includes_b("#/**/include/**/\"b.h\"//\n");
    includes_b("/* a */ /* b\n*/ #include \"b.h\"\n");
    excludes_b("int a; /* c */ \n/*\n#include \"b.h\"\n*/\n");
    excludes_b("int a; // \\\n#include \"b.h\"\n");
    excludes_b("int a; /\\\n/ \\\n#include \"b.h\"\n");
    excludes_b("int a; /\\\n*\n#include \"b.h\"\n*\\\n/\n");
}

#[test]
fn comments_do_not_start_in_literals() {
    includes_b("const char *a = \"/*\";\n#include \"b.h\"\nconst char *c = \"*/\";\n");
    includes_b("int a = '\\'' + '\"';\n#include \"b.h\"\nint c = '/';\n");
    includes_b("int a = '/*';\n#include \"b.h\"\nint c = '*/';\n");
    includes_b("const char *a = \"\\\"/*\\\\\";\n#include \"b.h\"\n");
    includes_b("const char *a = \"//\" \"\\\n/*\";\n#include \"b.h\"\n");
}

#[test]
fn raw_strings_are_lexed_where_the_language_has_them() {
    let text =
        "const char *a = R\"x( /* \" )x\";\n#include \"b.h\"\nconst char *c = R\"(\n#include \"none.h\"\n)\" \"*/\";\n";
    let mut case = Case::new().file("a.cc", text).file("b.h", "int b;\n").file("none.h", "#error not included\n");
    case.needs("g++ a.cc", &["b.h"]);
    case.needs("clang++ -std=c++11 a.cc", &["b.h"]);
    let mut case = Case::new().file("a.c", text).file("b.h", "int b;\n").file("none.h", "#error not included\n");
    case.needs("gcc -std=gnu11 a.c", &["b.h"]);
    // Not in strict C nor in C++98: there `R` is a name and the text a string.
    let text = "#define R\nconst char *a = R\"x( /* )x\";\n#include \"b.h\"\nint c; /* */\n";
    let mut case = Case::new().file("a.c", text).file("a.cc", text).file("b.h", "int b;\n");
    case.needs("gcc -std=c99 a.c", &["b.h"]);
    case.needs("g++ -std=c++98 a.cc", &["b.h"]);
    case.needs("clang -std=gnu11 a.c", &["b.h"]);
    let prefixed = "const void *a[] = { u8R\"(/*)\", LR\"(\"/*)\", uR\"a(\n#include \"none.h\"\n)a\", UR\"()\" };\n#include \"b.h\"\n";
    let mut case = Case::new().file("a.cc", prefixed).file("b.h", "int b;\n").file("none.h", "#error not included\n");
    case.needs("g++ a.cc", &["b.h"]);
    case.needs("clang++ a.cc", &["b.h"]);
}

#[test]
fn raw_strings_keep_splices_and_span_macros() {
    let text = "#define A R\"(\n#include \"none.h\"\n)\"\nconst char *a = A;\n#include \"b.h\"\n";
    let mut case = Case::new().file("a.cc", text).file("b.h", "int b;\n").file("none.h", "int none;\n");
    case.check_rejected("g++ a.cc");
    case.check_rejected("clang++ a.cc");
    let text = "const char *a = R\"(\\\n)\\\n\";\n#include \"none.h\"\n)\";\n#include \"b.h\"\n";
    let mut case = Case::new().file("a.cc", text).file("b.h", "int b;\n").file("none.h", "#error not included\n");
    case.needs("g++ a.cc", &["b.h"]);
    case.needs("clang++ a.cc", &["b.h"]);
}

#[test]
fn slashes_in_names_are_no_comments() {
    let mut case = Case::new().file("a.c", "#include \"a//b.h\"\n#include <a//./b.h>\n").file("a/b.h", "int b;\n");
    case.needs("gcc -I. a.c", &["a/b.h"]);
    case.needs("clang -I. a.c", &["a/b.h"]);
    let mut case = Case::new().file("a.c", "#include \"a/*b.h\"\nint a; /* */\n").file("a/*b.h", "int b;\n");
    case.needs("gcc a.c", &["a/*b.h"]);
    case.needs("clang a.c", &["a/*b.h"]);
}

#[test]
fn digit_separators_are_no_characters() {
    let text = "int a = 1'000 + 0x1'f; /* ' */\n#include \"b.h\"\nint c = 1'0;\n";
    let mut case = Case::new().file("a.cc", text).file("b.h", "int b;\n");
    case.needs("g++ a.cc", &["b.h"]);
    case.needs("clang++ a.cc", &["b.h"]);
    // Before C++14 an apostrophe in a number opens a character, which hides the comment.
    let text = "#if 0\n1'0 /* '\n#endif\n#include \"b.h\"\n#if 0 // */\n#endif\nint a;\n";
    let mut case = Case::new().file("a.cc", text).file("b.h", "int b;\n").preprocessed();
    for line in ["g++ -std=c++98 a.cc", "g++ -std=c++17 a.cc", "clang++ -std=c++98 a.cc", "clang++ -std=c++17 a.cc"] {
        case.check(line);
    }
}

#[test]
fn marks_feeds_and_ends_are_seen_through() {
    includes_b(b"\xef\xbb\xbf#include \"b.h\"\n");
    includes_b("\x0c#include \"b.h\"\n");
    includes_b("\x0b#include\t\"b.h\"");
    includes_b("int a;\n#include \"b.h\"");
    includes_b("#include \"b.h\"\\\n");
    includes_b("int a; /* \0 */\n#include \"b.h\"\n");
}

#[test]
fn names_are_bytes() {
    for name in
        ["b c.h", "b@c.h", "~b.h", "b%c.h", "b:c.h", "$b.h", "b#c.h", " b.h", "b'c.h", "b\\c.h", "h\u{e9}.h", "b\tc.h"]
    {
        let mut case = Case::new().file("a.c", format!("#include \"{name}\"\n")).file(name, "int b;\n");
        case.needs("gcc a.c", &[name]);
        // Clang lists a backslash as a slash.
        if !name.contains('\\') {
            case.needs("clang a.c", &[name]);
        }
    }
    let mut case = Case::new().file("a.c", b"#include \"l\xe4.h\"\n").file(b"l\xe4.h", "int b;\n");
    let closure = case.check("gcc a.c");
    assert_eq!(case.names(&closure).len(), 2);
    let closure = case.check("clang a.c");
    assert_eq!(case.names(&closure).len(), 2);
    let mut case =
        Case::new().file("a.c", "#include <b\"c.h>\n#include \"d>e.h\"\n").file("b\"c.h", "").file("d>e.h", "");
    case.needs("gcc -I. a.c", &["b\"c.h", "d>e.h"]);
    case.needs("clang -I. a.c", &["b\"c.h", "d>e.h"]);
}

#[test]
fn operands_end_where_they_end() {
    includes_b("#include\"b.h\" extra tokens\n");
    let mut case = Case::new().file("a.c", "#include<b.h>junk\n").file("b.h", "int b;\n");
    case.needs("gcc -I. a.c", &["b.h"]);
    case.needs("clang -I. a.c", &["b.h"]);
}

#[test]
fn skipped_groups_are_skipped() {
    excludes_b("#if 0\n#include \"b.h\"\n#endif\nint a;\n");
    includes_b("#if 0\ndon't \" balance\n#include \"none.h\"\n#endif\n#include \"b.h\"\n");
    includes_b("#if 0\n/* #endif */ // #endif\n\"/*\"\n'\"'\n#bogus\n#endif\n#include \"b.h\"\n");
    includes_b("#if 0\n'\n#else\n#include \"b.h\"\n#endif\n");
    includes_b("#if 0\n#if\n#elif garbage (\n#else\n#endif\n#endif\n#include \"b.h\"\n");
    excludes_b("#ifdef X\n/* \"\n#endif\n*/\n#include \"b.h\"\n#endif\nint a;\n");
}

#[test]
fn assembler_has_its_own_comments() {
    let text = "# it's a comment /* that opens none\n#include \"b.h\"\nmov $1, %eax # isn't /* one\n#if 0\ndon't\n#else\n#include <c.h>\n#endif\n\
                #define E .globl x\nE\n*/ /* \n */\n";
    let mut case = Case::new().file("a.S", text).file("b.h", ".set b, 1\n").file("c.h", ".set c, 1\n").preprocessed();
    case.needs("gcc -I. a.S", &["b.h", "c.h"]);
    let text = "#include \"b.h\"\n.text\n# 1 is no line marker's file\nmov $B, %eax\n";
    let mut case = Case::new()
        .file("a.S", text)
        .file("b.h", "#ifdef __ASSEMBLER__\n#include \"c.h\"\n#endif\n")
        .file("c.h", "#define B 1\n");
    case.needs("gcc a.S", &["b.h", "c.h"]);
    case.needs("clang a.S", &["b.h", "c.h"]);
    case.needs("gcc -x assembler-with-cpp -m32 a.S", &["b.h", "c.h"]);
}

#[test]
fn what_counts_is_how_the_compiler_reads_and_not_what_it_defines() {
    let text = "%:define DIGRAPHS\n#ifdef DIGRAPHS\n#include \"digraphs.h\"\n#endif\n\
                int a = 4 //**/ 2\n;\n#ifdef __cplusplus\n#if 1'0 == 10\n#include \"separators.h\"\n#endif\n#endif\n\
                #if 0\n#elifdef DIGRAPHS\n#include \"elifdef.h\"\n#endif\n";
    for line in [
        "gcc -undef a.c",
        "gcc -ansi -undef a.c",
        "gcc -std=c89 a.c",
        "gcc -std=iso9899:199409 -undef a.c",
        "clang -undef a.c",
        "clang -ansi -undef a.c",
        "clang -std=iso9899:199409 -undef a.c",
        "g++ -x c++ -undef -std=c++20 a.c",
        "clang++ -x c++ -undef -std=c++20 a.c",
    ] {
        let mut case = Case::new().file("a.c", text);
        for name in ["digraphs.h", "separators.h", "elifdef.h"] {
            case = case.file(name, "");
        }
        case.preprocessed().check(line);
    }
}

#[test]
fn system_headers_have_line_comments_in_the_c_of_1990() {
    // In the C of 1990 the comment of the first line goes on to the third one, outside system headers.
    let text = "#if 1 // a /*\n#include \"b.h\"\n/* */\n#endif\nint a = 4 //**/ 2\n;\n#if 0\n// c /*\n#else\n#include \"c.h\"\n#endif\n/* */\n";
    for lines in [
        ["gcc -std=c90", "gcc -ansi"],
        ["gcc -std=gnu90", "gcc -std=iso9899:199409"],
        ["clang -std=c90", "clang -ansi"],
    ] {
        for line in lines {
            let case =
                || Case::new().file("a.c", "#include <a.h>\n").file("x/a.h", text).file("x/b.h", "").file("x/c.h", "");
            case().check(&format!("{line} -isystem x a.c"));
        }
    }
    let text = "#if 0\n// see x/*.h\n#else\n#include \"b.h\"\n#endif\n/* */\n#endif\n#include \"c.h\"\n";
    for line in ["gcc -std=c90 a.c", "clang -std=c90 a.c"] {
        let mut case = Case::new().file("a.c", text.replace("#endif\n/* */\n#endif\n", "/* */\n#endif\n"));
        case = case.file("b.h", "").file("c.h", "");
        case.check(line);
    }
}

#[test]
fn line_comments_of_the_c_of_1990_are_errors() {
    let mut case = Case::new().file("a.c", "int a; // b\n#include \"b.h\"\n").file("b.h", "");
    case.check_rejected("gcc -std=c90 a.c");
    case.check("gcc -std=gnu90 a.c");
    case.check("clang -std=c90 a.c");
    let text = "#pragma GCC system_header\n#include <b.h>\nint a; // b\n";
    let mut case = Case::new().file("a.c", "#include \"a.h\"\n").file("a.h", text).file("b.h", "");
    case.check_unless("gcc -std=c90 -I. a.c", Reason::Unscannable);
    case.check("gcc -std=c99 -I. a.c");
}

#[test]
fn a_line_marker_begins_and_ends_a_system_header() {
    let header =
        "# 7 \"a.h\" 3\n#include <b.h>\n# 8 \"a.h\"\n#include <c.h>\n#line 9 \"a.h\" 3\n#include <d.h>\nint a;\n";
    let mut case = Case::new().file("a.c", "#include \"a.h\"\n").file("a.h", header);
    for name in ["b.h", "c.h", "d.h"] {
        case = case
            .file(format!("x/{name}"), "#include \"beside.h\"\n")
            .symlink(&format!("y/long/{name}"), &format!("../../x/{name}"));
    }
    case = case.file("x/beside.h", "").file("y/long/beside.h", "");
    for line in ["gcc -Iy/long a.c", "gcc -Iy/long -Wall a.c", "clang -Iy/long a.c"] {
        case.check(line);
    }
}
