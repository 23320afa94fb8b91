//! What sources and command lines hold: headers found in all ways, links, directories, files that change.

use anyhow::{Result, ensure};
use pumphouse_tests::distcc::{Distcc, IncludeServer};
use pumphouse_tests::workspace::Workspace;

/// Compiles plainly and through distcc, which must not compile on this machine instead, and compares the objects.
fn check(server: &IncludeServer, workspace: &Workspace, line: &str) -> Result<()> {
    let expected = workspace.plainly(line)?;
    ensure!(expected.code == Some(0), "{line}: {}", expected.stderr);
    let before = server.remote_compiles();
    let actual = workspace.effect(|| server.compile(workspace.path(), line))?;
    ensure!(actual.code == Some(0), "{line}: {}\n{}", actual.stderr, server.errors());
    ensure!(actual.leaves_the_same(&expected), "{line}: {:?} instead of {:?}", actual.files(), expected.files());
    ensure!(server.remote_compiles() == before + 1, "{line}: not compiled by the server\n{}", server.errors());
    Ok(())
}

/// Requires that the include server leaves the compile to its client, for a reason that holds `reason`.
fn refused(server: &IncludeServer, workspace: &Workspace, line: &str, reason: &str) -> Result<()> {
    let errors = server.errors().len();
    ensure!(server.scan(workspace.path(), line).is_err(), "{line}: covered");
    let said = server.errors()[errors..].to_owned();
    ensure!(
        said.contains("Preprocessing locally. Include server not covering: ") && said.contains(reason),
        "{line}: {said}"
    );
    Ok(())
}

#[test]
fn headers_in_every_place() -> Result<()> {
    let farm = Distcc::start()?;
    let server = farm.include_server("include-server", &[])?;
    let workspace = Workspace::new(&[
        (
            "a.c",
            "#include \"h.h\"\n#include <i.h>\n#include <stdio.h>\nint main(void) { puts(H __FILE__ I); return 0; }\n",
        ),
        ("h.h", "#include \"sub/../n.h\"\n#define H __FILE__ N\n"),
        ("n.h", "#define N __FILE__\n"),
        ("inc/i.h", "#include NAME\n#define I __FILE__\n"),
        ("inc/computed.h", "\u{feff}static const char *name(void) { return __FILE__; }\n"),
        ("sub/other.h", ""),
        (
            "forced.h",
            "#if __has_include(\"inc/absent.h\")\n#error there\n#endif\n#if !__has_include(\"n.h\")\n#error\n#endif\n",
        ),
        ("data.bin", "bytes"),
        ("b.c", "__asm__(\".section .rodata\\n.incbin \\\"data.bin\\\"\\n\");\nint b;\n"),
        ("sp ace/s.h", "#define S 1\n"),
        ("c.c", "#include \"sp ace/s.h\"\nint c = S;\n"),
        ("d.cc", "#include <vector>\n#include \"n.h\"\nstd::vector<const char *> d{N};\n"),
    ])?;
    let root = workspace.path().display().to_string();
    for flags in
        ["-Iinc".to_owned(), format!("-I{root}/inc"), format!("-isystem {root}/inc"), format!("-iquote{root} -I./inc/")]
    {
        check(&server, &workspace, &format!("gcc -O1 {flags} -DNAME=\"computed.h\" -include forced.h -c a.c -o a.o"))?;
    }
    // By absolute paths, in a directory that the compile doesn't run in.
    check(&server, &workspace, &format!("gcc -I{root}/inc -DNAME=<computed.h> -c {root}/a.c -o a.o"))?;
    check(&server, &workspace, "gcc -c b.c -o b.o")?;
    check(&server, &workspace, "gcc -c c.c -o c.o")?;
    check(&server, &workspace, "g++ -I/usr/include/c++ -c d.cc -o d.o")?;
    check(&server, &workspace, "clang -c c.c -o c.o")?;
    Ok(())
}

#[test]
fn links_and_directories() -> Result<()> {
    let farm = Distcc::start()?;
    let server = farm.include_server("include-server", &[])?;
    let workspace = Workspace::new(&[
        ("a.c", "#include \"link/../l.h\"\n#include \"empty/../top.h\"\n#include <m.h>\nint a = L + TOP + M;\n"),
        ("top.h", "#define TOP 1\n"),
        ("real/deep/x.h", ""),
        ("real/l.h", "#define L 2\n"),
        ("elsewhere/m.h", "#include \"beside.h\"\n#define M BESIDE\n"),
        ("elsewhere/beside.h", "#define BESIDE 3\n"),
        ("inc/beside.h", "#define BESIDE 4\n"),
    ])?;
    std::fs::create_dir(workspace.path().join("empty"))?;
    let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, workspace.path().join(name));
    link("real/deep", "link")?;
    // A header that is a link has its neighbours beside the link.
    link("../elsewhere/m.h", "inc/m.h")?;
    link(&workspace.path().join("inc").display().to_string(), "absolute")?;
    for flags in ["-Iinc", "-Iabsolute", "-Iinc -Iempty -Wmissing-include-dirs -Werror"] {
        check(&server, &workspace, &format!("gcc {flags} -c a.c -o a.o"))?;
    }
    let listed = server.scan(workspace.path(), "gcc -Iinc -c a.c -o a.o")?;
    let root = workspace.path().display();
    for line in
        ["SYSTEMDIR /usr/include".to_owned(), format!("SYMLINK   {root}/link"), format!("DIRECTORY {root}/empty")]
    {
        ensure!(listed.lines().any(|listed| listed == line), "no {line} in\n{listed}");
    }
    ensure!(!listed.contains("stdio.h") && !listed.contains("/usr/include/"), "{listed}");
    Ok(())
}

#[test]
fn files_that_change() -> Result<()> {
    let farm = Distcc::start()?;
    let server = farm.include_server("include-server", &[])?;
    let workspace = Workspace::new(&[("a.c", "#include <v.h>\nint a = V;\n"), ("two/v.h", "#define V 2\n")])?;
    std::fs::create_dir(workspace.path().join("one"))?;
    let line = "gcc -Ione -Itwo -c a.c -o a.o";
    check(&server, &workspace, line)?;
    // Of the same length, in the same moment.
    for value in 3..9 {
        workspace.write("two/v.h", &format!("#define V {value}\n"))?;
        check(&server, &workspace, line)?;
    }
    // One that goes before.
    workspace.write("one/v.h", "#define V 1\n")?;
    check(&server, &workspace, line)?;
    // A directory that becomes a link, and the link a directory.
    std::fs::rename(workspace.path().join("one"), workspace.path().join("three"))?;
    std::os::unix::fs::symlink("three", workspace.path().join("one"))?;
    check(&server, &workspace, line)?;
    std::fs::remove_file(workspace.path().join("one"))?;
    workspace.write("one/v.h", "#define V 10\n")?;
    check(&server, &workspace, line)?;
    std::fs::remove_dir_all(workspace.path().join("one"))?;
    check(&server, &workspace, line)
}

#[test]
fn what_is_left_to_the_client() -> Result<()> {
    let farm = Distcc::start()?;
    let server = farm.include_server("include-server", &[])?;
    let workspace =
        Workspace::new(&[("r.rsp", "-Ix\n"), ("x/x.h", ""), ("y/x.h", ""), ("twin.c", "#include \"t/x.h\"\n")])?;
    let root = workspace.path().display().to_string();
    workspace.write("absolute.c", &format!("#include \"{root}/x/x.h\"\n"))?;
    workspace.write("dead.c", &format!("#if 0\n#include \"{root}/x/x.h\"\n#endif\nint dead;\n"))?;
    workspace.write("computed.c", "#include NAME\n")?;
    workspace.write("asked.c", &format!("#if __has_include(\"{root}/x/x.h\")\n#endif\n"))?;
    workspace.write("data.c", &format!("__asm__(\".incbin \\\"{root}/x/x.h\\\"\");\n"))?;
    workspace.write("t/x.h", "#pragma once\n#include \"../u/x.h\"\n")?;
    workspace.write("u/x.h", "#pragma once\n#include \"../u/x.h\"\n")?;
    let relative = format!("filepath must be relative but isn't: '{root}/x/x.h'");
    refused(&server, &workspace, "gcc -c absolute.c -o a.o", &relative)?;
    refused(&server, &workspace, "gcc -c asked.c -o a.o", &relative)?;
    refused(&server, &workspace, "gcc -c data.c -o a.o", &relative)?;
    refused(&server, &workspace, &format!("gcc -DNAME=\"{root}/x/x.h\" -c computed.c -o a.o"), &relative)?;
    refused(&server, &workspace, "gcc -c absent.c -o a.o", "for translation unit 'absent.c'")?;
    refused(&server, &workspace, "gcc -c twin.c -o a.o", "#pragma once")?;
    refused(
        &server,
        &workspace,
        &format!("gcc --include-directory={root}/x -c dead.c -o a.o"),
        "is an absolute path that distcc's servers don't translate",
    )?;
    // What no preprocessor reads is no reason.
    check(&server, &workspace, "gcc -c dead.c -o a.o")?;
    check(&server, &workspace, "gcc @r.rsp -c dead.c -o a.o")?;
    // The client preprocesses, and all is well.
    let output = server.compile(workspace.path(), "gcc -c absolute.c -o a.o")?;
    ensure!(output.status.success() && server.local_compiles().len() == 1, "{output:?}\n{:?}", server.local_compiles());
    let unsafe_server = farm.include_server("unsafe", &["--unsafe_absolute_includes"])?;
    check(&unsafe_server, &workspace, "gcc -c asked.c -o a.o")?;
    ensure!(unsafe_server.errors().contains(&format!("Absolute filepath '{root}/x/x.h' was IGNORED")));
    Ok(())
}
