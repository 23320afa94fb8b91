//! What an answer depends on, as far as it was looked for: how a run's looks are taken again later.
//!
//! A file counts by its stamp, a link by its own, a directory by what it is and not by what else is in it, unless its names
//! were read; an absence by the first name on its way that is missing, under the stamp of the directory that lacks it. So
//! neither a compile's outputs nor what other programs do in `/tmp` ends a memory, and hundreds of absences cost a `stat`
//! for each directory.
//!
//! It does not know which run looked, or what for.
//!
//! **Source:** `path_resolution(7)`; statx(2).

use super::shared::{Known, Lacking, Shared};
use super::{Looks, Outcome};
use crate::files::since::Since;
use crate::files::stamp::watch::Watch;
use crate::files::stamp::{FileSystem, Moment, Settled, Stamp};
use crate::files::vigil::Vigil;
use crate::files::walk::{Step, Way, walk};
use dashmap::DashMap;
use parking_lot::Mutex;
use pumphouse_proto::digest::Digest;
use rustix::fs::{AtFlags, CWD, FileType, StatxFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

/// How something is looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Told by the stamp of what the path leads to, or its absence.
    Content = 0,
    /// Told by the stamp of the link that it is.
    Link = 1,
    /// Told by the kind of thing that stands there: which one, and who may use it.
    Place = 2,
    /// Told by the names in it.
    Names = 3,
}

impl Role {
    /// The role with this number.
    pub(crate) fn numbered(number: u32) -> Option<Self> {
        [Self::Content, Self::Link, Self::Place, Self::Names].into_iter().find(|role| *role as u32 == number)
    }
}

/// A path was there when the run looked and is gone now, or the other way round.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} changed meanwhile", .0.display())]
pub(crate) struct Changed(pub(crate) PathBuf);

/// What is looked at again, growing. Paths in it are absolute and lead through no links.
#[derive(Debug, Default)]
pub(crate) struct Sights {
    watches: BTreeMap<(PathBuf, Role), Watch>,
    places: BTreeMap<PathBuf, Option<Identity>>,
    names: BTreeMap<PathBuf, Names>,
}

/// All that an answer depends on.
#[derive(Debug, Default)]
pub(crate) struct Validity {
    /// What stands where software is installed: it is looked at when something was told of there.
    installed: Looked,
    /// What is looked at each time.
    elsewhere: Looked,
    kept: Kept,
}

/// Up to which change of installed software a look is good, as [`Vigil`] counts them; 0 for none.
#[derive(Debug, Default)]
struct Kept {
    /// All is as it was at this one.
    stands_at: AtomicU64,
    /// The kernel does not tell of everything at this one.
    refused_at: AtomicU64,
}

/// What is looked at again, by kinds.
#[derive(Debug, Default)]
struct Looked {
    watches: Vec<Arc<Shared<Watch>>>,
    lacking: Vec<(Arc<Lacking>, u32)>,
    places: Vec<Arc<Shared<SeenIdentity>>>,
    names: Vec<(PathBuf, Mutex<Names>)>,
}

/// Device, inode, kind and permissions.
type Identity = (u32, u32, u64, u16);

/// A path with what stood there.
type SeenIdentity = (PathBuf, Option<Identity>);

/// The names in a directory, and the stamp under which they were read last; `None` where it can't be read.
#[derive(Debug, Clone)]
struct Names {
    digest: Option<Digest>,
    stamp: Option<Stamp>,
    settled: Settled,
}

impl Sights {
    /// Adds all looks of a run, and the ways to what they found.
    ///
    /// # Errors
    /// Where one of them would be answered otherwise by now.
    pub(crate) fn add(&mut self, looks: &Looks) -> Result<(), Changed> {
        for (path, outcome) in looks.iter() {
            let changed = || Changed(path.to_owned());
            match (self.walk(path), outcome) {
                (Way::Barred(at, _), _) => self.watch(&at),
                (Way::Missing(at), Outcome::Absent | Outcome::Denied) => self.watch(&at),
                // `file/` is no path of `file`.
                (Way::Leads(at, _), Outcome::Absent) if path.as_os_str().as_bytes().ends_with(b"/") => self.watch(&at),
                (Way::Missing(_), _) | (Way::Leads(..), Outcome::Absent) => return Err(changed()),
                (Way::Leads(at, FileType::Directory), Outcome::Listed) => {
                    self.names.entry(at).or_insert_with_key(|at| Names::of(at));
                }
                (Way::Leads(at, FileType::RegularFile), _) => self.watch(&at),
                (Way::Leads(at, _), _) => self.place(at),
            }
        }
        Ok(())
    }

    /// Whether every file and link stands as it did when a run began: what it read is what was looked at after it.
    ///
    /// # Errors
    /// One that has changed since `began`, or so shortly before that its stamp doesn't tell.
    pub(crate) fn stood_at(&self, began: Moment) -> Result<(), Changed> {
        let changed = self.watches.iter().find(|(_, watch)| !watch.stood_at(began));
        changed.map_or(Ok(()), |((path, _), _)| Err(Changed(path.clone())))
    }

    /// Adds what `path` leads to, by its stamp.
    pub(crate) fn watch(&mut self, path: &Path) {
        self.watches.entry((path.to_owned(), Role::Content)).or_insert_with(|| Watch::of(path));
    }

    /// Takes over those of the `watches` whose paths lead through no links, with the stamps that they have; the others are
    /// given back.
    pub(crate) fn take_over(&mut self, watches: &[Watch]) -> Vec<Watch> {
        let (own, others): (Vec<_>, Vec<_>) = watches
            .iter()
            .cloned()
            .partition(|watch| watch.path().canonicalize().is_ok_and(|path| path == watch.path()));
        self.watches.extend(own.into_iter().map(|watch| ((watch.path().to_owned(), Role::Content), watch)));
        others
    }

    /// Adds the link that `path` is.
    pub(crate) fn link(&mut self, path: &Path) {
        self.watches.entry((path.to_owned(), Role::Link)).or_insert_with(|| Watch::link(path));
    }

    fn place(&mut self, path: PathBuf) {
        self.places.entry(path).or_insert_with_key(|path| place(path));
    }

    /// Goes where an absolute path leads; notes the links on the way, and the directories that a `..` leaves.
    fn walk(&mut self, path: &Path) -> Way {
        walk(path, |step| match step {
            Step::Leave(directory) => self.place(directory.to_owned()),
            Step::Link(link) => self.link(link),
            Step::Follow(..) => {}
        })
    }

    /// Every path with its role, and a digest of what is there: equal digests mean that nothing changed.
    pub(crate) fn outline(&self) -> (Vec<(Role, PathBuf)>, Digest) {
        let mut outline: Vec<(Role, PathBuf)> = self.watches.keys().map(|(path, role)| (*role, path.clone())).collect();
        outline.extend(self.places.keys().map(|path| (Role::Place, path.clone())));
        outline.extend(self.names.keys().map(|path| (Role::Names, path.clone())));
        let stamps: Vec<_> = self.watches.values().map(Watch::stamp).collect();
        let names: Vec<_> = self.names.values().map(|names| names.digest).collect();
        let text = format!("{outline:?}{stamps:?}{:?}{names:?}", self.places.values());
        (outline, Digest::of(text.as_bytes()))
    }

    /// Looks at all that an outline names.
    pub(crate) fn again(outline: impl IntoIterator<Item = (Role, PathBuf)>) -> Self {
        let mut sights = Self::default();
        for (role, path) in outline {
            match role {
                Role::Content => sights.watch(&path),
                Role::Link => sights.link(&path),
                Role::Place => sights.place(path),
                Role::Names => drop(sights.names.entry(path).or_insert_with_key(|path| Names::of(path))),
            }
        }
        sights
    }

    /// Whether it can be kept on disk: the stamps will tell of each change for good.
    pub(crate) fn is_lasting(&self) -> bool {
        self.watches.values().all(Watch::is_lasting)
    }

    /// All of it, to be looked at again.
    pub(crate) fn finish(self) -> Validity {
        static PLACES: LazyLock<Known<PathBuf, SeenIdentity>> = LazyLock::new(DashMap::new);
        let standing = self.standing();
        let mut validity = Validity::default();
        for ((path, role), watch) in self.watches {
            let lacking = watch.stamp().is_none().then(|| Lacking::of(&path)).flatten();
            match lacking {
                Some((lacking, generation)) => {
                    let looked = validity.part(lacking.directory());
                    let known = looked.lacking.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &lacking));
                    match known {
                        // A name came meanwhile: the first one's generation is the one that counts.
                        Some((_, first)) => *first = (*first).min(generation),
                        None => looked.lacking.push((lacking, generation)),
                    }
                }
                None => {
                    let looked = validity.part(&path);
                    looked.watches.push(Shared::watch((path, role as u32), watch));
                }
            }
        }
        let places = self.places.into_iter().filter(|(path, place)| place.is_none() || !is_above(path, &standing));
        for (path, known) in places {
            let looked = validity.part(&path);
            looked.places.push(Shared::place(&PLACES, path, known, place));
        }
        for (path, names) in self.names {
            validity.part(&path).names.push((path, Mutex::new(names)));
        }
        validity
    }

    /// The paths of all that is there.
    fn standing(&self) -> BTreeSet<PathBuf> {
        let watches = self.watches.iter().filter(|(_, watch)| watch.stamp().is_some()).map(|((path, _), _)| path);
        let places = self.places.iter().filter(|(_, place)| place.is_some()).map(|(path, _)| path);
        watches.chain(places).chain(self.names.keys()).cloned().collect()
    }
}

/// Whether one of the `standing` paths is below `directory`: where that stands, so does the directory.
fn is_above(directory: &Path, standing: &BTreeSet<PathBuf>) -> bool {
    let mut next = standing.range::<Path, _>((Bound::Excluded(directory), Bound::Unbounded));
    next.next().is_some_and(|path| path.starts_with(directory))
}

impl Validity {
    /// Whether every look would be answered as it was. Costs a `stat` for each file, link and directory that nobody has looked
    /// at since `asked`; for those where software is installed only where the kernel told of a change there.
    pub(crate) fn holds(&self, asked: Since) -> bool {
        self.elsewhere.hold(asked) && self.installed_holds(asked, Vigil::over_installed())
    }

    /// The part to which `path` belongs.
    fn part(&mut self, path: &Path) -> &mut Looked {
        if Vigil::over_installed().covers(path) { &mut self.installed } else { &mut self.elsewhere }
    }

    fn installed_holds(&self, asked: Since, vigil: &Vigil) -> bool {
        let changes = vigil.changes(asked);
        if self.kept.stands_at.load(Ordering::Acquire) == changes {
            return true;
        }
        if self.kept.refused_at.load(Ordering::Acquire) == changes || !vigil.is_calm() {
            return self.installed.hold(asked);
        }
        // The watch begins before the look.
        let kept = vigil.keep(self.installed.paths());
        let asked = if kept.is_some() { Since::now() } else { asked };
        let holds = self.installed.hold(asked);
        match kept {
            Some(changes) if holds => self.kept.stands_at.store(changes, Ordering::Release),
            Some(_) => {}
            None => self.kept.refused_at.store(changes, Ordering::Release),
        }
        holds
    }
}

impl Looked {
    fn hold(&self, asked: Since) -> bool {
        self.watches.iter().all(|watch| watch.stands(asked, Watch::holds))
            && self.lacking.iter().all(|(lacking, generation)| lacking.still_lacks(*generation, asked))
            && self.places.iter().all(|known| known.stands(asked, |(path, known)| place(path) == *known))
            && self.names.iter().all(|(path, known)| still_names(path, known))
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let watches = self.watches.iter().map(|watch| watch.seen().path());
        let lacking = self.lacking.iter().map(|(lacking, _)| lacking.directory());
        let places = self.places.iter().map(|place| place.seen().0.as_path());
        watches.chain(lacking).chain(places).chain(self.names.iter().map(|(path, _)| path.as_path()))
    }
}

fn place(path: &Path) -> Option<Identity> {
    let wanted = StatxFlags::INO | StatxFlags::TYPE | StatxFlags::MODE;
    let stat = rustix::fs::statx(CWD, path, AtFlags::STATX_FORCE_SYNC, wanted).ok()?;
    Some((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino, stat.stx_mode))
}

impl Names {
    fn of(directory: &Path) -> Self {
        let moment = Moment::now();
        let stamp = Stamp::at(directory);
        let file_system = FileSystem::of(directory);
        let settled = stamp.map_or(Settled::No, |stamp| stamp.proof(file_system, moment));
        let settled = if file_system == FileSystem::Local { settled } else { Settled::No };
        let entries = std::fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let digest = entries.ok().map(|entries| {
            let mut names: Vec<_> = entries.iter().map(|entry| (entry.file_name(), entry.file_type().ok())).collect();
            names.sort_unstable_by(|one, other| one.0.cmp(&other.0));
            Digest::of(format!("{names:?}").as_bytes())
        });
        Self { digest, stamp, settled }
    }
}

/// Whether the names in `directory` are the same still: costs a `stat`, and reading them where its stamp isn't the same.
fn still_names(directory: &Path, known: &Mutex<Names>) -> bool {
    let mut known = known.lock();
    if known.settled.holds() && Stamp::at(directory) == known.stamp {
        return true;
    }
    let fresh = Names::of(directory);
    let is_same = fresh.digest == known.digest;
    if is_same {
        *known = fresh;
    }
    is_same
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Self {
            let tree = Self(tempfile::tempdir().expect("temporary directory"));
            fs::create_dir_all(tree.at("directory/deep")).expect("create");
            fs::write(tree.at("directory/file"), "one").expect("write");
            symlink("directory", tree.at("link")).expect("link");
            tree
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().canonicalize().expect("canonical").join(name)
        }

        fn look(&self, name: &str, outcome: Outcome) -> Validity {
            let mut looks = Looks::default();
            looks.note(self.at(name), outcome);
            // What has just been made has no stamp to trust yet.
            let begin = std::time::Instant::now();
            loop {
                let mut sights = Sights::default();
                sights.add(&looks).expect("unchanged");
                let validity = sights.finish();
                if validity.holds(Since::now()) {
                    return validity;
                }
                assert!(begin.elapsed() < std::time::Duration::from_secs(10), "never settles");
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn looks_end_with_what_they_found_and_with_nothing_else() {
        type Change = fn(&Tree);
        let beside: Change = |tree| fs::write(tree.at("directory/beside"), "").expect("write");
        let edit: Change = |tree| fs::write(tree.at("directory/file"), "two").expect("write");
        let appear: Change = |tree| fs::create_dir_all(tree.at("directory/absent/x")).expect("create");
        let retarget: Change = |tree| {
            fs::create_dir(tree.at("other")).expect("create");
            fs::remove_file(tree.at("link")).expect("remove");
            symlink("other", tree.at("link")).expect("link");
        };
        let replace: Change = |tree| {
            fs::rename(tree.at("directory"), tree.at("away")).expect("rename");
            fs::create_dir(tree.at("directory")).expect("create");
        };
        for (number, (name, outcome, change, holds)) in [
            ("directory", Outcome::Found, beside, true),
            ("directory", Outcome::Found, replace, false),
            ("directory", Outcome::Listed, beside, false),
            ("directory", Outcome::Listed, edit, true),
            ("directory/file", Outcome::Read, beside, true),
            ("directory/file", Outcome::Read, edit, false),
            ("directory/file", Outcome::Found, edit, false),
            ("directory/absent/deeper", Outcome::Absent, beside, true),
            ("directory/absent/deeper", Outcome::Absent, appear, false),
            ("link/absent", Outcome::Absent, beside, true),
            ("link/absent", Outcome::Absent, appear, false),
            ("link/absent", Outcome::Absent, retarget, false),
            ("directory/deep/../absent", Outcome::Absent, appear, false),
            ("directory/file/deeper", Outcome::Absent, beside, true),
        ]
        .into_iter()
        .enumerate()
        {
            let tree = Tree::new();
            let validity = tree.look(name, outcome);
            change(&tree);
            assert_eq!(validity.holds(Since::now()), holds, "{number}: {name} {outcome:?}");
            assert_eq!(validity.holds(Since::now()), holds, "{number}: {name} {outcome:?}, again");
        }
    }

    #[test]
    fn a_look_that_would_end_otherwise_by_now_is_noticed() {
        let tree = Tree::new();
        let add = |name: &str, outcome| {
            let mut looks = Looks::default();
            looks.note(tree.at(name), outcome);
            Sights::default().add(&looks)
        };
        assert_eq!(add("link/file", Outcome::Absent), Err(Changed(tree.at("link/file"))));
        assert_eq!(add("link/gone", Outcome::Read), Err(Changed(tree.at("link/gone"))));
    }

    #[test]
    fn an_outline_names_what_it_was_made_of() {
        let tree = Tree::new();
        let mut looks = Looks::default();
        for (name, outcome) in
            [("link/file", Outcome::Read), ("gone/x", Outcome::Absent), ("link", Outcome::Listed), ("", Outcome::Found)]
        {
            looks.note(tree.at(name), outcome);
        }
        let mut sights = Sights::default();
        sights.add(&looks).expect("unchanged");
        let (outline, digest) = sights.outline();
        assert_eq!(Sights::again(outline.clone()).outline(), (outline.clone(), digest));
        fs::create_dir(tree.at("gone")).expect("create");
        assert_ne!(Sights::again(outline.clone()).outline().1, digest);
        fs::remove_dir(tree.at("gone")).expect("remove");
        assert_eq!(Sights::again(outline.clone()).outline().1, digest);
        fs::write(tree.at("directory/more"), "").expect("write");
        assert_ne!(Sights::again(outline).outline().1, digest);
    }
}
