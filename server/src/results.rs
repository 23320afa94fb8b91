//! What is remembered under keys: results of actions, and what stands for a name, for a blob's chunks and for an address.
//!
//! All of it has the shape of an `ActionResult`: the blobs and directories that have to be there for it to mean anything. A store
//! doesn't look for them; that is [`ActionCache`](crate::action_cache::ActionCache)'s business, which may then drop what it
//! got. Whoever stores in bytes uses one form for all stores, which names its key, so that nothing is ever taken for another's.

pub mod disk;
mod encoding;
pub mod memory;

#[cfg(test)]
mod contract;

use crate::blobs::StoreError;
use crate::scheduler::ActionKey;
use async_trait::async_trait;
use pumphouse_proto::digest::{Digest, DigestFunction};
use pumphouse_proto::reapi::ActionResult;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// What something is remembered under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ResultKey {
    /// An action of an instance.
    Action(ActionKey),
    /// The action of an instance that has a hash, of whatever size: plain HTTP names actions so. Stands for the same as
    /// [`Self::Action`] with that hash.
    ActionHash {
        /// The instance.
        instance_name: Arc<str>,
        /// The action's SHA-256.
        hash: [u8; 32],
    },
    /// A name that somebody chose.
    Name(Arc<str>),
    /// A blob whose chunks are listed.
    Chunks(Digest),
    /// The digest of an address with all that belongs to it.
    Asset(Digest),
}

/// A store of results. Of two that are stored under one key at a time either may stay.
#[async_trait]
pub trait ResultStore: Send + Sync + 'static {
    /// What was stored last under the key; `None` where nothing was, or it had to make room, or has been damaged.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Broken`].
    async fn get(&self, key: &ResultKey) -> Result<Option<Arc<ActionResult>>, StoreError>;

    /// Stores a result in place of an earlier one.
    ///
    /// # Errors
    /// There is no room, or as [`Self::get`].
    async fn put(&self, key: &ResultKey, result: Arc<ActionResult>) -> Result<(), StoreError>;

    /// Forgets what is stored under the key, if anything is.
    ///
    /// # Errors
    /// As [`Self::get`].
    async fn remove(&self, key: &ResultKey) -> Result<(), StoreError>;

    /// The bytes of all that is stored, and the number of results.
    fn size(&self) -> (u64, usize);
}

/// What stands for the size of an action that came without: no action has it.
const UNKNOWN_SIZE_BYTES: u64 = 0;

/// How a result is named in a store.
type RecordName = [u8; 32];

impl ResultKey {
    /// What tells equal digests apart: an instance, or what no client can name, since names with control characters are refused
    /// where clients give them.
    fn scope(&self) -> &str {
        match self {
            Self::Action(ActionKey { instance_name, .. }) | Self::ActionHash { instance_name, .. } => instance_name,
            Self::Name(_) => "\0names",
            Self::Chunks(_) => "\0chunks",
            Self::Asset(_) => "\0assets",
        }
    }

    /// The function by which the digests in the result are made.
    pub(crate) fn function(&self) -> DigestFunction {
        self.digest().function()
    }

    fn digest(&self) -> Digest {
        match self {
            Self::Action(action) => action.digest,
            Self::ActionHash { hash, .. } => Digest::new(*hash, UNKNOWN_SIZE_BYTES),
            Self::Name(name) => Digest::of(name.as_bytes()),
            Self::Chunks(digest) | Self::Asset(digest) => *digest,
        }
    }

    /// The name of what is stored under this key. Nobody can find a key in his own instance that has the name of another one's.
    fn record_name(&self) -> RecordName {
        let mut hasher = Sha256::new();
        hasher.update(self.digest().hash());
        if let Some(function) = self.function().segment() {
            hasher.update(function);
            // No scope holds it behind its first byte.
            hasher.update([0]);
        }
        hasher.update(self.scope().as_bytes());
        hasher.finalize().into()
    }

    /// Whether what was stored under `stored` is what is asked for with this key.
    fn is_met_by(&self, stored: &Self) -> bool {
        match (self, stored) {
            (Self::Action(_), Self::ActionHash { .. }) | (Self::ActionHash { .. }, Self::Action(_)) => {
                let parts = |key: &Self| (key.function(), *key.digest().hash());
                self.scope() == stored.scope() && parts(self) == parts(stored)
            }
            _ => self == stored,
        }
    }
}

/// A result, and what it was stored under.
#[derive(Debug, Clone)]
struct Stored {
    key: ResultKey,
    result: Arc<ActionResult>,
}

impl Stored {
    /// The result, if it is what is asked for.
    fn answer(self, key: &ResultKey) -> Option<Arc<ActionResult>> {
        key.is_met_by(&self.key).then_some(self.result)
    }
}
