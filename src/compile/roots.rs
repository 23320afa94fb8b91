//! Input roots that were built before: the toolchain's entries once, and a closure's root by the closure itself.

use crate::fallback::Fallback;
use crate::input_root::{self, BuiltRoot, Entries};
use crate::outputs::Places;
use crate::scan::closure::Closure;
use crate::toolchain::Toolchain;
use dashmap::DashMap;
use pumphouse_proto::digest::Digest;
use std::sync::{Arc, Weak};

/// How many closures' roots are remembered; with more, those of closures that are gone are forgotten, or else all.
const ROOT_LIMIT: usize = 65_536;

/// How many toolchains' entries are remembered.
const TOOLCHAIN_LIMIT: usize = 256;

/// The memory.
#[derive(Debug, Default)]
pub(super) struct Roots {
    toolchains: DashMap<Digest, Arc<Entries>>,
    /// Digests of roots by the closure's address and the toolchain's identity. The weak reference keeps the address from being given to
    /// another closure.
    roots: DashMap<(usize, Digest), (Weak<Closure>, Digest)>,
}

impl Roots {
    /// The digest of the input root of these.
    ///
    /// # Errors
    /// As [`input_root::build`].
    pub(super) fn digest(
        &self,
        closure: &Arc<Closure>,
        toolchain: &Toolchain,
        places: &Places,
    ) -> Result<Digest, Fallback> {
        // Links and directories on the way to the outputs are rare, and then part of the root.
        if !places.symlinks.is_empty() || !places.directories.is_empty() {
            return Ok(input_root::build(&self.entries(closure, toolchain, places))?.digest);
        }
        let key = (Arc::as_ptr(closure).addr(), toolchain.identity);
        if let Some(known) = self.roots.get(&key).filter(|known| known.0.as_ptr() == Arc::as_ptr(closure)) {
            return Ok(known.1);
        }
        let digest = input_root::build(&self.entries(closure, toolchain, places))?.digest;
        if self.roots.len() >= ROOT_LIMIT {
            self.roots.retain(|_, (closure, _)| closure.strong_count() > 0);
            if self.roots.len() >= ROOT_LIMIT / 2 {
                self.roots.clear();
            }
        }
        self.roots.insert(key, (Arc::downgrade(closure), digest));
        Ok(digest)
    }

    /// The whole input root, and what is in it.
    ///
    /// # Errors
    /// As [`input_root::build`].
    pub(super) fn build(
        &self,
        closure: &Closure,
        toolchain: &Toolchain,
        places: &Places,
    ) -> Result<(BuiltRoot, Entries), Fallback> {
        let entries = self.entries(closure, toolchain, places);
        Ok((input_root::build(&entries)?, entries))
    }

    fn entries(&self, closure: &Closure, toolchain: &Toolchain, places: &Places) -> Entries {
        let known = self.toolchains.get(&toolchain.identity).map(|entries| Arc::clone(&entries));
        let tools = known.unwrap_or_else(|| {
            let entries = Arc::new(Entries::new(&toolchain.files, &toolchain.symlinks, &toolchain.directories));
            if self.toolchains.len() >= TOOLCHAIN_LIMIT {
                self.toolchains.clear();
            }
            self.toolchains.insert(toolchain.identity, Arc::clone(&entries));
            entries
        });
        let entries = tools.merged(&Entries::of_closure(closure));
        if places.symlinks.is_empty() && places.directories.is_empty() {
            return entries;
        }
        entries.merged(&Entries::new([], &places.symlinks, &places.directories))
    }
}
