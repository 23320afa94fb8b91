//! What every request meets: who calls, whether that one may, and what is counted.

use super::tls::Encryption;
use crate::access::{Access, Again, Caller, Certificate, Denial, Needed, Role, is_known, needed};
use crate::budget::{Held, Hold, RequestBody, ResponseBody, Share};
use crate::http::{drain, plain};
use crate::metrics::Metrics;
use axum::Router;
use hyper::body::Incoming;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::codegen::http::{HeaderValue, Request, Response, StatusCode, header};
use tonic::service::Routes;
use tonic::{Code, Status};

/// What asks for credentials.
const CHALLENGE: &str = "Basic realm=\"pumphouse\", charset=\"UTF-8\"";

/// What only workers call.
const WORKERS_SERVICE: &str = "/pumphouse.worker.v1.Workers/";

/// Paths that even strangers may ask for.
const FOR_STRANGERS: [&str; 2] = ["/healthz", "/readyz"];

/// Everything that is served. Cheap to clone.
#[derive(Clone)]
pub(super) struct Face {
    pub(super) routes: Routes,
    pub(super) http: Router,
    pub(super) shared: Arc<Shared>,
    pub(super) audience: Audience,
}

/// Who is served at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// Whoever may.
    Everyone,
    /// Whoever may, but workers.
    Clients,
    /// Workers alone.
    Workers,
    /// The worker of this process, whose connections aren't encrypted.
    PrivateWorker,
}

impl Audience {
    /// Whether `caller` is served here who calls that method.
    fn admits(self, caller: &Caller, path: &str) -> Result<(), Denial> {
        match self {
            Self::Clients if path.starts_with(WORKERS_SERVICE) => {
                Err(Denial::Forbidden("workers are served at another address of this server".to_owned()))
            }
            Self::Everyone | Self::Clients => Ok(()),
            Self::Workers | Self::PrivateWorker => caller.check_any(&[Role::Worker]),
        }
    }
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) access: Access,
    pub(super) encryption: Option<Encryption>,
    pub(super) metrics: Arc<Metrics>,
}

/// The other end of a connection.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) certificate: Option<Certificate>,
    pub(super) share: Share,
}

impl Face {
    pub(super) fn encryption(&self) -> Option<&Encryption> {
        self.shared.encryption.as_ref().filter(|_| self.audience != Audience::PrivateWorker)
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Answers a request of `peer`.
    pub(super) async fn answer(&self, peer: &Peer, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let begun = Instant::now();
        let kind = request.headers().get(header::CONTENT_TYPE);
        let is_grpc = kind.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        let (name, response) =
            if is_grpc { self.answer_grpc(peer, request).await } else { self.answer_http(peer, request).await };
        let code = match response.headers().get("grpc-status") {
            Some(code) => format!("{:?}", Code::from_bytes(code.as_bytes())),
            None if is_grpc => "Ok".to_owned(),
            None => response.status().as_str().to_owned(),
        };
        let name = if is_grpc && !is_known(&name) { "other" } else { &name };
        self.metrics().called(name, &code, begun.elapsed());
        Ok(response)
    }

    async fn answer_grpc(&self, peer: &Peer, mut request: Request<Incoming>) -> (String, Response<Body>) {
        let path = request.uri().path().to_owned();
        let caller = self.shared.access.identify(request.headers(), peer.certificate.as_ref());
        let caller = caller.and_then(|caller| match needed(&path) {
            Needed::Nothing => Ok(caller),
            Needed::OneOf(roles) => {
                caller.check_any(roles)?;
                self.audience.admits(&caller, &path)?;
                Ok(caller)
            }
        });
        let caller = match caller {
            Ok(caller) => caller,
            // A stranger with wrong credentials may still ask whether the server lives.
            Err(_) if needed(&path) == Needed::Nothing => Caller::nobody(),
            Err(denial) => {
                self.denied(peer, &path, &denial);
                return (path, Status::from(denial).into_http());
            }
        };
        if path.starts_with(WORKERS_SERVICE) {
            let (shared, headers) = (Arc::clone(&self.shared), request.headers().clone());
            let certificate = peer.certificate.clone();
            let again = move || shared.access.identify(&headers, certificate.as_ref());
            request.extensions_mut().insert(Again(Arc::new(again)));
        }
        request.extensions_mut().insert(caller.party(peer.address.ip()));
        request.extensions_mut().insert(caller);
        request.extensions_mut().insert(peer.share.clone());
        // What came counts until it is answered, and what is answered until it is sent.
        let message = Held::default();
        let request = request.map(|body| RequestBody::new(body, peer.share.clone(), Arc::clone(&message)));
        let response = match self.routes.clone().call(request).await {
            // A service or method that isn't here is refused in words.
            Ok(response) if is_unimplemented(&response) => {
                Status::unimplemented(format!("{path} is not served here")).into_http()
            }
            Ok(mut response) => match response.extensions_mut().remove::<Hold>() {
                Some(hold) => response.map(|body| Body::new(ResponseBody::new(body, hold))),
                None => response,
            },
            Err(error) => match error {},
        };
        (path, response)
    }

    async fn answer_http(&self, peer: &Peer, mut request: Request<Incoming>) -> (String, Response<Body>) {
        let method = request.method().as_str();
        let is_usual = matches!(method, "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS" | "MKCOL" | "PROPFIND");
        let name = format!("HTTP {}", if is_usual { method } else { "other" });
        let is_free = FOR_STRANGERS.contains(&request.uri().path());
        let caller = self.shared.access.identify(request.headers(), peer.certificate.as_ref()).and_then(|caller| {
            let admitted = if is_free { Ok(()) } else { self.audience.admits(&caller, request.uri().path()) };
            admitted.map(|()| caller)
        });
        let caller = match caller {
            Ok(caller) => caller,
            Err(_) if is_free => Caller::nobody(),
            Err(denial) => {
                self.denied(peer, request.uri().path(), &denial);
                drain(&request.headers().clone(), axum::body::Body::new(request.into_body())).await;
                return (
                    name,
                    match denial {
                        Denial::Unknown(message) => {
                            challenged(plain(StatusCode::UNAUTHORIZED, &message).map(Body::new))
                        }
                        Denial::Forbidden(message) => plain(StatusCode::FORBIDDEN, &message).map(Body::new),
                    },
                );
            }
        };
        request.extensions_mut().insert(caller);
        request.extensions_mut().insert(peer.share.clone());
        let path = request.uri().path().to_owned();
        let response = match self.http.clone().call(request).await {
            Ok(response) => response.map(Body::new),
            Err(error) => match error {},
        };
        let response = match response.status() {
            StatusCode::UNAUTHORIZED => challenged(response),
            _ => response,
        };
        if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            self.metrics().denied_calls.inc();
            tracing::warn!(target: "audit", peer = %peer.address, path, "denied");
        }
        (name, response)
    }

    fn denied(&self, peer: &Peer, path: &str, denial: &Denial) {
        self.metrics().denied_calls.inc();
        tracing::warn!(target: "audit", peer = %peer.address, path, %denial, "denied");
    }
}

fn is_unimplemented(response: &Response<Body>) -> bool {
    let headers = response.headers();
    headers.get("grpc-status").is_some_and(|code| code == "12") && !headers.contains_key("grpc-message")
}

fn challenged(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
    response
}
