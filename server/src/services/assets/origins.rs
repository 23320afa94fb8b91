//! From where blobs are brought: addresses that begin as the operator says.
//!
//! Invariant: nothing is asked of a place that isn't named, wherever a place that is named may redirect to. Else whoever may
//! fetch could have this server look around in its own network.

use super::download::{Unavailable, Wanted, download};
use crate::services::Backend;
use axum::http::Uri;
use pumphouse_proto::digest::Digest;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tonic::Status;

/// How many blobs are brought at a time.
const DOWNLOADS: usize = 16;

/// The places from which blobs are brought.
#[derive(Debug, Clone)]
pub(crate) struct Origins {
    prefixes: Arc<[Prefix]>,
    turns: Arc<Semaphore>,
}

/// The beginning of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Prefix {
    scheme: String,
    /// In small letters.
    host: String,
    port: u16,
    /// From the first slash on, which may be all of it.
    path: String,
}

impl Origins {
    /// # Errors
    /// One is no beginning of an address.
    pub(crate) fn new(prefixes: &[String]) -> anyhow::Result<Self> {
        let read = |text: &String| {
            let prefix = Prefix::of(text).filter(|prefix| prefix.path.ends_with('/'));
            prefix.ok_or_else(|| {
                anyhow::anyhow!("fetch.origins: {text:?} is no http:// or https:// address up to a slash")
            })
        };
        let prefixes = prefixes.iter().map(read).collect::<anyhow::Result<_>>()?;
        Ok(Self { prefixes, turns: Arc::new(Semaphore::new(DOWNLOADS)) })
    }

    /// Whether something may be brought from there.
    pub(super) fn allow(&self, uri: &str) -> bool {
        Prefix::of(uri).is_some_and(|place| self.prefixes.iter().any(|prefix| prefix.holds(&place)))
    }

    /// Those of the addresses from which something may be brought, with their positions.
    pub(super) fn allowed(&self, uris: &[String]) -> Vec<(usize, String)> {
        uris.iter().cloned().enumerate().filter(|(_, uri)| self.allow(uri)).collect()
    }

    /// Brings what is at `uri`, which is the one at `position` of the client's.
    pub(super) async fn bring(
        &self,
        backend: &Backend,
        position: usize,
        uri: &str,
        wanted: &Wanted,
    ) -> Result<Result<Digest, Unavailable>, Status> {
        let closed = |_| Status::unavailable("the server is shutting down");
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(closed)?;
        download(self.clone(), turn, backend, position, uri, wanted).await
    }
}

impl Prefix {
    fn of(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
        let default = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        // Where a path goes up, or may be read as one that does, its beginning says nothing.
        let is_plain = !authority.as_str().contains('@')
            && uri.path().split('/').all(|segment| !is_dots(segment))
            && !uri.path().contains('\\');
        is_plain.then(|| Self {
            scheme: scheme.to_owned(),
            host: authority.host().to_ascii_lowercase(),
            port: authority.port_u16().unwrap_or(default),
            path: uri.path().to_owned(),
        })
    }

    fn holds(&self, place: &Self) -> bool {
        (&self.scheme, &self.host, self.port) == (&place.scheme, &place.host, place.port)
            && place.path.starts_with(&self.path)
    }
}

/// Whether a segment of a path is `.` or `..`, however it is written, or hides a slash.
fn is_dots(segment: &str) -> bool {
    let segment = segment.to_ascii_lowercase();
    segment.contains("%2f") || segment.contains("%5c") || matches!(&*segment.replace("%2e", "."), "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_begins_so_is_allowed() {
        let origins = Origins::new(&["https://Example.org/a/".to_owned(), "http://127.0.0.1:81/".to_owned()]);
        let origins = origins.expect("good");
        for (uri, expect) in [
            ("https://example.org/a/b?c=d", true),
            ("https://example.org:443/a/", true),
            ("https://example.org/a", false),
            ("https://example.org/ab/", false),
            ("https://example.org/a/../b", false),
            ("https://example.org/a/%2E%2e/b", false),
            ("https://example.org/a/..%2fb", false),
            ("http://example.org/a/b", false),
            ("https://example.org:444/a/b", false),
            ("https://example.org.evil.org/a/b", false),
            ("https://example.org@evil.org/a/b", false),
            ("https://user@example.org/a/b", false),
            ("http://127.0.0.1:81/", true),
            ("http://127.0.0.1:81", true),
            ("http://127.0.0.1/", false),
            ("ftp://127.0.0.1:81/", false),
            ("/a/b", false),
            ("urn:x", false),
        ] {
            assert_eq!(origins.allow(uri), expect, "{uri}");
        }
        for wrong in ["example.org", "https://example.org/a", "ftp://example.org/", "https://u@example.org/"] {
            assert!(Origins::new(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
        assert!(!Origins::new(&[]).expect("none").allow("https://example.org/"));
    }
}
