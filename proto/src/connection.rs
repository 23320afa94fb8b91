//! Connections to a server: encrypted or not, and how whoever connects becomes known there.
//!
//! A token is read again when its file changes; certificates are those of the moment at which the [`Dialer`] was made.

use crate::address::Address;
use crate::reread::Reread;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

/// A connection whose calls say who makes them.
pub type Connection = InterceptedService<Channel, Authorization>;

/// What makes a client known to a server, and the server to it. All files are PEM but the token's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The file that holds a bearer token.
    pub token_file: Option<PathBuf>,
    /// A token that stands in no file, of somebody in this very process.
    pub token: Option<String>,
    /// The authorities that may vouch for the server, in place of this machine's.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate.
    pub certificate_file: Option<PathBuf>,
    /// Its private key.
    pub key_file: Option<PathBuf>,
}

/// Why no connection can be made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// A file can't be read.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file holds no token.
    #[error("{}: holds no token", .0.display())]
    Token(PathBuf),
    /// A certificate without its key, or the reverse.
    #[error("a certificate needs its key, and a key its certificate")]
    Half,
    /// Encryption can't be set up.
    #[error("{0}")]
    Transport(String),
}

/// What connects to one server.
#[derive(Debug, Clone)]
pub struct Dialer {
    endpoint: Endpoint,
    authorization: Authorization,
}

impl Dialer {
    /// Reads the files of `credentials`. `tune` sets the connection's times and windows.
    ///
    /// # Errors
    /// A file can't be read or used.
    pub fn new(
        address: &Address,
        credentials: &Credentials,
        tune: impl FnOnce(Endpoint) -> Endpoint,
    ) -> Result<Self, DialError> {
        let scheme = if address.is_encrypted { "https" } else { "http" };
        let transport = |error: tonic::transport::Error| DialError::Transport(innermost(&error));
        let endpoint = Endpoint::from_shared(format!("{scheme}://{}", address.authority)).map_err(transport)?;
        // A call that is left before its last frame has come leaves a frame behind that belongs to nobody. That is not the
        // server's fault, and after a thousand of them HTTP/2 would give the whole connection up.
        let mut endpoint = tune(endpoint).http2_max_local_error_reset_streams(None);
        if address.is_encrypted {
            endpoint = endpoint.tls_config(encryption(credentials)?).map_err(transport)?;
        }
        Ok(Self { endpoint, authorization: Authorization::open(credentials)? })
    }

    /// Connects now.
    ///
    /// # Errors
    /// Nobody answers, or not as agreed.
    pub async fn connect(&self) -> Result<Connection, tonic::transport::Error> {
        let channel = self.endpoint.connect().await?;
        Ok(InterceptedService::new(channel, self.authorization.clone()))
    }

    /// Connects when it is first used, and again whenever it must.
    pub fn connect_lazy(&self) -> Connection {
        InterceptedService::new(self.endpoint.connect_lazy(), self.authorization.clone())
    }
}

fn encryption(credentials: &Credentials) -> Result<ClientTlsConfig, DialError> {
    let mut config = ClientTlsConfig::new();
    config = match &credentials.ca_file {
        Some(path) => config.ca_certificate(Certificate::from_pem(read(path)?)),
        None => config.with_native_roots(),
    };
    match (&credentials.certificate_file, &credentials.key_file) {
        (Some(certificate), Some(key)) => Ok(config.identity(Identity::from_pem(read(certificate)?, read(key)?))),
        (None, None) => Ok(config),
        _ => Err(DialError::Half),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, DialError> {
    std::fs::read(path).map_err(|error| DialError::File { path: path.to_owned(), error })
}

/// What an error comes from, in words: those around it say nothing.
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Puts a token into each call.
#[derive(Clone, Default)]
pub struct Authorization(Option<Arc<Reread<MetadataValue<Ascii>, DialError>>>);

impl fmt::Debug for Authorization {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_some() { "Authorization(a token)" } else { "Authorization(none)" })
    }
}

impl Authorization {
    fn open(credentials: &Credentials) -> Result<Self, DialError> {
        let token = match (&credentials.token_file, &credentials.token) {
            (Some(path), _) => Reread::open(vec![path.clone()], Box::new(|paths| token(&paths[0])))?,
            (None, Some(token)) => {
                let value = bearer(token).ok_or_else(|| DialError::Token(PathBuf::new()))?;
                Reread::open(Vec::new(), Box::new(move |_| Ok(value.clone())))?
            }
            (None, None) => return Ok(Self(None)),
        };
        Ok(Self(Some(Arc::new(token))))
    }
}

fn token(path: &Path) -> Result<MetadataValue<Ascii>, DialError> {
    let text = String::from_utf8(read(path)?).map_err(|_| DialError::Token(path.to_owned()))?;
    bearer(text.trim()).ok_or_else(|| DialError::Token(path.to_owned()))
}

fn bearer(token: &str) -> Option<MetadataValue<Ascii>> {
    if token.is_empty() || token.contains(char::is_whitespace) {
        return None;
    }
    let mut value = MetadataValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Interceptor for Authorization {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", MetadataValue::clone(&token.current()));
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shown_as_it_stands_in_its_file() {
        let path = std::env::temp_dir().join(format!("pumphouse-token-{}", std::process::id()));
        std::fs::write(&path, "one\n").expect("written");
        let credentials = Credentials { token_file: Some(path.clone()), ..Credentials::default() };
        let mut authorization = Authorization::open(&credentials).expect("opens");
        let shown = |authorization: &mut Authorization| {
            let request = authorization.call(Request::new(())).expect("goes on");
            request.metadata().get("authorization").map(|value| value.to_str().expect("text").to_owned())
        };
        assert_eq!(shown(&mut authorization).as_deref(), Some("Bearer one"));
        std::fs::write(&path, " \n").expect("written");
        assert!(matches!(Authorization::open(&credentials), Err(DialError::Token(_))));
        std::fs::remove_file(&path).expect("removed");
        assert!(matches!(Authorization::open(&credentials), Err(DialError::File { .. })));
        let private = Credentials { token: Some("two".to_owned()), ..Credentials::default() };
        let mut authorization = Authorization::open(&private).expect("opens");
        assert_eq!(shown(&mut authorization).as_deref(), Some("Bearer two"));
        assert_eq!(shown(&mut Authorization::default()), None);
    }
}
