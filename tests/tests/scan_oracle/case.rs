//! One case: a tree, and what has to hold for each command line.

use pumphouse::fallback::{Fallback, Reason};
use pumphouse::scan::closure::Closure;
use pumphouse_tests::scan_oracle::compiler::{Answer, Invocation, Product};
use pumphouse_tests::scan_oracle::replica::Replica;
use pumphouse_tests::scan_oracle::trace::trace;
use pumphouse_tests::scan_oracle::tree::Tree;
use pumphouse_tests::scan_oracle::{Scanner, compare};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// A tree in the making, and then the place where its command lines are tried.
pub(crate) struct Case {
    pub(crate) tree: Tree,
    written: Tree,
    place: TempDir,
    working: PathBuf,
    environment: Vec<(OsString, OsString)>,
    allows_surplus: bool,
    tools_move: bool,
    product: Product,
    pub(crate) scanner: Scanner,
}

/// Set to anything: a case that fails leaves its tree on disk, and says where.
const KEEP_VARIABLE: &str = "PUMPHOUSE_KEEP_CASES";

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os(KEEP_VARIABLE).is_some() {
            self.place.disable_cleanup(true);
            eprintln!(
                "the case is kept below {}; its working directory is {}",
                self.root().display(),
                self.working.display()
            );
        }
    }
}

impl Case {
    pub(crate) fn new() -> Self {
        let place = tempfile::Builder::new().prefix("scan-oracle-").tempdir().unwrap();
        for name in ["case", "scratch"] {
            std::fs::create_dir(place.path().join(name)).unwrap();
        }
        Self {
            tree: Tree::default(),
            written: Tree::default(),
            place,
            working: PathBuf::new(),
            environment: Vec::new(),
            allows_surplus: false,
            tools_move: false,
            product: Product::PlainObject,
            scanner: Scanner::new(),
        }
    }

    /// The tree's root, with links resolved.
    pub(crate) fn root(&self) -> PathBuf {
        std::fs::canonicalize(self.place.path()).unwrap().join("case")
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        std::fs::canonicalize(self.place.path()).unwrap().join("scratch")
    }

    /// A file; `@` in its text stands for the tree's root where `at_root` is asked for by [`Self::rooted`].
    pub(crate) fn file(mut self, path: impl AsRef<[u8]>, text: impl AsRef<[u8]>) -> Self {
        self.tree.file(OsStr::from_bytes(path.as_ref()), text.as_ref());
        self
    }

    /// A file in whose text `@` stands for the tree's root.
    pub(crate) fn rooted(self, path: &str, text: &str) -> Self {
        let text = text.replace('@', &self.root().to_string_lossy());
        self.file(path, text)
    }

    pub(crate) fn symlink(mut self, path: &str, target: &str) -> Self {
        self.tree.symlink(path, target);
        self
    }

    pub(crate) fn hard_link(mut self, path: &str, original: &str) -> Self {
        self.tree.hard_link(path, original);
        self
    }

    pub(crate) fn directory(mut self, path: &str) -> Self {
        self.tree.directory(path);
        self
    }

    /// The working directory, from the root.
    pub(crate) fn within(mut self, directory: &str) -> Self {
        self.working = directory.into();
        self
    }

    /// A variable; `@` in its value stands for the root.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        let value = value.replace('@', &self.root().to_string_lossy());
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The closure may have files that the compiler does not list: its condition can't be known.
    pub(crate) fn surplus(mut self) -> Self {
        self.allows_surplus = true;
        self
    }

    /// The driver looks below the root for what no compile's result depends on: tools, libraries, other targets.
    pub(crate) fn tools_move(mut self) -> Self {
        self.tools_move = true;
        self
    }

    /// Only preprocesses: what is left is not C.
    pub(crate) fn preprocessed(mut self) -> Self {
        self.product = Product::Preprocessed;
        self
    }

    /// Writes what is not on disk yet.
    pub(crate) fn write(&mut self) {
        self.tree.write(&self.root(), &self.written).unwrap();
        self.written = self.tree.clone();
    }

    /// What a line asks for: words in a shell's quotes, the compiler first, `@` for the tree's root and `@@` for itself.
    pub(crate) fn invocation(&self, line: &str) -> Invocation {
        let root = self.root().to_string_lossy().into_owned();
        let mut words = split(&line.replace("@@", "\0").replace('@', &root).replace('\0', "@"));
        let compiler = words.remove(0);
        let compiler = if compiler.contains('/') { compiler } else { format!("/usr/bin/{compiler}") };
        Invocation {
            compiler: self.root().join(compiler),
            arguments: words.into_iter().map(OsString::from).collect(),
            environment: self.environment.clone(),
            directory: if self.working.as_os_str().is_empty() { self.root() } else { self.root().join(&self.working) },
        }
    }

    pub(crate) fn scan(&mut self, line: &str) -> Result<Arc<Closure>, Fallback> {
        self.write();
        self.scanner.scan(&self.invocation(line))
    }

    /// Everything that can be known of a line's closure is right. Returns it for what else a case wants to see.
    #[track_caller]
    pub(crate) fn check(&mut self, line: &str) -> Arc<Closure> {
        let invocation = {
            self.write();
            self.invocation(line)
        };
        let closure = match self.scan(line) {
            Ok(closure) => closure,
            Err(fallback) => panic!("{line}: refused: {fallback}"),
        };
        let local = invocation.run(self.product, &self.scratch(), &[]).unwrap();
        self.check_lists(line, &invocation, &closure, &local);
        self.check_trace(line, &invocation, &closure);
        self.check_replica(line, &invocation, &closure, &local);
        closure
    }

    /// Checks a unit that the compiler may reject: such a unit may be refused as well, since it stays local either way.
    #[track_caller]
    pub(crate) fn check_rejected(&mut self, line: &str) {
        match self.scan(line) {
            Ok(_) => {
                self.check(line);
            }
            Err(fallback) => {
                let answer = self.invocation(line).run(self.product, &self.scratch(), &[]).unwrap();
                assert_ne!(answer.code, Some(0), "{line}: refused, but it compiles: {fallback}");
            }
        }
    }

    /// Checks a unit, and that `names` (from the root) are files of its closure.
    #[track_caller]
    pub(crate) fn needs(&mut self, line: &str, names: &[&str]) -> Arc<Closure> {
        let closure = self.check(line);
        for name in names {
            assert!(self.holds(&closure, name), "{line}: {name} is not in {:?}", self.names(&closure));
        }
        closure
    }

    /// Right, or refused for `reason`: the compile then stays local, which is right as well.
    #[track_caller]
    pub(crate) fn check_unless(&mut self, line: &str, reason: Reason) {
        match self.scan(line) {
            Ok(_) => {
                self.check(line);
            }
            Err(fallback) => assert_eq!(fallback.reason, reason, "{line}: {fallback}"),
        }
    }

    /// The scanner refuses `line` for `reason`.
    #[track_caller]
    pub(crate) fn refuses(&mut self, line: &str, reason: Reason) -> Fallback {
        match self.scan(line) {
            Err(fallback) => {
                assert_eq!(fallback.reason, reason, "{line}: {fallback}");
                fallback
            }
            Ok(closure) => panic!("{line}: not refused: {:?}", self.names(&closure)),
        }
    }

    /// Whether the file `name` (from the root) is in `closure`.
    pub(crate) fn holds(&self, closure: &Closure, name: &str) -> bool {
        let path = self.root().join(name);
        closure.files.iter().any(|file| *file.path == *path)
    }

    /// The files of `closure` below the root, by their names from it.
    pub(crate) fn names(&self, closure: &Closure) -> Vec<PathBuf> {
        let root = self.root();
        closure.files.iter().filter_map(|file| file.path.strip_prefix(&root).ok()).map(Path::to_owned).collect()
    }

    #[track_caller]
    fn check_lists(&self, line: &str, invocation: &Invocation, closure: &Closure, local: &Answer) {
        if local.code == Some(0) {
            let difference = compare(closure, &local.listed, invocation);
            assert!(difference.misses.is_empty(), "{line}: misses {:?}", difference.misses);
            assert!(self.allows_surplus || difference.surplus.is_empty(), "{line}: surplus {:?}", difference.surplus);
        }
    }

    #[track_caller]
    fn check_trace(&self, line: &str, invocation: &Invocation, closure: &Closure) {
        let root = self.root();
        let seen = trace(invocation, &root, &self.scratch()).unwrap();
        let files: BTreeSet<&Path> = closure.files.iter().map(|file| &*file.path).collect();
        let opened: Vec<_> = seen.opened.iter().filter(|path| !files.contains(path.as_path())).collect();
        assert!(opened.is_empty(), "{line}: the compiler opens {opened:?}");
        let absent: BTreeSet<&Path> = closure.absent.iter().map(|path| &**path).collect();
        // A precompiled header that appears is seen by the scanner itself; profiles are named by the traced output.
        let is_other = |path: &Path| {
            path.extension().is_some_and(|extension| ["gch", "pch", "gcda"].iter().any(|other| extension == *other))
        };
        // That a directory is absent is known with any file that was looked for in it.
        let is_known = |path: &Path| {
            is_other(path)
                || path.ancestors().any(|above| absent.contains(above))
                || absent.iter().any(|below| below.starts_with(path))
        };
        let moves_tools = invocation.arguments.iter().any(|argument| {
            let argument = argument.to_string_lossy();
            ["-B", "--sysroot", "-isysroot", "-iprefix"].iter().any(|flag| argument.starts_with(flag))
        });
        if moves_tools || self.tools_move {
            return;
        }
        let unknown: Vec<_> = seen.absent.iter().filter(|path| !is_known(path)).collect();
        assert!(unknown.is_empty(), "{line}: looked for in vain and not absent in the closure: {unknown:?}");
    }

    #[track_caller]
    fn check_replica(&self, line: &str, invocation: &Invocation, closure: &Closure, local: &Answer) {
        let place = tempfile::Builder::new().prefix("scan-replica-").tempdir().unwrap();
        let replica = Replica::new(place.path(), &self.scratch(), &self.root()).unwrap();
        replica.fill(closure, &invocation.directory).unwrap();
        let prefix = replica.prefix(&invocation.directory);
        let remote = invocation.run(self.product, &self.scratch(), &prefix).unwrap();
        let text = |answer: &Answer| format!("{:?}: {}", answer.code, String::from_utf8_lossy(&answer.stderr));
        assert_eq!(text(&remote), text(local), "{line}: in the replica (left) and here (right)");
        assert!(remote.output == local.output, "{line}: another output in the replica");
        assert_eq!(remote.listed, local.listed, "{line}: another dependency file in the replica");
    }
}

/// The words of a line; single and double quotes group.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(open), character) if open == character => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}
