//! Bounded directories of content files: what the CAS and the action cache stand on.
//!
//! [`Directory`] keeps files that are named by hash, within a bound, and knows which are there without asking the disk;
//! [`Blobs`] adds that a file is what its name says. What is small shares files with others ([`packs`]). Both block: who calls them from a task does so on a thread for that.
//!
//! Everything that touches the file system goes through [`Volume`], so that the simulation can let it fail, lie full, be
//! torn and lose what was not synced, at any call.

mod blobs;
mod directory;
mod error;
#[cfg(test)]
mod fuzz;
mod index;
mod journal;
mod packs;
mod record;
mod space;
mod sum;
mod volume;

#[cfg(test)]
mod simulation;

pub use blobs::{Blobs, OpenBlob, Problem, Upload};
pub use directory::{Directory, Limits, Temporary};
pub use error::StorageError;
pub use record::{Entry, Key, Seal};
pub use space::Reservation;
pub use volume::{FileStat, SystemVolume, Temporaries, Volume, VolumeFile};
