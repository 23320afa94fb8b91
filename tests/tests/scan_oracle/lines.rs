//! Directives that go on in further lines: what `__LINE__` is in them, and after them.

use crate::case::Case;
use std::fmt::Write as _;

/// Headers whose names have the numbers of lines.
const LINES: usize = 14;

/// The closure is exact where `text` stands for a source in which `NAME(n)` is the header of line `n`.
#[track_caller]
fn check(text: &str) {
    let header = "#define HEADER_(n) <b##n.h>\n#define HEADER(n) HEADER_(n)\n#define NAME(n) HEADER(n)\n";
    let mut case = Case::new().file("names.h", header).file("a.c", text);
    for line in 0..LINES {
        case.tree.file(format!("i/b{line}.h"), format!("int b{line};\n"));
    }
    for compiler in ["gcc", "g++ -xc++", "clang", "clang++ -xc++"] {
        case.check(&format!("{compiler} -Ii -include names.h a.c"));
    }
}

/// Checks a condition's operand: it is compared with every number of a line.
#[track_caller]
fn check_condition(before: &str, operand: &str) {
    let mut text = String::new();
    for line in 0..LINES {
        writeln!(text, "#line 1\n{before}#if ({operand}) == {line}\n#include <b{line}.h>\n#endif").unwrap();
    }
    check(&text);
}

#[test]
fn a_token_stands_in_its_own_line() {
    for operand in [
        "\\\n__LINE__",
        "\\\n\\\n__LINE__",
        "/*\n*/ __LINE__",
        "__LINE__ /*\n*/",
        "__LI\\\nNE__",
        "\\\n \\\n__LINE__ \\\n",
    ] {
        check(&format!("#include NAME({operand})\n"));
        check_condition("", operand);
    }
    check("#include \\\nNAME(__LINE__)\n");
    check("#include NAME(__LINE__ \\\n\\\n)\n");
    check_condition("", "0 * __LINE__ + \\\n __LINE__ \\\n + 0");
}

#[test]
fn a_macro_stands_where_its_use_does() {
    let macros = "#define L __LINE__\n#define F() __LINE__\n#define G(x) x\n#define H(x) (x * 0 + __LINE__)\n\
                  #define N(x) F()\n#define E\n#define D(x) F E ()\n#define T(x) F\n#define P(x) x##E__\n";
    for operand in [
        "\\\nL\\\n+0",
        "\\\n L \\\n +0",
        "/*\n*/L",
        "\\\n/*\n*/L",
        "/*\n*/\\\nL",
        "\\\nF\\\n(\\\n)\\\n+0",
        "\\\nG\\\n(\\\n__LINE__\\\n)\\\n+0",
        "\\\nG\\\n(\\\nL\\\n)\\\n+0",
        "\\\nG\\\n(\\\nF\\\n(\\\n)\\\n)\\\n+0",
        "\\\nH\\\n(\\\n1 \\\n )\\\n+0",
        "\\\nN\\\n(\\\n1\\\n)\\\n+0",
        "\\\nG\\\n(\\\nD(\\\n1\\\n)\\\n)\\\n+0",
        "\\\nT\\\n(\\\n1\\\n)\\\n(\\\n)\\\n+0",
        "\\\nP\\\n(\\\n__LIN\\\n)\\\n+0",
    ] {
        check_condition(&macros.replace('\n', "\n#line 1\n"), operand);
    }
    check("#define L __LINE__\n#define TWO(a, b) NAME(a)\n#include \\\n TWO(L, \\\n L)\n");
    check("#define L __LINE__\n#define TWO(a, b) NAME(b)\n#include \\\n TWO(L, \\\n L)\n");
}

#[test]
fn lines_are_counted_from_a_line_directive() {
    for directive in [
        "#line 5",
        "#line \\\n5",
        "#line 5 /*\n*/",
        "#line /*\n*/ 5",
        "#line 5 \\\n\"x.c\"",
        "# 5 \\\n\"x.c\"",
        "#line __LINE__ \\\n",
        "#line \\\n\\\n 5 \\\n \\\n \"x.c\"",
        "# /*\n*/ line 5",
    ] {
        check(&format!("{directive}\n#include NAME(__LINE__)\n\n#include NAME(__LINE__)\n"));
    }
}

#[test]
fn a_carriage_return_ends_a_line() {
    for text in [
        "\n#undef A\r#include \"b1.h\"\n",
        "// c\r#include \"b1.h\"\n",
        "int x;\r#include NAME(__LINE__)\r#include NAME(__LINE__)\r",
    ] {
        check(text);
    }
}
