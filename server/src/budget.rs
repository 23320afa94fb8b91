//! How much of what clients send and are sent is in memory at a time: of all of them together, and of each.
//!
//! A message is counted as a whole as soon as its length is known, before its bytes are taken from the connection: what waits for
//! its turn waits at the client. A request counts until it is answered, a message of a stream until the next one is asked for, and
//! an answer until it is sent. Messages below [`FREE_BYTES`] cost less than the call that they belong to, and aren't counted.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

/// Smaller messages aren't counted.
const FREE_BYTES: u64 = 4 * 1024;

/// What is counted by one permit.
const UNIT_BYTES: u64 = 1024;

/// How long a message waits for its turn.
const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// How much of an answer is handed on at a time, so that it counts for as long as it isn't sent.
const PIECE_SIZE_BYTES: usize = 64 * 1024;

/// What all clients share.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    all: Arc<Semaphore>,
    size_bytes: u64,
}

/// What one of them may have of it.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    own: Arc<Semaphore>,
    all: Arc<Semaphore>,
    size_bytes: u64,
}

/// Room for a message, until the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Hold {
    _permits: Arc<[OwnedSemaphorePermit; 2]>,
}

/// There was no room in time.
#[derive(Debug)]
pub(crate) struct Crowded;

impl fmt::Display for Crowded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "too many messages are under way: there was no room for another one in {WAIT_LIMIT:?}")
    }
}

impl std::error::Error for Crowded {}

impl From<Crowded> for Status {
    fn from(crowded: Crowded) -> Self {
        Self::resource_exhausted(crowded.to_string())
    }
}

fn semaphore(size_bytes: u64) -> Arc<Semaphore> {
    Arc::new(Semaphore::new((size_bytes / UNIT_BYTES) as usize))
}

impl Budget {
    /// All clients together may have so much in memory.
    pub(crate) fn new(size_bytes: u64) -> Self {
        Self { all: semaphore(size_bytes), size_bytes }
    }

    /// The share of another client: half of it.
    pub(crate) fn share(&self) -> Share {
        let size_bytes = self.size_bytes / 2;
        Share { own: semaphore(size_bytes), all: Arc::clone(&self.all), size_bytes }
    }
}

impl Share {
    /// Waits until there is room for a message of `size_bytes`, in the order of asking.
    ///
    /// # Errors
    /// There is none in time.
    pub(crate) async fn take(&self, size_bytes: u64) -> Result<Hold, Crowded> {
        let permits = (size_bytes.min(self.size_bytes) / UNIT_BYTES).max(1) as u32;
        let taken = async {
            let own = Arc::clone(&self.own).acquire_many_owned(permits).await.map_err(|_| Crowded)?;
            let all = Arc::clone(&self.all).acquire_many_owned(permits).await.map_err(|_| Crowded)?;
            Ok(Hold { _permits: Arc::new([own, all]) })
        };
        tokio::time::timeout(WAIT_LIMIT, taken).await.unwrap_or(Err(Crowded))
    }
}

/// Room for an answer of `size_bytes` to a request with these extensions; none for one that came by no connection.
pub(crate) async fn hold(extensions: &tonic::Extensions, size_bytes: u64) -> Result<Option<Hold>, Status> {
    match extensions.get::<Share>() {
        Some(share) if size_bytes >= FREE_BYTES => Ok(Some(share.take(size_bytes).await?)),
        _ => Ok(None),
    }
}

/// Room that is being waited for.
type Taking = Pin<Box<dyn Future<Output = Result<Hold, Crowded>> + Send>>;

/// What holds the room of a request's last message: its body, and whoever answers it.
pub(crate) type Held = Arc<Mutex<Option<Hold>>>;

/// The body of a call, whose messages are counted.
pub(crate) struct RequestBody<B> {
    inner: B,
    share: Share,
    lengths: Lengths,
    held: Held,
    waiting: Option<(Bytes, Taking)>,
}

impl<B> RequestBody<B> {
    pub(crate) fn new(inner: B, share: Share, held: Held) -> Self {
        Self { inner, share, lengths: Lengths::default(), held, waiting: None }
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        loop {
            if let Some((data, waiting)) = &mut this.waiting {
                let hold = ready!(waiting.as_mut().poll(context))?;
                *this.held.lock() = Some(hold);
                let data = std::mem::take(data);
                this.waiting = None;
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            let Some(frame) = ready!(Pin::new(&mut this.inner).poll_frame(context)) else { return Poll::Ready(None) };
            let data = match frame.map_err(Into::into)?.into_data() {
                Ok(data) => data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            let begun = this.lengths.begun_in(&data);
            if begun < FREE_BYTES {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            // Whoever asks for more has taken what came before.
            this.held.lock().take();
            let share = this.share.clone();
            this.waiting = Some((data, Box::pin(async move { share.take(begun).await })));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The frames of gRPC in a body: a byte, four bytes of length, and so many bytes.
#[derive(Debug, Default)]
struct Lengths {
    prefix: [u8; 5],
    filled: usize,
    left: u64,
}

impl Lengths {
    /// The lengths of the messages whose prefixes end in `data`, together.
    fn begun_in(&mut self, mut data: &[u8]) -> u64 {
        let mut begun: u64 = 0;
        while !data.is_empty() {
            let skipped = self.left.min(data.len() as u64) as usize;
            self.left -= skipped as u64;
            data = &data[skipped..];
            let taken = (self.prefix.len() - self.filled).min(data.len());
            self.prefix[self.filled..self.filled + taken].copy_from_slice(&data[..taken]);
            self.filled += taken;
            data = &data[taken..];
            if self.filled == self.prefix.len() {
                let [_, length @ ..] = self.prefix;
                self.left = u64::from(u32::from_be_bytes(length));
                self.filled = 0;
                begun = begun.saturating_add(self.left);
            }
        }
        begun
    }
}

/// The body of an answer for which there is room.
pub(crate) struct ResponseBody {
    inner: tonic::body::Body,
    rest: Bytes,
    _hold: Hold,
}

impl ResponseBody {
    pub(crate) fn new(inner: tonic::body::Body, hold: Hold) -> Self {
        Self { inner, rest: Bytes::new(), _hold: hold }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.inner).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_SIZE_BYTES));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_seen_however_the_bytes_come() {
        let message = |length: u32| [&[0][..], &length.to_be_bytes(), &vec![7; length as usize]].concat();
        let stream = [message(0), message(10_000), message(3), message(70_000)].concat();
        for size in [1, 2, 5, 7, 4096, 1_000_000] {
            let mut lengths = Lengths::default();
            assert_eq!(stream.chunks(size).map(|chunk| lengths.begun_in(chunk)).sum::<u64>(), 80_003, "{size}");
            assert_eq!((lengths.filled, lengths.left), (0, 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_client_leaves_room_for_others_and_nobody_waits_for_ever() {
        const ALL_BYTES: u64 = 64 * 1024 * 1024;
        let budget = Budget::new(ALL_BYTES);
        let (one, other) = (budget.share(), budget.share());
        let held = one.take(u64::MAX).await.expect("room");
        assert!(one.take(1).await.is_err(), "its share is used up");
        let others = other.take(ALL_BYTES / 2).await.expect("room");
        assert!(budget.share().take(1).await.is_err(), "all is used up");
        drop(held);
        let again = one.take(ALL_BYTES / 2).await.expect("room");
        drop((others, again));
        assert_eq!(budget.all.available_permits() as u64 * UNIT_BYTES, ALL_BYTES);
    }
}
