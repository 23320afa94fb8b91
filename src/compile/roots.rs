//! Input roots that were built before: the toolchain's entries once, and a closure's root by the closure itself.

use crate::fallback::Fallback;
use crate::input_root::{self, BuiltRoot, Entries};
use crate::outputs::OutputPaths;
use crate::scan::closure::Closure;
use crate::toolchain::Toolchain;
use pumphouse_proto::digest::Digest;
use quick_cache::sync::Cache;
use std::sync::{Arc, Weak};

/// How many closures' roots are remembered.
const ROOT_LIMIT: usize = 65_536;

/// How many toolchains' entries are remembered.
const TOOLCHAIN_LIMIT: usize = 256;

/// The memory.
#[derive(Debug)]
pub(super) struct Roots {
    toolchains: Cache<Digest, Arc<Entries>>,
    /// Digests of roots by the closure's address and the toolchain's identity. The weak reference keeps the address from
    /// being given to another closure.
    roots: Cache<(usize, Digest), (Weak<Closure>, Digest)>,
}

impl Default for Roots {
    fn default() -> Self {
        Self { toolchains: Cache::new(TOOLCHAIN_LIMIT), roots: Cache::new(ROOT_LIMIT) }
    }
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
        places: &OutputPaths,
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
        places: &OutputPaths,
    ) -> Result<(BuiltRoot, Entries), Fallback> {
        let entries = self.entries(closure, toolchain, places);
        Ok((input_root::build(&entries)?, entries))
    }

    fn entries(&self, closure: &Closure, toolchain: &Toolchain, places: &OutputPaths) -> Entries {
        let known = self.toolchains.get(&toolchain.identity);
        let tools = known.unwrap_or_else(|| {
            let entries = Arc::new(Entries::new(&toolchain.files, &toolchain.symlinks, &toolchain.directories));
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
