//! Makes a tree: the same header names in several directories, links of all kinds, and sources that include them.

use crate::random::Random;
use crate::text::Writer;
use pumphouse_tests::scan_oracle::tree::{Node, Tree};
use std::path::{Path, PathBuf};

/// The directories that headers are put in, from the tree's root. All names exist in the first.
pub(crate) const DIRECTORIES: &[&str] = &["base", "a", "b", "a/sub", "b/sub", "sub", "c d", "deep/er", "src", "gen"];

/// The names of headers; one includes those further down, so that most chains end.
pub(crate) const HEADERS: &[&str] = &[
    "h0.h", "h1.h", "sub/h2.h", "h3.h", "h4", "h 5.h", "sub/h6.h", "h7.h", "h#8$.h", "h9.h", "x~@%.h", "h10.h",
    "\u{e9}.h", "h11.h",
];

/// Headers whose names end in a number that a macro can compute.
pub(crate) const LEVELS: usize = 8;

/// Headers whose names differ in blanks alone, of which macros make one or another: a bit says whether one stands in a place.
pub(crate) fn blank_name(bits: usize) -> String {
    let blank = |place: usize| if bits >> place & 1 == 1 { " " } else { "" };
    format!("q{}({}a{}){}.h", blank(0), blank(1), blank(2), blank(3))
}

/// How many names [`blank_name`] makes.
pub(crate) const BLANK_NAMES: usize = 16;

/// The sources, from the tree's root.
pub(crate) const SOURCES: &[&str] = &["src/main.c", "src/unit.cc", "top.c", "a/sub/inner.c", "src/asm.S"];

/// A new tree whose root is known to its headers as `root`.
pub(crate) fn generate(random: &mut Random, root: &Path) -> Tree {
    let mut tree = Tree::default();
    for (index, name) in HEADERS.iter().enumerate() {
        tree.file(Path::new("base").join(name), header(random, root, index));
        for directory in &DIRECTORIES[1..] {
            if random.chance(18) {
                put_variant(random, &mut tree, root, &Path::new(directory).join(name), index);
            }
        }
    }
    for level in 0..LEVELS {
        tree.file(format!("base/lv{level}.h"), leaf(random, level));
    }
    for bits in 0..BLANK_NAMES {
        tree.file(format!("base/{}", blank_name(bits)), leaf(random, bits));
    }
    for directory in ["build", "empty"] {
        tree.directory(directory);
    }
    for (link, target) in [("la", "a"), ("lsub", "b/sub"), ("a/up", ".."), ("gen/lb", "../b"), ("lroot", ".")] {
        if random.chance(70) {
            tree.symlink(link, target);
        }
    }
    tree.file("base/prelude.h", Writer::new(random, root, HEADERS.len()).prelude_alone());
    tree.file("response", "-Ia -Ib/sub '-DM9=2' -Ic\\ d\n");
    for source in SOURCES {
        tree.file(*source, source_text(random, root, source));
    }
    tree
}

/// Another thing of the same name: mostly another text.
fn put_variant(random: &mut Random, tree: &mut Tree, root: &Path, path: &Path, index: usize) {
    let original = Path::new("base").join(HEADERS[index]);
    let depth = path.components().count() - 1;
    match random.below(12) {
        0 => {
            let mut target = PathBuf::from("../".repeat(depth));
            target.push(&original);
            tree.symlink(path, target);
        }
        1 => {
            tree.hard_link(path, original);
        }
        2 => {
            tree.directory(path);
        }
        3 => {
            tree.symlink(path, "nowhere");
        }
        4 => {
            // The same bytes as the original, as another file.
            if let Some(Node::File(bytes)) = tree.nodes.get(&original).cloned() {
                tree.file(path, bytes);
            }
        }
        5 => {
            tree.file(path, "");
        }
        _ => {
            tree.file(path, header(random, root, index));
        }
    }
}

/// The text of the header at `index` of the list.
pub(crate) fn header(random: &mut Random, root: &Path, index: usize) -> Vec<u8> {
    Writer::new(random, root, index + 1).header()
}

/// A small header that includes nothing.
pub(crate) fn leaf(random: &mut Random, level: usize) -> Vec<u8> {
    let other = random.below(10);
    format!("#undef M{other}\n#define M{other} {level}\nextern int lv{level}_{other};\n").into_bytes()
}

/// The text of a source.
pub(crate) fn source_text(random: &mut Random, root: &Path, name: &str) -> Vec<u8> {
    Writer::new(random, root, 0).source(Path::new(name).extension().is_some_and(|extension| extension == "S"))
}
