//! Contents of small outputs inside a result, for clients that ask for them.
//!
//! The digests stay, so a client that was refused an inline content reads the blob. What is inlined never makes an
//! answer larger than clients take.

use crate::blobs::BlobStore;
use bytes::Bytes;
use prost::Message as _;
use pumphouse_proto::digest::{Digest, DigestFunction};
use pumphouse_proto::limits::BATCH_SIZE_BYTES;
use pumphouse_proto::reapi::{self, ActionResult, ExecuteRequest, GetActionResultRequest};
use std::collections::HashSet;

/// Larger streams and files aren't inlined, so that a result doesn't cost what its client may not want.
const LARGEST_INLINE_SIZE_BYTES: u64 = 1024 * 1024;

/// What a client wants to have inlined.
#[derive(Debug, Clone, Default)]
pub(crate) struct InlineRequest {
    stdout: bool,
    stderr: bool,
    files: HashSet<String>,
}

impl From<&GetActionResultRequest> for InlineRequest {
    fn from(request: &GetActionResultRequest) -> Self {
        let files = request.inline_output_files.iter().cloned().collect();
        Self { stdout: request.inline_stdout, stderr: request.inline_stderr, files }
    }
}

impl From<&ExecuteRequest> for InlineRequest {
    fn from(request: &ExecuteRequest) -> Self {
        let files = request.inline_output_files.iter().cloned().collect();
        Self { stdout: request.inline_stdout, stderr: request.inline_stderr, files }
    }
}

impl InlineRequest {
    /// Puts contents into the result, whose digests are by `function`: the streams first, then files in their order, for as long as there is room.
    /// What can't be read is left out.
    pub(crate) async fn apply(&self, function: DigestFunction, result: &mut ActionResult, blobs: &dyn BlobStore) {
        let read = |digest: Option<&reapi::Digest>| digest.and_then(|digest| function.read(digest).ok());
        let mut room = BATCH_SIZE_BYTES.saturating_sub(result.encoded_len());
        if self.stdout && result.stdout_raw.is_empty() {
            result.stdout_raw = content(read(result.stdout_digest.as_ref()), &mut room, blobs).await;
        }
        if self.stderr && result.stderr_raw.is_empty() {
            result.stderr_raw = content(read(result.stderr_digest.as_ref()), &mut room, blobs).await;
        }
        for file in &mut result.output_files {
            if file.contents.is_empty() && self.files.contains(&file.path) {
                file.contents = content(read(file.digest.as_ref()), &mut room, blobs).await;
            }
        }
    }
}

/// Takes contents out of a result that is too large for an answer; their digests stay.
pub(crate) fn shrink(result: &mut ActionResult) {
    if result.encoded_len() <= BATCH_SIZE_BYTES {
        return;
    }
    for file in result.output_files.iter_mut().filter(|file| file.digest.is_some()) {
        file.contents.clear();
    }
    if result.stdout_digest.is_some() {
        result.stdout_raw.clear();
    }
    if result.stderr_digest.is_some() {
        result.stderr_raw.clear();
    }
}

async fn content(digest: Option<Digest>, room: &mut usize, blobs: &dyn BlobStore) -> Bytes {
    /// The tag and the length before the content.
    const FRAME: usize = 8;
    let Some(digest) = digest else { return Bytes::new() };
    let fits = digest.size_bytes() <= LARGEST_INLINE_SIZE_BYTES && digest.size_bytes() as usize + FRAME <= *room;
    if digest.is_empty() || !fits {
        return Bytes::new();
    }
    match blobs.get(digest).await {
        Ok(blob) => {
            *room -= blob.len() + FRAME;
            blob
        }
        Err(error) => {
            tracing::debug!(%digest, %error, "cannot inline an output");
            Bytes::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumphouse_proto::reapi::OutputFile;

    #[test]
    fn only_too_large_results_shrink() {
        let file = |size: usize| OutputFile {
            digest: Some(Digest::EMPTY.into()),
            contents: Bytes::from(vec![0; size]),
            ..OutputFile::default()
        };
        let check = |sizes: &[usize], expect: &[usize]| {
            let mut result = ActionResult {
                output_files: sizes.iter().map(|size| file(*size)).collect(),
                stdout_raw: Bytes::from_static(b"without a digest"),
                ..ActionResult::default()
            };
            shrink(&mut result);
            assert_eq!(result.output_files.iter().map(|file| file.contents.len()).collect::<Vec<_>>(), expect);
            assert!(!result.stdout_raw.is_empty());
        };
        check(&[1_000_000, 2_000_000], &[1_000_000, 2_000_000]);
        check(&[2_000_000, 2_500_000], &[0, 0]);
    }
}
