//! One connection: HTTP/1 or HTTP/2, with the limits that many clients on few connections need.

use super::face::{Face, Peer};
use super::gather::gather;
use super::peers::Admission;
use crate::access::Certificate;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// How often an idle connection is asked whether it is still there, and how long the answer may take: a peer that
/// vanished without a word is noticed after their sum.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Builds have hundreds of calls under way on one connection.
const CONCURRENT_STREAMS: u32 = 1024;

/// Clients cancel calls freely, by the hundred when somebody presses Ctrl-C; that is not an attack.
const PENDING_RESETS: usize = 4096;

/// What a peer may send ahead of being read: on one stream, and on all of a connection.
const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// Uploads come in few large frames rather than many of the default's 16 KiB.
const FRAME_SIZE_BYTES: u32 = 128 * 1024;

/// How long a peer has to say which protocol it speaks, encryption included, and to send the head of a request of HTTP/1.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);

/// How often is looked whether the first bytes of a connection have come whole.
const PEEK_INTERVAL: Duration = Duration::from_millis(20);

/// What a connection of HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long to wait when no connection can be accepted, which is for want of file descriptors as a rule.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Serves a connection until it ends, or, after `stop`, until the calls under way have ended.
pub(super) async fn serve(
    stream: TcpStream,
    address: SocketAddr,
    admission: Admission,
    face: Face,
    stop: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%address, %error, "cannot switch off delays");
    }
    let begun = tokio::select! {
        begun = begin(stream, address, &face) => begun,
        () = stop.cancelled() => return,
    };
    let (stream, builder, certificate) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            face.metrics().mute_connections.inc();
            tracing::debug!(%address, %error, "a connection was closed before its first request");
            return;
        }
    };
    let peer = Peer { address, certificate, share: admission.share().clone() };
    let ends = Arc::new((face, peer));
    let service = service_fn(|request| {
        let ends = Arc::clone(&ends);
        async move { ends.0.answer(&ends.1, request).await }
    });
    let (gathering, sender) = gather(stream);
    let connection = builder.serve_connection(TokioIo::new(gathering), service);
    tokio::pin!(connection);
    let served = tokio::select! {
        served = sender.run(connection.as_mut()) => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            sender.run(connection.as_mut()).await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%address, %error, "connection ended");
    }
    // Last words, as why it ends.
    let _ = tokio::time::timeout(SILENCE_LIMIT, sender.finish()).await;
}

/// A stream of bytes, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Waits for the first bytes: agrees on encryption where that is spoken here, and on the protocol. Nobody is waited for
/// longer than [`SILENCE_LIMIT`].
async fn begin(
    stream: TcpStream,
    address: SocketAddr,
    face: &Face,
) -> std::io::Result<(Box<dyn Stream>, auto::Builder<TokioExecutor>, Option<Certificate>)> {
    keep_alive(&stream, address);
    if let Some(encryption) = face.encryption() {
        let encrypted = tokio::time::timeout(SILENCE_LIMIT, encryption.accept(stream)).await;
        let (stream, certificate) = encrypted.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
        // Whoever speaks HTTP/2 has to say so in the handshake.
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let builder = if is_http2 { builder().http2_only() } else { builder().http1_only() };
        return Ok((Box::new(stream), builder, certificate));
    }
    let spoken = tokio::time::timeout(SILENCE_LIMIT, has_spoken(&stream)).await;
    spoken.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    Ok((Box::new(stream), builder(), None))
}

/// Waits for the first bytes, so many that the protocol is known.
async fn has_spoken(stream: &TcpStream) -> std::io::Result<()> {
    let mut first = [0; PREFACE.len()];
    loop {
        let length = stream.peek(&mut first).await?;
        if length == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if length == PREFACE.len() || !PREFACE.starts_with(&first[..length]) {
            return Ok(());
        }
        tokio::time::sleep(PEEK_INTERVAL).await;
    }
}

/// Has the kernel ask a peer that is silent whether it is still there: HTTP/1 has no words for that.
fn keep_alive(stream: &TcpStream, peer: SocketAddr) {
    use rustix::net::sockopt;
    let set = sockopt::set_socket_keepalive(stream, true)
        .and_then(|()| sockopt::set_tcp_keepidle(stream, KEEPALIVE_INTERVAL))
        .and_then(|()| sockopt::set_tcp_keepintvl(stream, KEEPALIVE_TIMEOUT / 4))
        .and_then(|()| sockopt::set_tcp_keepcnt(stream, 4));
    if let Err(error) = set {
        tracing::debug!(%peer, %error, "cannot have the kernel ask for a peer that is silent");
    }
}

/// A connection couldn't be accepted: waits a little, for the reason doesn't go away by trying.
pub(super) async fn accept_failed(error: &std::io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    tokio::time::sleep(ACCEPT_RETRY).await;
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(SILENCE_LIMIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_concurrent_streams(CONCURRENT_STREAMS)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(None)
        .max_frame_size(FRAME_SIZE_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    builder
}
