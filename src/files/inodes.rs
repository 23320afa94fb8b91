//! How many of a store's files have an inode: compilers take two names of one inode for one file, so it counts when two files
//! of equal content become one, by a hard link or a mount.
//!
//! It holds at most as many entries as there are files.

use dashmap::DashMap;
use parking_lot::Mutex;
use std::sync::Arc;

/// Device and inode.
type Identity = (u64, u64);

/// The numbers of files, by their inode when they were seen last.
pub(super) type Inodes = DashMap<Identity, u32, foldhash::fast::RandomState>;

/// The inode of one file, as it was seen last.
#[derive(Debug)]
pub(super) struct Inode {
    all: Arc<Inodes>,
    seen: Mutex<Option<Identity>>,
}

impl Inode {
    /// That of a file that wasn't seen yet.
    pub(super) const fn new(all: Arc<Inodes>) -> Self {
        Self { all, seen: Mutex::new(None) }
    }

    /// Notes which one it is now; whether it has become that of another file as well.
    pub(super) fn note(&self, now: Identity) -> bool {
        let mut seen = self.seen.lock();
        if *seen == Some(now) {
            return false;
        }
        if let Some(before) = seen.replace(now) {
            self.all.alter(&before, |_, count| count - 1);
            self.all.remove_if(&before, |_, count| *count == 0);
        }
        let mut count = self.all.entry(now).or_default();
        *count += 1;
        *count > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_files_with_one_inode_are_noticed_by_the_later_one() {
        let all = Arc::new(Inodes::default());
        let [one, two] = [(); 2].map(|()| Inode::new(Arc::clone(&all)));
        assert!(!one.note((0, 1)) && !two.note((0, 2)));
        for _ in 0..2 {
            assert!(two.note((0, 1)) && !two.note((0, 1)));
            assert!(!two.note((0, 3)));
        }
        assert!(two.note((0, 1)) && !one.note((0, 4)));
        assert!(one.note((0, 1)));
        assert_eq!(all.len(), 1);
    }
}
