//! Input that is made to hurt: each ends within bounded time and memory, as an answer or as a named refusal.

use crate::case::Case;
use pumphouse::fallback::Fallback;
use pumphouse::scan::closure::Closure;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// How much processor time the worst input may take, in a build without optimisation.
const BOUND: Duration = Duration::from_secs(60);

/// The processor time of this thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

/// Scans within the bound.
#[track_caller]
fn ends(case: &mut Case, line: &str) -> Result<Arc<Closure>, Fallback> {
    case.write();
    let started = thread_time();
    let answer = case.scan(line);
    let taken = thread_time().saturating_sub(started);
    assert!(taken < BOUND, "{line}: {taken:?}");
    answer
}

#[test]
fn include_loops_end() {
    let _ = ends(&mut Case::new().file("a.c", "#include \"a.c\"\n"), "gcc a.c");
    let _ = ends(
        &mut Case::new()
            .file("a.c", "#include \"b.h\"\n#include \"b.h\"\n")
            .file("b.h", "#include \"c.h\"\n#include \"c.h\"\n")
            .file("c.h", "#include \"b.h\"\n#include \"b.h\"\n"),
        "gcc a.c",
    );
    let _ = ends(
        &mut Case::new()
            .file("a.c", "#include \"b.h\"\n")
            .file("b.h", "#if __COUNTER__ >= 0\n#include \"b.h\"\n#include \"b.h\"\n#endif\n"),
        "gcc a.c",
    );
    // Each header includes the next one twice: two to the power of thirty.
    let mut case = Case::new().file("a.c", "#include \"h0.h\"\n").file("h30.h", "int end;\n");
    for level in 0..30 {
        case = case.file(format!("h{level}.h"), format!("#include \"h{0}.h\"\n#include \"h{0}.h\"\n", level + 1));
    }
    let _ = ends(&mut case, "gcc a.c");
    // And with something that keeps the effects apart.
    let mut case =
        Case::new().file("a.c", "#include \"h0.h\"\n").file("h30.h", "#if __COUNTER__ == 3\nint end;\n#endif\n");
    for level in 0..30 {
        case = case.file(format!("h{level}.h"), format!("#include \"h{0}.h\"\n#include \"h{0}.h\"\n", level + 1));
    }
    let _ = ends(&mut case, "gcc a.c");
    let _ = ends(&mut Case::new().file("a.c", "#include \"l/a.c\"\n").symlink("l", "."), "gcc a.c");
}

#[test]
fn names_that_double_end() {
    for line in ["gcc a.c", "clang a.c", "gcc -Id a.c", "clang -Id a.c"] {
        // Each name is that of the directory and the whole name again.
        let mut case =
            Case::new().file("a.c", "#include \"d/b.h\"\n").file("d/b.h", "#include __FILE__\n").symlink("d/d", ".");
        let _ = ends(&mut case, line);
        let mut case = Case::new()
            .file("a.c", "#line 1 \"a\\\\b\"\n#include \"b.h\"\n")
            .file("b.h", "#line 1 __FILE__\n#include \"b.h\"\n".repeat(30));
        let _ = ends(&mut case, line);
    }
    for line in ["gcc a.c", "clang a.c"] {
        let (part, path) = ("x".repeat(300), "./".repeat(3000));
        for name in [part, format!("{path}b.h")] {
            let text = format!("#if __has_include(\"{name}\")\n#include \"{name}\"\n#endif\nint a;\n");
            Case::new().file("a.c", text).file("b.h", "").check_rejected(line);
        }
    }
}

#[test]
fn unknown_conditions_do_not_multiply() {
    let mut text = String::new();
    for index in 0..40 {
        let _ = writeln!(
            text,
            "#if __has_attribute(no_such_{index}) || __TIME__\n#define M{index} 1\n#else\n#define M{index} 2\n#endif"
        );
    }
    for index in 0..40 {
        let _ = writeln!(text, "#if M{index} == M{}\n#include \"b.h\"\n#endif", (index + 7) % 40);
    }
    let _ = ends(&mut Case::new().file("a.c", text).file("b.h", ""), "gcc a.c");
}

#[test]
fn long_lines_and_large_files_end() {
    let line = format!(
        "#include \"b.h\"\n#define X {}\n#ifdef X\n#endif\n// {}\n#include \"c.h\"\n",
        "x ".repeat(4 << 20),
        "/".repeat(16 << 20)
    );
    let mut case = Case::new().file("a.c", line).file("b.h", "").file("c.h", "");
    let closure = ends(&mut case, "gcc a.c").unwrap();
    assert!(case.holds(&closure, "c.h"));
    let splices = format!("#include \"b.h\" {}\nint a;\n", "\\\n".repeat(4 << 20));
    let _ = ends(&mut Case::new().file("a.c", splices).file("b.h", ""), "gcc a.c");
    let hashes = "#\n".repeat(2 << 20);
    let _ = ends(&mut Case::new().file("a.c", hashes), "gcc a.c");
    let open = format!("{}\n#include \"b.h\"\n", "#if 1\n".repeat(500_000));
    let _ = ends(&mut Case::new().file("a.c", open).file("b.h", ""), "gcc a.c");
    let comment = format!("/*{}", "*".repeat(8 << 20));
    let _ = ends(&mut Case::new().file("a.c", comment), "gcc a.c");
    let raw = format!("const char *a = R\"({}", ")".repeat(4 << 20));
    let _ = ends(&mut Case::new().file("a.cc", raw), "g++ a.cc");
}

#[test]
fn names_without_an_end_end() {
    for text in [
        "#if 0\n#if __has_include(<b.h\n#endif\n#endif\nint a;\n",
        "#if 1\n#elif __has_include_next(<b.h\n#endif\n",
        "#if __has_include(<",
    ] {
        for line in ["gcc a.c", "clang a.c"] {
            let mut case = Case::new().file("a.c", text);
            case.write();
            case.check_rejected(line);
        }
    }
}

#[test]
fn words_that_matter_end_however_many() {
    let before = resident();
    for word in
        [".incbin ", "_Pragma(\"once\")", "F(push_macro(\"X\")) ", "(once)", "((((once ", "__COUNTER__ ", "\"\".inc\" "]
    {
        for (start, end) in [
            ("", "\n"),
            ("#define D ", "\nD\n"),
            ("#if 0 ", "\n#endif\n"),
            ("#if \\\n", "0\n#endif\n"),
            ("const char *s = f(\"", "\");\n"),
        ] {
            let text = format!("{start}{}{end}", word.repeat((1 << 20) / word.len()));
            let _ = ends(&mut Case::new().file("a.c", text), "gcc a.c");
        }
    }
    // Uses of a macro that makes pragmas, with what may be macros around them.
    for word in
        ["P(", "P(once", "P(P(once) ", "a(a(a(a(once)", "_Pragma(P(", "P ", "P(once)\n", "#define P P\n", "P(/*"]
    {
        for start in ["#define P(x) _Pragma(#x)\nP(once)\n", "#define P(x) P(x _Pragma(#x)\nP(once)\n"] {
            let text = format!("{start}{}", word.repeat((1 << 20) / word.len()));
            let _ = ends(&mut Case::new().file("a.c", text), "gcc a.c");
        }
    }
    let splices = format!("#if {}0\n#endif\n", "\\\n0+".repeat(1 << 18));
    let _ = ends(&mut Case::new().file("a.c", splices), "gcc a.c");
    assert!(resident() < before + (600 << 20), "{} bytes more", resident() - before);
}

#[test]
fn a_line_of_a_gigabyte_is_refused_without_reading_it() {
    let mut case = Case::new().file("a.c", "#include \"b.h\"\n");
    case.write();
    std::fs::File::create(case.root().join("b.h")).unwrap().set_len(1 << 30).unwrap();
    let before = resident();
    let started = thread_time();
    let answer = case.scanner.scan(&case.invocation("gcc a.c"));
    assert!(answer.is_err(), "a gigabyte is above the limit");
    assert!(thread_time().saturating_sub(started) < BOUND);
    assert!(resident() < before + (300 << 20), "{} bytes more", resident() - before);
}

#[test]
fn pipes_devices_and_sockets_do_not_block() {
    let mut case = Case::new()
        .file("a.c", "#include \"pipe.h\"\n")
        .file("b.c", "#include \"/dev/zero\"\n")
        .file("c.c", "#if __has_include(\"pipe.h\")\nint c;\n#endif\n")
        .file("d.c", "#include \"socket.h\"\n")
        .file("e.c", "#include \"/dev/tty\"\n#include \"/proc/self/mem\"\n")
        .file("f.c", "#include \"/dev/null\"\nint f;\n")
        .file("g.c", "__asm__(\".incbin \\\"pipe.h\\\"\");\n")
        .file("h.c", "#include \"/proc/self/status\"\n");
    case.write();
    let status = std::process::Command::new("mkfifo").arg(case.root().join("pipe.h")).status().unwrap();
    assert!(status.success());
    let _socket = std::os::unix::net::UnixListener::bind(case.root().join("socket.h")).unwrap();
    for source in ["a.c", "b.c", "c.c", "d.c", "e.c", "f.c", "g.c", "h.c"] {
        let _ = ends(&mut case, &format!("gcc {source}"));
        let _ = ends(&mut case, &format!("clang {source}"));
    }
    let _ = ends(&mut case, "gcc -include pipe.h f.c");
    let _ = ends(&mut case, "gcc -Ipipe.h f.c");
}

#[test]
fn unreadable_is_not_absent() {
    // Root reads everything, so a header that can't be read takes a file system's error: a link into another process.
    let mut case =
        Case::new().file("a.c", "#include \"m.h\"\n").file("y/m.h", "int m;\n").symlink("m.h", "/proc/self/mem");
    if let Ok(closure) = ends(&mut case, "gcc -Iy a.c") {
        assert!(!case.holds(&closure, "y/m.h"), "the compiler stops at what it can't read");
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_read_whole() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let mut case = Case::new()
        .file("a.c", "#include \"m.h\"\n")
        .file("m.h", "#include \"b0.h\"\n")
        .file("b0.h", "")
        .file("b1.h", "");
    case.write();
    let header = case.root().join("m.h");
    let whole = |round: u32| format!("{}\n#include \"b{}.h\"\n", "//".repeat(20_000), round % 2);
    let largest = whole(0).len() as u64;
    let stop = AtomicBool::new(false);
    let answers: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                std::fs::write(&header, whole(round)).unwrap();
                round += 1;
            }
        });
        let answers = (0..100).map(|_| case.scanner.scan(&case.invocation("gcc a.c"))).collect();
        stop.store(true, Ordering::Relaxed);
        answers
    });
    for answer in answers {
        match answer {
            Ok(closure) => {
                let file = closure.files.iter().find(|file| file.path.ends_with("m.h")).unwrap();
                let size = file.digest.size_bytes();
                assert!(size <= largest, "{size} bytes");
                // Whole, it includes a header, and the closure has it.
                let headers = ["b0.h", "b1.h"].iter().filter(|name| case.holds(&closure, name)).count();
                assert_eq!(headers == 1, size == largest || size == 16, "{size} bytes");
            }
            Err(fallback) => assert_eq!(fallback.reason, pumphouse::fallback::Reason::Changing, "{fallback}"),
        }
    }
}

#[test]
fn ten_thousand_headers_fit() {
    let mut case = Case::new();
    let mut source = String::new();
    for index in 0..10_000 {
        let mut text = format!("#ifndef GUARD_{index}\n#define GUARD_{index}\n");
        for item in 0..20 {
            let _ = writeln!(
                text,
                "#define CONSTANT_{index}_{item} (({index} << 8) | {item})\nint function_{index}_{item}(int, const char *);"
            );
        }
        text += "#endif\n";
        case.tree.file(format!("h/d{}/h{index}.h", index / 100), text);
        let _ = writeln!(source, "#include \"d{}/h{index}.h\"", index / 100);
    }
    case.tree.file("a.c", source);
    case.write();
    let program = pumphouse_tests::program::program().unwrap();
    let measure = "import resource, subprocess, sys\nsubprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\nprint(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";
    let done = std::process::Command::new("python3")
        .args(["-c", measure])
        .arg(program)
        .args(["scan", "--", "gcc", "-Ih", "-c", "a.c"])
        .current_dir(case.root())
        .output()
        .unwrap();
    let kilobytes: u64 = String::from_utf8_lossy(&done.stdout).trim().parse().unwrap();
    assert!(kilobytes <= 150 << 10, "{} MB", kilobytes >> 10);
}

/// The bytes of memory that this process holds.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
