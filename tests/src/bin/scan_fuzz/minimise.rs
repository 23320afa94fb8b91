//! Makes a failing case small: drops files, arguments and lines as long as the same kind of failure stays.

use crate::judge::{Court, Depth, Wrong, stale};
use crate::tally::Tally;
use anyhow::Result;
use pumphouse_tests::scan_oracle::Scanner;
use pumphouse_tests::scan_oracle::compiler::Invocation;
use pumphouse_tests::scan_oracle::tree::{Node, Tree};
use std::path::Path;

/// A case that can be run again: for a stale answer with the tree that the scanner saw before.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) before: Option<Tree>,
    pub(crate) tree: Tree,
    pub(crate) invocation: Invocation,
}

/// How many attempts a case is worth.
const MAX_ATTEMPTS: usize = 1500;

/// The attempts at one case.
pub(crate) struct Minimiser<'a> {
    pub(crate) court: &'a Court,
    pub(crate) root: &'a Path,
    pub(crate) on_disk: Tree,
    pub(crate) attempts: usize,
}

impl Minimiser<'_> {
    /// Judges `case` from nothing.
    pub(crate) fn judge(&mut self, case: &Case) -> Result<Option<Wrong>> {
        self.attempts += 1;
        let scanner = Scanner::new();
        if let Some(before) = &case.before {
            self.put(before)?;
            let _ = scanner.scan(&case.invocation);
            self.put(&case.tree)?;
            if !case.invocation.directory.is_dir() {
                return Ok(None);
            }
            return Ok(stale(&scanner.scan(&case.invocation), &Scanner::new().scan(&case.invocation)));
        }
        self.put(&case.tree)?;
        if !case.invocation.directory.is_dir() {
            return Ok(None);
        }
        let depth = Depth { replica: true, object: true, fresh: false };
        self.court.judge(&scanner, &case.invocation, None, depth, &mut Tally::default())
    }

    fn put(&mut self, tree: &Tree) -> Result<()> {
        tree.write(self.root, &self.on_disk)?;
        self.on_disk = tree.clone();
        Ok(())
    }

    /// The smallest case found that is wrong in the way of `wrong`.
    pub(crate) fn minimise(&mut self, mut case: Case, wrong: &Wrong) -> Result<Case> {
        loop {
            let size = size(&case);
            self.drop_nodes(&mut case, wrong)?;
            self.drop_arguments(&mut case, wrong)?;
            self.drop_lines(&mut case, wrong)?;
            if crate::minimise::size(&case) == size || self.attempts > MAX_ATTEMPTS {
                return Ok(case);
            }
        }
    }

    /// Takes `smaller` for `case` if it is still wrong in the same way.
    fn attempt(&mut self, case: &mut Case, smaller: Case, wrong: &Wrong) -> Result<bool> {
        if self.attempts > MAX_ATTEMPTS {
            return Ok(false);
        }
        let same = self.judge(&smaller)?.is_some_and(|found| found.is_like(wrong));
        if same {
            *case = smaller;
        }
        Ok(same)
    }

    fn drop_nodes(&mut self, case: &mut Case, wrong: &Wrong) -> Result<()> {
        let mut paths: Vec<_> = case.tree.nodes.keys().cloned().collect();
        paths.extend(case.before.iter().flat_map(|tree| tree.nodes.keys().cloned()));
        paths.sort();
        paths.dedup();
        let mut step = paths.len().div_ceil(2);
        while step > 0 {
            for chunk in paths.clone().chunks(step) {
                let mut smaller = case.clone();
                for path in chunk {
                    smaller.tree.nodes.remove(path);
                    if let Some(before) = &mut smaller.before {
                        before.nodes.remove(path);
                    }
                }
                if self.attempt(case, smaller, wrong)? {
                    paths.retain(|path| !chunk.contains(path));
                }
            }
            step /= 2;
        }
        Ok(())
    }

    fn drop_arguments(&mut self, case: &mut Case, wrong: &Wrong) -> Result<()> {
        for width in [2, 1] {
            let mut index = 0;
            while index + width <= case.invocation.arguments.len() {
                let mut smaller = case.clone();
                smaller.invocation.arguments.drain(index..index + width);
                if !self.attempt(case, smaller, wrong)? {
                    index += 1;
                }
            }
        }
        if !case.invocation.environment.is_empty() {
            let mut smaller = case.clone();
            smaller.invocation.environment.clear();
            self.attempt(case, smaller, wrong)?;
        }
        Ok(())
    }

    fn drop_lines(&mut self, case: &mut Case, wrong: &Wrong) -> Result<()> {
        for is_before in [false, true] {
            let Some(tree) = (if is_before { case.before.as_ref() } else { Some(&case.tree) }) else { continue };
            let paths: Vec<_> = tree.nodes.keys().cloned().collect();
            for path in paths {
                self.drop_lines_of(case, wrong, &path, is_before)?;
            }
        }
        Ok(())
    }

    fn drop_lines_of(&mut self, case: &mut Case, wrong: &Wrong, path: &Path, is_before: bool) -> Result<()> {
        let text = |case: &Case| {
            let tree = if is_before { case.before.as_ref()? } else { &case.tree };
            match tree.nodes.get(path)? {
                Node::File(bytes) => {
                    Some(bytes.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>())
                }
                _ => None,
            }
        };
        let Some(lines) = text(case) else { return Ok(()) };
        let mut step = lines.len();
        while step > 0 {
            let mut start = 0;
            while let Some(lines) = text(case).filter(|lines| start < lines.len()) {
                let mut fewer = lines.clone();
                fewer.drain(start..(start + step).min(lines.len()));
                let mut smaller = case.clone();
                let other = if is_before {
                    smaller.tree.nodes.get_mut(path)
                } else {
                    smaller.before.as_mut().and_then(|tree| tree.nodes.get_mut(path))
                };
                // Where both trees have the same file, it stays the same.
                let (before, after) = (Node::File(lines.concat()), Node::File(fewer.concat()));
                if let Some(other) = other.filter(|other| **other == before) {
                    *other = after.clone();
                }
                let tree = if is_before { smaller.before.as_mut() } else { Some(&mut smaller.tree) };
                if let Some(tree) = tree {
                    tree.nodes.insert(path.to_owned(), after);
                }
                if !self.attempt(case, smaller, wrong)? {
                    start += step;
                }
            }
            step /= 2;
        }
        Ok(())
    }
}

fn size(case: &Case) -> usize {
    let tree = |tree: &Tree| {
        let node = |node: &Node| if let Node::File(bytes) = node { 1 + bytes.len() } else { 1 };
        tree.nodes.values().map(node).sum::<usize>()
    };
    tree(&case.tree)
        + case.before.as_ref().map_or(0, tree)
        + case.invocation.arguments.len()
        + case.invocation.environment.len()
}
