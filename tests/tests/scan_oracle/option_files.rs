//! What a driver reads of options besides its command line: specs, configuration files, and what directories of tools and
//! system roots hold.

use crate::case::Case;
use pumphouse::fallback::Reason;
use pumphouse_tests::scan_oracle::Scanner;
use std::path::Path;
use std::process::Command;

/// What `gcc` says to a question about itself.
fn gcc_says(question: &str) -> String {
    let answer = Command::new("/usr/bin/gcc").arg(question).output().unwrap();
    String::from_utf8(answer.stdout).unwrap().trim().to_owned()
}

/// A source that includes `m.h` from wherever it is found, `with.h` where `WITH` is defined, and `pie.h` in code for an
/// executable that may lie anywhere.
fn asking() -> Case {
    Case::new()
        .file(
            "a.c",
            "#include <m.h>\n#ifdef WITH\n#include \"with.h\"\n#endif\n#ifdef __PIC__\n#include \"pic.h\"\n#endif\nint a;\n",
        )
        .file("m.h", "int root;\n")
        .file("with.h", "int with;\n")
        .file("pic.h", "int pic;\n")
        .file("extra/m.h", "int extra;\n")
        .file("other/m.h", "int other;\n")
        .file("pre.h", "int pre;\n#define WITH\n")
}

#[test]
fn specs_in_a_tool_directory_are_read() {
    let versioned = format!("tools/{}/{}/specs", gcc_says("-dumpmachine"), gcc_says("-dumpversion"));
    for place in ["tools/specs", &versioned] {
        for line in ["gcc -Btools a.c", "gcc -B tools/ a.c", "gcc --prefix=@/tools a.c", "gcc -Iother -Btools a.c"] {
            let mut case = asking().file(place, "*cpp:\n+ -DWITH -Iextra\n\n").file("tools/include/x.h", "");
            case.needs(line, &[place, "with.h"]);
        }
    }
    // What is no directory is the beginning of names.
    let mut case = asking().file("cross-specs", "*cpp:\n+ -DWITH -Iextra\n\n");
    case.needs("gcc -Bcross- a.c", &["cross-specs", "with.h", "extra/m.h"]);
    let mut case = asking().file("all/specs", gcc_specs().replace("*cpp:\n", "*cpp:\n-DWITH -I. "));
    case.needs("gcc -Ball a.c", &["all/specs", "with.h"]);
}

/// gcc's built-in specs as a file.
fn gcc_specs() -> String {
    gcc_says("-dumpspecs") + "\n\n"
}

#[test]
fn specs_in_a_tool_directory_win_over_those_beside_the_source() {
    let mut case = asking()
        .file("own.specs", "*cpp:\n+ -Iextra\n\n")
        .file("tools/own.specs", "*cpp:\n+ -Iother\n\n%include <more.specs>\n")
        .file("tools/more.specs", "*cpp:\n+ -include pre.h\n\n");
    case.needs("gcc -Btools -specs=own.specs a.c", &["tools/own.specs", "tools/more.specs", "other/m.h", "with.h"]);
    case.needs("gcc -specs=own.specs a.c", &["own.specs", "extra/m.h"]);
}

#[test]
fn variables_name_directories_with_specs() {
    let place = format!("pre/{}/{}", gcc_says("-dumpmachine"), gcc_says("-dumpversion"));
    let specs = format!("{place}/specs");
    let mut case = asking()
        .file(&specs, "*cpp:\n+ -DWITH -Iextra\n\n")
        .symlink(&format!("{place}/cc1"), &gcc_says("-print-prog-name=cc1"))
        .variable("GCC_EXEC_PREFIX", "@/pre/")
        .tools_move();
    case.needs("gcc a.c", &[&specs, "with.h", "extra/m.h"]);
    let mut case = asking().file("tools/include/m.h", "int tools;\n").variable("COMPILER_PATH", "@/tools").tools_move();
    case.needs("gcc a.c", &["tools/include/m.h"]);
}

#[test]
fn specs_that_act_on_a_compile_alone_are_minded() {
    // As Fedora hardens its packages.
    let specs = "*cc1_options:\n+ %{!r:%{!fpie:%{!fPIE:%{!fpic:%{!fPIC:%{!fno-pic:-fPIE}}}}}}\n\n";
    let only = "*cc1_options:\n+ %{c:-fno-pie -fno-pic}\n\n*cpp:\n+ %{c:-DWITH}\n\n";
    for (text, needed) in [(specs, "pic.h"), (only, "with.h")] {
        let mut case = asking().file("own.specs", text);
        case.needs("gcc -I. -specs=own.specs a.c", &["own.specs", needed]);
        case.check("gcc -I. -fno-pic -specs=own.specs a.c");
        case.check("gcc -I. -O2 -x c++ -specs=own.specs a.c");
    }
}

#[test]
fn specs_name_headers_and_directories() {
    let case = |specs: &str| {
        let case = asking().file("own.specs", specs).file("root/usr/include/m.h", "int in_root;\n");
        // gcc looks for its own directories below a prefix, libraries' ones among them.
        if specs.contains("-iprefix") { case.tools_move() } else { case }
    };
    for (specs, needed) in [
        ("*cpp:\n+ -Iextra\n\n", &["extra/m.h"][..]),
        ("*cpp:\n+ -I extra -Iother\n\n", &["extra/m.h"]),
        ("*cpp:\n-Iother\n\n", &["other/m.h"]),
        ("*cpp:\n+ -include pre.h\n\n", &["pre.h", "with.h"]),
        ("*cc1:\n+ -include pre.h\n\n", &["pre.h", "with.h"]),
        ("*cc1:\n+ -imacros pre.h\n\n", &["pre.h", "with.h"]),
        ("*cpp:\n+ -isystem extra\n\n", &["extra/m.h"]),
        ("*cpp:\n+ -idirafter extra\n\n", &["extra/m.h"]),
        ("*cpp:\n+ -iquote extra -iquote .\n\n", &[]),
        ("*cpp:\n+ -DWITH -UWITH -DWITH=1\n\n", &["with.h"]),
        ("*cc1:\n+ -iprefix ex -iwithprefixbefore tra\n\n", &["extra/m.h"]),
        ("*self_spec:\n+ -Iextra -DWITH\n\n", &["extra/m.h", "with.h"]),
        ("*cpp:\n+ %{DNEVER:-Iextra;:-Iother}\n\n", &["other/m.h"]),
        ("*cpp:\n+ -isysroot root -I =/usr/include\n\n", &["root/usr/include/m.h"]),
        ("*cpp:\n+ -DNAME=\"%b\" -I%b\n\n", &[]),
    ] {
        let wanted = [&["own.specs"], needed].concat();
        case(specs).needs("gcc -specs=own.specs -idirafter . a.c", &wanted);
        for flags in ["-I.", "-Iother -idirafter .", "-isystem other -g", "-iquote extra -idirafter other"] {
            case(specs).check(&format!("gcc {flags} -specs=own.specs a.c"));
        }
        case(specs).check("g++ -x c++ -O2 -idirafter . -specs=own.specs a.c");
    }
}

#[test]
fn specs_include_specs() {
    let make = || {
        asking()
            .file("d/own.specs", "%include <more.specs>\n*cpp:\n+ -DOWN\n\n%include_noerr <none.specs>\n")
            .file("more.specs", "*cpp:\n+ -DWITH -Iextra\n\n")
            .file("tools/x", "")
    };
    let line = "gcc -specs=d/own.specs -Btools a.c";
    let mut case = make();
    case.needs(line, &["d/own.specs", "more.specs", "with.h", "extra/m.h"]);
    case.tree.file("tools/none.specs", "*cpp:\n+ -include pre.h\n\n");
    case.needs(line, &["tools/none.specs", "pre.h"]);
    case.tree.file("more.specs", "*cpp:\n+ -Iother\n\n");
    case.needs(line, &["other/m.h"]);
    case.tree.nodes.remove(Path::new("tools/none.specs"));
    let closure = case.needs(line, &["other/m.h"]);
    assert!(!case.holds(&closure, "pre.h"));
}

#[test]
fn assembly_is_searched_as_specs_say() {
    let mut case = Case::new()
        .file("a.c", "__asm__(\".section .rodata\\n.incbin \\\"b.bin\\\"\\n\");\n")
        .file("a.S", ".incbin \"b.bin\"\n")
        .file("a.s", ".incbin \"b.bin\"\n")
        .surplus()
        .file("asm/b.bin", "asm")
        .file("cpp/b.bin", "cpp")
        .file("own.specs", "*cpp:\n+ -Icpp\n\n*asm:\n+ -I asm\n\n");
    for source in ["a.c", "a.S", "a.s"] {
        case.needs(&format!("gcc -specs=own.specs {source}"), &["own.specs", "asm/b.bin"]);
        case.needs(&format!("gcc -Icpp -specs=own.specs {source}"), &["own.specs", "cpp/b.bin"]);
    }
}

#[test]
fn specs_that_read_or_write_elsewhere_are_refused() {
    for specs in [
        "*cc1:\n+ -fstack-usage\n\n",
        "*cc1:\n+ -aux-info protos\n\n",
        "*cpp:\n+ %:getenv(HOME /include)\n\n",
        "*cpp:\n+ %:if-exists(extra/m.h)\n\n",
        "*cc1:\n+ %:local_cpu_detect(arch)\n\n",
        "*cc1:\n+ -traditional-cpp\n\n",
        "*asm:\n+ -a=listing\n\n",
    ] {
        let mut case = asking().file("own.specs", specs);
        let fallback = case.refuses("gcc -I. -specs=own.specs a.c", Reason::UnsupportedFlag);
        assert!(fallback.to_string().contains("own.specs"), "{specs:?}: {fallback}");
    }
    asking().file("own.specs", "*cc1:\n+ -fexec-charset=utf-16\n\n").check("gcc -I. -specs=own.specs a.c");
    for native in ["*self_spec:\n+ -march=native\n\n", "*cc1:\n+ -mtune=native\n\n"] {
        asking().file("own.specs", native).refuses("gcc -I. -specs=own.specs a.c", Reason::HostDependent);
    }
    asking().file("own.cfg", "-march=native\n").refuses("clang -I. --config ./own.cfg a.c", Reason::HostDependent);
    for configuration in ["-fstack-usage\n", "-MD\n", "-save-temps\n", "b.c\n", "-fmodules\n"] {
        let mut case = asking().file("own.cfg", configuration);
        let fallback = case.scan("clang -I. --config ./own.cfg a.c").expect_err(configuration);
        assert!(fallback.to_string().contains("own.cfg"), "{configuration:?}: {fallback}");
    }
}

#[test]
fn configuration_names_headers_and_directories() {
    let make = |configuration: &str| {
        asking()
            .file("cfg/own.cfg", configuration)
            .file("cfg/more.cfg", "-DWITH\n@deep/er.cfg\n")
            .file("cfg/deep/er.cfg", "# nothing\n-I other\n")
            .file("cfg/m.h", "int beside;\n")
            .file("cfg/r/usr/include/m.h", "int in_root;\n")
            .tools_move()
    };
    for (configuration, needed) in [
        ("-Iextra\n", &["extra/m.h"][..]),
        ("# a comment\n  -I \\\n  extra\n", &["extra/m.h"]),
        ("-include pre.h -I.\n", &["pre.h", "with.h", "m.h"]),
        ("-imacros pre.h\n-iquote extra -isystem other\n", &["pre.h", "other/m.h"]),
        ("@more.cfg\n", &["cfg/more.cfg", "cfg/deep/er.cfg", "with.h", "other/m.h"]),
        ("-I<CFGDIR>\n", &["cfg/m.h"]),
        ("--sysroot=<CFGDIR>/r\n", &["cfg/r/usr/include/m.h"]),
        ("--target=aarch64-linux-gnu -idirafter extra\n", &["extra/m.h"]),
        ("-DWITH='a b' -UWITH -D WITH -Iextra\n", &["with.h", "extra/m.h"]),
        ("-Wall -O2 -fPIC -iprefix ex -iwithprefixbefore tra\n", &["extra/m.h", "pic.h"]),
    ] {
        for line in ["clang --config ./cfg/own.cfg a.c", "clang --config @/cfg/own.cfg a.c"] {
            make(configuration).needs(line, &[&["cfg/own.cfg"], needed].concat());
        }
        make(configuration).check("clang --config ./cfg/own.cfg -Iother -g a.c");
        make(configuration).check("clang++ --config ./cfg/own.cfg -isystem other -x c++ a.c");
    }
}

#[test]
fn configuration_beside_the_driver_is_read() {
    let compiler = std::fs::canonicalize("/usr/bin/clang").unwrap();
    let make = || {
        asking()
            .symlink("bin/x86_64-linux-gnu-clang", &compiler.to_string_lossy())
            .file("bin/other.txt", "")
            .tools_move()
    };
    let line = "bin/x86_64-linux-gnu-clang -no-canonical-prefixes -resource-dir=/usr/lib/llvm-14/lib/clang/14.0.6 a.c -I. -idirafter after";
    let mut case = make();
    let configuration = "bin/x86_64-linux-gnu-clang.cfg";
    let cases = [
        (None, &[][..], &["with.h", "pre.h"][..]),
        (Some("-include pre.h\n"), &[configuration, "pre.h", "with.h"], &["extra/m.h"]),
        (Some("-DWITH -isystem extra\n"), &[configuration, "with.h"], &["pre.h"]),
        (Some("-include needs.h\n"), &[configuration, "needs.h", "after/e.h"], &["with.h"]),
        (Some("@more\n"), &[configuration, "bin/more", "extra/m.h"], &["pre.h", "with.h"]),
        (None, &["m.h"], &["with.h"]),
    ];
    case.tree.file("bin/more", "-nostdinc -I extra\n");
    // What only the command line's directories have.
    case.tree.file("needs.h", "#include <e.h>\n").file("after/e.h", "int e;\n");
    for (text, needed, unneeded) in cases {
        case.tree.nodes.remove(Path::new(configuration));
        if let Some(text) = text {
            case.tree.file(configuration, text);
        }
        // The driver is no part of a closure, so that no replica has it: only the scanner and the list are compared.
        let closure = case.scan(line).unwrap();
        assert_eq!(closure, Scanner::new().scan(&case.invocation(line)).unwrap(), "{text:?}");
        for name in needed {
            assert!(case.holds(&closure, name), "{text:?}: {name} is not in {:?}", case.names(&closure));
        }
        for name in unneeded {
            assert!(!case.holds(&closure, name), "{text:?}: {name} is in {:?}", case.names(&closure));
        }
    }
}

#[test]
fn options_are_shared_by_sources_that_they_do_not_name() {
    let mut case = asking()
        .file("longname.c", "#include <m.h>\nint l;\n")
        .file("another.c", "#include <m.h>\nint l;\n")
        .file("longname/m.h", "int of_longname;\n")
        .file("another/m.h", "int of_another;\n")
        .file("own.specs", "*cpp:\n+ -I%B\n\n")
        .file("all.specs", "*cpp:\n+ -Iextra\n\n");
    for _ in 0..2 {
        for name in ["longname", "another"] {
            // gcc 12 makes the name of the output's.
            case.check(&format!("gcc -I. -specs=own.specs {name}.c"));
            case.needs(&format!("gcc -specs=all.specs {name}.c"), &["extra/m.h"]);
        }
    }
}

#[test]
fn every_language_and_way_of_asking_goes_with_files_of_options() {
    let preprocessed = "# 1 \"a.c\"\nint a;\n";
    let make = || {
        asking()
            .surplus()
            .file("b.i", preprocessed)
            .file("b.ii", preprocessed)
            .file("a.m", "#import <m.h>\nint a;\n")
            .file("a.S", "#include <m.h>\n#ifdef WITH\n#include \"with.h\"\n#endif\n")
            .file("asm/m.h", "")
            .file("empty.h", "")
            .file("arguments", "-specs=own.specs -Iextra\n")
            .file("own.specs", "*cpp:\n+ -idirafter asm -DWITH\n\n")
            .file("own.cfg", "-idirafter asm -DWITH -Wno-unused-command-line-argument\n")
    };
    for line in [
        "gcc -specs=own.specs -g b.i",
        "g++ -specs=own.specs b.ii",
        "gcc @@arguments a.c",
        "gcc -specs own.specs -Wp,-Iextra,-DX,-include,empty.h a.c",
        "gcc -specs=own.specs -Xpreprocessor -Iextra -O2 -fopenmp -flto -ffat-lto-objects -frandom-seed=1 a.c",
        "gcc --specs=own.specs -m32 -Iextra -ffreestanding a.c",
        "g++ -specs=own.specs -Iextra -gsplit-dwarf -x c++ a.c",
        "clang --config ./own.cfg b.i",
        "clang++ --config ./own.cfg b.ii",
        "clang --config=@/own.cfg -Iextra a.c",
        "clang --config ./own.cfg -Xclang -Iextra -fsanitize=address -O2 -flto a.c",
        "clang --config ./own.cfg -no-integrated-as -Iextra -Wa,--noexecstack a.c",
        "clang -B@/asm -Iextra -gsplit-dwarf -ftime-trace -fstack-usage a.c",
        "clang --config ./own.cfg -m32 -Iextra -ffreestanding a.c",
        "clang --config ./own.cfg -S -fsave-optimization-record -fcoverage-mapping -fprofile-instr-generate -Iextra a.c",
    ] {
        if line.contains("--config=") && !is_joined_config_known() {
            continue;
        }
        make().check(line);
    }
    for line in ["gcc -specs=own.specs a.S", "clang --config ./own.cfg a.S"] {
        let mut case = make().file("m.h", "").file("asm/m.h", "").file("with.h", "");
        case.needs(line, &["asm/m.h", "with.h"]);
    }
}

#[test]
fn clang_has_its_assemblers_directories_for_headers_too() {
    let make = || asking().file("inc/m.h", "int inc;\n").file("b.c", "__asm__(\".incbin \\\"m.h\\\"\\n\");\n");
    for flags in ["", "-no-integrated-as ", "-S ", "-flto ", "-emit-llvm ", "-Xassembler -Iother "] {
        make().check(&format!("clang {flags}-Wa,-Iextra -Iinc a.c"));
        make().check(&format!("clang++ {flags}-Iinc -Wa,-Iextra -x c++ a.c"));
    }
    make().needs("clang -Wa,-Iextra -Iinc a.c", &["extra/m.h"]);
    make().check("gcc -Wa,-Iextra -Iinc a.c");
    make().needs("clang -Wa,-Iextra b.c", &["m.h"]);
}

/// Whether clang knows `--config=`, as it does since its version 15.
fn is_joined_config_known() -> bool {
    let answer =
        Command::new("/usr/bin/clang").args(["--config=/dev/null", "-###", "-c", "/dev/null"]).output().unwrap();
    answer.status.success()
}

#[test]
fn a_compiler_proper_in_a_tool_directory_is_asked() {
    let proper = gcc_says("-print-prog-name=cc1");
    let mut case = asking().file("tools/x", "");
    case.write();
    let wrapper = case.root().join("tools/cc1");
    let scanner = Scanner::new();
    for flag in ["-DNONE", "-DWITH", "-DNONE"] {
        std::fs::write(&wrapper, format!("#!/bin/sh\nexec {proper} \"$@@\" {flag}\n").replace("@@", "@")).unwrap();
        std::fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        for place in ["tools", "tools/", "@/tools"] {
            let closure = scanner.scan(&case.invocation(&format!("gcc -B{place} -I. a.c"))).unwrap();
            assert_eq!(case.holds(&closure, "with.h"), flag == "-DWITH", "{place}: {flag}");
        }
    }
}

/// A tree as it becomes in steps: for each step one scanner that saw all before, and a new one with what another one kept,
/// give the answer of one that saw nothing.
#[track_caller]
fn sees_each(line: &str, mut case: Case, steps: &[(&str, &str)], needed: &[&str]) {
    let state = tempfile::tempdir().unwrap();
    case.check(line);
    let keeping = Scanner::with_state(state.path());
    keeping.scan(&case.invocation(line)).unwrap();
    keeping.keep().unwrap();
    for (name, text) in steps {
        case.tree.file(name, *text);
        case.write();
        let invocation = case.invocation(line);
        let fresh = Scanner::new().scan(&invocation).unwrap();
        let recalled = Scanner::with_state(state.path()).scan(&invocation).unwrap();
        assert_eq!(recalled, fresh, "{line}: {name}, with what was kept");
        assert_eq!(case.check(line), fresh, "{line}: {name}");
    }
    case.needs(line, needed);
}

#[test]
fn directories_and_specs_that_appear_below_a_tool_directory_are_seen() {
    let versioned = format!("r/{}/{}/include/m.h", gcc_says("-dumpmachine"), gcc_says("-dumpversion"));
    let source = || Case::new().file("a.c", "#include <m.h>\n").file("after/m.h", "").file("r/x", "");
    let steps = [("r/include/m.h", "int m;\n")];
    sees_each("gcc -Br -idirafter after a.c", source(), &steps, &["r/include/m.h"]);
    let steps = [("r/include/m.h", "int m;\n"), (&versioned, "int v;\n")];
    sees_each("gcc -Br/ -idirafter after a.c", source(), &steps, &[&versioned]);
    let steps = [("new/include/m.h", "int m;\n")];
    sees_each("gcc -B @/new -idirafter after a.c", source(), &steps, &["new/include/m.h"]);
    let source = || source().file("extra/m.h", "int extra;\n").file("other/m.h", "int other;\n");
    let steps = [("r/specs", "*cpp:\n+ -Iother\n\n"), ("r/specs", "*cpp:\n+ -Iextra\n\n")];
    sees_each("gcc -Br -idirafter after a.c", source(), &steps, &["r/specs", "extra/m.h"]);
    let steps = [("r/own.specs", "*cpp:\n+ -Iextra\n\n")];
    let case = source().file("own.specs", "*cpp:\n+ -Iother\n\n");
    sees_each("gcc -Br -specs=own.specs -idirafter after a.c", case, &steps, &["r/own.specs", "extra/m.h"]);
}

#[test]
fn directories_that_appear_below_a_system_root_are_seen() {
    let source =
        || Case::new().file("a.c", "#include <m.h>\n").file("after/m.h", "").file("r/usr/include/x.h", "").tools_move();
    for step in ["r/usr/include/x86_64-linux-gnu/m.h", "r/usr/local/include/m.h", "r/usr/include/m.h"] {
        for line in ["gcc --sysroot=@/r", "gcc -isysroot @/r", "clang --sysroot=r", "clang --sysroot=@/r"] {
            sees_each(&format!("{line} -idirafter after a.c"), source(), &[(step, "int m;\n")], &[step]);
        }
        let case = source().rooted("own.cfg", "--sysroot=@/r\n");
        sees_each("clang --config ./own.cfg -idirafter after a.c", case, &[(step, "int m;\n")], &[step]);
    }
}

#[test]
fn the_implicit_header_may_stand_outside_of_a_system_root() {
    let mut case = Case::new()
        .file("a.c", "#ifdef PREDEFINED\n#include \"p.h\"\n#endif\nint a;\n")
        .file("p.h", "int p;\n")
        .file("inc/stdc-predef.h", "#define PREDEFINED\n")
        .file("a.cc", "#ifdef PREDEFINED\n#include \"p.h\"\n#endif\nint a;\n")
        .directory("r/usr/include");
    for flags in ["--sysroot=@/r", "-isysroot @/r", "--sysroot=@/r -ffreestanding", "--sysroot=@/r -nostdinc"] {
        for source in ["a.c", "a.cc"] {
            case.check(&format!("gcc {flags} -Iinc {source}"));
        }
    }
    case.needs("gcc --sysroot=@/r -Iinc a.c", &["inc/stdc-predef.h", "p.h"]);
}

#[test]
fn a_gcc_that_appears_below_a_system_root_gives_clang_its_headers() {
    let mut case =
        Case::new().file("a.cc", "#include <m.h>\n").file("after/m.h", "").file("r/usr/include/c++/11/m.h", "int m;\n");
    let line = "clang++ --sysroot=@/r -idirafter after a.cc";
    let state = tempfile::tempdir().unwrap();
    let scanners = [Scanner::new(), Scanner::with_state(state.path())];
    case.write();
    for scanner in &scanners {
        let closure = scanner.scan(&case.invocation(line)).unwrap();
        assert!(case.holds(&closure, "after/m.h"), "{:?}", case.names(&closure));
    }
    // What tells clang of it is the toolchain's matter.
    case.tree.file("r/usr/lib/gcc/x86_64-linux-gnu/11/crtbegin.o", "");
    case.write();
    for scanner in scanners.iter().chain([&Scanner::with_state(state.path()), &Scanner::new()]) {
        let closure = scanner.scan(&case.invocation(line)).unwrap();
        assert!(case.holds(&closure, "r/usr/include/c++/11/m.h"), "{:?}", case.names(&closure));
    }
}

#[test]
fn a_prefix_moves_gccs_own_directories() {
    let source = || {
        Case::new()
            .file("a.c", "#include <stddef.h>\n#include <m.h>\nsize_t a;\n")
            .file("after/m.h", "")
            .file("pre/include/stddef.h", "#include_next <stddef.h>\nint own;\n")
            .file("pre/include/m.h", "int m;\n")
    };
    for line in ["gcc -Wp,-iprefix,pre/", "gcc -iprefix pre/", "gcc -Wp,-iprefix,@/pre/", "gcc -iprefix @/pre/"] {
        let line = format!("{line} -idirafter after a.c");
        source().needs(&line, &["pre/include/stddef.h", "pre/include/m.h"]);
        sees_each(
            &line,
            Case::new().file("a.c", "#include <m.h>\n").file("after/m.h", ""),
            &[("pre/include/m.h", "int m;\n")],
            &["pre/include/m.h"],
        );
    }
    // Each working directory has its own.
    let mut case = source().file("sub/a.c", "#include <m.h>\n").file("sub/prefix/m.h", "");
    case.check("gcc -iprefix pre/ -Iafter a.c");
    case.check("gcc -iprefix pre -Iafter a.c");
}

#[test]
fn assembly_is_preprocessed_as_such_below_another_prefix() {
    let text = "#define F$x 1\n#ifdef __ASSEMBLER__\n#include \"b.h\"\n#endif\n#ifdef F\n#include \"c.h\"\n#endif\n";
    for line in ["gcc -B none a.S", "g++ -B none -I . a.S", "clang -B none a.S", "gcc a.S"] {
        let mut case = Case::new().file("a.S", text).file("b.h", "").file("c.h", "").directory("none");
        case.needs(line, &["b.h"]);
    }
}
