//! What is served to those who don't speak gRPC: caches of build tools by plain HTTP, health, metrics.
//!
//! * [`cache`]: `GET`, `HEAD`, `PUT` and `DELETE` of blobs, results and named blobs
//! * [`figures`]: what is shown to those who watch
//! * [`key`]: what a path names, in the layouts of the clients that exist
//! * [`precondition`]: ranges and entity tags
//! * [`upload`]: bodies on their way into the CAS
//! * [`webdav`]: as much of it as clients ask for that store there
//!
//! **Source:** RFC 9110 (methods, ranges, conditions, status codes), RFC 4918 (`MKCOL`, `PROPFIND`); "HTTP caching protocol" of
//! Bazel's documentation; ccache's and Gradle's manuals on their HTTP caches.

mod cache;
mod figures;
#[cfg(test)]
mod fuzz;
mod key;
mod precondition;
mod upload;
mod webdav;

use crate::access::{ANYONE, Caller};
use crate::blobs::{RETRY_AFTER, StoreError};
use crate::services::Backend;
use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use futures::StreamExt as _;
use std::time::Duration;

/// Everything that is served by plain HTTP.
pub(crate) fn router(backend: &Backend) -> Router {
    Router::new()
        .route("/healthz", get(|| async { plain(StatusCode::OK, "ok") }))
        .route("/readyz", get(ready))
        .route("/metrics", get(show_metrics))
        .fallback(cache::serve)
        .with_state(backend.clone())
}

/// Whether new work should come here.
async fn ready(State(backend): State<Backend>) -> Response<Body> {
    if backend.is_draining() {
        return plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining: running actions end, and new work should go elsewhere",
        );
    }
    plain(StatusCode::OK, "ok")
}

async fn show_metrics(State(backend): State<Backend>, Extension(caller): Extension<Caller>) -> Response<Body> {
    if let Err(denial) = caller.check_any(ANYONE) {
        return Refusal::from(denial).into_response();
    }
    let mut response = Response::new(Body::from(figures::text(&backend)));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// How much of a body that nobody needs is read, so that the client gets to read the answer.
const DRAINED_SIZE_BYTES: u64 = 64 * 1024 * 1024;

/// How long that may take.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// Reads the body of a request that is refused, up to a limit, unless its client waits for a word before it sends it.
pub(crate) async fn drain(headers: &HeaderMap, body: Body) {
    if headers.contains_key(header::EXPECT) {
        return;
    }
    let (mut pieces, mut left) = (body.into_data_stream(), DRAINED_SIZE_BYTES);
    let read = async {
        while let Some(Ok(piece)) = pieces.next().await {
            let Some(rest) = left.checked_sub(piece.len() as u64) else { return };
            left = rest;
        }
    };
    // What has not come by then is not waited for.
    let _ = tokio::time::timeout(DRAIN_LIMIT, read).await;
}

/// An answer in words.
pub(crate) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Why a request isn't done, as its answer.
#[derive(Debug)]
struct Refusal(StatusCode, String);

impl Refusal {
    fn bad(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        let mut response = plain(self.0, &self.1);
        if self.0 == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER.as_secs()));
        }
        response
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let status = match error {
            // A cache that lost something has it no more, which is what its clients can deal with.
            StoreError::NotFound(_) | StoreError::Corrupt(_) => StatusCode::NOT_FOUND,
            StoreError::Mismatch { .. } => StatusCode::BAD_REQUEST,
            StoreError::Exhausted(_) => StatusCode::INSUFFICIENT_STORAGE,
            StoreError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            StoreError::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::{Code, Status};

    #[test]
    fn what_passes_is_to_be_tried_again_and_what_is_broken_is_not() {
        let answers = |error: StoreError| {
            let (response, status) = (Refusal::from(error.clone()).into_response(), Status::from(error));
            let is_hinted = response.headers().contains_key(header::RETRY_AFTER);
            (response.status(), is_hinted, status.code(), pumphouse_proto::retry::is_transient(&status))
        };
        let unavailable = answers(StoreError::Unavailable("too many open files".into()));
        assert_eq!(unavailable, (StatusCode::SERVICE_UNAVAILABLE, true, Code::Unavailable, true));
        let broken = answers(StoreError::Broken("input/output error".into()));
        assert_eq!(broken, (StatusCode::INTERNAL_SERVER_ERROR, false, Code::Internal, false));
    }
}
