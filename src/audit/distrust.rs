//! What audits have found wrong: the actions whose results are never given again, and the toolchains whose results count
//! only if they are younger.
//!
//! A wrong result was made or found by a memory of what a compile reads or of its compiler, and others were by the same one.
//! That memory is forgotten; what the caches hold by it can't be told from the rest, so all results of the toolchain are
//! asked for under another name from then on. After a few wrong ones, its results are not given at all.
//!
//! Verdicts stand in the state directory, and so reach each daemon that shares it. It does not know how they are found.

use super::report;
use crate::files::stamp::watch::Watch;
use parking_lot::RwLock;
use pumphouse_proto::digest::Digest;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

/// After how many wrong results none of their toolchain is given any more.
const WRONG_LIMIT: usize = 3;

/// How far a result is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trust {
    /// As any other.
    Whole,
    /// Only one that is stored under an action with this salt.
    Since(Vec<u8>),
    /// Not at all.
    Never,
}

/// The verdicts of all daemons that share a state directory.
#[derive(Debug)]
pub(crate) struct Distrust {
    state: PathBuf,
    known: RwLock<Known>,
}

#[derive(Debug)]
struct Known {
    watch: Watch,
    actions: HashSet<String>,
    /// By a toolchain's identity, the actions that were wrong.
    toolchains: BTreeMap<String, BTreeSet<String>>,
    /// Actions with their toolchains that were found here, whether they could be written down or not.
    own: Vec<(String, String)>,
}

impl Known {
    fn read(state: &Path, own: Vec<(String, String)>) -> Self {
        // First, so that what comes meanwhile is seen the next time.
        let watch = Watch::of(&report::directory(state));
        let mut known = Self { watch, actions: HashSet::new(), toolchains: BTreeMap::new(), own };
        for (action, toolchain) in report::verdicts(state).chain(known.own.clone()) {
            if let Some(toolchain) = toolchain_of(toolchain) {
                known.toolchains.entry(toolchain).or_default().insert(action.clone());
            }
            known.actions.insert(action);
        }
        known
    }
}

/// A report may not tell of it: an older program wrote none.
fn toolchain_of(written: String) -> Option<String> {
    Some(written).filter(|toolchain| !toolchain.is_empty())
}

impl Distrust {
    /// What is known in `state`.
    pub(crate) fn open(state: &Path) -> Self {
        Self { state: state.to_owned(), known: RwLock::new(Known::read(state, Vec::new())) }
    }

    /// Takes notice of what other daemons found; whether there is something new. Costs a `stat` where there is nothing.
    pub(crate) fn heed(&self) -> bool {
        if self.known.read().watch.holds() {
            return false;
        }
        let mut known = self.known.write();
        let fresh = Known::read(&self.state, std::mem::take(&mut known.own));
        let is_worse = !fresh.actions.is_subset(&known.actions);
        *known = fresh;
        is_worse
    }

    /// Notes that a result of `action` was wrong, which `toolchain` had made.
    pub(crate) fn add(&self, action: &Digest, toolchain: &Digest) {
        let mut known = self.known.write();
        let mut own = std::mem::take(&mut known.own);
        own.push((action.hash_hex(), toolchain.hash_hex()));
        *known = Known::read(&self.state, own);
    }

    /// How far a result of `action` by `toolchain` is believed.
    pub(crate) fn trust(&self, action: &Digest, toolchain: &Digest) -> Trust {
        let known = self.known.read();
        if known.actions.is_empty() {
            return Trust::Whole;
        }
        if known.actions.contains(&action.hash_hex()) {
            return Trust::Never;
        }
        match known.toolchains.get(&toolchain.hash_hex()) {
            None => Trust::Whole,
            Some(wrong) if wrong.len() >= WRONG_LIMIT => Trust::Never,
            Some(wrong) => Trust::Since(wrong.iter().flat_map(|action| action.bytes()).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_reaches_those_who_share_the_directory_and_ends_with_its_report() {
        let state = tempfile::tempdir().expect("temporary directory");
        let [here, there] = [(); 2].map(|()| Distrust::open(state.path()));
        let [one, two, three, four] = ["1", "2", "3", "4"].map(|text| Digest::of(text.as_bytes()));
        let tools = Digest::of(b"tools");
        assert!(!there.heed() && there.trust(&one, &tools) == Trust::Whole);
        report::begin(state.path(), &one, &tools).expect("written");
        assert!(there.heed() && !there.heed());
        assert!(here.heed());
        let first = here.trust(&two, &tools);
        assert!(matches!(first, Trust::Since(_)));
        for distrust in [&here, &there] {
            assert_eq!(distrust.trust(&one, &tools), Trust::Never);
            assert_eq!(distrust.trust(&two, &tools), first);
            assert_eq!(distrust.trust(&two, &one), Trust::Whole);
        }
        report::begin(state.path(), &two, &tools).expect("written");
        assert!(here.heed() && here.trust(&four, &tools) != first);
        // What can't be written down counts here still.
        here.add(&three, &tools);
        assert_eq!(here.trust(&four, &tools), Trust::Never);
        std::fs::remove_dir_all(report::directory(state.path())).expect("removed");
        assert!(!there.heed() && there.trust(&one, &tools) == Trust::Whole);
        assert!(!here.heed() && here.trust(&three, &tools) == Trust::Never && here.trust(&one, &tools) != Trust::Never);
    }
}
