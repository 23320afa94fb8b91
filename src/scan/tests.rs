//! The scanner as a whole, on small trees and with the real gcc: what is seen again, and what is seen anew.

use crate::command;
use crate::fallback::Reason;
use crate::scan::Scanner;
use crate::scan::closure::Closure;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A tree of files and a scanner that remembers it.
struct Tree {
    scanner: Scanner,
    base: PathBuf,
    _directory: tempfile::TempDir,
}

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let base = directory.path().canonicalize().expect("canonical");
        let tree = Self { scanner: Scanner::open(None), base, _directory: directory };
        for (name, content) in files {
            tree.write(name, content);
        }
        tree
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.base.join(name);
        fs::create_dir_all(path.parent().expect("has a parent")).expect("created");
        fs::write(path, content).expect("written");
    }

    fn scan(&self, flags: &[&str]) -> Result<Arc<Closure>, Reason> {
        let argv: Vec<OsString> =
            ["gcc", "-nostdinc", "-c", "t.c"].iter().chain(flags).map(|word| OsString::from(*word)).collect();
        let environment = [(OsString::from("PATH"), std::env::var_os("PATH").expect("PATH is set"))];
        let command = command::parse(&argv, &self.base, &environment).expect("understood");
        self.scanner.scan(&command).map_err(|fallback| fallback.reason)
    }

    /// The files that are included, besides `t.c`, under `flags`.
    fn check(&self, flags: &[&str], expect: &[&str]) {
        let closure = self.scan(flags).expect("scanned");
        let included = closure.files.iter().filter(|file| !closure.probed.contains(&file.path));
        let names: Vec<_> = included.map(|file| self.name(&file.path)).filter(|name| *name != "t.c").collect();
        assert_eq!(names, expect, "under {flags:?}");
    }

    fn name<'a>(&self, path: &'a Path) -> &'a str {
        path.strip_prefix(&self.base).expect("within the tree").to_str().expect("text")
    }
}

#[test]
fn gives_the_same_closure_while_nothing_changes() {
    let tree = Tree::new(&[("t.c", "#include \"a.h\"\n"), ("a.h", "")]);
    let first = tree.scan(&[]).expect("scanned");
    assert!(Arc::ptr_eq(&first, &tree.scan(&[]).expect("scanned")));
    tree.write("t.o", "an output beside the source changes nothing");
    assert!(Arc::ptr_eq(&first, &tree.scan(&[]).expect("scanned")));
}

#[test]
fn one_traced_question_serves_all_directories_and_what_looks_nowhere_else() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let scanner = Scanner::open(None);
    let scan = |name: &str, flags: &[&str]| {
        let base = directory.path().canonicalize().expect("canonical").join(name);
        fs::create_dir_all(&base).expect("created");
        fs::write(base.join("t.c"), "").expect("written");
        let argv: Vec<_> = ["gcc", "-c", "t.c"].iter().chain(flags).map(|word| OsString::from(*word)).collect();
        let environment = [(OsString::from("PATH"), std::env::var_os("PATH").expect("PATH is set"))];
        let command = command::parse(&argv, &base, &environment).expect("understood");
        scanner.scan(&command).expect("scanned");
        scanner.memory().world.probes.counts()
    };
    assert_eq!(scan("one", &["-O2"]), (1, 1));
    assert_eq!(scan("two", &["-O2"]), (1, 1), "the answer is the same from anywhere");
    assert_eq!(scan("one", &["-O3", "-std=c99", "-fPIC"]), (2, 1), "macros differ, and nothing else");
    assert_eq!(scan("one", &["-O2", "-m32"]), (3, 2), "other directories");
}

#[test]
fn sees_every_edit() {
    let tree = Tree::new(&[("t.c", "#include \"a.h\"\n"), ("a.h", "#include \"b.h\"\n"), ("b.h", ""), ("c.h", "")]);
    tree.check(&[], &["a.h", "b.h"]);
    // Several edits of the same length within one tick of the clock.
    for _ in 0..20 {
        tree.write("a.h", "#include \"c.h\"\n");
        tree.check(&[], &["a.h", "c.h"]);
        tree.write("a.h", "#include \"b.h\"\n");
        tree.check(&[], &["a.h", "b.h"]);
    }
    fs::remove_file(tree.base.join("b.h")).expect("removed");
    assert_eq!(tree.scan(&[]).err(), Some(Reason::Unscannable));
    tree.write("b.h", "");
    tree.check(&[], &["a.h", "b.h"]);
}

#[test]
fn sees_what_appears_and_goes() {
    let tree =
        Tree::new(&[("t.c", "#include <m.h>\n#if __has_include(<n.h>)\n#include <n.h>\n#endif\n"), ("b/m.h", "")]);
    let flags = ["-Ia", "-Ib"];
    tree.check(&flags, &["b/m.h"]);
    tree.write("a/m.h", "");
    tree.check(&flags, &["a/m.h"]);
    tree.write("b/n.h", "");
    tree.check(&flags, &["a/m.h", "b/n.h"]);
    fs::rename(tree.base.join("a"), tree.base.join("away")).expect("renamed");
    tree.check(&flags, &["b/m.h", "b/n.h"]);
    std::os::unix::fs::symlink("away", tree.base.join("a")).expect("linked");
    tree.check(&flags, &["away/m.h", "b/n.h"]);
    assert_eq!(tree.scan(&flags).expect("scanned").symlinks.len(), 1);
}

#[test]
fn replays_a_header_anew_under_other_macros() {
    let body = "#ifdef A\n#include \"a.h\"\n#else\n#include \"b.h\"\n#endif\n#undef A\n".to_owned();
    let filler = (0..40).map(|number| format!("#define F{number} {number}")).collect::<Vec<_>>().join("\n") + "\n";
    let tree = Tree::new(&[
        ("t.c", "#define A\n#include \"x.h\"\n#include \"x.h\"\n#if F39 == 39\n#include \"c.h\"\n#endif\n"),
        ("x.h", &(body + &filler)),
        ("a.h", ""),
        ("b.h", ""),
        ("c.h", ""),
    ]);
    tree.check(&[], &["a.h", "b.h", "c.h", "x.h"]);
    tree.check(&["-O2"], &["a.h", "b.h", "c.h", "x.h"]);
    tree.write("t.c", "#include \"x.h\"\n#include \"x.h\"\n");
    tree.check(&[], &["b.h", "x.h"]);
}

#[test]
fn takes_every_branch_of_what_it_does_not_know() {
    let tree = Tree::new(&[
        (
            "t.c",
            "int x[__COUNTER__];\n#if __COUNTER__ > 5\n#define H \"a.h\"\n#else\n#define H \"b.h\"\n#endif\n#include H\n#include \"g.h\"\n#include \"g.h\"\n",
        ),
        ("a.h", "#include \"g.h\"\n"),
        ("b.h", ""),
        ("g.h", "#ifndef G\n#define G\n#include \"d.h\"\n#endif\n"),
        ("d.h", ""),
    ]);
    tree.check(&[], &["a.h", "b.h", "d.h", "g.h"]);
}

#[test]
fn refuses_by_name() {
    let check = |files: &[(&str, &str)], expect| assert_eq!(Tree::new(files).scan(&[]).err(), Some(expect));
    check(&[("t.c", "#include \"a.h\"\n"), ("a.h", ""), ("a.h.gch", "")], Reason::PrecompiledHeader);
    check(&[("t.c", "#include \"t.c\"\n")], Reason::ScanLimit);
    check(&[("t.c", "#include \"/dev/zero\"\n")], Reason::Unreadable);
    check(&[("t.c", "#include \"no.h\"\n")], Reason::Unscannable);
    check(&[("t.c", "const char *t = __TIMESTAMP__;\n")], Reason::TimeDependent);
    let nested = format!("#if {}1{}\n#endif\n", "(".repeat(10_000), ")".repeat(10_000));
    check(&[("t.c", &nested)], Reason::ScanLimit);
}

#[test]
fn time_counts_where_it_is_used() {
    let check = |source: &str, expect| {
        let closure = Tree::new(&[("t.c", source)]).scan(&[]).expect("scanned");
        assert_eq!(closure.time_dependent, expect, "of {source:?}");
    };
    check("const char *t = __DATE__;\n", true);
    check("#define T __TIME__\n", true);
    check("#if 0\n__DATE__\n#endif\n// __TIME__\nconst char *t = \"__TIMESTAMP__\";\n", false);
}
