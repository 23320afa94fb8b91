//! Real compilers in a world that holds nothing but their toolchain and the files that they include.

use super::*;
use crate::scan::Scanner;
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Output;
use std::sync::{LazyLock, Weak};

fn understand(line: &str, directory: &Path, variables: &[(&str, &str)]) -> CompileCommand {
    let argv: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
    let mut environment: Vec<(OsString, OsString)> =
        variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    environment.push(("PATH".into(), "/nonexistent:/usr/bin:/bin".into()));
    crate::command::parse(&argv, directory, &environment).unwrap_or_else(|fallback| panic!("{line}: {fallback}"))
}

/// Copies of files by content, which worlds link to. (The originals are not linked: that would change their stamps.)
struct Store {
    directory: tempfile::TempDir,
}

impl Store {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("temporary directory") }
    }

    fn place(&self, file: &InputFile, place: &Path) {
        let mode = if file.is_executable { 0o555 } else { 0o444 };
        let kept = self.directory.path().join(format!("{}.{mode:o}", file.digest.hash_hex()));
        if !kept.exists() {
            let copy = tempfile::NamedTempFile::new_in(self.directory.path()).expect("temporary file");
            fs::copy(&file.path, copy.path()).expect("copy");
            assert_eq!(fs::metadata(copy.path()).expect("metadata").len(), file.digest.size_bytes());
            fs::set_permissions(copy.path(), PermissionsExt::from_mode(mode)).expect("chmod");
            copy.persist(&kept).expect("rename");
        }
        fs::create_dir_all(place.parent().expect("parent")).expect("create");
        if !place.exists() {
            fs::hard_link(&kept, place).expect("link");
        }
    }
}

/// What all tests of a run can have in common: compilers are large.
fn shared() -> (&'static Toolchains, Arc<Store>) {
    static TOOLCHAINS: LazyLock<Toolchains> = LazyLock::new(|| Toolchains::open(None));
    static STORE: Mutex<Weak<Store>> = Mutex::new(Weak::new());
    let mut kept = STORE.lock();
    let store = kept.upgrade().unwrap_or_else(|| Arc::new(Store::new()));
    *kept = Arc::downgrade(&store);
    (&TOOLCHAINS, store)
}

/// A root directory that contains a toolchain and what else a compile reads.
struct World<'a> {
    root: tempfile::TempDir,
    store: &'a Store,
}

impl<'a> World<'a> {
    fn new(toolchain: &Toolchain, store: &'a Store) -> Self {
        let root = tempfile::tempdir_in(store.directory.path()).expect("temporary directory");
        let world = Self { root, store };
        for directory in
            ["/tmp", "/proc"].map(Path::new).into_iter().chain(toolchain.directories.iter().map(AsRef::as_ref))
        {
            fs::create_dir_all(world.at(directory)).expect("create");
        }
        for file in &toolchain.files {
            store.place(file, &world.at(&file.path));
        }
        for (link, target) in &toolchain.symlinks {
            world.link(link, target);
        }
        world
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.root.path().join(path.strip_prefix("/").expect("absolute"))
    }

    fn link(&self, link: &Path, target: &Path) {
        let place = self.at(link);
        fs::create_dir_all(place.parent().expect("parent")).expect("create");
        match fs::read_link(&place) {
            Ok(present) => assert_eq!(present, target),
            Err(_) => symlink(target, &place).expect("link"),
        }
    }

    /// Adds what the scanner says that the compile reads.
    fn add_inputs(&self, command: &CompileCommand) {
        let closure = Scanner::open(None).scan(command).unwrap_or_else(|fallback| panic!("{fallback}"));
        for file in &closure.files {
            self.store.place(file, &self.at(&file.path));
        }
        for (link, target) in &closure.symlinks {
            self.link(link, target);
        }
        for directory in &closure.directories {
            fs::create_dir_all(self.at(directory)).expect("create");
        }
    }

    fn run(&self, command: &CompileCommand, toolchain: &Toolchain) -> Output {
        std::process::Command::new("/usr/bin/unshare")
            .args(["--user", "--map-root-user", "--mount", "--pid", "--fork"])
            .arg("--mount-proc=/proc")
            .arg(format!("--root={}", self.root.path().display()))
            .arg(format!("--wd={}", command.working_directory.display()))
            .arg(&command.program)
            .args(&command.arguments)
            .env_clear()
            .envs(command.environment.iter().chain(&toolchain.environment).map(|(name, value)| (name, value)))
            .output()
            .expect("install the Debian package util-linux")
    }
}

const C: &str = "#include <stdio.h>\n#include <stdint.h>\n#include <limits.h>\n\
    int unused_result(char *s) { int x; gets_s(s); return printf(\"%s %d\\n\", s, INT_MAX); }\n";
const CXX: &str = "#include <vector>\n#include <string>\n\
    std::string join(const std::vector<std::string> &v) { int unused; std::string s; for (auto &x : v) s += x; return s; }\n";
const ASM: &str = "#define NAME f\n\t.globl NAME\nNAME:\n\tret\n";

/// Compiles locally and in a world of nothing but its inputs, and compares every output and message.
fn check_isolated(toolchains: &Toolchains, store: &Store, line: &str, variables: &[(&str, &str)]) {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let base = scratch.path().canonicalize().expect("canonical");
    let freestanding = "#include <stddef.h>\n#include <stdarg.h>\nint f(size_t x) { int unused; return x + 1; }\n";
    for (name, text) in
        [("a.c", C), ("a.cc", CXX), ("a.S", ASM), ("a.s", "\t.globl f\nf:\n\tret\n"), ("b.c", freestanding)]
    {
        fs::write(base.join(name), text).expect("write");
    }
    symlink(".", base.join("self")).expect("link");
    let values: Vec<String> =
        variables.iter().map(|(_, value)| value.replace("BASE", base.to_str().expect("text"))).collect();
    let variables: Vec<(&str, &str)> =
        variables.iter().zip(&values).map(|((name, _), value)| (*name, value.as_str())).collect();
    let command = understand(line, &base, &variables);
    let toolchain = toolchains.of(&command).unwrap_or_else(|fallback| panic!("{line}: {fallback}"));
    let local = std::process::Command::new(&command.program)
        .args(&command.arguments)
        .current_dir(&base)
        .env_clear()
        .envs(command.tool_environment.iter().map(|(name, value)| (name, value)))
        .envs(command.environment.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("install the Debian packages gcc, g++, clang and gcc-aarch64-linux-gnu");
    assert!(local.status.success(), "{line}: {}", String::from_utf8_lossy(&local.stderr));
    let world = World::new(&toolchain, store);
    world.add_inputs(&command);
    let remote = world.run(&command, &toolchain);
    let (said, says) = (String::from_utf8_lossy(&local.stderr), String::from_utf8_lossy(&remote.stderr));
    assert_eq!(says, said, "{line}");
    assert_eq!(remote.status.code(), local.status.code(), "{line}");
    assert_eq!(remote.stdout, local.stdout, "{line}");
    for output in command.outputs.all() {
        let (one, other) = (fs::read(base.join(output)).ok(), fs::read(world.at(&base.join(output))).ok());
        assert!(
            one == other,
            "{line}: {} differs (written: {} and {})",
            output.display(),
            one.is_some(),
            other.is_some()
        );
    }
}

#[test]
fn compiles_in_a_world_without_a_compiler() {
    let (toolchains, store) = shared();
    for line in [
        "gcc -Wall -O2 -g -MD -c a.c -o a.o",
        "cc -Wall -O1 -gz -gsplit-dwarf -g -pg -fopenmp -fsanitize=address -c a.c",
        "gcc -Wall -flto -frandom-seed=1 -S a.c",
        "gcc -g -MMD -c a.S",
        "gcc -c a.s",
        "g++ -Wall -std=c++20 -O2 -g --coverage -frandom-seed=1 -MMD -MF deps -c a.cc",
        "clang -Wall -O2 -g -MD -c a.c",
        "clang -Wall -fsanitize=address,undefined -flto -c a.c",
        "clang -Wall -no-integrated-as -g -c a.c",
        "clang --target=aarch64-linux-gnu -no-integrated-as -Wall -ffreestanding -c b.c",
        "clang -c a.S",
        "clang++ -Wall -O1 -g -gsplit-dwarf -MD -c a.cc",
        "aarch64-linux-gnu-gcc -Wall -O2 -g -ffreestanding -c b.c",
    ] {
        check_isolated(toolchains, &store, line, &[]);
    }
}

/// Compilers in unusual places: a directory reached through a link, a copy outside its prefix, a relative path, a link of
/// another name.
#[test]
fn unusual_places() {
    let (toolchains, store) = shared();
    let scratch = tempfile::tempdir().expect("temporary directory");
    let base = scratch.path().canonicalize().expect("canonical");
    fs::create_dir_all(base.join("opt/links")).expect("create");
    symlink("/usr", base.join("opt/alias")).expect("link");
    symlink("../alias/bin/gcc", base.join("opt/links/my-compiler")).expect("link");
    let path = |name: &str| base.join(name).display().to_string();
    check_isolated(toolchains, &store, &format!("{} -Wall -g -MD -c a.c", path("opt/alias/bin/gcc")), &[]);
    check_isolated(toolchains, &store, &format!("{} -Wall -g -MD -c a.c", path("opt/alias/bin/clang")), &[]);
    check_isolated(toolchains, &store, &format!("{} -Wall -c a.c", path("opt/links/my-compiler")), &[]);
    // A copy of the driver finds its programs relative to itself.
    let target = "lib/gcc/x86_64-linux-gnu/12";
    for directory in ["bin", target] {
        fs::create_dir_all(base.join("moved").join(directory)).expect("create");
    }
    fs::copy("/usr/bin/gcc", base.join("moved/bin/gcc")).expect("copy");
    fs::copy(Path::new("/usr").join(target).join("cc1"), base.join("moved").join(target).join("cc1")).expect("copy");
    symlink(Path::new("/usr").join(target).join("include"), base.join("moved").join(target).join("include"))
        .expect("link");
    check_isolated(toolchains, &store, &format!("{} -Wall -g -MD -c a.c", path("moved/bin/gcc")), &[]);
    // Each compile has a scratch directory beside this one.
    let name = base.file_name().expect("a name").to_str().expect("text").to_owned();
    check_isolated(toolchains, &store, &format!("../{name}/moved/bin/gcc -Wall -g -MD -c a.c"), &[]);
}

/// A plugin and the library that it needs.
#[test]
fn plugins_travel_with_their_libraries() {
    let (toolchains, store) = shared();
    let scratch = tempfile::tempdir().expect("temporary directory");
    let base = scratch.path().canonicalize().expect("canonical");
    let write = |name: &str, text: &str| fs::write(base.join(name), text).expect("write");
    write("needed.c", "#include <stdio.h>\nvoid needed(void) { fputs(\"needed\\n\", stderr); }\n");
    write(
        "plugin.c",
        "int plugin_is_GPL_compatible;\nvoid needed(void);\nint plugin_init(void *i, void *v) { needed(); return 0; }\n",
    );
    let gcc = |arguments: &str| {
        let status = std::process::Command::new("/usr/bin/gcc")
            .args(arguments.split(' '))
            .current_dir(&base)
            .status()
            .expect("install the Debian package gcc");
        assert!(status.success(), "{arguments}");
    };
    gcc("-shared -fPIC needed.c -o libneeded.so");
    gcc("-shared -fPIC plugin.c -o plugin.so -L. -lneeded -Wl,-rpath,$ORIGIN");
    check_isolated(toolchains, &store, &format!("gcc -Wall -fplugin={} -c a.c", base.join("plugin.so").display()), &[]);
    // A library that only the user's own variable finds.
    gcc("-shared -fPIC plugin.c -o plugin.so -L. -lneeded");
    let line = format!("gcc -Wall -fplugin={} -c a.c", base.join("plugin.so").display());
    let directory = base.display().to_string();
    check_isolated(toolchains, &store, &line, &[("LD_LIBRARY_PATH", &directory)]);
}

/// The working directory's name in debug information is the one that the user came by.
#[test]
fn working_directories_keep_their_names() {
    let (toolchains, store) = shared();
    for compiler in ["gcc", "clang"] {
        check_isolated(toolchains, &store, &format!("{compiler} -g -c a.c"), &[("PWD", "BASE/self")]);
    }
}

#[test]
fn files_with_options_travel() {
    let (toolchains, store) = shared();
    let scratch = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| scratch.path().join(name).display().to_string();
    fs::write(path("pie.specs"), "*self_spec:\n+ %{!fno-pie:-fPIE}\n").expect("write");
    fs::write(path("flags.cfg"), "-O2\n-DCONFIGURED=1\n").expect("write");
    fs::write(path("more.specs"), "*cpp:\n+ -include limits.h\n\n").expect("write");
    fs::write(path("all.specs"), format!("%include <{}>\n\n*cc1:\n+ -fno-pie\n\n", path("more.specs"))).expect("write");
    fs::write(path("all.cfg"), format!("@more.cfg\n-include {}\n", path("own.h"))).expect("write");
    fs::write(path("more.cfg"), "-DMORE\n").expect("write");
    fs::write(path("own.h"), "#ifdef MORE\nint more;\n#endif\n").expect("write");
    for line in [
        format!("gcc -Wall -specs={} -c a.c", path("pie.specs")),
        format!("clang -Wall --config {} -c a.c", path("flags.cfg")),
        format!("gcc -Wall -g -specs={} -c a.c", path("all.specs")),
        format!("clang -Wall -g --config {} -c a.c", path("all.cfg")),
    ] {
        check_isolated(toolchains, &store, &line, &[]);
    }
}

/// Programs, specs and headers in a directory of `-B` travel, and what changes or appears there is noticed.
#[test]
fn tool_directories_travel() {
    let (toolchains, store) = shared();
    let scratch = tempfile::tempdir().expect("temporary directory");
    let base = scratch.path().canonicalize().expect("canonical");
    fs::create_dir_all(base.join("tools/x86_64-linux-gnu/12")).expect("create");
    let line = format!("gcc -Wall -B{}/tools -c a.c", base.display());
    let identity = || toolchains.of(&understand(&line, &base, &[])).expect("toolchain").identity;
    let mut known = vec![identity()];
    let mut changed = |what: &str| {
        let now = identity();
        assert!(!known.contains(&now), "{what}");
        known.push(now);
        check_isolated(toolchains, &store, &line, &[]);
    };
    // Another assembler: the same one, to which bytes were added.
    let assembler = fs::read("/usr/bin/as").expect("install the Debian package binutils");
    let write = |name: &str, surplus: &[u8]| {
        let place = base.join("tools").join(name);
        let _ = fs::remove_file(&place);
        fs::write(&place, [&assembler, surplus].concat()).expect("write");
        fs::set_permissions(&place, PermissionsExt::from_mode(0o755)).expect("chmod");
    };
    write("as", b"1");
    changed("an assembler that appears");
    write("as", b"2");
    changed("an assembler that is another one");
    write("x86_64-linux-gnu/12/as", b"3");
    changed("an assembler that appears before the other");
    fs::write(base.join("tools/specs"), "*cpp:\n+ -DSPECS -include limits.h\n\n").expect("write");
    changed("specs that appear");
    fs::write(base.join("tools/specs"), "*cpp:\n+ -DSPECS\n\n").expect("write");
    changed("specs that are others");
}

#[test]
fn messages_are_in_the_users_language() {
    let (toolchains, store) = shared();
    for locale in ["C.UTF-8", "C", "de_DE.UTF-8"] {
        check_isolated(toolchains, &store, "gcc -Wall -c a.c", &[("LANG", locale)]);
    }
}

#[test]
fn equal_toolchains_are_one() {
    let (toolchains, _) = shared();
    let of = |line: &str| toolchains.of(&understand(line, Path::new("/tmp"), &[])).expect(line);
    let gcc = of("gcc -c a.c");
    assert!(Arc::ptr_eq(&gcc, &of("gcc -c a.c")));
    assert!(Arc::ptr_eq(&gcc, &of("gcc -O2 -g -c b.c")));
    assert!(Arc::ptr_eq(&gcc, &of("gcc -c a.S")));
    assert_ne!(gcc.identity, of("g++ -c a.cc").identity);
    assert_ne!(gcc.identity, of("clang -c a.c").identity);
    let paths: HashSet<&str> = gcc.files.iter().filter_map(|file| file.path.to_str()).collect();
    assert!(paths.iter().any(|path| path.ends_with("/cc1")), "{paths:?}");
    assert!(paths.iter().any(|path| path.ends_with("-as")), "{paths:?}");
    assert!(gcc.files.is_sorted_by(|one, other| one.path < other.path));
    assert_eq!(gcc.environment, [("PATH".into(), "/usr/bin".into())]);
}

#[test]
fn changes_are_noticed() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let base = scratch.path().canonicalize().expect("canonical");
    fs::create_dir(base.join("bin")).expect("create");
    symlink("/usr/bin/gcc", base.join("bin/gcc")).expect("link");
    let toolchains = Toolchains::open(None);
    let line = format!("{}/bin/gcc -B{0}/tools -c a.c", base.display());
    let of = || toolchains.of(&understand(&line, &base, &[])).expect("toolchain");
    let before = of();
    assert!(Arc::ptr_eq(&before, &of()));
    // Another driver behind the same link.
    fs::remove_file(base.join("bin/gcc")).expect("remove");
    symlink("/usr/bin/gcc-12", base.join("bin/gcc")).expect("link");
    let after = of();
    assert_ne!(before.identity, after.identity);
}

#[test]
fn a_missing_program_is_a_reason() {
    let command = understand("gcc -c a.c", Path::new("/tmp"), &[]);
    let toolchains = Toolchains::open(None);
    let mut lost = command.clone();
    lost.tool_environment = vec![("PATH".into(), "/nonexistent".into())];
    let fallback = toolchains.of(&lost).expect_err("no assembler");
    assert_eq!(fallback.reason, Reason::Compiler);
    assert!(fallback.detail.contains("as not found in PATH"), "{fallback}");
    let mut lost = command;
    lost.compiler = "/nonexistent/gcc".into();
    assert_eq!(toolchains.of(&lost).expect_err("no compiler").reason, Reason::Compiler);
}
