//! Command lines and what they mean, and the names of outputs as the real compilers write them.

use super::*;
use crate::fallback::Reason;
use std::collections::BTreeSet;
use std::process::Stdio;

/// Splits a command line at blanks.
fn argv(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn understand(line: &str, directory: &Path, variables: &[(&str, &str)]) -> Result<CompileCommand, Fallback> {
    let mut environment: Vec<(OsString, OsString)> =
        variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    environment.push(("PATH".into(), "/usr/bin".into()));
    parse(&argv(line), directory, &environment)
}

fn command(line: &str) -> CompileCommand {
    understand(line, Path::new("/"), &[]).unwrap_or_else(|fallback| panic!("{line}: {fallback}"))
}

#[test]
fn refusals_have_their_reason() {
    let check = |line: &str, reason: Reason| {
        let result = understand(line, Path::new("/"), &[]);
        assert_eq!(result.map(|_| ()).map_err(|fallback| fallback.reason), Err(reason), "{line}");
    };
    check("gcc a.c -o a", Reason::NotACompile);
    check("gcc a.o b.o -o a", Reason::NotACompile);
    check("gcc -E a.c", Reason::NotACompile);
    check("gcc -M a.c", Reason::NotACompile);
    check("gcc -MM a.c", Reason::NotACompile);
    check("gcc --version", Reason::NotACompile);
    check("gcc -print-prog-name=as", Reason::NotACompile);
    check("gcc -### -c a.c", Reason::NotACompile);
    check("clang -fsyntax-only -c a.c", Reason::NotACompile);
    check("gcc -c a.o", Reason::NotACompile);
    check("gcc -c", Reason::SourceCount);
    check("gcc -c a.c b.c", Reason::SourceCount);
    check("gcc -c - -x c", Reason::StandardStream);
    check("gcc -x c -c -", Reason::StandardStream);
    check("gcc -c a.c -o -", Reason::StandardStream);
    check("gcc -c a.c -o /dev/null", Reason::StandardStream);
    check("gcc -c a.c -MD -MF -", Reason::StandardStream);
    check("gcc -c a.c -o", Reason::MalformedFlag);
    check("gcc -c a.c -Wa,-I", Reason::MalformedFlag);
    check("gcc -c a.c -zzz", Reason::UnknownFlag);
    check("clang -c a.c --quux", Reason::UnknownFlag);
    check("gcc -c a.c --machine-arch=native", Reason::HostDependent);
    check("gcc -c a.c --machine=arch=native", Reason::HostDependent);
    check("g++ -c a.cpp --modules-ts", Reason::Modules);
    check("gcc -c a.c -march=native", Reason::HostDependent);
    check("clang -c a.c -mcpu=native", Reason::HostDependent);
    check("gcc -c a.c -mtune=native", Reason::HostDependent);
    check("gcc -c a.c -save-temps=there", Reason::UnsupportedFlag);
    check("clang -c a.c -emit-llvm -save-temps", Reason::UnsupportedFlag);
    check("gcc -c a.c -fdump-tree-all", Reason::UnsupportedFlag);
    check("gcc -c a.c -da", Reason::UnsupportedFlag);
    check("gcc -c a.c -fopt-info-vec=file", Reason::UnsupportedFlag);
    check("gcc -c a.c -iwithprefix include", Reason::UnsupportedFlag);
    check("clang -c a.c -mllvm -stats-file=x", Reason::UnsupportedFlag);
    check("gcc -c a.h", Reason::PrecompiledHeader);
    check("g++ -x c++-header -c a.h", Reason::PrecompiledHeader);
    check("clang -c a.c -include-pch a.pch", Reason::PrecompiledHeader);
    check("clang -c a.c -Xclang -include-pch -Xclang a.pch", Reason::PrecompiledHeader);
    check("g++ -std=c++20 -fmodules-ts -c a.cpp", Reason::Modules);
    check("clang++ -fmodules -c a.cpp", Reason::Modules);
    check("clang -c a.c -Imap.hmap", Reason::HeaderMap);
    check("clang -c a.c -ivfsoverlay map.yaml", Reason::HeaderMap);
    check("gcc -c @absent.rsp", Reason::ResponseFile);
    check("nonesuch -c a.c", Reason::Compiler);
    check("clang-cl -c a.c", Reason::Compiler);
    check("clang -c a.cu", Reason::UnsupportedFlag);
}

#[test]
fn common_builds_are_understood() {
    for line in [
        "g++ -I/src/include -isystem /usr/include/foo -DNDEBUG -O2 -g -fPIC -std=gnu++17 -Wall -Wextra -MD -MT a.o -MF a.o.d -o a.o -c a.cc",
        "gcc -DHAVE_CONFIG_H -I. -I.. -g -O2 -MT foo.lo -MD -MP -MF .deps/foo.Tpo -c foo.c -fPIC -DPIC -o .libs/foo.o",
        "gcc -Wp,-MMD,kernel/.fork.o.d -nostdinc -I./arch/x86/include -include ./include/linux/kconfig.h -D__KERNEL__ \
         -fmacro-prefix-map=./= -Wundef -std=gnu11 -mno-sse -m64 -mtune=generic -mcmodel=kernel -fno-strict-aliasing \
         --param=allow-store-data-races=0 -fplugin-arg-structleak_plugin-byref -Wa,-mno-branches -c -o kernel/fork.o kernel/fork.c",
        "clang++ -fcolor-diagnostics -Qunused-arguments -stdlib=libstdc++ -fsanitize=address -Xclang -fno-pch-timestamp -c a.cpp",
        "gcc -pipe -pthread -ffile-prefix-map=/a=. -fstack-protector-strong -Wformat -Wdate-time -D_FORTIFY_SOURCE=2 -c a.c",
        "gcc --debug-prefix-map=./= --no-common --machine-sse2 -D__ASSEMBLY__ -c a.S",
        "clang --target=aarch64-linux-gnu --sysroot=/opt/sysroot -mllvm -inline-threshold=100 -c a.c",
        "gcc -c a.c -Wl,--as-needed -L/lib -lm -shared -z now -static-libgcc -T script -rdynamic -no-pie -u main",
    ] {
        command(line);
    }
}

#[test]
fn fields() {
    let parsed = command(
        "gcc -Ione -I two -iquote q -isystem sys -idirafter after -I- --include-directory=three -iprefix /p/ -iwithprefix x -iwithprefixbefore y -c a.c",
    );
    let directories: Vec<(SearchChain, &str)> = parsed
        .preprocessor
        .directories
        .iter()
        .map(|directory| (directory.chain, directory.path.to_str().expect("text")))
        .collect();
    let expect = [
        (SearchChain::Bracket, "one"),
        (SearchChain::Bracket, "two"),
        (SearchChain::Split, ""),
        (SearchChain::Bracket, "three"),
        (SearchChain::Quote, "q"),
        (SearchChain::System, "sys"),
        (SearchChain::After, "after"),
        (SearchChain::PrefixedAfter, "/p/x"),
        (SearchChain::PrefixedBracket, "/p/y"),
    ];
    assert_eq!(directories, expect);
    assert_eq!(parsed.probe_arguments, argv("-iprefix /p/"));

    let parsed = command(
        "gcc -DA -D B=1 -UC --define-macro=D -Wp,-DE,-UF -Xpreprocessor -DG -imacros m -include i.h --include=j.h -c a.c",
    );
    let text = |option: &MacroOption| match option {
        MacroOption::Define(text) => format!("+{}", text.to_str().expect("text")),
        MacroOption::Undefine(text) => format!("-{}", text.to_str().expect("text")),
    };
    let macros: Vec<String> = parsed.preprocessor.macros.iter().map(text).collect();
    assert_eq!(macros, ["+A", "+B=1", "-C", "+D", "+E", "-F", "+G"]);
    let forced: Vec<(&str, bool)> = parsed
        .preprocessor
        .forced_includes
        .iter()
        .map(|forced| (forced.path.to_str().expect("text"), forced.macros_only))
        .collect();
    assert_eq!(forced, [("m", true), ("i.h", false), ("j.h", false)]);

    let parsed = command(
        "gcc -O2 -Wall -Wextra -w -std=c99 -m32 -nostdinc -frandom-seed=x -isysroot /s --sysroot=/t -Xpreprocessor -fextended-identifiers -c a.c -o b.o -MD",
    );
    assert_eq!(
        parsed.probe_arguments,
        argv("-O2 -std=c99 -m32 -nostdinc -isysroot /s --sysroot=/t -Xpreprocessor -fextended-identifiers")
    );
    assert_eq!(parsed.preprocessor.sysroot.as_deref(), Some(Path::new("/s")));
    assert!(parsed.preprocessor.no_standard_includes);

    let parsed = command(
        "clang -fsanitize=address -fsanitize-ignorelist=list.txt -fprofile-instr-use=p -Xclang -load -Xclang p.so -Wa,-Idir -c a.S",
    );
    assert_eq!(parsed.extra_inputs, ["p/default.profdata", "p", "list.txt", "p.so"].map(PathBuf::from));
    assert_eq!(parsed.preprocessor.assembler_directories, [PathBuf::from("dir")]);
    assert_eq!(parsed.language, Language::AssemblerWithCpp);
}

#[test]
fn what_differs_from_itself_is_known() {
    for (line, expect) in [
        ("gcc -O2 -c a.c", true),
        ("gcc -flto -c a.c", false),
        ("gcc -flto=auto -frandom-seed=a.c -c a.c", true),
        ("gcc -flto -fno-lto -c a.c", true),
        ("gcc --coverage -c a.c", false),
        ("gcc -fprofile-generate=dir -c a.c", false),
        ("clang -flto --coverage -c a.c", true),
        ("clang -ftime-trace -c a.c", false),
        ("gcc -Wa,-adhln=a.lst -c a.c", true),
        ("gcc -Wa,-al=a.lst -c a.c", false),
        ("gcc -Wa,-al=a.lst -c a.s", true),
    ] {
        assert_eq!(command(line).is_deterministic, expect, "{line}");
    }
}

#[test]
fn environment_is_what_matters() {
    let check = |variables: &[(&str, &str)], expect: &[(&str, &str)]| {
        let parsed = understand("gcc -c a.c", Path::new("/usr/bin"), variables).expect("understood");
        let expect: Vec<(OsString, OsString)> =
            expect.iter().map(|(name, value)| (name.into(), value.into())).collect();
        assert_eq!(parsed.environment, expect);
        parsed.working_directory
    };
    check(&[("HOME", "/root"), ("LANG", "C.UTF-8"), ("TERM", "xterm")], &[("LANG", "C.UTF-8")]);
    check(&[("LANG", "C.UTF-8"), ("LC_ALL", "C"), ("CPATH", "")], &[("CPATH", ""), ("LC_ALL", "C")]);
    for spelled in ["/usr/bin/", "//usr/bin", "/usr/./bin", "/usr/lib/../bin", "/usr//bin"] {
        assert_eq!(check(&[("PWD", spelled)], &[("PWD", spelled)]).as_os_str(), spelled);
    }
    for own in ["/proc/self/root/usr/bin", "/dev/fd/../cwd"] {
        understand("gcc -c a.c", Path::new("/usr/bin"), &[("PWD", own)]).expect_err(own);
    }
    assert_eq!(check(&[("PWD", "/usr/lib")], &[]), Path::new("/usr/bin"));
    assert_eq!(check(&[("PWD", "/usr/bin")], &[]), Path::new("/usr/bin"));
    for (compiler, name) in [
        ("gcc", "DEPENDENCIES_OUTPUT"),
        ("gcc", "SUNPRO_DEPENDENCIES"),
        ("gcc", "GCC_COMPARE_DEBUG"),
        ("clang", "CCC_OVERRIDE_OPTIONS"),
        ("clang", "LD_PRELOAD"),
    ] {
        let line = format!("{compiler} -c a.c");
        let refused = understand(&line, Path::new("/"), &[(name, "x")]).expect_err(name);
        assert_eq!(refused.reason, Reason::UnsupportedFlag);
    }
}

#[test]
fn terminals_get_their_colours() {
    let check = |line: &str, variables: &[(&str, &str)], expect: &str| {
        let parsed = understand(line, Path::new("/"), variables).expect("understood");
        assert_eq!(parsed.arguments, argv(expect), "{line} {variables:?}");
    };
    let terminal: &[(&str, &str)] = &[("TERM", "xterm"), (environment::STDERR_IS_TERMINAL, "1")];
    check("gcc -c a.c", &[("TERM", "xterm")], "-c a.c");
    check("gcc -c a.c", terminal, "-c a.c -fdiagnostics-color=always");
    check(
        "gcc -c a.c -fdiagnostics-color=auto",
        terminal,
        "-c a.c -fdiagnostics-color=auto -fdiagnostics-color=always",
    );
    check("gcc -c a.c -fno-diagnostics-color", terminal, "-c a.c -fno-diagnostics-color");
    check("clang -c -- a.c", terminal, "-c -fdiagnostics-color=always -- a.c");
    // clang records the flag for colours, and gcc does not but for old versions, beside the code.
    assert!(understand("gcc -frecord-gcc-switches -c a.c", Path::new("/"), terminal).is_err());
    let recording = "clang -grecord-command-line -c a.c";
    check(recording, &[("TERM", "xterm")], "-grecord-command-line -c a.c");
    assert!(understand(recording, Path::new("/"), terminal).is_err());
    check("gcc -grecord-gcc-switches -c a.c", terminal, "-grecord-gcc-switches -c a.c -fdiagnostics-color=always");
    check("gcc -c a.c", &[("TERM", "dumb"), (environment::STDERR_IS_TERMINAL, "1")], "-c a.c");
    let colorless: &[(&str, &str)] = &[("TERM", "xterm"), ("GCC_COLORS", ""), (environment::STDERR_IS_TERMINAL, "1")];
    check("gcc -c a.c", colorless, "-c a.c");
}

#[test]
fn response_files_are_inputs() {
    let directory = tempfile::tempdir().expect("temporary directory");
    std::fs::write(directory.path().join("flags.rsp"), "-DA='b c' -Iinc\n-o out.o").expect("write");
    let parsed = understand("gcc @flags.rsp -c a.c", directory.path(), &[]).expect("understood");
    assert_eq!(parsed.arguments, argv("@flags.rsp -c a.c"));
    assert_eq!(parsed.extra_inputs, [PathBuf::from("flags.rsp")]);
    assert_eq!(parsed.preprocessor.macros, [MacroOption::Define("A=b c".into())]);
    assert_eq!(parsed.outputs.object, Path::new("out.o"));
}

/// The real compilers write what [`Outputs`] says and nothing else.
#[test]
fn outputs_are_those_of_the_real_compilers() {
    let shapes = ["", "-o x/b.o", "-o x/b", "-o x/b.foo.o", "-o x/b.lo", "-o x/.o", "-o b."];
    let gcc = [
        "-c -MD --coverage -g -gsplit-dwarf -fstack-usage -fcallgraph-info",
        "-c -O2 -fsave-optimization-record -MMD -MF x/deps.mk",
        "-S -MD -MP -MT target --coverage -fstack-usage -gsplit-dwarf",
        "-c -Wp,-MD,x/made.d -aux-info x/protos -Wa,-adhln=x/listing -ftest-coverage -fno-test-coverage",
        "-c -save-temps -MD -g -gsplit-dwarf --coverage -fstack-usage",
        "-c -save-temps=cwd -MMD",
        "-S -save-temps=obj",
        "-c -Wp,-MMD,x/made.d,-MT,target,-MP",
    ];
    let clang = [
        "-c -MD --coverage -g -gsplit-dwarf -fstack-usage -ftime-trace",
        "-c -O2 -fsave-optimization-record -MMD -MF x/deps.mk --serialize-diagnostics x/diagnostics",
        "-S -emit-llvm -MD",
        "-c -emit-llvm -Wp,-MD,x/made.d -MJ x/part.json",
        "-S -MQ target -MMD -fsave-optimization-record -foptimization-record-file=x/record -gsplit-dwarf=split",
        "-c -save-temps -MD -g -gsplit-dwarf --coverage -fstack-usage",
        "-c -save-temps=obj -MMD",
        "-S --save-temps=cwd",
        "-c -Wp,-MD,x/made.d,-MT,target",
        "-c -MF x/other.d -Wp,-MMD,x/made.d",
        "-c -Wp,-MMD",
    ];
    for (compilers, flag_sets) in [(["gcc", "g++"], &gcc[..]), (["clang", "clang++"], &clang[..])] {
        for shape in shapes {
            for source in ["a.cc", "y/s.t.cc"] {
                for (flags, compiler) in flag_sets.iter().zip(compilers.iter().cycle()) {
                    check_real_outputs(&format!("{compiler} {flags} {source} {shape}"));
                }
            }
        }
    }
}

/// Compares the outputs of sources that are not C++, and of other drivers, with the real ones.
#[test]
fn outputs_are_those_of_the_real_compilers_for_other_sources() {
    for source in ["p.S", "q.s", "r.i", "t.c"] {
        for flags in [
            "-c",
            "-c -MD -o x/b.o",
            "-c -MMD -MF x/dep -g -gsplit-dwarf --coverage",
            "-c -MD -fstack-usage -o x/b",
            "-c -save-temps -o x/b.o",
        ] {
            for compiler in ["gcc", "clang", "g++ -fpermissive", "clang++ -Wno-everything"] {
                check_real_outputs(&format!("{compiler} {flags} {source}"));
            }
        }
    }
    for flags in ["-c -MD", "-S", "-c -g -gsplit-dwarf -fstack-usage -o x/b.o"] {
        check_real_outputs(&format!("aarch64-linux-gnu-gcc {flags} t.c"));
    }
}

/// Runs `line` among a few sources and compares what appears with what was foretold.
fn check_real_outputs(line: &str) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let base = directory.path();
    for path in ["x", "y"] {
        std::fs::create_dir(base.join(path)).expect("create");
    }
    let text = "int g(int); int f(int *a, int n) { int s = 0; for (int i = 0; i < n; i++) s += g(a[i]); return s; }\n";
    let assembly = "\t.globl f\nf:\n\tret\n";
    let sources =
        [("a.cc", text), ("y/s.t.cc", text), ("p.S", assembly), ("q.s", assembly), ("r.i", text), ("t.c", text)];
    for (source, text) in sources {
        std::fs::write(base.join(source), text).expect("write");
    }
    let parsed = understand(line, base, &[]).unwrap_or_else(|fallback| panic!("{line}: {fallback}"));
    let status = std::process::Command::new(&parsed.program)
        .args(&parsed.arguments)
        .current_dir(base)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("install the Debian packages gcc, g++ and clang");
    assert!(status.success(), "{line}");
    let written: BTreeSet<PathBuf> = ["", "x", "y"]
        .iter()
        .flat_map(|sub| std::fs::read_dir(base.join(sub)).expect("list"))
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.is_file() && !sources.iter().any(|(source, _)| path.ends_with(source)))
        .collect();
    let foretold: BTreeSet<PathBuf> = parsed.outputs.all().map(|path| base.join(path)).collect();
    let missed: Vec<_> = written.difference(&foretold).collect();
    assert!(missed.is_empty(), "{line}: wrote {missed:?}, foretold {foretold:?}");
    assert!(written.contains(&base.join(&parsed.outputs.object)), "{line}: no object");
    // Only what may be empty may be absent, and what stands for several versions of a compiler. Assemblers say little.
    for absent in foretold.difference(&written).filter(|_| parsed.language == Language::Cxx) {
        let name = absent.to_string_lossy();
        assert!(name.ends_with(".opt.yaml") || name.ends_with(".json.gz"), "{line}: {name} was foretold, not written");
    }
}

/// A profile that a program of the real gcc leaves behind is among the inputs of the compile that uses it.
#[test]
fn profiles_are_found_where_gcc_looks() {
    for (generate, uses) in [
        ("", ""),
        ("", "-fbranch-probabilities"),
        ("-fprofile-dir=prof", "-fprofile-dir=prof"),
        ("-fprofile-generate=prof", "-fprofile-use=prof"),
        ("-fprofile-dir=prof -fprofile-prefix-path=BASE", "-fprofile-use=prof -fprofile-prefix-path=BASE"),
    ] {
        let directory = tempfile::tempdir().expect("temporary directory");
        let base = directory.path().canonicalize().expect("canonical");
        let place = |flags: &str| argv(&flags.replace("BASE", base.to_str().expect("text")));
        std::fs::create_dir(base.join("x")).expect("create");
        std::fs::write(base.join("a.c"), "int main(void) { return 0; }\n").expect("write");
        let gcc = |arguments: &[OsString]| {
            let status = std::process::Command::new("gcc").args(arguments).current_dir(&base).status().expect("gcc");
            assert!(status.success(), "{arguments:?}");
        };
        gcc(&[argv("-fprofile-generate -c a.c -o x/b.o"), place(generate)].concat());
        gcc(&argv("-fprofile-generate x/b.o -o program"));
        assert!(std::process::Command::new("./program").current_dir(&base).status().expect("runs").success());
        let line = format!("gcc -fprofile-use {uses} -Werror=missing-profile -c a.c -o x/b.o");
        let line = line.replace("BASE", base.to_str().expect("text"));
        gcc(&argv(&line)[1..]);
        let parsed = understand(&line, &base, &[]).expect("understood");
        let found = parsed.extra_inputs.iter().any(|input| base.join(input).is_file());
        assert!(found, "{line}: none of {:?}", parsed.extra_inputs);
    }
}
