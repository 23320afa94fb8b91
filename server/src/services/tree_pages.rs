//! A tree's directories, breadth first, each once, in pages.
//!
//! A page's token is the number of directories before it, so any server with the same blobs can go on. Directories
//! that are missing are left out, as the API says; a missing root is an error.

use super::AnswerStream;
use crate::blobs::tree::{DIRECTORIES_PER_TREE, TreeError, fitting};
use crate::blobs::{BlobStore, StoreError};
use futures::stream::{self, StreamExt as _};
use prost::Message;
use pumphouse_proto::digest::{Digest, DigestFunction};
use pumphouse_proto::limits::{BATCH_SIZE_BYTES, METADATA_BLOB_SIZE_BYTES};
use pumphouse_proto::reapi::{Directory, GetTreeResponse};
use pumphouse_proto::tree;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use tonic::Status;

/// How many directories a page has where the client doesn't say, and at most.
const DIRECTORIES_PER_PAGE: usize = 1000;

/// The walk over a tree.
pub(super) struct TreePages {
    blobs: Arc<dyn BlobStore>,
    /// Not read yet.
    waiting: VecDeque<Digest>,
    seen: HashSet<Digest>,
    /// Read, not sent yet.
    ready: VecDeque<Directory>,
    page_size: usize,
    sent: usize,
    is_done: bool,
}

impl TreePages {
    /// Reads the root and goes to the page that the token names.
    pub(super) async fn begin(
        blobs: &Arc<dyn BlobStore>,
        root: Digest,
        page_size: i32,
        page_token: &str,
    ) -> Result<Self, Status> {
        let page_size =
            usize::try_from(page_size).map_err(|_| Status::invalid_argument("page_size: must not be negative"))?;
        let page_size = if page_size == 0 { DIRECTORIES_PER_PAGE } else { page_size.min(DIRECTORIES_PER_PAGE) };
        let skip = if page_token.is_empty() { Ok(0) } else { page_token.parse::<usize>() };
        let skip =
            skip.map_err(|_| Status::invalid_argument(format!("page_token: {page_token:?} is not one of ours")))?;
        check_size(root)?;
        let first = tree::decode(root, blobs.get(root).await?)?;
        let mut pages = Self {
            blobs: Arc::clone(blobs),
            waiting: VecDeque::new(),
            seen: HashSet::from([root]),
            ready: VecDeque::new(),
            page_size,
            sent: 0,
            is_done: false,
        };
        pages.found(root.function(), first)?;
        while pages.sent < skip && pages.more().await? {
            pages.ready.pop_front();
            pages.sent += 1;
        }
        Ok(pages)
    }

    /// The pages from here on.
    pub(super) fn into_stream(self) -> AnswerStream<GetTreeResponse> {
        stream::try_unfold(self, |mut pages| async {
            if pages.is_done {
                return Ok(None);
            }
            Ok(Some((pages.page().await?, pages)))
        })
        .boxed()
    }

    async fn page(&mut self) -> Result<GetTreeResponse, Status> {
        let mut page = GetTreeResponse::default();
        let mut size = 0;
        while page.directories.len() < self.page_size && self.more().await? {
            let next = self.ready.front().map_or(0, Message::encoded_len);
            if size > 0 && size + next > BATCH_SIZE_BYTES {
                break;
            }
            size += next;
            page.directories.extend(self.ready.pop_front());
            self.sent += 1;
        }
        if self.more().await? {
            page.next_page_token = self.sent.to_string();
        } else {
            self.is_done = true;
        }
        Ok(page)
    }

    /// Whether there is a further directory; it is read then.
    async fn more(&mut self) -> Result<bool, Status> {
        while self.ready.is_empty() && !self.waiting.is_empty() {
            let count = fitting(self.waiting.iter().take(self.page_size));
            let batch: Vec<Digest> = self.waiting.drain(..count).collect();
            for (digest, blob) in batch.iter().zip(self.blobs.get_many(&batch).await) {
                match blob {
                    Ok(blob) => self.found(digest.function(), tree::decode(*digest, blob)?)?,
                    Err(StoreError::NotFound(_) | StoreError::Corrupt(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(!self.ready.is_empty())
    }

    fn found(&mut self, function: DigestFunction, directory: Directory) -> Result<(), Status> {
        for node in &directory.directories {
            let digest = super::request::digest(function, "directories.digest", node.digest.as_ref())?;
            check_size(digest)?;
            if self.seen.insert(digest) {
                self.waiting.push_back(digest);
            }
        }
        if self.seen.len() > DIRECTORIES_PER_TREE {
            return Err(TreeError::TooManyDirectories.into());
        }
        self.ready.push_back(directory);
        Ok(())
    }
}

fn check_size(directory: Digest) -> Result<(), TreeError> {
    if directory.size_bytes() > METADATA_BLOB_SIZE_BYTES {
        Err(TreeError::DirectoryTooLarge(directory))
    } else {
        Ok(())
    }
}
