//! `GET /healthz` over HTTP/1: 200 while the worker takes work, 503 once it drains.

use anyhow::Context as _;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How much of a question is read.
const REQUEST_SIZE_BYTES: usize = 4096;

/// Answers at `address` until the handle is dropped. Says on the log where it listens.
///
/// # Errors
/// The address can't be listened at.
pub async fn serve(address: SocketAddr, draining: CancellationToken) -> anyhow::Result<AbortOnDropHandle<()>> {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("listening at {address} for health checks"))?;
    serve_on(listener, draining)
}

fn serve_on(listener: TcpListener, draining: CancellationToken) -> anyhow::Result<AbortOnDropHandle<()>> {
    tracing::info!(address = %listener.local_addr().context("asking for the address")?, "health checks are answered");
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            // One question at a time: whoever asks slowly delays others by at most the timeout.
            if let Ok((stream, _)) = listener.accept().await {
                let _ = tokio::time::timeout(TIMEOUT, answer(stream, &draining)).await;
            }
        }
    })))
}

async fn answer(mut stream: TcpStream, draining: &CancellationToken) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 512];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") && request.len() < REQUEST_SIZE_BYTES {
        match stream.read(&mut piece).await? {
            0 => return Ok(()),
            length => request.extend_from_slice(&piece[..length]),
        }
    }
    let (status, body) = match (request.starts_with(b"GET /healthz "), draining.is_cancelled()) {
        (false, _) => ("404 Not Found", "not found\n"),
        (true, false) => ("200 OK", "ok\n"),
        (true, true) => ("503 Service Unavailable", "draining\n"),
    };
    let length = body.len();
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }

    #[tokio::test]
    async fn health_is_told_until_the_worker_drains() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let draining = CancellationToken::new();
        let _health = serve_on(listener, draining.clone()).expect("served");
        let request = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
        assert!(ask(address, request).await.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(ask(address, "GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404 Not Found\r\n"));
        draining.cancel();
        assert!(ask(address, request).await.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
    }
}
