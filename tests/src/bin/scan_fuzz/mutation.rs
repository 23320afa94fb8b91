//! Changes a tree as people and builds do between two compiles: edits, deletions, headers that appear and shadow others.

use crate::random::Random;
use crate::world::{self, DIRECTORIES, HEADERS, SOURCES};
use pumphouse_tests::scan_oracle::tree::{Node, Tree};
use std::path::{Path, PathBuf};

/// Makes one to four changes.
pub(crate) fn mutate(random: &mut Random, root: &Path, tree: &mut Tree) {
    for _ in 0..=random.below(4) {
        mutate_once(random, root, tree);
    }
}

fn mutate_once(random: &mut Random, root: &Path, tree: &mut Tree) {
    let index = random.below(HEADERS.len());
    let anywhere = Path::new(random.pick(DIRECTORIES)).join(HEADERS[index]);
    let existing = existing(random, tree);
    match random.below(14) {
        0..3 => {
            tree.file(anywhere, world::header(random, root, index));
        }
        3 | 4 => edit_in_place(random, tree, &existing),
        5 if !existing.starts_with("base") && !SOURCES.iter().any(|source| existing.ends_with(source)) => {
            tree.nodes.remove(&existing);
        }
        6 => {
            tree.nodes.remove(&anywhere);
            tree.directory(anywhere);
        }
        7 => {
            let target =
                PathBuf::from("../".repeat(anywhere.components().count() - 1)).join("base").join(HEADERS[index]);
            tree.symlink(anywhere, target);
        }
        8 => {
            let source = random.pick(SOURCES);
            tree.file(source, world::source_text(random, root, source));
        }
        9 => move_elsewhere(random, tree, &existing),
        10 => {
            let (link, target) =
                *random.pick(&[&("la", "b"), &("la", "a"), &("lsub", "sub"), &("lsub", "b/sub"), &("gen/lb", "../a")]);
            tree.symlink(link, target);
        }
        11 => {
            // A directory gives way to a link to another one.
            let below: Vec<_> = tree.nodes.keys().filter(|path| path.starts_with("gen")).cloned().collect();
            for path in below {
                tree.nodes.remove(&path);
            }
            tree.symlink("gen", random.pick(&["a", "b", "nowhere"]));
        }
        12 => {
            tree.hard_link(anywhere, Path::new("base").join(HEADERS[(index + 1).min(HEADERS.len() - 1)]));
        }
        _ => {
            if let Some(Node::File(bytes)) = tree.nodes.get_mut(&existing) {
                bytes.extend(b"\n#undef M1\n#define M1 5\n");
            }
        }
    }
    // Below a link there is nothing of its own.
    let links: Vec<PathBuf> =
        tree.nodes.iter().filter(|(_, node)| !matches!(node, Node::Directory)).map(|(path, _)| path.clone()).collect();
    tree.nodes.retain(|path, _| !links.iter().any(|link| path != link && path.starts_with(link)));
    let lost: Vec<PathBuf> = tree
        .nodes
        .iter()
        .filter(|(_, node)| matches!(node, Node::HardLink(original) if !matches!(tree.nodes.get(original), Some(Node::File(_)))))
        .map(|(path, _)| path.clone())
        .collect();
    for path in lost {
        tree.nodes.remove(&path);
    }
}

/// A header file or link that is there.
fn existing(random: &mut Random, tree: &Tree) -> PathBuf {
    let files: Vec<&PathBuf> =
        tree.nodes.iter().filter(|(_, node)| !matches!(node, Node::Directory)).map(|(path, _)| path).collect();
    files[random.below(files.len())].clone()
}

/// Changes one digit: the size stays, and with luck the time stamp does. Not one in a header's name, lest one includes itself.
fn edit_in_place(random: &mut Random, tree: &mut Tree, path: &Path) {
    if let Some(Node::File(bytes)) = tree.nodes.get_mut(path) {
        let is_free = |index: usize| {
            bytes[index].is_ascii_digit() && (index == 0 || !b"hv0123456789".contains(&bytes[index - 1]))
        };
        let digits: Vec<usize> = (0..bytes.len()).filter(|&index| is_free(index)).collect();
        if !digits.is_empty() {
            let index = digits[random.below(digits.len())];
            bytes[index] = b'0' + (bytes[index] - b'0' + 1) % 4;
        }
    }
}

/// Renames a header into another directory. Its name stays, lest headers include each other without end.
fn move_elsewhere(random: &mut Random, tree: &mut Tree, from: &Path) {
    let Some(name) = HEADERS.iter().find(|name| from.ends_with(name)) else { return };
    if from.starts_with("base") {
        return;
    }
    if let Some(node) = tree.nodes.remove(from) {
        tree.nodes.insert(Path::new(random.pick(DIRECTORIES)).join(name), node);
    }
}
