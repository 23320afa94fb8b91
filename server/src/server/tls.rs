//! Encrypted connections: the server's certificate, and whose certificates clients may show.
//!
//! Certificates and keys are read again when their files change; a connection keeps those with which it began.

use crate::access::Certificate;
use crate::config::Tls;
use crate::reload::Reloaded;
use anyhow::{Context as _, ensure};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

/// How long a peer has to agree on encryption.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// The protocols that are spoken inside.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What makes connections encrypted.
#[derive(Debug)]
pub(super) struct Encryption(Reloaded<Arc<ServerConfig>>);

impl Encryption {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them can't be read or used; names it.
    pub(super) fn open(tls: &Tls) -> anyhow::Result<Self> {
        let mut paths = vec![tls.certificate_file.clone(), tls.key_file.clone()];
        paths.extend(tls.client_ca_file.clone());
        let demands = tls.demands_client_certificate;
        let parse = move |contents: &[Vec<u8>]| config(contents, demands).map(Arc::new);
        Ok(Self(crate::reload::open_all(paths, parse)?))
    }

    /// Agrees with the peer.
    ///
    /// # Errors
    /// The peer can't, or says nothing for too long.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Option<Certificate>)> {
        let acceptor = TlsAcceptor::from(Arc::clone(&*self.0.current()));
        let accepted = tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await;
        let stream = accepted.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let certificate = stream.get_ref().1.peer_certificates().and_then(Certificate::of);
        Ok((stream, certificate))
    }
}

fn config(contents: &[Vec<u8>], demands_client_certificate: bool) -> anyhow::Result<ServerConfig> {
    let chain = certificates(&contents[0]).context("the certificate")?;
    let key = PrivateKeyDer::from_pem_slice(&contents[1]).context("the key")?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match contents.get(2) {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(authorities).context("the authority of clients")? {
                roots.add(certificate).context("the authority of clients")?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if demands_client_certificate { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).context("the certificate and the key")?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    ensure!(!certificates.is_empty(), "there is none in the file");
    Ok(certificates)
}
