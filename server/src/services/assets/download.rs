//! Bringing one blob from its origin, on a thread of its own, into the CAS.

use super::checksum::Checksum;
use super::origins::Origins;
use super::transport::{Patience, agent};
use super::unsupported;
use crate::blobs::StoreError;
use crate::services::Backend;
use bytes::Bytes;
use pumphouse_proto::asset::Qualifier;
use pumphouse_proto::digest::{Digest, DigestFunction};
use pumphouse_proto::limits::STREAM_CHUNK_SIZE_BYTES;
use std::io::{self, Read as _};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::Status;
use ureq::Agent;
use ureq::config::Config;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// How long a download may take where the client doesn't say, and at most.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// How slow an origin may be.
const PATIENCE: Patience = Patience { idle: Duration::from_secs(60), grace: Duration::from_secs(60) };

/// How often one download is sent elsewhere.
const REDIRECTS: usize = 10;

/// How many pieces wait to be stored.
const PIECES: usize = 8;

/// What the client expects of a blob.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The function by which the blob is named once it is here.
    function: DigestFunction,
    checksum: Option<Checksum>,
    /// For every address.
    headers: Vec<(String, String)>,
    /// For the address at that position.
    headers_of: Vec<(usize, String, String)>,
    timeout: Duration,
}

/// Why a blob can't be had, though nobody here is to blame.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unavailable {
    /// It isn't there.
    #[error("{0}")]
    NotFound(String),
    /// The origin doesn't give it, or it is elsewhere by now, where this server may not fetch.
    #[error("{0}")]
    Forbidden(String),
    /// It didn't come in time.
    #[error("{0}")]
    Late(String),
    /// It is not what the client expects.
    #[error("{0}")]
    Unlike(String),
    /// It is larger than a blob may be.
    #[error("{0}")]
    TooLarge(String),
    /// The origin, or the way to it, is broken.
    #[error("{0}")]
    Broken(String),
}

impl Wanted {
    /// # Errors
    /// A qualifier isn't known, or says nothing sensible.
    pub(super) fn read(
        function: DigestFunction,
        qualifiers: &[Qualifier],
        timeout: Option<&prost_types::Duration>,
    ) -> Result<Self, Status> {
        let mut wanted =
            Self { function, checksum: None, headers: Vec::new(), headers_of: Vec::new(), timeout: DEFAULT_TIMEOUT };
        let mut unknown = Vec::new();
        for qualifier in qualifiers {
            let Qualifier { name, value } = qualifier;
            let refused = |why: String| Status::invalid_argument(format!("qualifiers: {name}: {why}"));
            if name == "checksum.sri" {
                wanted.checksum = Some(Checksum::parse(value).map_err(refused)?);
            } else if name == "bazel.canonical_id" || name == "resource_type" {
                // They tell contents apart, and say nothing of how one is had.
            } else if let Some(header) = name.strip_prefix("http_header:") {
                check_header(header).map_err(refused)?;
                wanted.headers.push((header.to_owned(), value.clone()));
            } else if let Some(rest) = name.strip_prefix("http_header_url:") {
                let parsed = rest.split_once(':').and_then(|(position, header)| Some((position.parse().ok()?, header)));
                let (position, header) = parsed.ok_or_else(|| refused("names no address and header".to_owned()))?;
                check_header(header).map_err(refused)?;
                wanted.headers_of.push((position, header.to_owned(), value.clone()));
            } else {
                unknown.push(qualifier);
            }
        }
        if !unknown.is_empty() {
            return Err(unsupported(&unknown));
        }
        if let Some(timeout) = timeout {
            let timeout = Duration::try_from(*timeout);
            let timeout = timeout.map_err(|error| Status::invalid_argument(format!("timeout: {error}")))?;
            wanted.timeout = if timeout.is_zero() { DEFAULT_TIMEOUT } else { timeout.min(MAX_TIMEOUT) };
        }
        Ok(wanted)
    }

    /// The SHA-256 that it must have, if that is known.
    pub(super) fn sha256(&self) -> Option<[u8; 32]> {
        self.checksum.as_ref().and_then(Checksum::sha256)
    }

    fn headers_for(&self, position: usize) -> Vec<(String, String)> {
        let own = self.headers_of.iter().filter(|(of, ..)| *of == position);
        self.headers.iter().cloned().chain(own.map(|(_, name, value)| (name.clone(), value.clone()))).collect()
    }
}

/// Whether a client may say that header: none by which it would reach another place, or other requests on the connection.
fn check_header(name: &str) -> Result<(), String> {
    const OURS: [&str; 10] = [
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    ];
    let name = name.to_ascii_lowercase();
    let is_ours = OURS.contains(&name.as_str()) || name.starts_with("proxy-");
    if is_ours { Err(format!("{name} is not a client's to say")) } else { Ok(()) }
}

/// Brings a blob and stores it. The thread that does so has the `turn` for as long as it lives, though the client may be gone.
///
/// # Errors
/// The store is broken, or has no room.
pub(super) async fn download(
    origins: Origins,
    turn: OwnedSemaphorePermit,
    backend: &Backend,
    position: usize,
    uri: &str,
    wanted: &Wanted,
) -> Result<Result<Digest, Unavailable>, Status> {
    let most = backend.config.blob_size_bytes;
    let (sender, mut pieces) = mpsc::channel(PIECES);
    let (address, headers, timeout) = (uri.to_owned(), wanted.headers_for(position), wanted.timeout);
    let reading = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        read(&AGENT, &origins, &address, (&headers, timeout), &sender)
    });
    let mut writer = backend.blobs.write_unnamed(wanted.function).await?;
    let mut summing = wanted.checksum.as_ref().map(Checksum::begin);
    let mut size_bytes = 0;
    while let Some(piece) = pieces.recv().await {
        let piece: Bytes = piece;
        size_bytes += piece.len() as u64;
        if size_bytes > most {
            return Ok(Err(Unavailable::TooLarge(format!("{uri}: is larger than {most} bytes"))));
        }
        if let Some(summing) = &mut summing {
            summing.add(&piece);
        }
        writer.write(piece).await?;
    }
    let read = reading.await.map_err(|error| StoreError::Broken(error.to_string().into()))?;
    if let Err(unavailable) = read {
        return Ok(Err(unavailable));
    }
    if let (Some(checksum), Some(summing)) = (&wanted.checksum, summing)
        && !checksum.is_met_by(summing)
    {
        return Ok(Err(Unavailable::Unlike(format!("{uri}: has another checksum than checksum.sri says"))));
    }
    Ok(Ok(writer.commit().await?))
}

/// Reads what is at `address`, wherever it is moved to; gives up where nobody takes the pieces any more.
fn read(
    agent: &Agent,
    origins: &Origins,
    address: &str,
    (headers, timeout): (&[(String, String)], Duration),
    pieces: &mpsc::Sender<Bytes>,
) -> Result<(), Unavailable> {
    let broken = |at: &str, error: &dyn std::fmt::Display| Unavailable::Broken(format!("{at}: {error}"));
    let failed = |at: &str, error: io::Error| match error.kind() {
        io::ErrorKind::TimedOut => Unavailable::Late(format!("{at}: {error}")),
        _ => broken(at, &error),
    };
    let mut at = address.to_owned();
    let deadline = Instant::now() + timeout;
    for _ in 0..=REDIRECTS {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut request = agent.get(&at).config().timeout_global(Some(left)).build();
        // Secrets are for those to whom the client gave them.
        for (name, value) in headers.iter().filter(|_| at == address) {
            request = request.header(name, value);
        }
        let mut response = request.call().map_err(|error| match error {
            ureq::Error::Timeout(_) => Unavailable::Late(format!("{at}: did not come in {timeout:?}")),
            ureq::Error::Io(error) => failed(&at, error),
            error => broken(&at, &error),
        })?;
        let code = response.status();
        if code.is_redirection() {
            let location = response.headers().get("location").and_then(|location| location.to_str().ok());
            let next = location.and_then(|location| resolve(&at, location));
            let next =
                next.ok_or_else(|| broken(&at, &format!("answers {code} and says nothing sensible of where to")))?;
            if !origins.allow(&next) {
                let message = format!("{at}: has moved to {next}, which is no origin from which this server fetches");
                return Err(Unavailable::Forbidden(message));
            }
            at = next;
            continue;
        }
        if !code.is_success() {
            let message = format!("{at}: answers {code}");
            return Err(match code.as_u16() {
                404 | 410 => Unavailable::NotFound(message),
                401 | 403 | 407 => Unavailable::Forbidden(message),
                _ => Unavailable::Broken(message),
            });
        }
        let mut body = response.body_mut().as_reader();
        loop {
            // Whole pieces: of a small one nothing larger is kept.
            let mut piece = Vec::new();
            let next = body.by_ref().take(STREAM_CHUNK_SIZE_BYTES as u64).read_to_end(&mut piece);
            let length = next.map_err(|error| failed(&at, error))?;
            if length == 0 {
                return Ok(());
            }
            if pieces.blocking_send(piece.into()).is_err() {
                return Ok(());
            }
        }
    }
    Err(Unavailable::Broken(format!("{address}: is moved more than {REDIRECTS} times")))
}

/// Where a redirect leads: another address, or another path at the same place.
fn resolve(at: &str, location: &str) -> Option<String> {
    let scheme = location.split(['/', '?', '#']).next().unwrap_or_default();
    if scheme.ends_with(':') {
        return Some(location.to_owned());
    }
    let uri: axum::http::Uri = at.parse().ok()?;
    let place = format!("{}://{}", uri.scheme_str()?, uri.authority()?);
    match location.strip_prefix('/') {
        Some(rest) if rest.starts_with('/') => Some(format!("{}:{location}", uri.scheme_str()?)),
        Some(_) => Some(format!("{place}{location}")),
        None => {
            let directory = uri.path().rsplit_once('/').map_or("", |(directory, _)| directory);
            Some(format!("{place}{directory}/{location}"))
        }
    }
}

/// Trusts whom this machine trusts, and follows nobody by itself.
static AGENT: LazyLock<Agent> = LazyLock::new(|| {
    // There is one already where somebody was first.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let trusted = rustls_native_certs::load_native_certs();
    for error in &trusted.errors {
        tracing::warn!(%error, "reading the authorities that this machine trusts");
    }
    let trusted: Vec<_> =
        trusted.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    let tls = TlsConfig::builder().root_certs(RootCerts::Specific(Arc::new(trusted))).build();
    agent(agent_config(tls), PATIENCE)
});

fn agent_config(tls: TlsConfig) -> Config {
    Agent::config_builder()
        .tls_config(tls)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("pumphouse/", env!("CARGO_PKG_VERSION")))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_they_say() {
        for (location, expect) in [
            ("https://other/x", "https://other/x"),
            ("/x?y", "http://place:1/x?y"),
            ("//other/x", "http://other/x"),
            ("x", "http://place:1/a/x"),
            ("/x?next=https://other/", "http://place:1/x?next=https://other/"),
        ] {
            assert_eq!(resolve("http://place:1/a/b", location).as_deref(), Some(expect));
        }
    }

    /// What becomes of a download from an origin that says `first` and then a byte every now and then, or nothing, for as long as
    /// somebody listens.
    fn from_slow_origin(first: &'static str, drip: &'static str) -> Unavailable {
        use std::io::Write as _;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let place = format!("http://{}/", listener.local_addr().expect("an address"));
        let origin = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("connects");
            stream.write_all(first.as_bytes()).expect("written");
            stream.set_read_timeout(Some(Duration::from_millis(10))).expect("set");
            let is_left = |error: &io::Error| !matches!(error.kind(), io::ErrorKind::WouldBlock);
            while stream.write_all(drip.as_bytes()).is_ok() {
                match stream.read(&mut [0; 1024]) {
                    Ok(0) => break,
                    Err(error) if is_left(&error) => break,
                    _ => {}
                }
            }
        });
        let patience = Patience { idle: Duration::from_millis(300), grace: Duration::ZERO };
        let agent = agent(agent_config(TlsConfig::default()), patience);
        let origins = Origins::new(std::slice::from_ref(&place)).expect("good");
        let (sender, _pieces) = mpsc::channel(PIECES);
        let given_up = read(&agent, &origins, &place, (&[], MAX_TIMEOUT), &sender).expect_err("never ends");
        origin.join().expect("the connection is closed");
        given_up
    }

    #[test]
    fn an_origin_that_stands_still_or_drips_is_given_up_long_before_the_deadline() {
        const BEGUN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nsome";
        for (first, drip, expect) in
            [("", "", "nothing came"), (BEGUN, "", "nothing came"), (BEGUN, "x", "bytes came in")]
        {
            let given_up = from_slow_origin(first, drip);
            assert!(matches!(&given_up, Unavailable::Late(why) if why.contains(expect)), "{given_up:?}");
        }
    }

    #[test]
    fn qualifiers_are_understood_or_refused_by_name() {
        let qualifier = |name: &str, value: &str| Qualifier { name: name.to_owned(), value: value.to_owned() };
        let read = |qualifiers: &[Qualifier]| Wanted::read(DigestFunction::Sha256, qualifiers, None);
        let wanted = read(&[
            qualifier("bazel.canonical_id", "x"),
            qualifier("http_header:Accept", "a"),
            qualifier("http_header_url:1:Authorization", "secret"),
        ]);
        let wanted = wanted.expect("understood");
        assert_eq!((wanted.headers_for(0).len(), wanted.headers_for(1).len()), (1, 2));
        let refused = read(&[qualifier("vcs.branch", "main"), qualifier("other", "")]).expect_err("not known");
        assert!(refused.message().contains("vcs.branch") && refused.message().contains("other"), "{refused}");
        assert!(read(&[qualifier("http_header:Host", "other")]).is_err());
        assert!(read(&[qualifier("http_header_url:0:Transfer-Encoding", "chunked")]).is_err());
        assert!(read(&[qualifier("checksum.sri", "x")]).is_err());
        assert!(read(&[qualifier("http_header_url:Accept", "x")]).is_err());
    }
}
