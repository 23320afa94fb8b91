//! Directives and operators other than plain `#include`.

use crate::case::Case;
use pumphouse::fallback::Reason;

const BOTH: [&str; 2] = ["gcc a.c -Ix -Iy -Iz", "clang a.c -Ix -Iy -Iz"];

#[test]
fn the_next_one_of_a_header_beside_its_includer() {
    let next = "#if __has_include_next(<h.h>)\n#include_next <h.h>\n#endif\n";
    for first in ["#include \"sub/m.h\"\n", "#include \"../c/m.h\"\n", "#include \"sub/n.h\"\n"] {
        let mut case = Case::new()
            .file("a.c", "#include <first.h>\n")
            .file("src/a.c", "#include \"beside.h\"\n")
            .file("src/beside.h", "#include \"first.h\"\n")
            .file("b/first.h", first)
            .file("b/sub/m.h", next)
            .file("b/sub/n.h", "#include \"m.h\"\n")
            .file("c/m.h", next)
            .file("x/h.h", "int x;\n")
            .file("y/h.h", "int y;\n");
        for flags in ["-Ix -Ib -Iy", "-isystem x -isystem b -isystem y", "-Ib -Ix -Iy"] {
            for line in ["gcc a.c", "clang a.c", "gcc src/a.c", "clang src/a.c", "clang -include first.h src/a.c"] {
                case.check(&format!("{line} {flags}"));
            }
        }
    }
}

#[test]
fn the_next_one_is_found_behind_the_directory_of_this_one() {
    for line in BOTH {
        let mut case = Case::new()
            .file("a.c", "#include <m.h>\n")
            .file("x/m.h", "#include_next <m.h>\n")
            .file("y/m.h", "#define NEXT <m.h>\n#include_next NEXT\n")
            .file("z/m.h", "int m;\n");
        case.needs(line, &["x/m.h", "y/m.h", "z/m.h"]);
    }
}

#[test]
fn from_the_unit_itself_next_is_plain() {
    for line in ["gcc -Ix a.c", "clang -Ix a.c"] {
        let mut case =
            Case::new().file("a.c", "#include_next \"m.h\"\n").file("m.h", "int a;\n").file("x/m.h", "int b;\n");
        case.check(line);
    }
}

#[test]
fn the_next_of_a_header_found_beside_its_includer() {
    for line in ["gcc a.c -Ix -Iy", "clang a.c -Ix -Iy", "gcc a.c -I. -Ix -Iy", "gcc a.c -iquote . -Ix -Iy"] {
        let mut case = Case::new()
            .file("a.c", "#include \"m.h\"\n")
            .file("m.h", "#include_next <m.h>\nint here;\n")
            .file("x/m.h", "int x;\n")
            .file("y/m.h", "int y;\n");
        case.check(line);
    }
}

#[test]
fn an_absolute_header_has_a_next_one() {
    for line in ["gcc a.c -Ix -Iy", "clang a.c -Ix -Iy"] {
        let mut case = Case::new()
            .rooted("a.c", "#include \"@/x/m.h\"\n")
            .file("x/m.h", "#include_next <m.h>\n#undef M\n")
            .file("y/m.h", "int y;\n");
        case.check(line);
    }
}

#[test]
fn the_next_one_by_an_absolute_name() {
    for line in ["gcc a.c -Ix -Iy", "clang a.c -Ix -Iy"] {
        let mut case = Case::new()
            .file("a.c", "#include <m.h>\n#if __has_include_next(\"n.h\")\n#include_next \"n.h\"\n#endif\n")
            .rooted("x/m.h", "#if __has_include_next(\"@/n.h\")\n#include_next \"@/n.h\"\n#endif\n")
            .file("n.h", "int n;\n");
        case.check(line);
    }
}

#[test]
fn in_a_macro_the_next_one_is_any() {
    let conditions = [
        "#define F(x) x\n#if F(__has_include_next(<n.h>))\n",
        "#define N __has_include_next(<n.h>)\n#if N\n",
        "#define H __has_include_next\n#if H(<n.h>)\n",
        "#define N <n.h>\n#if __has_include_next(N)\n",
    ];
    for condition in conditions {
        for line in ["gcc a.c -Ix -Iy", "clang a.c -Ix -Iy"] {
            let mut case = Case::new()
                .file("a.c", "#include <m.h>\n")
                .file("x/m.h", format!("{condition}#include \"yes.h\"\n#else\n#include \"no.h\"\n#endif\n"))
                .file("x/n.h", "")
                .file("x/yes.h", "int yes;\n")
                .file("x/no.h", "int no;\n")
                .directory("y");
            case.check(line);
        }
    }
}

#[test]
fn a_system_header_is_beside_its_target_if_that_is_shorter() {
    let links = || {
        Case::new()
            .file("a.c", "#include <m.h>\n#include \"u.h\"\n")
            .symlink("include/m.h", "../s/m.h")
            .file("include/n.h", "int far[1];\n")
            .file("include/l.h", "int far_link;\n")
            .file("s/m.h", "#include \"n.h\"\n#include \"l.h\"\n")
            .file("s/n.h", "int near[2];\n")
            .symlink("s/l.h", "../t/l.h")
            .file("t/l.h", "#include \"o.h\"\n")
            .file("s/o.h", "int beside_the_link[3];\n")
            .file("t/o.h", "int beside_the_target[4];\n")
            .symlink("u.h", "v/u.h")
            .file("v/u.h", "#pragma GCC system_header\n#include \"w.h\"\n")
            .symlink("w.h", "v/w.h")
            .file("v/w.h", "#include \"x.h\"\n")
            .file("x.h", "int x[5];\n")
            .file("v/x.h", "int x[6];\n")
    };
    for line in [
        "gcc a.c -isystem include",
        "gcc a.c -isystem @/include",
        "gcc a.c -isystem @/include/../include/../include/../include",
        "gcc @/a.c -isystem @/include/../include/../include/../include",
        "gcc a.c -idirafter @/include/../include/../include/../include",
        "gcc a.c -I @/include/../include/../include/../include",
        "gcc a.c -fno-canonical-system-headers -isystem @/include/../include/../include/../include",
        "clang a.c -isystem @/include/../include/../include/../include",
    ] {
        links().check(line);
    }
}

#[test]
fn a_pragma_in_text_is_not_seen_in_a_file_for_its_macros() {
    let once = "_Pragma(\"once\")\n#ifdef AGAIN\n#include \"again.h\"\n#endif\n#define AGAIN\n";
    let pushes =
        "#define N 1\n_Pragma(\"push_macro(\\\"N\\\")\")\n#undef N\n#define N 2\n_Pragma(\"pop_macro(\\\"N\\\")\")\n";
    let counts =
        "#define C __COUNTER__\n__COUNTER__\n#if C == 0\n#include \"zero.h\"\n#else\n#include \"one.h\"\n#endif\n";
    let source = "#include \"once.h\"\n#if N == 1\n#include \"one.h\"\n#elif N == 2\n#include \"two.h\"\n#endif\n";
    for line in ["gcc -imacros once.h -imacros pushes.h a.c", "clang -imacros once.h -imacros pushes.h a.c"] {
        let mut case = Case::new()
            .file("a.c", source)
            .file("once.h", once)
            .file("pushes.h", pushes)
            .file("again.h", "int again;\n")
            .file("one.h", "int one;\n")
            .file("two.h", "int two;\n");
        case.check(line);
    }
    for line in ["gcc -imacros counts.h a.c", "clang -imacros counts.h a.c"] {
        let mut case = Case::new()
            .surplus()
            .file("a.c", "int a;\n")
            .file("counts.h", counts)
            .file("zero.h", "int zero;\n")
            .file("one.h", "int one;\n");
        case.check(line);
    }
}

#[test]
fn once_in_the_source_itself() {
    let text =
        "#pragma once\n#ifndef DEEP\n#define DEEP\n#include __FILE__\n#else\n#include \"again.h\"\n#endif\nint a;\n";
    for line in ["gcc a.c", "clang a.c"] {
        Case::new().file("a.c", text).file("again.h", "extern int again;\n").preprocessed().check(line);
    }
}

#[test]
fn import_is_once() {
    for line in ["gcc a.c", "clang a.c", "gcc -x objective-c -E a.c -o /dev/null"] {
        let mut case = Case::new()
            .file("a.c", "#import \"b.h\"\n#import \"b.h\"\n#include \"b.h\"\n#include \"c.h\"\n#import \"c.h\"\n")
            .file("b.h", "#ifdef B\n#include \"twice.h\"\n#endif\n#define B\n")
            .file("c.h", "#ifdef C\n#include \"twice.h\"\n#endif\n#define C\n")
            .file("twice.h", "int twice;\n");
        if !line.contains("objective") {
            case.check(line);
        }
    }
}

#[test]
fn import_of_what_was_found_before() {
    let headers = || {
        Case::new()
            .file("x/m.h", "#include \"n.h\"\n")
            .file("x/n.h", "int n;\n")
            .file("x/empty1.h", "")
            .file("x/empty2.h", "")
    };
    for compiler in ["gcc", "clang"] {
        let line = format!("{compiler} a.c -Ix");
        for condition in ["<m.h>", "\"m.h\""] {
            let mut case =
                headers().rooted("a.c", &format!("#if __has_include({condition})\n#import {condition}\n#endif\n"));
            case.needs(&line, &["x/n.h"]);
        }
        for (condition, import) in [("<m.h>", "\"m.h\""), ("\"@/x/m.h\"", "\"m.h\""), ("\"@/x/m.h\"", "<m.h>")] {
            let text = format!("#if __has_include({condition})\n#import {import}\n#endif\n");
            headers().rooted("a.c", &text).check_unless(&line, Reason::Unscannable);
        }
        let text = "#import <empty1.h>\n#import <empty2.h>\n";
        headers().file("a.c", text).check_unless(&line, Reason::Unscannable);
    }
}

#[test]
fn has_include_finds_what_nothing_includes() {
    for compiler in ["gcc", "clang", "g++ -x c++"] {
        let line = format!("{compiler} a.c -Ix");
        let mut case = Case::new()
            .file("a.c", "#if __has_include(\"opt.h\")\nint with;\n#else\nint without;\n#endif\n#if __has_include(<none.h>)\nint none;\n#endif\n")
            .file("x/opt.h", "#error not included\n");
        let closure = case.needs(&line, &["x/opt.h"]);
        assert!(closure.probed.iter().any(|path| path.ends_with("x/opt.h")), "{line}");
        for absent in ["opt.h", "x/none.h"] {
            let path = case.root().join(absent);
            assert!(closure.absent.iter().any(|other| **other == *path), "{line}: {absent} is absent");
        }
    }
}

#[test]
fn has_include_in_all_its_forms() {
    let text = "#define H <opt.h>\n#define Q \"opt2.h\"\n#if __has_include(H) && __has_include(Q) && defined(__has_include)\nint a;\n#include \"b.h\"\n#endif\n\
                #ifdef __has_include\nint c;\n#endif\n#if defined __has_include_next && !__has_include(\"d.h\")\nint d;\n#endif\n";
    for line in ["gcc a.c -Ix", "clang a.c -Ix"] {
        let mut case = Case::new().file("a.c", text).file("x/opt.h", "").file("opt2.h", "").file("b.h", "int b;\n");
        case.needs(line, &["x/opt.h", "opt2.h", "b.h"]);
    }
    for line in BOTH {
        let mut case = Case::new()
            .file("a.c", "#include <m.h>\n")
            .file("x/m.h", "#if __has_include_next(<m.h>)\n#include_next <m.h>\n#endif\n")
            .file("y/m.h", "#if __has_include_next(<m.h>)\nint next;\n#endif\n")
            .file("z/m.h", "#error not included\n");
        case.needs(line, &["x/m.h", "y/m.h", "z/m.h"]);
    }
}

#[test]
fn a_condition_that_is_not_evaluated_still_probes_what_the_compiler_probes() {
    for line in ["gcc a.c", "clang a.c"] {
        let mut case = Case::new()
            .file("a.c", "#if 0 && __has_include(\"opt.h\")\n#elif 1 || __has_include(\"opt2.h\")\nint a;\n#endif\n")
            .file("opt.h", "")
            .file("opt2.h", "");
        case.check(line);
    }
}

#[test]
fn pragma_once_goes_by_the_file() {
    let header = "#pragma once\n#ifdef SEEN\n#include \"twice.h\"\n#endif\n#define SEEN\n";
    for line in ["gcc -I. a.c", "clang -I. a.c"] {
        let mut case = Case::new()
            .file("a.c", "#include \"h.h\"\n#include \"./d/../h.h\"\n#include \"link.h\"\n#include \"dir/h.h\"\n")
            .file("h.h", header)
            .file("d/x", "")
            .symlink("link.h", "h.h")
            .symlink("dir", ".")
            .file("twice.h", "int twice;\n");
        case.check(line);
        // Another name of the file: one header here, two in a replica, so it stays local.
        let mut case = Case::new()
            .file("a.c", "#include \"h.h\"\n#include \"hard.h\"\n")
            .file("h.h", header)
            .hard_link("hard.h", "h.h")
            .file("twice.h", "int twice;\n");
        case.refuses(line, Reason::Unscannable);
        // The same bytes in another file: gcc takes them for the same header if size and time agree as well.
        let mut case = Case::new()
            .file("a.c", "#include \"h.h\"\n#include \"copy/h.h\"\n")
            .file("h.h", header)
            .file("copy/h.h", header)
            .file("twice.h", "int twice;\n")
            .surplus();
        case.check_unless(line, Reason::Unscannable);
    }
}

#[test]
fn push_and_pop_keep_definitions() {
    let text = "#define H \"b.h\"\n#pragma push_macro(\"H\")\n#undef H\n#define H \"c.h\"\n#include H\n#pragma pop_macro(\"H\")\n#include H\n\
                _Pragma(\"push_macro(\\\"H\\\")\")\n#undef H\n#define H \"d.h\"\n_Pragma(\"pop_macro(\\\"H\\\")\") int x;\n#include H\n";
    for line in ["gcc a.c", "clang a.c"] {
        let mut case = Case::new().file("a.c", text).file("b.h", "").file("c.h", "int c;\n").file("d.h", "int d;\n");
        case.needs(line, &["b.h", "c.h"]);
        // From a macro's body.
        let text = "#define H \"b.h\"\n#define PUSH _Pragma(\"push_macro(\\\"H\\\")\")\n#define POP _Pragma(\"pop_macro(\\\"H\\\")\")\n\
                    PUSH\n#undef H\n#define H \"c.h\"\nPOP\nint x;\n#include H\n";
        let mut case = Case::new().file("a.c", text).file("b.h", "").file("c.h", "int c;\n").surplus();
        case.check(line);
    }
}

#[test]
fn line_changes_the_name_and_not_the_look_up() {
    for line in ["gcc a.c -Wno-invalid-pp-token", "clang a.c"] {
        let mut case = Case::new()
            .file(
                "a.c",
                "#line 7 \"d/x.c\"\n#include \"b.h\"\nconst char *f = __FILE__;\n# 9 \"e/y.c\" 3\n#include \"b.h\"\n",
            )
            .file("b.h", "int b;\n")
            .file("d/b.h", "#error not this one\n");
        case.needs(line, &["b.h"]);
        let mut case = Case::new()
            .file(
                "a.c",
                "#ifndef ONCE\n#define ONCE\n#include __FILE__\n#line 3 \"d/b.h\"\n#include __FILE__\n#endif\n",
            )
            .file("d/b.h", "int b;\n");
        case.needs(line, &["d/b.h"]);
    }
}

#[test]
fn the_compiler_knows_its_builtins() {
    let text = "#if __has_builtin(__builtin_expect)\n#include \"b.h\"\n#endif\n#if __has_builtin(no_such)\n#include \"none.h\"\n#endif\n\
                #if __has_attribute(noreturn) && !__has_attribute(no_such)\n#include \"c.h\"\n#endif\n\
                #ifdef __has_cpp_attribute\n#if __has_cpp_attribute(nodiscard)\n#include \"d.h\"\n#endif\n#endif\n\
                #ifdef __has_feature\n#if __has_feature(cxx_exceptions)\n#include \"e.h\"\n#endif\n#if __has_extension(c_atomic)\n#include \"f.h\"\n#endif\n#endif\n\
                #if defined __has_warning\n#if __has_warning(\"-Wall\")\n#include \"g.h\"\n#endif\n#endif\n\
                #ifdef __is_identifier\n#if __is_identifier(long)\n#include \"none.h\"\n#endif\n#endif\n\
                #ifdef __has_declspec_attribute\n#if __has_declspec_attribute(dllexport)\n#include \"b.h\"\n#endif\n#endif\n\
                #ifdef __is_target_arch\n#if __is_target_arch(x86_64)\n#include \"b.h\"\n#endif\n#endif\n";
    for line in ["gcc a.c", "clang a.c", "g++ a.cc", "clang++ a.cc", "clang++ -fno-exceptions a.cc"] {
        let mut case = Case::new().file("a.c", text).file("a.cc", text).file("none.h", "#error\n");
        for name in ["b.h", "c.h", "d.h", "e.h", "f.h", "g.h"] {
            case = case.file(name, "");
        }
        case.needs(line, &["b.h", "c.h"]);
    }
}

#[test]
fn newer_conditionals_count_where_the_compiler_has_them() {
    let text = "#define Y\n#ifdef X\n#elifdef Y\n#include \"b.h\"\n#else\n#include \"c.h\"\n#endif\n#ifdef X\n#elifndef X\n#include \"d.h\"\n#endif\n";
    for line in [
        "gcc -std=c2x a.c",
        "gcc -std=c2x -pedantic a.c",
        "gcc a.c",
        "gcc -std=c11 a.c",
        "g++ -x c++ -std=c++20 a.c",
        "clang -std=c2x a.c",
        "clang -std=c11 a.c",
        "clang a.c",
    ] {
        let mut case = Case::new().file("a.c", text).file("b.h", "").file("c.h", "").file("d.h", "");
        case.check(line);
    }
}

#[test]
fn harmless_directives_change_nothing() {
    let text = "#warning careful\n#ident \"text\"\n#pragma GCC system_header\n#pragma omp parallel\n#pragma\n#\n#sccs \"x\"\n\
                #pragma GCC diagnostic ignored \"-Wall\"\n#include \"b.h\"\n#pragma STDC FP_CONTRACT ON\n";
    for line in ["gcc a.c", "clang a.c", "gcc -fopenmp a.c"] {
        let mut case = Case::new().file("a.c", text).file("b.h", "#pragma GCC system_header\nint b;\n");
        case.needs(line, &["b.h"]);
    }
}

#[test]
fn a_dependency_compares_times_which_are_not_watched() {
    for text in [
        "#pragma GCC dependency \"b.y\" rerun\nint a;\n",
        "#define OF \"b.y\"\n#pragma GCC dependency OF\nint a;\n",
        "_Pragma(\"GCC dependency \\\"b.y\\\"\") int a;\n",
        "#define P(x) _Pragma(#x)\nP(GCC dependency \"b.y\") int a;\n",
        "#define S(x) #x\n#define P(x) _Pragma(S(x))\n#define D(f) P(GCC dependency f)\nD(\"b.y\") int a;\n",
        "#define P(...) Q(__VA_ARGS__)\n#define Q(...) _Pragma(#__VA_ARGS__)\n#define F \"b.y\"\nP(GCC dependency F) int a;\n",
        "#define P(x) _Pragma(#x)\n#define G(x) P(GCC x)\nG(dependency \"b.y\") int a;\n",
        "#define P(x) _Pragma(#x)\n#define USE P(GCC dependency \"b.y\")\nUSE int a;\n",
        "#include \"b.h\"\nint a;\n",
    ] {
        let mut case =
            Case::new().file("a.c", text).file("b.y", "%%\n").file("b.h", "#pragma GCC dependency \"b.y\"\n");
        for line in ["gcc a.c", "clang a.c"] {
            case.refuses(line, Reason::TimeDependent);
        }
    }
    Case::new().file("a.c", "#if 0\n#pragma GCC dependency \"b.y\"\n#endif\n").check("gcc a.c");
}

#[test]
fn what_the_compiler_rejects_stays_local_or_fails_alike() {
    for line in ["gcc a.c", "clang a.c"] {
        for text in [
            "#include \"b.h\"\n#error stop\n#include \"c.h\"\n",
            "#include \"b.h\"\n#include \"none.h\"\n#include \"c.h\"\n",
            "#if 1\n#include \"b.h\"\n",
            "#else\n#include \"b.h\"\n",
        ] {
            Case::new().file("a.c", text).file("b.h", "").file("c.h", "").check_rejected(line);
        }
        Case::new()
            .file("a.c", "#if 1\n#include \"b.h\"\n#endif\n")
            .file("b.h", "#else\n#endif\n")
            .check_rejected(line);
    }
}

#[test]
fn assertions_are_gccs() {
    let text = "#if #machine(x86_64)\n#include \"b.h\"\n#endif\n#assert fish(trout)\n#if #fish(trout) && !#fish(carp)\n#include \"c.h\"\n#endif\n";
    let mut case = Case::new().file("a.c", text).file("b.h", "").file("c.h", "").surplus();
    case.check("gcc -Wno-deprecated a.c");
}

#[test]
fn modules_are_refused() {
    let mut case =
        Case::new().file("a.cc", "export module m;\nimport <vector>;\nint a;\n").file("b.cc", "import other;\n");
    case.refuses("g++ -std=c++20 -fmodules-ts a.cc", Reason::Modules);
    case.refuses("g++ -std=c++20 -fmodules-ts b.cc", Reason::Modules);
}
