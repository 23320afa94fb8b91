//! The options mean what `include_server(1)` says.

use anyhow::{Result, ensure};
use pumphouse_tests::distcc::Distcc;
use pumphouse_tests::workspace::Workspace;
use std::os::unix::fs::PermissionsExt;

fn workspace() -> Result<Workspace> {
    Workspace::new(&[
        ("a.c", "#include \"h.h\"\n#ifdef UNKNOWN\n#include \"u.h\"\n#endif\n#include <stddef.h>\n"),
        ("h.h", "#if __has_include(\"p.h\")\n#endif\n"),
        ("p.h", ""),
        ("u.h", ""),
    ])
}

#[test]
fn closures_are_written() -> Result<()> {
    let farm = Distcc::start()?;
    let workspace = workspace()?;
    let root = workspace.path().display();
    let lines = |name: &str| {
        anyhow::Ok(String::from_utf8(workspace.read(name)?)?.lines().map(str::to_owned).collect::<Vec<_>>())
    };
    let approximate = farm.include_server("approximate", &["-w"])?;
    approximate.scan(workspace.path(), "gcc -c a.c -o out.o")?;
    let own = |names: &[&str]| names.iter().map(|name| format!("{root}/{name}")).collect::<Vec<_>>();
    ensure!(lines("out.d_approx")? == own(&["a.c", "h.h", "p.h"]), "{:?}", lines("out.d_approx")?);
    ensure!(!workspace.path().join("out.d_exact").exists());
    // Verified: without the compiler's own headers. Exact: with them.
    let verified = farm.include_server("verified", &["-w", "-v"])?;
    verified.scan(workspace.path(), "gcc -c a.c -o out.o")?;
    ensure!(lines("out.d_exact")? == own(&["a.c", "h.h"]), "{:?}", lines("out.d_exact")?);
    let exact = farm.include_server("exact", &["-w", "-x"])?;
    let listed = exact.scan(workspace.path(), "gcc -c a.c -o out.o")?;
    ensure!(lines("out.d_exact")?.iter().any(|line| line.ends_with("/stddef.h")));
    ensure!(listed.contains(&format!("FILE      {root}/p.h\n")) && !listed.contains("u.h"), "{listed}");
    Ok(())
}

#[test]
fn statistics_and_traces() -> Result<()> {
    let farm = Distcc::start()?;
    let workspace = workspace()?;
    let server = farm.include_server("include-server", &["-s", "-d19"])?;
    for _ in 0..2 {
        server.scan(workspace.path(), "gcc -c a.c")?;
    }
    ensure!(server.scan(workspace.path(), "gcc -c absent.c").is_err());
    server.terminate()?;
    let printed = server.output();
    let last = printed.rsplit("TRANSLATION_UNIT: ").next().unwrap_or_default();
    let count = |name: &str| {
        let line = last.lines().find(|line| line.contains(name))?;
        line.split_whitespace().last()?.parse::<u64>().ok()
    };
    ensure!(last.starts_with("absent.c\nTIME:    last "), "{printed}");
    for (name, expect) in [
        ("COUNTER: covered", 2),
        ("COUNTER: not covered", 1),
        ("unreadable", 1),
        ("COUNTER: repeated answers", 1),
        ("COUNTER: files compressed", 3),
    ] {
        ensure!(count(name) == Some(expect), "{name}: {last}");
    }
    let said = server.errors();
    ensure!(said.contains("TRACE: request from ") && said.contains("DATA: answer:\n/dev/shm/tmp"), "{said}");
    ensure!(said.contains("WARNING include server: Preprocessing locally. Include server not covering: "), "{said}");
    Ok(())
}

#[test]
fn silence() -> Result<()> {
    let farm = Distcc::start()?;
    let workspace = workspace()?;
    let server = farm.include_server("include-server", &["-d0"])?;
    ensure!(server.scan(workspace.path(), "gcc -c absent.c").is_err());
    server.terminate()?;
    ensure!(server.errors().is_empty() && server.output().is_empty());
    Ok(())
}

#[test]
fn triggers_warn() -> Result<()> {
    let farm = Distcc::start()?;
    let workspace = workspace()?;
    let root = workspace.path().display();
    let server = farm.include_server("include-server", &[&format!("--stat_reset_triggers={root}/*.h:relative")])?;
    let line = "gcc -c a.c";
    server.scan(workspace.path(), line)?;
    ensure!(server.errors().is_empty(), "{}", server.errors());
    workspace.write("new.h", "")?;
    std::fs::remove_file(workspace.path().join("u.h"))?;
    std::fs::write(farm.root().join("include-server/relative"), "")?;
    let before = server.scan(workspace.path(), line)?;
    let said = server.errors();
    for warning in [
        format!("Path '{root}/new.h' came into existence. Clearing caches."),
        format!("Path '{root}/u.h' no longer exists. Clearing caches."),
        "include-server/relative' came into existence.".to_owned(),
    ] {
        ensure!(said.contains(&warning), "no {warning} in {said}");
    }
    workspace.write("h.h", "#include \"p.h\"\n\n")?;
    ensure!(server.scan(workspace.path(), line)? == before);
    ensure!(server.errors().contains(&format!("Path '{root}/h.h' changed. Clearing caches.")), "{}", server.errors());
    Ok(())
}

#[test]
fn paths_are_observed() -> Result<()> {
    let farm = Distcc::start()?;
    let workspace = workspace()?;
    let root = workspace.path().display();
    std::fs::rename(workspace.path().join("h.h"), workspace.path().join("real.h"))?;
    std::os::unix::fs::symlink("real.h", workspace.path().join("h.h"))?;
    let server = farm.include_server("include-server", &["--path_observation_re=(?<!absent)/real"])?;
    for _ in 0..2 {
        server.scan(workspace.path(), "gcc -c a.c")?;
    }
    let expect = format!(
        "WARNING include server: For translation unit 'a.c', lookup of file 'h.h' resolved to 'h.h' whose realpath is \
         '{root}/real.h'.\n"
    );
    ensure!(server.errors() == expect, "{}", server.errors());
    Ok(())
}

#[test]
fn directories_are_not_forced() -> Result<()> {
    let farm = Distcc::start()?;
    let workspace = Workspace::new(&[("a.c", "#include \"empty/../h.h\"\n"), ("h.h", "")])?;
    std::fs::create_dir(workspace.path().join("empty"))?;
    let forced = farm.include_server("forced", &[])?;
    ensure!(forced.scan(workspace.path(), "gcc -c a.c")?.contains("DIRECTORY "));
    let server = farm.include_server("include-server", &["--no_force_dirs"])?;
    ensure!(!server.scan(workspace.path(), "gcc -c a.c")?.contains("DIRECTORY "));
    let output = server.compile(workspace.path(), "gcc -c a.c")?;
    ensure!(!output.status.success(), "the manual page says that such builds break");
    Ok(())
}

#[test]
fn mails() -> Result<()> {
    let farm = Distcc::start()?;
    let workspace = workspace()?;
    let root = workspace.path().display().to_string();
    workspace.write("b.c", &format!("#include \"{root}/h.h\"\n"))?;
    workspace.write("bin/sendmail", &format!("#!/bin/sh\necho \"$@\" >>{root}/mails\ncat >>{root}/mails\n"))?;
    let sendmail = workspace.path().join("bin/sendmail");
    std::fs::set_permissions(&sendmail, PermissionsExt::from_mode(0o755))?;
    let path = format!("{root}/bin:{}", std::env::var("PATH")?);
    let environment = [("PATH", path.as_ref()), ("DISTCC_EMAILLOG_WHOM_TO_BLAME", "builds@example.org".as_ref())];
    let server = farm.include_server_with("include-server", &["-e", "--email_bound", "2"], &environment)?;
    for _ in 0..4 {
        ensure!(server.scan(workspace.path(), "gcc -c b.c").is_err());
    }
    // The user's own mistakes are nobody's trouble.
    ensure!(server.scan(workspace.path(), "gcc -c absent.c").is_err());
    let mails = String::from_utf8(workspace.read("mails")?)?;
    ensure!(
        mails.matches("-i -t\nTo: builds@example.org\nSubject: distcc-pump include server email\n").count() == 2,
        "{mails}"
    );
    ensure!(mails.contains("filepath must be relative but isn't") && !mails.contains("absent.c"), "{mails}");
    let quiet = farm.include_server_with("quiet", &["-e", "--no-email"], &environment)?;
    ensure!(quiet.scan(workspace.path(), "gcc -c b.c").is_err());
    ensure!(String::from_utf8(workspace.read("mails")?)? == mails);
    Ok(())
}
