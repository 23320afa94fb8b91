//! Macros in conditions and in the operands of includes.

use crate::case::Case;
use pumphouse::fallback::Reason;

/// Each of `needed` is included by `text`, with gcc and clang.
#[track_caller]
fn includes(text: &str, needed: &[&str]) {
    includes_under("", text, needed);
}

#[track_caller]
fn includes_under(flags: &str, text: &str, needed: &[&str]) {
    for compiler in ["gcc", "clang"] {
        let mut case = Case::new().file("a.c", text).file("none.h", "#error not included\n");
        for name in needed {
            case = case.file(name, format!("int n_{};\n", name.len()));
        }
        case.needs(&format!("{compiler} {flags} -I. a.c").replace("  ", " "), needed);
    }
}

#[test]
fn operands_are_expanded() {
    includes("#define H \"b.h\"\n#include H\n", &["b.h"]);
    includes("#define H <b.h>\n#define I H\n#include I\n", &["b.h"]);
    includes("#define LT <\n#define H LT b.h>\n#include H\n", &[" b.h"]);
    includes("#define S(x) #x\n#define X(x) S(x)\n#define N b\n#include X(N.h)\n", &["b.h"]);
    includes(
        "#define C(a, b) a##b\n#define X(a, b) C(a, b)\n#define N 3\n#define S(x) #x\n#define T(x) S(x)\n#include T(X(b, N).h)\n",
        &["b3.h"],
    );
    includes("#define P(d, f) <d/f>\n#include P(sub,b.h)\n", &["sub/b.h"]);
    includes(
        "#define F(x) x\n#include F(\"b.h\")\n#include F(\n\"c.h\")\n".replace("F(\n\"", "F(\"").as_str(),
        &["b.h", "c.h"],
    );
    includes("#define E\n#include E \"b.h\" E\n", &["b.h"]);
    includes("#define V(a, ...) __VA_ARGS__\n#include V(1, \"b.h\")\n", &["b.h"]);
    includes("#define V(a, ...) #__VA_ARGS__\n#include V(1, b.h)\n", &["b.h"]);
    includes("#define N(args...) args\n#include N(\"b.h\")\n", &["b.h"]);
}

#[test]
fn blanks_in_brackets_are_kept_as_the_compiler_keeps_them() {
    for (text, name) in [
        ("#define H <b c.h>\n#include H\n", "b c.h"),
        ("#define D sub\n#include <D/b.h>\n", "D/b.h"),
        ("#define B b\n#define H <B.h>\n#include H\n", "b.h"),
        ("#define Q(x) <x.h>\n#include Q(b)\n", "b.h"),
        ("#define H <sub/b-1.h>\n#include H\n", "sub/b-1.h"),
    ] {
        includes(text, &[name]);
    }
    for compiler in ["gcc", "clang"] {
        let mut case = Case::new()
            .file("a.c", "#define B b.h\n#define H < B >\n#if __has_include(H)\n#include H\n#endif\nint a;\n");
        for name in ["b.h", " b.h", " b.h ", "b.h "] {
            case = case.file(name, format!("int n{};\n", name.len()));
        }
        case.check(&format!("{compiler} -I. a.c"));
    }
}

#[test]
fn painted_names_stay() {
    includes("#define b b\n#define S(x) #x\n#define X(x) S(x)\n#include X(b.h)\n", &["b.h"]);
    includes(
        "#define f(x) x f\n#if f(1) (0) + 1\n#include \"b.h\"\n#endif\n".replace("f(1) (0) + 1", "1").as_str(),
        &["b.h"],
    );
    includes("#define A B\n#define B A\n#if !A\n#include \"b.h\"\n#endif\n", &["b.h"]);
    includes("#define f(x) g\n#define g(x) x\n#if f(1)(2) == 2\n#include \"b.h\"\n#endif\n", &["b.h"]);
    includes(
        "#define EMPTY\n#define DEFER(x) x EMPTY\n#define A() 1\n#define EXPAND(x) x\n#if EXPAND(DEFER(A)())\n#include \"b.h\"\n#endif\n",
        &["b.h"],
    );
}

#[test]
fn arguments_follow_the_standard() {
    includes("#define F(x, y) x ## y\n#define AB 1\n#if F(A, B)\n#include \"b.h\"\n#endif\n", &["b.h"]);
    includes("#define F(x) 1 x\n#if F()\n#include \"b.h\"\n#endif\n", &["b.h"]);
    includes(
        "#define F(x, y) (x + y)\n#if F((1, 2), 3) == 5\n#include \"b.h\"\n#endif\n".replace("(1, 2)", "(2)").as_str(),
        &["b.h"],
    );
    includes("#define F(x) x\n#define G F(\n#if G 1)\n#include \"b.h\"\n#endif\n", &["b.h"]);
    includes("#define F() 7\n#if F ( ) == 7\n#include \"b.h\"\n#endif\n", &["b.h"]);
    includes("#define F(x) 0\n#if !F\n#include \"b.h\"\n#endif\n", &["b.h"]);
    includes(
        "#define F(a, ...) a , ## __VA_ARGS__\n#define G(a, b, ...) b\n#if G(F(1, 5), 0)\n#include \"b.h\"\n#endif\n"
            .replace("G(F(1, 5), 0)", "5")
            .as_str(),
        &["b.h"],
    );
}

#[test]
fn va_opt_is_empty_without_arguments() {
    let text = "#define F(a, ...) a __VA_OPT__(+ 1)\n#if F(0, x) == 1 && F(0) == 0\n#include \"b.h\"\n#endif\n\
                #define S(...) __VA_OPT__(\"c.h\")\n#include S(1)\n";
    for line in ["g++ -std=c++20 a.cc", "clang++ -std=c++20 a.cc", "g++ a.cc"] {
        let mut case = Case::new().file("a.cc", text).file("b.h", "").file("c.h", "");
        case.needs(line, &["b.h", "c.h"]);
    }
    let mut case = Case::new().file("a.c", text).file("b.h", "").file("c.h", "");
    case.needs("gcc -std=c2x a.c", &["b.h", "c.h"]);
}

#[test]
fn options_define_in_order() {
    for compiler in ["gcc", "clang"] {
        let mut case = Case::new()
            .file(
                "a.c",
                "#if NAME == 1\n#include \"b.h\"\n#endif\n#include QUOTED\n#if F(2) == 3\n#include \"d.h\"\n#endif\n\
                 #ifdef GONE\n#include \"none.h\"\n#endif\n#ifdef BACK\n#include \"e.h\"\n#endif\n#include S\n#if defined EMPTY && EMPTY + 1 == 1\n#include \"f.h\"\n#endif\n",
            )
            .file("none.h", "#error\n");
        for name in ["b.h", "c d.h", "d.h", "e.h", "f.h", "g.h"] {
            case = case.file(name, "");
        }
        let line = format!(
            "{compiler} -DNAME '-DQUOTED=\"c d.h\"' '-DF(x)=x+1' -DGONE -UGONE -UBACK -D BACK -U NAME -DNAME -DEMPTY= '-DS=\"g.h\"' a.c"
        );
        case.needs(&line, &["b.h", "c d.h", "d.h", "e.h", "f.h", "g.h"]);
    }
}

#[test]
fn the_compilers_own_macros_depend_on_its_flags() {
    let text = "#ifdef __OPTIMIZE__\n#include \"o.h\"\n#endif\n#ifdef __i386__\n#include \"m32.h\"\n#endif\n#ifdef __AVX2__\n#include \"avx2.h\"\n#endif\n\
                #ifdef __SSP__\n#include \"ssp.h\"\n#endif\n#if __STDC_VERSION__ == 199901L\n#include \"c99.h\"\n#endif\n#ifdef __CHAR_UNSIGNED__\n#include \"uc.h\"\n#endif\n\
                #ifdef linux\n#include \"gnu.h\"\n#endif\n#ifdef _OPENMP\n#include \"omp.h\"\n#endif\n#ifdef __PIC__\n#include \"pic.h\"\n#endif\n#ifdef _REENTRANT\n#include \"mt.h\"\n#endif\n\
                #ifdef __SANITIZE_ADDRESS__\n#include \"asan.h\"\n#endif\n#ifdef __GNUC__\n#include \"gnuc.h\"\n#endif\n#ifdef __FAST_MATH__\n#include \"fast.h\"\n#endif\nint a;\n";
    let check = |compiler: &str, flags: &str| {
        let mut case = Case::new().file("a.c", text);
        for name in ["o", "m32", "avx2", "ssp", "c99", "uc", "gnu", "omp", "pic", "mt", "asan", "gnuc", "fast"] {
            case = case.file(format!("{name}.h"), "");
        }
        case.check(&format!("{compiler} {flags} a.c").replace("  ", " "));
    };
    for flags in [
        "",
        "-O2",
        "-m32",
        "-mavx2",
        "-march=haswell",
        "-fstack-protector-all",
        "-std=c99",
        "-funsigned-char",
        "-fopenmp",
        "-fPIC",
        "-pthread",
        "-fsanitize=address",
        "-undef",
        "-ffast-math",
        "-O0 -O3 -O0",
    ] {
        check("gcc", flags);
        check("clang", flags);
    }
    for flags in
        ["--machine-avx2 --debug-prefix-map=/a=b", "--machine=32 --unsigned-char", "--PIC --fast-math", "--openmp"]
    {
        check("gcc", flags);
    }
}

#[test]
fn special_macros_name_files() {
    includes("#define C(a, b) <a##b.h>\n#define X(a, b) C(a, b)\n#include X(b, __LINE__)\n", &["b3.h"]);
    includes(
        "#define C(a, b) <a##b.h>\n#define X(a, b) C(a, b)\n#include X(b, __COUNTER__)\n#include X(b, __COUNTER__)\n",
        &["b0.h", "b1.h"],
    );
    includes("#define C(a, b) <a##b.h>\n#define X(a, b) C(a, b)\n#include X(b, __INCLUDE_LEVEL__)\n", &["b0.h"]);
    includes("#ifndef AGAIN\n#define AGAIN\n#include __FILE__\n#else\n#include \"b.h\"\n#endif\n", &["b.h"]);
    for compiler in ["gcc", "clang"] {
        let mut case = Case::new()
            .file("a.c", "#ifdef BASE\nint again;\n#else\n#include \"b.h\"\n#endif\n")
            .file("b.h", "#define BASE\n#include __BASE_FILE__\n");
        case.needs(&format!("{compiler} a.c"), &["b.h"]);
    }
}

#[test]
fn counters_count_in_text_and_in_headers() {
    for compiler in ["gcc", "clang"] {
        let mut case = Case::new()
            .file("a.c", "#include \"b.h\"\n#include \"b.h\"\n#define C(a, b) <a##b.h>\n#define X(a, b) C(a, b)\n#include X(n, __COUNTER__)\n")
            .file("b.h", "extern int x[1 + 0 * __COUNTER__];\n#if __COUNTER__ > 2\n#include \"c.h\"\n#endif\n")
            .file("c.h", "#define IN_MACRO __COUNTER__\nextern int y[1 + 0 * IN_MACRO];\n")
            .file("n5.h", "int n5;\n")
            .file("n4.h", "int n4;\n")
            .surplus();
        // How often text expands it only the compiler knows.
        case.check_unless(&format!("{compiler} -I. a.c"), Reason::Unscannable);
    }
}

#[test]
fn forced_includes_define() {
    for compiler in ["gcc", "clang"] {
        let mut case = Case::new()
            .file("a.c", "#include F\n#include M\n#ifdef TEXT\n#include \"t.h\"\n#endif\n")
            .file("x/force.h", "#define F \"b.h\"\nint forced;\n#ifdef M\n#include \"order.h\"\n#endif\n")
            .file("x/macros.h", "#define M \"c.h\"\nint not_kept;\n#include \"inner.h\"\n")
            .file("x/inner.h", "int nor_this;\n#define TEXT\n")
            .file("x/order.h", "int macros_first;\n")
            .file("b.h", "")
            .file("c.h", "")
            .file("t.h", "");
        case.needs(
            &format!("{compiler} -include force.h -imacros macros.h -Ix a.c"),
            &["b.h", "c.h", "t.h", "x/force.h", "x/macros.h", "x/inner.h", "x/order.h"],
        );
        // Looked up from the working directory, not from the source's.
        let mut case = Case::new()
            .file("src/a.c", "int a;\n")
            .file("src/f.h", "#error not this one\n")
            .file("f.h", "int f;\n")
            .file("g.h", "int g;\n");
        case.needs(
            &format!("{compiler} -include f.h --include=g.h src/a.c").replace("--include=g.h", "--include g.h"),
            &["f.h"],
        );
    }
}

#[test]
fn arithmetic_is_that_of_the_widest_integers() {
    let conditions = [
        "0x7fffffffffffffff + 1 < 0",
        "-1 > 0u",
        "(2 || 3) != 2",
        "~0u == 0xffffffffffffffff",
        "1 ? -1 : 0u",
        "(0 ? 1u : -1) > 0",
        "-1 >> 1 == -1",
        "0xffffffffffffffff >> 63 == 1",
        "'a' == 97",
        "'ab' == 24930",
        "'\\x41' + '\\n' == 75",
        "1 << 2 + 1 == 8",
        "7 % -2 == 1",
        "-7 / 2 == -3",
        "1 == 1L && 2ULL == 2",
        "0b101 == 5",
        "010 == 8",
        "!defined X && !X",
        "1 , 2",
        "(1 ? 0 ? 3 : 4 : 5) == 4",
        "0 && (1 / 0) || 1",
        "1 || 1 / 0",
        "1 ? 2 : (1 / 0)",
        "- - 1 == 1",
        "+1 == 1",
        "2 > 1 > 0",
        "1 <= 1 == 1",
        "6 & 3 ^ 1 | 8",
        "u'x' == 120",
        "U'y' == 121",
        "18446744073709551615u == -1",
        "0x8000000000000000 > 0",
        "9223372036854775807 + 1 < 0",
        "8 << -1 == 4",
        "8 << -1 == 0",
        "-8 >> -1 == -16",
        "-8 >> -1 == -1",
        "8u >> -1 == 0",
        "-5 >> -70 == -1",
        "1 << 64 == 0",
        "1 << 63 < 0",
        "-1 >> 100 == -1",
        "1u >> 64 == 0",
        "0xffffffffffffffffu >> 0xffffffff00000001u == 0",
        "-9223372036854775807 - 1 < 0",
        "(unsigned)1 || 1",
    ];
    let mut text = String::new();
    for (index, condition) in conditions.iter().enumerate() {
        if !condition.contains("(unsigned)") {
            text += &format!("#if {condition}\n#include \"y{index}.h\"\n#else\n#include \"n{index}.h\"\n#endif\n");
        }
    }
    for line in ["gcc -w a.c", "clang -w a.c", "g++ -w a.cc", "clang++ -w a.cc", "aarch64-linux-gnu-gcc -w a.c"] {
        let mut case = Case::new().file("a.c", text.as_str()).file("a.cc", text.as_str());
        for index in 0..conditions.len() {
            case = case.file(format!("y{index}.h"), "").file(format!("n{index}.h"), "");
        }
        case.check(line);
    }
}

#[test]
fn characters_whose_sign_is_the_targets_take_both_branches() {
    for condition in ["'\\377' < 0", "L'\\0' - 1 > 0"] {
        let text = format!("#if {condition}\n#include \"y.h\"\n#else\n#include \"n.h\"\n#endif\nint a;\n");
        for line in ["gcc -w a.c", "gcc -w -funsigned-char a.c", "clang -w a.c", "aarch64-linux-gnu-gcc -w a.c"] {
            let mut case = Case::new().surplus().file("a.c", &text).file("y.h", "").file("n.h", "");
            case.check(line);
        }
    }
}

#[test]
fn characters_of_another_set_are_unknown() {
    let text = "#if 'A' == 65\n#include \"y.h\"\n#else\n#include \"n.h\"\n#endif\n#if 65 == 65\n#include \"b.h\"\n#endif\nint a;\n";
    for charset in ["IBM1047", "UTF-16", "ISO-8859-1", "UTF-8"] {
        for compiler in ["gcc", "g++ -xc++"] {
            let mut case = Case::new().surplus().file("a.c", text).file("y.h", "").file("n.h", "").file("b.h", "");
            case.needs(&format!("{compiler} -fexec-charset={charset} a.c"), &["b.h"]);
        }
    }
    let mut case = Case::new().file("a.c", text).file("y.h", "").file("n.h", "").file("b.h", "");
    case.needs("gcc -fexec-charset=ISO-8859-1 a.c", &["y.h", "b.h"]);
}

#[test]
fn a_character_and_its_number_are_one_name() {
    for text in [
        "#define \\u00e9 1\n#ifdef \u{e9}\n#include \"b.h\"\n#endif\n",
        "#define \u{e9}x 1\n#if defined(\\u00E9x) && \\U000000e9x == 1\n#include \"b.h\"\n#endif\n",
        "#define F(\\u00e9) \u{e9}\n#if F(1)\n#include \"b.h\"\n#endif\n",
        "#define \u{e9} 1\n#undef \\u00e9\n#ifndef \u{e9}\n#include \"b.h\"\n#endif\n",
    ] {
        includes(text, &["b.h"]);
    }
}

#[test]
fn a_dollar_is_part_of_a_name_where_the_compiler_says_so() {
    let text = "#define F$ 1\n#ifdef F\n#include \"b.h\"\n#endif\n#define A 1\n#define B(x) A$x\n#if B(1) == 1\n#include \"c.h\"\n#endif\n";
    for line in [
        "gcc a.c",
        "gcc -fdollars-in-identifiers a.c",
        "gcc -fno-dollars-in-identifiers a.c",
        "clang a.c",
        "clang -fno-dollars-in-identifiers a.c",
        "gcc a.S",
        "clang a.S",
    ] {
        let mut case = Case::new().preprocessed().surplus();
        for name in ["a.c", "a.S"] {
            case = case.file(name, text);
        }
        let mut case = case.file("b.h", "").file("c.h", "");
        case.check_rejected(line);
    }
}

#[test]
fn defined_may_come_from_a_macro() {
    includes(
        "#define X\n#define D defined(X)\n#if D\n#include \"b.h\"\n#endif\n#define E defined X\n#if E && !0\n#include \"c.h\"\n#endif\n",
        &["b.h", "c.h"],
    );
    includes(
        "#define HAS(x) (defined(x) && x)\n#define Y 1\n#if HAS(Z)\n#include \"none.h\"\n#endif\n#include \"b.h\"\n",
        &["b.h"],
    );
}

#[test]
fn names_of_the_language_are_words_to_the_preprocessor() {
    let text = "#if true\n#include \"cxx.h\"\n#else\n#include \"c.h\"\n#endif\n#if 1 and not 0\n#include \"b.h\"\n#endif\n#if compl 0 == -1 bitor 0\n#include \"b.h\"\n#endif\n#if not true or false\n#include \"none.h\"\n#endif\n";
    for line in ["g++ a.cc", "clang++ a.cc"] {
        let mut case =
            Case::new().file("a.cc", text).file("cxx.h", "").file("c.h", "").file("b.h", "").file("none.h", "#error\n");
        case.needs(line, &["cxx.h", "b.h"]);
    }
    includes("#if true\n#include \"none.h\"\n#endif\n#if int + while == 0\n#include \"b.h\"\n#endif\n", &["b.h"]);
}

#[test]
fn boost_style_iteration_ends() {
    let text = "#ifndef N\n#define N 0\n#endif\n#if N == 0\n#undef N\n#define N 1\n#include __FILE__\n#elif N == 1\nint one;\n#undef N\n#define N 2\n#include __FILE__\n#else\n#include \"b.h\"\n#endif\n";
    includes(text, &["b.h"]);
    let mut case = Case::new()
        .file(
            "a.cc",
            "#ifndef BOOST_PP_IS_ITERATING\n#include <boost/preprocessor/iteration/iterate.hpp>\n#include <boost/preprocessor/slot/counter.hpp>\n\
             #define BOOST_PP_ITERATION_LIMITS (1, 4)\n#define BOOST_PP_FILENAME_1 \"a.cc\"\n#include BOOST_PP_ITERATE()\n#include BOOST_PP_UPDATE_COUNTER()\n#include BOOST_PP_UPDATE_COUNTER()\n\
             #if BOOST_PP_COUNTER == 2\n#include \"b.h\"\n#endif\n#else\n#if BOOST_PP_ITERATION() == 3\n#include \"three.h\"\n#endif\n#endif\n",
        )
        .file("b.h", "")
        .file("three.h", "");
    case.needs("g++ -I. a.cc", &["b.h", "three.h"]);
    case.needs("clang++ -I. a.cc", &["b.h", "three.h"]);
}

#[test]
fn features_have_values() {
    let text = "#if __has_attribute(noreturn) > 1\n#include \"large.h\"\n#elif __has_attribute(noreturn)\n#include \"one.h\"\n#endif\n\
                #ifdef __has_cpp_attribute\n#if __has_cpp_attribute(noreturn) == 200809 && __has_builtin(__builtin_expect)\n#include \"dated.h\"\n#endif\n#endif\n\
                #if __has_attribute(none_of_this_name)\n#include \"none.h\"\n#endif\n";
    for line in [
        "gcc a.c",
        "g++ -x c++ a.c",
        "g++ -x c++ -std=c++98 a.c",
        "clang a.c",
        "clang++ -x c++ a.c",
        "clang++ -x c++ -std=c++98 a.c",
    ] {
        let mut case = Case::new().file("a.c", text);
        for name in ["large.h", "one.h", "dated.h", "none.h"] {
            case = case.file(name, "");
        }
        case.check(line);
    }
}

#[test]
fn the_counter_is_unknown_after_an_unknown_branch() {
    // What the operand of the feature is, only the compiler knows.
    let text = "#define N noreturn\n#if __has_attribute(N)\n#if __COUNTER__\n#endif\n#endif\n#if __COUNTER__ == 0\n#include \"zero.h\"\n#else\n#include \"one.h\"\n#endif\n";
    for line in ["gcc a.c", "clang a.c"] {
        let mut case = Case::new().file("a.c", text).file("zero.h", "int z;\n").file("one.h", "int o;\n").surplus();
        case.check(line);
    }
    // A condition that counts, behind one that is not known here.
    let text = "#define N noreturn\n#if __has_attribute(N) + 1\n#elif __COUNTER__\n#endif\n#if __COUNTER__ == 0\n#include \"zero.h\"\n#else\n#include \"one.h\"\n#endif\n";
    for line in ["gcc a.c", "clang a.c"] {
        let mut case = Case::new().file("a.c", text).file("zero.h", "int z;\n").file("one.h", "int o;\n").surplus();
        case.check(line);
    }
}

#[test]
fn a_string_keeps_how_a_name_was_spelled() {
    let text = "#define S(x) #x\n#define T(x) S(x)\n#include T(b\\u00e9.h)\nint a;\n";
    for line in ["gcc a.c", "g++ -xc++ a.c", "clang a.c"] {
        let mut case = Case::new().file("a.c", text).file("b\u{e9}.h", "").file("b\\u00e9.h", "");
        case.check_unless(line, Reason::Unscannable);
    }
}

#[test]
fn clang_has_another_macro_with_extensions_of_other_compilers() {
    let text = "#ifdef __identifier\n#include \"b.h\"\n#else\n#include \"c.h\"\n#endif\nint a;\n";
    for line in ["clang a.c", "clang -fms-extensions a.c", "gcc -fms-extensions a.c"] {
        Case::new().file("a.c", text).file("b.h", "").file("c.h", "").check(line);
    }
}
