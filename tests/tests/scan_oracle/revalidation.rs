//! What changes between two compiles is seen by the second, always: one scanner, a tree that is edited behind its back.

use crate::case::Case;
use pumphouse::fallback::Reason;
use pumphouse_tests::scan_oracle::Scanner;
use std::fs;
use std::path::Path;

const LINES: [&str; 2] = ["gcc -Ix -Iy a.c", "clang -Ix -Iy a.c"];

/// Scans before, changes the tree, and checks everything after; the warm answer has to be that of a new scanner.
#[track_caller]
fn sees(make: impl Fn() -> Case, change: impl Fn(&mut Case)) {
    for line in LINES {
        let mut case = make();
        case.check(line);
        case.check(line);
        change(&mut case);
        let warm = case.check(line);
        let fresh = Scanner::new().scan(&case.invocation(line)).unwrap();
        assert_eq!(warm, fresh, "{line}");
    }
}

fn plain() -> Case {
    Case::new()
        .file("a.c", "#include \"m.h\"\n#include <n.h>\n#if __has_include(<o.h>)\nint with;\n#endif\nint a;\n")
        .file("y/m.h", "#ifdef M\n#include \"p.h\"\n#endif\nint m;\n")
        .file("y/n.h", "#define N 1\nint n;\n")
        .file("y/p.h", "int p;\n")
}

#[test]
fn edits_are_seen() {
    sees(plain, |case| {
        case.tree.file("y/n.h", "#define N 2\n#include \"p.h\"\n");
    });
    // As long as before, and perhaps within the same tick of the clock.
    sees(plain, |case| {
        case.tree.file("y/n.h", "#define N 2\nint k;\n");
    });
    sees(plain, |case| {
        case.tree.file("a.c", "#define M\n#include \"m.h\"\n");
    });
}

#[test]
fn edits_within_one_tick_are_seen() {
    for line in LINES {
        let mut case =
            Case::new().file("a.c", "#include \"m.h\"\n").file("x/m.h", "").file("x/b0.h", "").file("x/b1.h", "");
        case.write();
        let header = case.root().join("x/m.h");
        for round in 0..200 {
            let wanted = round % 2;
            fs::write(&header, format!("#include \"b{wanted}.h\"\n")).unwrap();
            let closure = case.scan(line).unwrap();
            assert!(case.holds(&closure, &format!("x/b{wanted}.h")), "{line}: round {round}");
            assert!(!case.holds(&closure, &format!("x/b{}.h", 1 - wanted)), "{line}: round {round}");
        }
    }
}

#[test]
fn edits_that_restore_the_time_are_seen() {
    for line in LINES {
        let mut case = Case::new()
            .file("a.c", "#include \"m.h\"\n")
            .file("x/m.h", "#include \"b0.h\"\n")
            .file("x/b0.h", "")
            .file("x/b1.h", "");
        let header = case.root().join("x/m.h");
        case.check(line);
        let time = fs::metadata(&header).unwrap().modified().unwrap();
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        let before = inode(&header);
        fs::write(&header, "#include \"b1.h\"\n").unwrap();
        fs::File::options()
            .write(true)
            .open(&header)
            .unwrap()
            .set_times(fs::FileTimes::new().set_modified(time))
            .unwrap();
        assert_eq!(inode(&header), before);
        let closure = case.scan(line).unwrap();
        assert!(case.holds(&closure, "x/b1.h"), "{line}");
        // Another file renamed over it, with the same size and time.
        let other = case.root().join("other");
        fs::write(&other, "#include \"b0.h\"\n").unwrap();
        fs::File::options()
            .write(true)
            .open(&other)
            .unwrap()
            .set_times(fs::FileTimes::new().set_modified(time))
            .unwrap();
        fs::rename(&other, &header).unwrap();
        let closure = case.scan(line).unwrap();
        assert!(case.holds(&closure, "x/b0.h"), "{line}");
    }
}

#[test]
fn writes_through_a_mapping_or_an_open_file_are_seen() {
    use std::os::unix::fs::FileExt;
    for line in LINES {
        let mut case = Case::new()
            .file("a.c", "#include \"m.h\"\n")
            .file("x/m.h", "#include \"b0.h\"\n")
            .file("x/b0.h", "")
            .file("x/b1.h", "");
        case.write();
        let file = fs::File::options().write(true).open(case.root().join("x/m.h")).unwrap();
        for round in 0..50 {
            let wanted = round % 2;
            file.write_all_at(wanted.to_string().as_bytes(), 11).unwrap();
            let closure = case.scan(line).unwrap();
            assert!(case.holds(&closure, &format!("x/b{wanted}.h")), "{line}: round {round}");
        }
    }
}

#[test]
fn headers_that_appear_shadow() {
    sees(plain, |case| {
        case.tree.file("x/n.h", "int shadow;\n");
    });
    sees(plain, |case| {
        case.tree.file("m.h", "int beside;\n");
    });
    sees(plain, |case| {
        case.tree.file("x/o.h", "");
    });
    sees(plain, |case| {
        case.tree.symlink("x/n.h", "../y/p.h");
    });
    sees(plain, |case| {
        case.tree.symlink("x", "y");
    });
    sees(plain, |case| {
        case.tree.file("y/n.h.gch/none", "");
        case.tree.nodes.remove(Path::new("y/n.h.gch/none"));
    });
}

#[test]
fn headers_that_go_uncover() {
    let both = || plain().file("x/n.h", "int shadow;\n").symlink("x/m.h", "../y/p.h");
    sees(both, |case| {
        case.tree.nodes.remove(Path::new("x/n.h"));
    });
    sees(both, |case| {
        case.tree.nodes.remove(Path::new("x/m.h"));
    });
    sees(both, |case| {
        case.tree.nodes.retain(|path, _| !path.starts_with("x"));
    });
    sees(both, |case| {
        case.tree.nodes.remove(Path::new("x/n.h"));
        case.tree.directory("x/n.h");
    });
}

#[test]
fn links_that_turn_are_followed() {
    let linked = || {
        Case::new()
            .file("a.c", "#include <d/n.h>\n#include <l.h>\n")
            .symlink("x/d", "../one")
            .symlink("x/l.h", "../one/l1.h")
            .file("one/n.h", "int one;\n")
            .file("one/l1.h", "int l1;\n")
            .file("two/n.h", "int two;\n")
            .file("two/l2.h", "int l2;\n")
    };
    sees(linked, |case| {
        case.tree.symlink("x/d", "../two");
    });
    sees(linked, |case| {
        case.tree.symlink("x/l.h", "../two/l2.h");
    });
    sees(linked, |case| {
        case.tree.symlink("one/l1.h", "../two/l2.h");
    });
    sees(linked, |case| {
        case.tree.nodes.remove(Path::new("x/d"));
        case.tree.file("x/d/n.h", "int real;\n");
    });
}

#[test]
fn renamed_directories_are_seen() {
    sees(
        || plain().file("z/n.h", "int z;\n").file("z/m.h", "int zm;\n"),
        |case| {
            let root = case.root();
            fs::rename(root.join("y"), root.join("old")).unwrap();
            fs::rename(root.join("z"), root.join("y")).unwrap();
        },
    );
    sees(
        || plain().file("x/sub/q", "").file("w/n.h", "int w;\n"),
        |case| {
            let root = case.root();
            fs::rename(root.join("x"), root.join("old")).unwrap();
            fs::rename(root.join("w"), root.join("x")).unwrap();
        },
    );
}

#[test]
fn a_header_made_in_mid_build_is_found() {
    for line in LINES {
        let mut case =
            Case::new().file("a.c", "#include \"generated.h\"\nint a;\n").file("b.c", "int b;\n").directory("x");
        assert!(case.scan(line).is_err(), "{line}: it is not there yet");
        case.tree.file("x/generated.h", "int generated;\n");
        case.needs(line, &["x/generated.h"]);
        // And in a directory that was not there either.
        let mut case = Case::new().file("a.c", "#include <gen/generated.h>\nint a;\n");
        assert!(case.scan(line).is_err(), "{line}: nor is its directory");
        case.tree.file("x/gen/generated.h", "int generated;\n");
        case.needs(line, &["x/gen/generated.h"]);
    }
}

/// Waits until the stamps of what was written can be trusted.
fn settle() {
    std::thread::sleep(pumphouse::files::stamp::SETTLING_TIME * 2);
}

#[test]
fn a_new_scanner_sees_what_changed_since_the_last_one_kept_its_knowledge() {
    let changes: &[Option<(&str, &str)>] = &[
        None,
        Some(("y/n.h", "#define N 2\n#include \"p.h\"\n")),
        Some(("y/n.h", "#define N 2\nint k;\n")),
        Some(("x/m.h", "int other;\n")),
        Some(("x/o.h", "")),
        Some(("a.c", "#define M\n#include \"m.h\"\n")),
    ];
    for line in LINES {
        for change in changes {
            let state = tempfile::tempdir().unwrap();
            let mut case = plain().directory("x");
            case.write();
            settle();
            let before = Scanner::with_state(state.path());
            before.scan(&case.invocation(line)).unwrap();
            before.keep().unwrap();
            if let Some((name, text)) = change {
                case.tree.file(name, *text);
            }
            case.write();
            let after = Scanner::with_state(state.path()).scan(&case.invocation(line)).unwrap();
            assert_eq!(after, Scanner::new().scan(&case.invocation(line)).unwrap(), "{line}");
        }
    }
}

#[test]
fn a_new_scanner_reads_and_asks_nothing_that_the_last_one_knew() {
    let state = tempfile::tempdir().unwrap();
    let mut case = plain();
    case.write();
    settle();
    let log = state.path().join("log");
    let scan = || {
        let done = std::process::Command::new("strace")
            .args(["-f", "-qq", "-e", "trace=open,openat,execve", "-o"])
            .arg(&log)
            .arg(pumphouse_tests::program::program().unwrap())
            .args(["scan", "--state"])
            .arg(state.path().join("state"))
            .args(["--", "gcc", "-c", "-Iy", "a.c"])
            .current_dir(case.root())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(done.status.success(), "{}", text(&done.stderr));
        let log = fs::read_to_string(&log).unwrap();
        let beyond_itself: Vec<_> = log.lines().filter(|line| !line.contains("\"--state\"")).collect();
        (text(&done.stdout), beyond_itself.join("\n"))
    };
    let (first, first_log) = scan();
    assert!(first_log.contains("n.h\"") && first_log.contains("cc1"));
    let (second, second_log) = scan();
    assert_eq!(first, second);
    for known in ["a.c\"", "n.h\"", "stdc-predef.h\"", "cc1"] {
        assert!(!second_log.contains(known), "{known}: {second_log}");
    }
    fs::write(case.root().join("y/n.h"), "#include <p.h>\n").unwrap();
    let (third, third_log) = scan();
    assert!(third.contains("y/p.h") && third_log.contains("n.h\"") && !third_log.contains("m.h\""), "{third}");
    // What is damaged is learned anew.
    for entry in fs::read_dir(state.path().join("state")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::write(path, "nonsense").unwrap();
        }
    }
    let (fourth, fourth_log) = scan();
    assert!(fourth == third && fourth_log.contains("m.h\""));
}

#[test]
fn another_compiler_proper_under_the_same_driver_is_noticed() {
    for name in ["cc1", "cc1plus"] {
        let state = tempfile::tempdir().unwrap();
        let mut case = Case::new()
            .file("a.c", "#ifdef SPECIAL\n#include \"special.h\"\n#endif\nint a;\n")
            .file("special.h", "int special;\n")
            .directory("tools");
        case.write();
        let driver = if name == "cc1" { "gcc" } else { "g++" };
        let proper = std::process::Command::new(driver).arg(format!("-print-prog-name={name}")).output().unwrap();
        let proper = String::from_utf8(proper.stdout).unwrap().trim().to_owned();
        let wrapper = case.root().join("tools").join(name);
        let write = |flag: &str| {
            let text = format!("#!/bin/sh\nexec {proper} \"$@\" {flag}\n");
            fs::write(&wrapper, text).unwrap();
            fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        };
        let line = format!("{driver} -B @/tools -x {} a.c", if name == "cc1" { "c" } else { "c++" });
        let scanner = Scanner::with_state(state.path());
        for flag in ["", "-DSPECIAL", ""] {
            write(flag);
            for scanner in [&scanner, &Scanner::with_state(state.path())] {
                let closure = scanner.scan(&case.invocation(&line)).unwrap();
                assert_eq!(case.holds(&closure, "special.h"), !flag.is_empty(), "{line}, {flag:?}");
            }
        }
    }
}

#[test]
fn the_unchanged_answer_is_the_same_value() {
    let mut case = plain();
    case.write();
    // Time stamps that are too fresh are not trusted; old ones are.
    for name in ["a.c", "y/m.h", "y/n.h", "y/p.h"] {
        let old =
            fs::FileTimes::new().set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(3600));
        fs::File::options().write(true).open(case.root().join(name)).unwrap().set_times(old).unwrap();
    }
    let first = case.scan(LINES[0]).unwrap();
    let second = case.scan(LINES[0]).unwrap();
    assert_eq!(first, second);
}

#[test]
fn the_same_header_under_other_macros_is_replayed() {
    let mut case = Case::new()
        .file("h.h", "#if N == 1\n#include \"one.h\"\n#elif defined TWO\n#include \"two.h\"\n#endif\n#define SEEN N\n")
        .file("one.h", "int one;\n")
        .file("two.h", "#if SEEN\n#include \"three.h\"\n#endif\n")
        .file("three.h", "int three;\n");
    for n in 0..6 {
        case = case.file(
            format!("a{n}.c"),
            format!(
                "#define N {}\n{}#include \"h.h\"\n{}",
                n % 3,
                if n > 2 { "#define TWO\n" } else { "" },
                if n == 5 { "#include \"h.h\"\n" } else { "" }
            ),
        );
    }
    for _ in 0..2 {
        for n in 0..6 {
            for flags in ["", "-DX", "-DTWO", "-DN", "-include three.h"] {
                case.check(&format!("gcc -w {flags} a{n}.c").replace("  ", " "));
            }
        }
    }
}

/// gcc takes files of one content for one file where they are as old, which they are in a replica.
#[test]
fn files_of_one_content_with_once_are_refused_whatever_their_times() {
    for directive in ["#include", "#import"] {
        let mut case = Case::new()
            .file("a.c", format!("{directive} \"o.h\"\n"))
            .file("o.h", format!("{directive} \"x/m.h\"\n{directive} \"y/m.h\"\n"))
            .file("x/m.h", "#pragma once\n#include \"n.h\"\n")
            .file("y/m.h", "#pragma once\n#include \"n.h\"\n")
            .file("x/n.h", "extern int x;\n")
            .file("y/n.h", "extern int y;\n");
        case.write();
        for seconds in [0, 1, 0] {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
            for (name, later) in [("x/m.h", 0), ("y/m.h", seconds)] {
                let file = fs::File::options().write(true).open(case.root().join(name)).unwrap();
                file.set_modified(time + std::time::Duration::from_secs(later)).unwrap();
            }
            case.refuses("gcc a.c", Reason::Unscannable);
        }
        case.needs("clang a.c", &["x/n.h", "y/n.h"]);
    }
}

/// What a compiler says of itself serves compiles in other directories, where the first one is gone as well.
#[test]
fn a_compiler_is_asked_again_after_the_first_directory_went() {
    let text = "#pragma GCC target(\"avx2\")\n#if __has_attribute(asked_for_the_first_time) || defined __AVX2__\n\
        #include \"b.h\"\n#endif\nint a;\n";
    for compiler in ["gcc", "g++ -xc++"] {
        let mut case = Case::new().surplus().file("one/a.c", "int a;\n").file("two/a.c", text).file("two/b.h", "\n");
        case = case.within("one");
        case.check(&format!("{compiler} -trigraphs a.c"));
        fs::remove_dir_all(case.root().join("one")).unwrap();
        let mut case = case.within("two");
        case.needs(&format!("{compiler} -trigraphs a.c"), &["two/b.h"]);
    }
}
