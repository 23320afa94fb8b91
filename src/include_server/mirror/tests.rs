//! What the names of a mirror promise to a client that remembers them.

use super::*;

/// A mirror in a directory of its own: cleaning out takes all that are this process's.
fn mirror() -> (tempfile::TempDir, Mirror) {
    let parent = tempfile::tempdir_in("/tmp").expect("temporary directory");
    let roots = ClientRoots::new(Some(parent.path().as_os_str())).expect("usable");
    (parent, Mirror::new(roots).expect("a mirror"))
}

fn input(path: &Path) -> InputFile {
    let digest = Digest::of(&std::fs::read(path).expect("read"));
    InputFile { path: path.into(), digest, is_executable: false }
}

/// What a client sends of a copy.
fn sent(copy: &[u8]) -> Vec<u8> {
    let compressed = std::fs::read(Path::new(OsStr::from_bytes(copy))).expect("read");
    let mut content = vec![0; 1 << 16];
    let length = lzokay::decompress::decompress(&compressed, &mut content).expect("valid");
    content.truncate(length);
    content
}

/// The copy's name without its root.
fn name(copy: &[u8]) -> String {
    let copy = std::str::from_utf8(copy).expect("UTF-8");
    copy.match_indices('/').nth(3).map(|(at, _)| copy[at..].to_owned()).expect("a root of three components")
}

#[test]
fn what_was_told_never_changes() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("a.h");
    let (_parent, mirror) = mirror();
    let mut copies = Vec::new();
    for round in 0..MAX_ROOTS {
        let content = format!("int round_{round};\n");
        std::fs::write(&path, &content).expect("write");
        let copy = mirror.file(&input(&path), None).expect("a copy");
        assert!(copy.is_new);
        assert_eq!(name(&copy.path), format!("{}.lzo", path.display()));
        assert!(!mirror.file(&input(&path), None).expect("a copy").is_new);
        copies.push((copy, content));
    }
    for (copy, content) in &copies {
        assert_eq!(sent(&copy.path), content.as_bytes());
    }
    // An older content is still there.
    std::fs::write(&path, &copies[3].1).expect("write");
    assert_eq!(mirror.file(&input(&path), None).expect("a copy").path, copies[3].0.path);
    // Past the limit all are given up, and can still be read.
    std::fs::write(&path, "int last;\n").expect("write");
    let last = mirror.file(&input(&path), None).expect("a copy");
    assert_eq!(sent(&last.path), b"int last;\n");
    assert_eq!(sent(&copies[0].0.path), copies[0].1.as_bytes());
    mirror.flush().expect("flushed");
    assert!(!Path::new(OsStr::from_bytes(&copies[0].0.path)).exists());
    assert!(mirror.is_intact());
    mirror.clean_out();
    assert!(!mirror.is_intact());
}

#[test]
fn names() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("a.h");
    let (_parent, mirror) = mirror();
    std::fs::write(&path, b"\xef\xbb\xbfint a;\n").expect("write");
    let plain = mirror.file(&input(&path), None).expect("a copy");
    assert_eq!(sent(&plain.path), b"\xef\xbb\xbfint a;\n");
    for named in ["/x/a.h", "/y/\"\\.h"] {
        let copy = mirror.file(&input(&path), Some(named.as_bytes())).expect("a copy");
        assert_eq!(name(&copy.path), format!("{}.lzo.abs", path.display()));
        let escaped = named.replace('\\', "\\\\").replace('"', "\\\"");
        assert_eq!(sent(&copy.path), format!("#line 1 \"{escaped}\"\nint a;\n").as_bytes());
    }
    mirror.clean_out();
}

#[test]
fn nothing_is_written_through_a_link() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let real = directory.path().join("real");
    std::fs::create_dir(&real).expect("create");
    let (_parent, mirror) = mirror();
    let place: Arc<Path> = directory.path().join("place").into();
    mirror.symlink(&place, &Arc::from(real.as_path())).expect("a link");
    // The link becomes a directory on the client.
    let file = place.join("a.h");
    std::fs::create_dir(&place).expect("create");
    std::fs::write(&file, "int a;\n").expect("write");
    let copy = mirror.file(&input(&file), None).expect("a copy");
    assert_eq!(sent(&copy.path), b"int a;\n");
    assert_eq!(std::fs::read_dir(&real).expect("list").count(), 0);
    // And a link again, to another target.
    let again = mirror.symlink(&place, &Arc::from(Path::new("other"))).expect("a link");
    assert_eq!(std::fs::read_link(OsStr::from_bytes(&again)).expect("a link"), Path::new("other"));
    assert_eq!(again, mirror.symlink(&place, &Arc::from(Path::new("other"))).expect("a link"));
    let empty = mirror.placeholder(&place).expect("a placeholder");
    assert_eq!(name(&empty), format!("{}/{PLACEHOLDER}", place.display()));
    assert_eq!(std::fs::metadata(OsStr::from_bytes(&empty)).expect("stat").len(), 0);
    mirror.clean_out();
}

#[test]
fn refusals() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("a.h");
    std::fs::write(&path, "int a;\n").expect("write");
    let before = input(&path);
    std::fs::write(&path, "int b;\n").expect("write");
    let (_parent, mirror) = mirror();
    let check = |result: Result<Copy, MirrorError>, expect: &str| {
        let error = result.expect_err("refused").to_string();
        assert_eq!(error, format!("{}{expect}", path.display()));
    };
    check(mirror.file(&before, None), " changed while it was read");
    std::fs::remove_file(&path).expect("remove");
    check(mirror.file(&before, None), " changed while it was read");
    let link: Arc<Path> = Path::new("/x/a.abs").into();
    let error = mirror.symlink(&link, &link).expect_err("refused").to_string();
    assert_eq!(error, "/x/a.abs: distcc's client doesn't send a symbolic link whose name ends like this");
    mirror.clean_out();
}

#[test]
fn once_only() {
    for (text, expect) in [
        ("#pragma once\n", true),
        ("#  pragma \t once\n", true),
        ("_Pragma(\"once\")", true),
        ("#import <a.h>\n", true),
        ("#pragma pack(1)\n", false),
        ("", false),
    ] {
        assert_eq!(is_once_only(text.as_bytes()), expect, "{text}");
    }
}
