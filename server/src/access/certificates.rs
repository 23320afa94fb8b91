//! Certificates that clients show, which the connection has verified: what they are called.
//!
//! **Source:** RFC 5280, section 4.2.1.6 (subject alternative names).

use sha2::{Digest as _, Sha256};
use std::fmt;
use tokio_rustls::rustls::pki_types::CertificateDer;

/// A client's certificate, by its names.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    /// DNS names, then URIs, then the fingerprint.
    names: Vec<String>,
}

impl Certificate {
    /// That of the client, which stands first in what it has shown.
    pub(crate) fn of(shown: &[CertificateDer<'_>]) -> Option<Self> {
        let certificate = shown.first()?;
        let mut names = Vec::new();
        if let Ok(end) = webpki::EndEntityCert::try_from(certificate) {
            names.extend(end.valid_dns_names().map(str::to_owned));
            names.extend(end.valid_uri_names().map(str::to_owned));
        }
        names.push(format!("sha256:{}", hex::encode(Sha256::digest(certificate))));
        Some(Self { names })
    }

    /// Everything that it can be called, the fingerprint last.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.names.first().map_or("a certificate", String::as_str))
    }
}
