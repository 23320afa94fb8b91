//! Inputs to the server's CAS: never asking twice about a blob that is known to be there, never sending one twice at a time.
//!
//! What the server said to have is believed for a while. Should it have dropped a blob by then, it says so when the action
//! is executed, and the caller has it [forgotten](Blobs::forget) and sent again.

use super::RemoteError;
use parking_lot::Mutex;
use pumphouse_proto::cas_client::{CasClient, Upload};
use pumphouse_proto::digest::Digest;
use quick_cache::sync::Cache;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tonic::Code;

/// How long a blob is believed to be where the server said it was.
const BELIEF: Duration = Duration::from_secs(5 * 60);

/// How many blobs are remembered.
const MEMORY_LIMIT: usize = 500_000;

/// How often a compile waits for another's upload of the same blob before it sends the blob itself.
const WAIT_LIMIT: usize = 3;

/// What is known of a server's CAS.
#[derive(Debug)]
pub(crate) struct Blobs {
    known: Cache<Digest, Instant>,
    // The receiver learns of the end when the sender is dropped.
    under_way: Mutex<HashMap<Digest, watch::Receiver<()>>>,
}

impl Default for Blobs {
    fn default() -> Self {
        Self { known: Cache::new(MEMORY_LIMIT), under_way: Mutex::default() }
    }
}

/// The blobs that one compile has taken on; others wait for them until this is dropped.
struct Claim<'a> {
    blobs: &'a Blobs,
    uploads: Vec<Upload>,
    _under_way: watch::Sender<()>,
}

impl Blobs {
    /// Forgets that `digests` are there.
    pub(crate) fn forget(&self, digests: &[Digest]) {
        for digest in digests {
            self.known.remove(digest);
        }
    }

    /// Makes the server have all of `uploads`, and gives the number of bytes that were sent. How many are to be sent is told
    /// to `announce` before.
    ///
    /// # Errors
    /// A call failed, or a file no longer has the content that was scanned.
    pub(crate) async fn ensure(
        &self,
        cas: &CasClient,
        mut uploads: Vec<Upload>,
        announce: &(impl Fn(u64) + Sync),
    ) -> Result<u64, RemoteError> {
        let mut sent = 0;
        for _ in 0..WAIT_LIMIT {
            uploads.retain(|upload| !self.is_known(&upload.digest));
            if uploads.is_empty() {
                return Ok(sent);
            }
            let (claim, waits) = self.claim(&uploads);
            if !claim.uploads.is_empty() {
                sent += self.upload(cas, claim.uploads.clone(), announce).await?;
            }
            drop(claim);
            for mut wait in waits {
                // The sender never sends; its end is the news.
                let _ = wait.changed().await;
            }
        }
        uploads.retain(|upload| !self.is_known(&upload.digest));
        Ok(sent + self.upload(cas, uploads, announce).await?)
    }

    /// Whether `digest` is known to be there.
    pub(crate) fn is_known(&self, digest: &Digest) -> bool {
        digest.is_empty() || self.known.get(digest).is_some_and(|since| since.elapsed() < BELIEF)
    }

    fn claim(&self, uploads: &[Upload]) -> (Claim<'_>, Vec<watch::Receiver<()>>) {
        let (sender, receiver) = watch::channel(());
        let mut claim = Claim { blobs: self, uploads: Vec::new(), _under_way: sender };
        let mut waits = Vec::new();
        let mut under_way = self.under_way.lock();
        for upload in uploads {
            match under_way.get(&upload.digest) {
                Some(other) if other.same_channel(&receiver) => {}
                Some(other) => {
                    if !waits.iter().any(|wait: &watch::Receiver<()>| wait.same_channel(other)) {
                        waits.push(other.clone());
                    }
                }
                None => {
                    under_way.insert(upload.digest, receiver.clone());
                    claim.uploads.push(upload.clone());
                }
            }
        }
        (claim, waits)
    }

    async fn upload(
        &self,
        cas: &CasClient,
        mut uploads: Vec<Upload>,
        announce: &(impl Fn(u64) + Sync),
    ) -> Result<u64, RemoteError> {
        let digests: Vec<Digest> = uploads.iter().map(|upload| upload.digest).collect();
        let missing = cas.find_missing(&digests).await.map_err(RemoteError::call("asking for missing inputs"))?;
        let missing: HashSet<Digest> = missing.into_iter().collect();
        uploads.retain(|upload| missing.contains(&upload.digest));
        announce(uploads.iter().map(|upload| upload.digest.size_bytes()).sum());
        let sent = cas.upload(uploads).await.map_err(|status| match status.code() {
            // The server compares what it gets with its name; what it gets is read from the file at that moment.
            Code::InvalidArgument => RemoteError::Changed(status.message().to_owned()),
            _ => RemoteError::call("uploading inputs")(status),
        })?;
        let now = Instant::now();
        for digest in digests {
            self.known.insert(digest, now);
        }
        Ok(sent)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut under_way = self.blobs.under_way.lock();
        for upload in &self.uploads {
            under_way.remove(&upload.digest);
        }
    }
}
