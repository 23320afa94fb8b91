//! Pragmas that macros make, and pragmas that change the compiler's own macros.

use crate::case::Case;
use pumphouse::fallback::Reason;

/// A source in which `push` and `pop` stand around another definition, with all that may be included by it.
fn pushing(macros: &str, push: &str, pop: &str) -> Case {
    let choice = "#if X == 1\n#include \"b.h\"\n#else\n#include \"c.h\"\n#endif\n";
    let text = format!("{macros}#define X 1\n{push}\n#undef X\n#define X 2\n{choice}{pop}\n{choice}int a;\n");
    Case::new().file("a.c", text).file("b.h", "\n").file("c.h", "\n")
}

/// The case for `line`: gcc says of what `_Pragma` pushes and pops something else where it makes no object.
fn for_compiler(case: Case, line: &str) -> Case {
    if line.starts_with('g') { case.surplus() } else { case }
}

#[test]
fn macros_make_pragmas_of_their_arguments() {
    let strings = "#define P(x) _Pragma(#x)\n";
    for (macros, push, pop) in [
        (strings, "P(push_macro(\"X\"))", "P(pop_macro(\"X\"))"),
        (strings, "P ( push_macro ( \"X\" ) )", "P ( pop_macro ( \"X\" ) )"),
        ("#define Q(x) _Pragma(#x)\n#define P(x) Q(x)\n", "P(push_macro(\"X\"))", "P(pop_macro(\"X\"))"),
        ("#define P(n, x) _Pragma(#x)\n", "P(0, push_macro(\"X\"))", "P(0, pop_macro(\"X\"))"),
        ("#define P(x) _Pragma(x)\n", "P(\"push_macro(\\\"X\\\")\")", "P(\"pop_macro(\\\"X\\\")\")"),
        ("#define P _Pragma\n", "P(\"push_macro(\\\"X\\\")\")", "P(\"pop_macro(\\\"X\\\")\")"),
        ("#define P(x) _Pra##gma(#x)\n", "P(push_macro(\"X\"))", "P(pop_macro(\"X\"))"),
        (
            "#define P(x) _Pragma(#x)\n#define PUSH P(push_macro(\"X\"))\n#define POP P(pop_macro(\"X\"))\n",
            "PUSH",
            "POP",
        ),
        (strings, "#pragma push_macro(\"X\")", "P(pop_macro(\"X\"))"),
        (strings, "P(push_macro(\"X\"))", "#pragma pop_macro(\"X\")"),
        (
            "#define P(x) _Pragma(#x)\n#define PU(m) P(push_macro(#m))\n#define PO(m) P(pop_macro(#m))\n",
            "PU(X)",
            "PO(X)",
        ),
        (
            "#define PUSH P(push_macro(\"X\"))\n#define POP P(pop_macro(\"X\"))\n#define P(x) _Pragma(#x)\n",
            "PUSH",
            "POP",
        ),
        (strings, "P(/* a comment */ push_macro(\"X\"))", "P(\\\npop_macro \\\n(\"X\"))"),
        (strings, "P(\n  push_macro(\"X\") // it\n)", "P(pop_macro(\"X\")) P(pop_macro(\"X\"))"),
        ("#define P(x) _Pragma(#x)\n#define CALL(f, x) f(x)\n", "CALL(P, push_macro(\"X\"))", "P(pop_macro(\"X\"))"),
        ("#define P(x) _Pragma(#x)\n#define DEFER(f) f\n", "DEFER(P)(push_macro(\"X\"))", "P(pop_macro(\"X\"))"),
        ("#define P(x) _Pragma(#x)\n#define TWICE(x) x x\n", "P(push_macro(\"X\"))", "TWICE(P(pop_macro(\"X\")))"),
        ("#define DROP(x)\n", "_Pragma(\"push_macro(\\\"X\\\")\")", "DROP(_Pragma(\"pop_macro(\\\"X\\\")\"))"),
        ("#define ID(x) x\n", "_Pragma(\"push_macro(\\\"X\\\")\")", "ID(_Pragma(\"pop_macro(\\\"X\\\")\"))"),
        ("#define S(x) #x\n#define P(x) _Pragma(S(x))\n", "P(push_macro(\"X\"))", "_Pragma(S(pop_macro(\"X\")))"),
        ("#define S(x) #x\n#define P(x) _Pragma(x)\n", "P(S(push_macro(\"X\")))", "P(S(pop_macro(\"X\")))"),
        ("#define W pop_macro(\"X\")\n#define S(x) #x\n#define P(x) _Pragma(S(x))\n", "P(push_macro(\"X\"))", "P(W)"),
    ] {
        for compiler in ["gcc", "g++ -xc++", "clang", "clang++ -xc++"] {
            let line = format!("{compiler} -Wno-unknown-pragmas a.c");
            for_compiler(pushing(macros, push, pop), &line).check(&line);
        }
    }
}

#[test]
fn macros_lose_and_double_what_makes_pragmas() {
    let macros = "#define P(x) _Pragma(#x)\n#define ID(x) x\n#define LOSE(...)\n#define TWICE(x) x x\n";
    let push = "P(push_macro(\"X\"))";
    let pop = "P(pop_macro(\"X\"))";
    let far = " ".repeat(2000);
    for pop in [
        format!("LOSE(/* ( */ {pop})"),
        format!("LOSE({{ int b; \"(\"; {pop}; }})"),
        format!("LOSE(0, (1, {pop}))"),
        format!("LOSE({far}, {pop})"),
        format!("ID(ID(ID(ID(ID(LOSE(ID(ID({pop}))))))))"),
        format!("TWICE(TWICE({pop}))"),
        format!("TWICE(int b(void); /* ) */ {pop})"),
        format!("LO\\\nSE(/**/{pop})"),
    ] {
        for compiler in ["gcc", "clang"] {
            let case = pushing(macros, &format!("{push} {push} {push} {push}"), &pop);
            for_compiler(case, compiler).check(&format!("{compiler} -Wno-unknown-pragmas a.c"));
        }
    }
    let within = format!("LOSE(\n#if 1\n{pop}\n#endif\n)\n");
    for compiler in ["gcc", "clang"] {
        pushing(macros, push, &within).refuses(&format!("{compiler} a.c"), Reason::Unscannable);
        let case = pushing(macros, push, &within.replace("LOSE", "lose"));
        for_compiler(case, compiler).check_rejected(&format!("{compiler} a.c"));
    }
}

#[test]
fn strings_of_pragmas_have_prefixes() {
    for prefix in ["", "L", "u8", "u", "U"] {
        let pragma = |word: &str| format!("_Pragma({prefix}\"{word}_macro(\\\"X\\\")\")");
        for compiler in ["gcc", "g++ -xc++", "clang", "clang++ -xc++"] {
            let mut case = for_compiler(pushing("", &pragma("push"), &pragma("pop")), compiler);
            let line = format!("{compiler} a.c");
            match prefix {
                // gcc takes no string with another prefix, so far.
                "u8" | "u" | "U" if compiler.starts_with('g') => case.check_unless(&line, Reason::Unscannable),
                _ => case.check_rejected(&line),
            }
        }
    }
    for compiler in ["g++ -xc++", "clang++ -xc++"] {
        let case = pushing("", "_Pragma(R\"(push_macro(\"X\"))\")", "_Pragma(R\"x(pop_macro(\"X\"))x\")");
        for_compiler(case, compiler).check_unless(&format!("{compiler} a.c"), Reason::Unscannable);
    }
}

#[test]
fn once_may_be_said_by_a_macro() {
    for (macros, once) in [
        ("#define P(x) _Pragma(#x)\n", "P(once)"),
        ("#define P(x) _Pragma(x)\n", "P(\"once\")"),
        ("#define P _Pragma\n", "P(\"once\")"),
        ("#define P(x) _Pragma(#x)\n#define ONCE P(once)\n", "ONCE"),
        ("#define ONCE _Pragma(\"once\")\n", "ONCE"),
    ] {
        for compiler in ["gcc", "g++ -xc++", "clang", "clang++ -xc++"] {
            let mut case = Case::new()
                .file(
                    "a.c",
                    format!("{macros}#include \"b.h\"\n#include \"b.h\"\n#ifndef TWICE\n#include \"d.h\"\n#endif\n"),
                )
                .file("b.h", format!("{once}\n#ifdef SEEN\n#include \"c.h\"\n#define TWICE\n#endif\n#define SEEN\n"))
                .file("c.h", "\n")
                .file("d.h", "\n");
            case.check(&format!("{compiler} a.c"));
        }
    }
    // gcc takes no string with another prefix so far.
    let mut case = Case::new()
        .file("a.c", "#define P _Pragma(u8\"once\")\n#include \"b.h\"\n#include \"b.h\"\n")
        .file("b.h", "#ifdef SEEN\n#include \"c.h\"\n#endif\n#define SEEN\nP\n")
        .file("c.h", "\n");
    case.check_unless("gcc a.c", Reason::Unscannable);
    // A function's argument is none.
    let mut case = Case::new()
        .file("a.c", "#include \"b.h\"\n#include \"b.h\"\nint f(int);\nint g(int once) { return f(once); }\n")
        .file("b.h", "#ifdef SEEN\n#include \"c.h\"\n#endif\n#define SEEN\n")
        .file("c.h", "\n");
    case.needs("gcc a.c", &["c.h"]);
}

#[test]
fn targets_change_the_compilers_own_macros() {
    let choice = "#ifdef NAME\n#include \"b.h\"\n#else\n#include \"c.h\"\n#endif\n#include \"d.h\"\nint a;\n";
    for (name, pragma) in [
        ("__AVX2__", "#pragma GCC target(\"avx2\")"),
        ("__AVX2__", "#pragma GCC target (\"fma,avx2\", \"bmi\")"),
        ("__AVX2__", "_Pragma(\"GCC target(\\\"avx2\\\")\")"),
        ("__AVX2__", "#pragma GCC target(\"arch=haswell\")"),
        ("__AVX2__", "#pragma GCC push_options\n#pragma GCC target(\"avx2\")\n#pragma GCC pop_options"),
        ("__SSE3__", "#pragma GCC target(\"no-sse3\")"),
        ("__OPTIMIZE__", "#pragma GCC optimize(\"O3\")"),
        ("__OPTIMIZE__", "#pragma GCC optimize 2"),
        ("__OPTIMIZE_SIZE__", "#pragma GCC optimize (\"Os\")"),
        ("__FAST_MATH__", "#pragma GCC optimize(\"fast-math\", \"O2\")"),
        ("__AVX2__", "#define P(x) _Pragma(#x)\nP(GCC target(\"avx2\"))"),
        ("__AVX2__", "#define P(x) _Pragma(#x)\nP(GCC  target(\"avx2\"))"),
        ("__AVX2__", "#define S(x) #x\n#define REGION(t) _Pragma(S(GCC target(t)))\nREGION(\"avx2\")"),
        ("__OPTIMIZE__", "#define P(x) _Pragma(#x)\n#define G(x) P(GCC x)\nG(optimize(\"Og\"))"),
        ("__AVX2__", "#pragma GCC target (\"av\" \"x2\")"),
        ("__OPTIMIZE__", "#pragma GCC optimize(\"-O3\", \"no-such-option\")"),
        ("__FAST_MATH__", "#pragma GCC optimize(\"-ffast-math\")"),
        ("__OPTIMIZE_SIZE__", "#pragma GCC optimize(\"s\")"),
        ("__AVX2__", "#define TARGET _Pragma(\"GCC target(\\\"avx2\\\")\")\nTARGET"),
    ] {
        let text = format!("{pragma}\n{}", choice.replace("NAME", name));
        for line in ["gcc a.c", "gcc -msse3 a.c", "g++ -xc++ a.c", "clang -Wno-unknown-pragmas a.c"] {
            let mut case = Case::new().surplus().file("a.c", &text).file("b.h", "").file("c.h", "").file("d.h", "");
            case.needs(line, &["d.h"]);
        }
        // It defines macros though there are none to begin with.
        let mut case = Case::new().surplus().file("a.c", &text).file("b.h", "").file("c.h", "").file("d.h", "");
        case.check_unless("gcc -undef a.c", Reason::Unscannable);
    }
    for (pragma, line) in [
        ("#define LEVEL \"O3\"\n#pragma GCC optimize(LEVEL)", "gcc -w a.c"),
        ("#pragma GCC optimize(nothing)", "gcc -w a.c"),
        ("#pragma GCC target(\"+crc\")", "aarch64-linux-gnu-gcc a.c"),
        ("#pragma GCC target(\"+crc\")", "aarch64-linux-gnu-gcc -mcpu=cortex-a53 a.c"),
        ("#pragma GCC target(\"arch=armv8-a+crc+sve\")", "aarch64-linux-gnu-gcc -march=armv8-a a.c"),
    ] {
        let choice = choice.replace("NAME", "__ARM_FEATURE_CRC32").replace("c.h", "e.h");
        let text = format!("{pragma}\n#ifdef __OPTIMIZE__\n#include \"c.h\"\n#endif\n{choice}");
        let mut case = Case::new().surplus().file("a.c", &text);
        for name in ["b.h", "c.h", "d.h", "e.h"] {
            case = case.file(name, "\n");
        }
        case.needs(line, &["d.h"]);
    }
    let mut case = Case::new().file("a.c", "#include <immintrin.h>\nint a;\n");
    case.check("gcc a.c");
    // A system header may leave them changed.
    let text = "#include \"target.h\"\n#ifdef __AVX2__\n#include \"b.h\"\n#endif\n";
    let case = Case::new().surplus().file("a.c", text).file("b.h", "");
    case.file("system/target.h", "#pragma GCC target(\"avx2\")\n").needs("gcc -isystem system a.c", &["b.h"]);
    let mut case = Case::new().file("a.c", "#pragma GCC target(\"tune=native\")\n");
    case.refuses("gcc a.c", Reason::HostDependent);
}

#[test]
fn what_stands_behind_a_macro_with_several_definitions_is_looked_for() {
    let text = "#pragma GCC target(\"avx2\")\n#ifdef __AVX2__\n#define M 1 +\n#endif\n\
                #if (M 1) + (1 != __has_include(<b.h>)) > 1\n#include \"c.h\"\n#endif\n\
                #if M 0 == __has_include(\"d.h\") && M 1\n#include \"e.h\"\n#endif\nint a;\n";
    for compiler in ["gcc", "g++ -xc++"] {
        let mut case = Case::new().surplus().file("a.c", text);
        for name in ["b.h", "c.h", "d.h", "e.h"] {
            case = case.file(name, "\n");
        }
        case.needs(&format!("{compiler} -I. a.c"), &["b.h", "d.h"]);
    }
}

#[test]
fn what_makes_a_target_may_depend_on_targets() {
    let region = "#define STR(a) #a\n#define STRINGIFY(a) STR(a)\n\
                  #define REGION(T) _Pragma(\"GCC push_options\") _Pragma(STRINGIFY(GCC target(T)))\n\
                  #define END _Pragma(\"GCC pop_options\")\n";
    let within = |name: &str, condition: &str, target: &str| {
        format!(
            "#if {condition}\n#define {name}\n#define END_{name}\n#else\n#define {name} REGION(\"{target}\")\n\
             #define END_{name} END\n#endif\n{name}\nint of_{name};\nEND_{name}\n"
        )
    };
    let many = "(__AVX__) && __AVX2__ && __BMI__ && __PCLMUL__ && __LZCNT__ && __AVX512F__ && __AVX512DQ__ && __AVX512BW__ && \
                __AVX512VL__ && __FMA__";
    let target = "avx,avx2,bmi,pclmul,lzcnt,avx512f,avx512dq,avx512bw,avx512vl,fma";
    let text = [
        region,
        &within("ICE", many, target),
        &within("HAS", "__AVX2__", "avx2"),
        &format!("#if {many}\n#include \"b.h\"\n#elif __AVX2__\n#include \"c.h\"\n#else\n#include \"d.h\"\n#endif\n"),
    ]
    .concat();
    for line in ["gcc a.c", "gcc -mavx2 a.c", "g++ -xc++ a.c", "clang -Wno-unknown-pragmas a.c"] {
        let mut case = Case::new().file("a.c", &text).surplus();
        for name in ["b.h", "c.h", "d.h"] {
            case = case.file(name, "\n");
        }
        case.check(line);
    }
}

#[test]
fn a_header_may_pop_what_was_pushed_only_later() {
    let fillers = "#define F\n#undef F\n".repeat(20);
    for compiler in ["gcc", "clang"] {
        let source = "#define A 1\n#include \"p.h\"\n#pragma push_macro(\"A\")\n#undef A\n#define A 2\n#include \"p.h\"\n\
                      #if A == 1\n#include \"c.h\"\n#endif\n";
        let mut case = Case::new()
            .file("a.c", source)
            .file("p.h", format!("{fillers}#pragma pop_macro(\"A\")\n"))
            .file("c.h", "\n");
        case.needs(&format!("{compiler} a.c"), &["c.h"]);
    }
}
