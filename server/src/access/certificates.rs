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
    names: Vec<CertificateName>,
}

/// What a certificate can be called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum CertificateName {
    /// In small letters.
    Dns(String),
    Uri(String),
    /// The SHA-256 of the whole.
    Fingerprint(String),
}

impl CertificateName {
    /// Reads a name as people write it.
    pub(super) fn parse(text: &str) -> Self {
        if let Some(fingerprint) = text.strip_prefix("sha256:") {
            return Self::Fingerprint(fingerprint.replace(':', "").to_ascii_lowercase());
        }
        if text.contains("://") { Self::Uri(text.to_owned()) } else { Self::Dns(text.to_ascii_lowercase()) }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) | Self::Uri(name) => formatter.write_str(name),
            Self::Fingerprint(hash) => write!(formatter, "sha256:{hash}"),
        }
    }
}

impl Certificate {
    /// That of the client, which stands first in what it has shown.
    pub(crate) fn of(shown: &[CertificateDer<'_>]) -> Option<Self> {
        let certificate = shown.first()?;
        let mut names = Vec::new();
        if let Ok(end) = webpki::EndEntityCert::try_from(certificate) {
            names.extend(end.valid_dns_names().map(|name| CertificateName::Dns(name.to_ascii_lowercase())));
            names.extend(end.valid_uri_names().map(|name| CertificateName::Uri(name.to_owned())));
        }
        names.push(CertificateName::Fingerprint(const_hex::encode(Sha256::digest(certificate))));
        Some(Self { names })
    }

    /// Everything that it can be called, the fingerprint last.
    pub(super) fn names(&self) -> &[CertificateName] {
        &self.names
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names.first() {
            Some(name) => write!(formatter, "certificate {name}"),
            None => formatter.write_str("a certificate"),
        }
    }
}
