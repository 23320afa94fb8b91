//! Which of several headers of one name is meant.

use crate::case::Case;
use pumphouse::fallback::Reason;

/// `m.h` in many directories, each with another size, and a source that includes it in both ways.
fn many() -> Case {
    let mut case =
        Case::new().file("src/a.c", "#include \"m.h\"\n#include <m.h>\n").file("a.c", "#include <m.h>\nint a;\n");
    for (index, directory) in ["a", "b", "c", "d", "e/include", "root/inc", "pre/fix", "prefix"].iter().enumerate() {
        case = case.file(
            format!("{directory}/m.h"),
            format!("extern int m[{}];\n#undef M\n#define M {index}\n", index + 1)
                .replace("extern int m", &format!("extern int m{index}")),
        );
    }
    case.directory("empty")
}

#[track_caller]
fn agrees(lines: &[&str]) {
    for line in lines {
        for source in ["a.c", "src/a.c"] {
            many().check(&format!("{line} {source}"));
        }
    }
}

#[test]
fn chains_are_searched_in_their_order() {
    agrees(&[
        "gcc -Ia -Ib",
        "gcc -Ib -Ia",
        "gcc -iquote a -Ib",
        "gcc -isystem a -Ib",
        "gcc -idirafter a -isystem b",
        "gcc -idirafter a -Ib -iquote c",
        "clang -Ia -Ib",
        "clang -iquote a -Ib",
        "clang -isystem a -Ib",
        "clang -idirafter a -isystem b",
        "gcc -I a -I b",
        "gcc -iquotea -isystemb -idirafterc",
        "clang -iquotea -isystemb -idirafterc",
    ]);
}

#[test]
fn duplicates_go_by_the_directory_and_system_wins() {
    agrees(&[
        "gcc -Ia -Ib -isystem a",
        "clang -Ia -Ib -isystem a",
        "gcc -Ia -Ib -Ia",
        "gcc -Ia -Ib -isystem ./a/../a",
        "gcc -isystem a -isystem b -isystem a",
        "gcc -iquote a -iquote b -Ia -isystem b",
        "gcc -iquote a -iquote a -Ia",
        "gcc -iquote b -iquote a -Ia -isystem b",
        "clang -isystem a -isystem b -isystem a",
        "gcc -Ia -Ib -idirafter a",
        "clang -Ia -Ib -idirafter a",
        "gcc -iquote a -Ia -Ib -isystem a",
        "gcc -I/usr/include -Ia",
        "clang -I/usr/include -Ia",
        "gcc -Ia -Ib -isystem @/a",
        "gcc -isystem /usr/include -Ia",
    ]);
    for line in
        ["gcc -Ilink -Ib -isystem a a.c", "clang -Ilink -Ib -isystem a a.c", "gcc -Ia -Ilink -Ib -isystem link a.c"]
    {
        let mut case = many().symlink("link", "a");
        case.check(line);
    }
    for compiler in ["gcc", "clang"] {
        let line = format!("{compiler} -Ia -Ib -isystem a a.c");
        let mut case = many();
        case.needs(&line, &["b/m.h"]);
    }
}

#[test]
fn the_split_turns_directories_into_quote_ones() {
    agrees(&[
        "gcc -Ia -I- -Ib",
        "gcc -I- -Ib",
        "gcc -Ia -iquote c -I- -Ib",
        "gcc -iquote c -Ia -I- -Ib",
        "gcc -iquote c -Ia -I- -iquote b -Ib",
        "gcc -Ia -Wp,-iquote,c -I- -Wp,-I,b",
        "gcc -Ib -I- -Ic",
        "gcc -Ib -I - -Ic",
        "gcc -Ib --include-directory=- -Ic",
        "gcc -Bdeep -Ib -I- -Ic",
        "gcc -Bdeep -iquote c -Ia -I- -iquote b -Ib",
    ]);
}

#[test]
fn prefixes_are_joined_without_a_slash() {
    agrees(&[
        "gcc -iprefix pre -iwithprefix /fix",
        "gcc -iprefix pre -iwithprefix /fix -isystem a",
        "gcc -isystem a -iprefix pre -iwithprefix /fix",
        "gcc -idirafter a -iprefix pre -iwithprefix /fix -idirafter b",
        "gcc -Wp,-I,a -iprefix pre -iwithprefixbefore /fix",
        "gcc -Wp,-I,a -iprefix pre -iwithprefixbefore /fix -Ib",
        "clang -iprefix pre -iwithprefix /fix -isystem a",
        "clang -idirafter a -iprefix pre -iwithprefix /fix",
        "clang -isystem a -iprefix pre -iwithprefix /fix -idirafter b",
        "gcc -iprefix pre -iwithprefixbefore fix -Ia",
        "gcc -iprefix pre/ -iwithprefixbefore fix -iwithprefix x -Ia",
        "clang -iprefix pre -iwithprefixbefore fix -Ia",
        "clang -iprefix pre -iwithprefixbefore fix -iquote a",
        "clang -iprefix pre -iwithprefix /fix",
    ]);
}

#[test]
fn roots_are_put_before() {
    agrees(&[
        "gcc --sysroot=@/root -I=/inc",
        "gcc --sysroot=@/root -isystem =/inc",
        "gcc -isysroot @/root -I=/inc",
        "gcc --sysroot=@/none -isysroot @/root -I=/inc",
        "gcc '--sysroot=@/root' '-I$SYSROOT/inc'",
        "gcc -I=/a -Ia",
        "clang --sysroot=@/root -I=/inc -Ia",
        "clang --sysroot=@/root -isystem =/inc -Ia",
        "clang -isysroot @/root -isystem =/inc -Ia",
    ]);
    let mut case = Case::new()
        .file("a.c", "#include <m.h>\n")
        .file("root/usr/include/m.h", "int m;\n")
        .file("root/usr/local/include/x", "");
    case.needs("gcc --sysroot=@/root a.c", &["root/usr/include/m.h"]);
    case.needs("clang --sysroot=@/root a.c", &["root/usr/include/m.h"]);
    case.needs("gcc -isysroot @/root a.c", &["root/usr/include/m.h"]);
}

#[test]
fn a_tool_directory_has_headers() {
    agrees(&["gcc -Be", "gcc -Be/", "gcc -B e -Ia", "gcc -Be -isystem a", "clang -Be -Ia"]);
}

#[test]
fn long_and_handed_on_spellings_are_the_same() {
    agrees(&[
        "gcc --include-directory=a",
        "gcc --include-directory a",
        "gcc --include-directory-after=a -isystem b",
        "gcc -Wp,-I,a",
        "gcc -Wp,-Ia -Ib",
        "gcc -Xpreprocessor -Ia -Ib",
        "gcc -Xpreprocessor -I -Xpreprocessor a",
        "gcc -Wp,-isystem,a,-Ib",
        "clang --include-directory=a",
        "clang --include-directory a",
        "clang -Wp,-Ia -Ib",
        "clang -Xclang -Ia -Ib",
        "clang -Xclang -I -Xclang a -Ib",
        "clang -Xpreprocessor -Ia -Ib",
        "clang --include-directory-after=a -isystem b",
        "clang -cxx-isystem b -Ia",
    ]);
    for compiler in ["gcc", "clang"] {
        let mut case = many().file("f.h", "int forced;\n").file("i.h", "#define I\n");
        case.needs(&format!("{compiler} --include=f.h --imacros=i.h -Ia a.c"), &["f.h", "i.h", "a/m.h"]);
        let mut case = many().file("f.h", "int forced;\n");
        case.needs(&format!("{compiler} --include f.h --define-macro=X --undefine-macro=X -Ia a.c"), &["f.h", "a/m.h"]);
        let mut case = many();
        case.check(
            &format!("{compiler} --no-standard-includes -Ia a.c")
                .replace("clang --no-standard-includes", "clang -nostdinc"),
        );
    }
}

#[test]
fn response_files_are_arguments() {
    for compiler in ["gcc", "clang"] {
        let mut case = many()
            .file("one", "-Ib @two\n-D'X=\"a b\"'\n")
            .file("two", "\"-I\"a '-DY=1' -DZ=\\\"q\\\"\n")
            .file("a b", "int ab;\n")
            .file("q", "int q;\n")
            .file("x.c", "#include X\n#include Z\n#include <m.h>\n");
        let closure = case.needs(&format!("{compiler} @@one x.c"), &["b/m.h", "a b", "q", "one", "two"]);
        assert!(!case.holds(&closure, "a/m.h"));
    }
}

#[test]
fn absent_and_odd_directories_are_dropped() {
    agrees(&[
        "gcc -Inone -Ia",
        "gcc -Iempty -Wmissing-include-dirs -Werror -Ia",
        "gcc -Inone -Wmissing-include-dirs -Ia",
        "gcc -Inone -Wmissing-include-dirs -Werror -Ia",
        "clang -Iempty -Wmissing-include-dirs -Werror -Ia",
        "clang -Inone -Wmissing-include-dirs -Ia",
        "gcc -Ia/m.h/x -Ia",
        "gcc -Ia/ -Ib//",
        "gcc -I. -Ia",
        "gcc -I./ -I.. -Ia",
        "gcc '-I' '' -Ia".replace("'-I' '' ", "").as_str(),
        "gcc -Iempty/../a -Ib",
        "clang -Iempty/../a -Ib",
    ]);
    // gcc says that a file is no directory, so the file would have to be there.
    for directory in ["a.c", "a.c/", "a.c/x", "a.c/x/y"] {
        many().check(&format!("gcc -I{directory} -Ia src/a.c"));
    }
    for line in ["gcc -Ia.c -Ia src/a.c", "clang -Ia.c -Ia src/a.c"] {
        many().check_unless(line, Reason::Unscannable);
    }
}

#[test]
fn the_standard_directories_can_be_left_out() {
    let mut case = Case::new()
        .file("a.c", "#include <stddef.h>\n")
        .file("own/stddef.h", "int own;\n")
        .file("a.cc", "#include <cstddef>\n")
        .file("own/cstddef", "int c;\n");
    for line in [
        "gcc -nostdinc -Iown a.c",
        "clang -nostdinc -Iown a.c",
        "gcc -Iown a.c",
        "gcc -idirafter own a.c",
        "clang -nostdlibinc -idirafter own a.c",
        "clang -nobuiltininc -idirafter own a.c",
        "clang -ffreestanding a.c",
        "gcc -ffreestanding a.c",
    ] {
        case.check(line);
    }
    for line in [
        "g++ -nostdinc++ -Iown a.cc",
        "clang++ -nostdinc++ -Iown a.cc",
        "g++ a.cc",
        "g++ -isystem own a.cc",
        "g++ -idirafter own a.cc",
        "clang++ -stdlib=libstdc++ a.cc",
    ] {
        case.check(line);
    }
}

#[test]
fn the_compilers_own_headers_chain() {
    let text =
        "#include <limits.h>\n#include <stdint.h>\n#include <stdarg.h>\n#include <errno.h>\nint a[INT_MAX > 0];\n";
    let mut case = Case::new()
        .file("a.c", text)
        .file("a.cc", text)
        .file("a.s", "")
        .file("i/limits.h", "#include_next <limits.h>\nint mine;\n");
    for line in [
        "gcc a.c",
        "gcc -m32 -E a.c -o /dev/null",
        "clang a.c",
        "g++ a.cc",
        "clang++ a.cc",
        "gcc -Ii a.c",
        "clang -Ii a.c",
        "gcc -isystem i a.c",
    ] {
        if !line.contains("-E") {
            case.check(line);
        }
    }
}

#[test]
fn cross_compilers_have_their_own() {
    let mut case = Case::new()
        .file("a.c", "#ifdef __aarch64__\n#include \"arm.h\"\n#endif\n#include <stddef.h>\n")
        .file("arm.h", "int arm;\n");
    case.needs("aarch64-linux-gnu-gcc a.c", &["arm.h"]);
    let mut case = Case::new()
        .file("a.c", "#ifdef __aarch64__\n#include \"arm.h\"\n#endif\n#include <stddef.h>\n")
        .file("arm.h", "int arm;\n");
    case.needs("clang --target=aarch64-linux-gnu a.c", &["arm.h"]);
    case.needs("clang -target aarch64-linux-gnu a.c", &["arm.h"]);
    case.check("clang -m32 a.c");
}

#[test]
fn variables_add_directories() {
    for (name, value) in [
        ("CPATH", "a:b"),
        ("CPATH", "none:b"),
        ("CPATH", ":b"),
        ("CPATH", "a:"),
        ("CPATH", "@/b"),
        ("C_INCLUDE_PATH", "a"),
        ("C_INCLUDE_PATH", "::b"),
        ("CPLUS_INCLUDE_PATH", "a"),
    ] {
        for line in [
            "gcc -Ic a.c",
            "gcc a.c",
            "gcc -isystem d a.c",
            "clang a.c",
            "clang -isystem d a.c",
            "g++ -x c++ a.c",
            "clang++ -x c++ a.c",
            "gcc -Ia -Ib a.c",
            "gcc -iprefix pre -iwithprefixbefore fix a.c",
            "clang -iprefix pre -iwithprefixbefore fix a.c",
        ] {
            let mut case = many().variable(name, value).file("m.h", "extern int root;\n");
            case.check_rejected(line);
        }
    }
    for name in ["GCC_EXEC_PREFIX", "COMPILER_PATH"] {
        // Programs are looked for there as well, which is the toolchain's matter.
        let mut case = many().variable(name, "@/none/");
        let line = "gcc -Ia a.c -iprefix none";
        match case.scan(line) {
            Ok(_) => {
                case.check(line);
            }
            Err(fallback) => assert_ne!(fallback.reason, Reason::Unscannable, "{name}: {fallback}"),
        }
    }
}

#[test]
fn the_includers_directory_is_as_spelled() {
    for compiler in ["gcc", "clang"] {
        // Beside the link, not beside its target.
        let mut case = Case::new()
            .file("a.c", "#include \"d/link.h\"\n")
            .symlink("d/link.h", "../real/b.h")
            .file("real/b.h", "#include \"s.h\"\n")
            .file("real/s.h", "#error not beside the target\n")
            .file("d/s.h", "int s;\n");
        case.needs(&format!("{compiler} a.c"), &["d/s.h", "real/b.h"]);
        // A source that is a link itself.
        let mut case = Case::new()
            .symlink("a.c", "src/a.c")
            .file("src/a.c", "#include \"s.h\"\n")
            .file("src/s.h", "#error not beside the target\n")
            .file("s.h", "int s;\n");
        case.needs(&format!("{compiler} a.c"), &["s.h"]);
    }
}

#[test]
fn a_link_to_a_directory_and_up_is_the_targets_parent() {
    for compiler in ["gcc", "clang"] {
        let mut case = Case::new()
            .file("a.c", "#include \"link/../b.h\"\n#include \"other/../b.h\"\n")
            .symlink("link", "deep/er")
            .symlink("other", "deep/er/est")
            .file("deep/er/est/x", "")
            .file("deep/b.h", "int deep;\n")
            .file("deep/er/b.h", "int er;\n")
            .file("b.h", "#error not this one\n");
        case.needs(&format!("{compiler} a.c"), &["deep/b.h", "deep/er/b.h"]);
        case.needs(&format!("{compiler} -Ilink/.. a.c"), &["deep/b.h"]);
        case.needs(&format!("{compiler} -I@/link/.. a.c"), &["deep/b.h"]);
    }
}

#[test]
fn the_working_directory_may_be_behind_a_link() {
    for compiler in ["gcc", "clang"] {
        let mut case = Case::new()
            .file("real/build/x", "")
            .file("real/src/a.c", "#include \"b.h\"\n#include <c.h>\nconst char *file = __FILE__;\n")
            .file("real/src/b.h", "int b;\n")
            .file("real/inc/c.h", "int c;\n")
            .symlink("work", "real/build")
            .within("work");
        case.check(&format!("{compiler} -I../inc ../src/a.c"));
        case.check(&format!("{compiler} -g -I@/real/inc @/real/src/a.c"));
    }
}

#[test]
fn out_of_source_builds() {
    for compiler in ["gcc", "clang"] {
        let mut case = Case::new()
            .file("build/gen/g.h", "int g;\n")
            .file("src/a.c", "#include \"../inc/c.h\"\n#include \"b.h\"\n#include <g.h>\n")
            .file("src/b.h", "#include \"../inc/c.h\"\n")
            .file("inc/c.h", "#pragma once\nint c;\n")
            .within("build");
        case.needs(&format!("{compiler} -Igen -I../src ../src/a.c"), &["build/gen/g.h", "src/b.h", "inc/c.h"]);
    }
}
