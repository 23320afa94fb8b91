//! Gathers what a connection writes, so that the kernel gets it in large pieces.
//!
//! HTTP/2 hands each frame on by itself, and clients take frames of 16 KiB: a large blob would go out in thousands of calls, each
//! of which costs more than copying the frame. What is gathered goes out when the connection has nothing more to say for now,
//! which is when its task would sleep, or when much has been gathered.

use parking_lot::Mutex;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is gathered.
const GATHERED_BYTES: usize = 256 * 1024;

/// How much memory a connection keeps for that while it has nothing to say.
const KEPT_BYTES: usize = 16 * 1024;

/// The connection's end: what is written to it waits.
pub(super) struct Gathering<S>(Arc<Mutex<State<S>>>);

/// Sends what waits.
pub(super) struct Sender<S>(Arc<Mutex<State<S>>>);

struct State<S> {
    stream: S,
    waiting: Vec<u8>,
    /// How much of it is sent.
    sent: usize,
    /// Whether what was sent may stand in the stream itself, which encrypts.
    is_unflushed: bool,
}

/// Both ends of `stream`. They belong to one task, so nobody ever waits for the lock.
pub(super) fn gather<S>(stream: S) -> (Gathering<S>, Sender<S>) {
    let state = Arc::new(Mutex::new(State { stream, waiting: Vec::new(), sent: 0, is_unflushed: false }));
    (Gathering(Arc::clone(&state)), Sender(state))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sender<S> {
    /// Runs `connection`, and sends what it has written whenever it sleeps. What it wrote last may still wait when it has ended.
    pub(super) fn run<'a, C: Future>(&'a self, connection: Pin<&'a mut C>) -> Running<'a, S, C> {
        Running { sender: self, connection }
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// The stream is broken.
    pub(super) async fn finish(&self) -> io::Result<()> {
        std::future::poll_fn(|context| self.0.lock().poll_send(context)).await
    }
}

/// A connection that runs; see [`Sender::run`].
pub(super) struct Running<'a, S, C> {
    sender: &'a Sender<S>,
    connection: Pin<&'a mut C>,
}

impl<S: AsyncRead + AsyncWrite + Unpin, C: Future> Future for Running<'_, S, C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<C::Output> {
        let ran = self.connection.as_mut().poll(context);
        // Where the stream is broken, the connection hears of it with its next write.
        let _ = self.sender.0.lock().poll_send(context);
        ran
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> State<S> {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_unflushed |= !self.waiting.is_empty();
        while self.sent < self.waiting.len() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.waiting[self.sent..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        if self.sent > 0 {
            self.sent = 0;
            self.waiting.clear();
            self.waiting.shrink_to(KEPT_BYTES);
        }
        if self.is_unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waiting.len() < GATHERED_BYTES { Poll::Ready(Ok(())) } else { self.poll_send(context) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathering<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gathering<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock();
        ready!(state.poll_room(context))?;
        let before = state.waiting.len();
        for slice in slices {
            state.waiting.extend_from_slice(slice);
        }
        Poll::Ready(Ok(state.waiting.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing needs to be done: it goes out as soon as the connection sleeps.
    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        ready!(state.poll_send(context))?;
        Pin::new(&mut state.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn what_is_written_arrives_in_order_however_slowly_it_is_taken() {
        const PIECES: u32 = 300_000;
        let (ours, mut theirs) = tokio::io::duplex(5000);
        let (mut gathering, sender) = gather(ours);
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).await.expect("reads");
            all
        });
        let connection = async move {
            for number in 0..PIECES {
                gathering.write_all(&number.to_le_bytes()).await.expect("written");
                gathering.flush().await.expect("flushed");
            }
            gathering.write_all(b"end").await.expect("written");
        };
        tokio::pin!(connection);
        sender.run(connection.as_mut()).await;
        sender.finish().await.expect("sent");
        drop(sender);
        let all = reader.await.expect("ends");
        assert_eq!(all.len(), PIECES as usize * 4 + 3);
        assert!(all.chunks(4).zip(0..PIECES).all(|(bytes, number)| bytes == number.to_le_bytes()));
    }

    /// Takes everything, and sends it when it is flushed for the second time, as encryption over a full socket does.
    struct Slow {
        kept: Vec<u8>,
        sent: Arc<Mutex<Vec<u8>>>,
        asked: bool,
    }

    impl AsyncRead for Slow {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Slow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.kept.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            if !std::mem::replace(&mut self.asked, true) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let kept = std::mem::take(&mut self.kept);
            self.sent.lock().extend(kept);
            self.asked = false;
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_a_stream_keeps_back_is_flushed_however_long_that_takes() {
        let sent = Arc::default();
        let (mut gathering, sender) = gather(Slow { kept: Vec::new(), sent: Arc::clone(&sent), asked: false });
        gathering.write_all(b"last words").await.expect("written");
        sender.finish().await.expect("sent");
        assert_eq!(*sent.lock(), b"last words");
        gathering.write_all(b", and more").await.expect("written");
        let connection = std::future::poll_fn(|context| {
            context.waker().wake_by_ref();
            if sent.lock().len() < 20 { Poll::Pending } else { Poll::Ready(()) }
        });
        tokio::pin!(connection);
        sender.run(connection).await;
        assert_eq!(*sent.lock(), b"last words, and more");
    }

    #[tokio::test]
    async fn what_is_asked_for_comes_while_the_connection_waits() {
        let (ours, mut theirs) = tokio::io::duplex(100);
        let (mut gathering, sender) = gather(ours);
        let connection = async move {
            let mut question = [0];
            while gathering.read_exact(&mut question).await.is_ok() {
                gathering.write_all(&[question[0] + 1; 3]).await.expect("written");
            }
        };
        let client = async move {
            for number in 0..200_u8 {
                theirs.write_all(&[number]).await.expect("written");
                let mut answer = [0; 3];
                theirs.read_exact(&mut answer).await.expect("reads");
                assert_eq!(answer, [number + 1; 3]);
            }
        };
        tokio::pin!(connection);
        tokio::join!(sender.run(connection.as_mut()), client);
    }
}
