//! Every limit that more than one part must agree on, by name.

use std::time::Duration;

/// What a client of gRPC takes as one message by default; no answer may be larger.
pub const ANSWER_SIZE_BYTES: usize = 4 * 1024 * 1024;

/// What the batch calls carry together: the largest message less room for the digests and frames around the data.
pub const BATCH_SIZE_BYTES: usize = ANSWER_SIZE_BYTES - 64 * 1024;

/// What our own ends accept as one message, above all that a well-behaved peer sends.
pub const DECODED_MESSAGE_SIZE_BYTES: usize = 64 * 1024 * 1024;

/// The largest message that holds a `Directory`, `Command`, `Action` or `Tree`.
pub const METADATA_BLOB_SIZE_BYTES: u64 = 16 * 1024 * 1024;

/// How many files, directories, links and properties an `ActionResult`, `Directory` or `Tree` lists: more than fit into the
/// largest of them that says something sensible of each.
pub const ENTRIES_PER_MESSAGE: usize = 250_000;

/// How much of a blob one message of a byte stream carries.
pub const STREAM_CHUNK_SIZE_BYTES: usize = 256 * 1024;

/// How many digests one `FindMissingBlobs` names, so that the request stays far below a message's size.
pub const DIGESTS_PER_CALL: usize = 10_000;

/// How deep a tree of directories may be.
pub const TREE_DEPTH: usize = 256;

/// How long a call that moves no blobs may take.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a call that moves a batch or a stream of blobs may take.
pub const TRANSFER_TIMEOUT: Duration = Duration::from_secs(300);

/// How long a stream of blobs may stand still: every piece is at most [`STREAM_CHUNK_SIZE_BYTES`].
pub const STALL_LIMIT: Duration = Duration::from_secs(20);

/// How many calls that move blobs one client has under way at a time.
pub const CONCURRENT_TRANSFERS: usize = 16;
