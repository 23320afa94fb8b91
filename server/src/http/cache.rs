//! `GET`, `HEAD`, `PUT` and `DELETE` of what paths name.
//!
//! A result that is brought as the path `ac/HASH` is the same as one that is brought by gRPC, and is answered only while all of
//! its blobs are there. Other clients store their own things under such paths: what is no `ActionResult` is a named blob.

use super::key::Key;
use super::precondition::Wanted;
use super::upload::Upload;
use super::{Refusal, drain, plain, webdav};
use crate::access::{Caller, Denial, JUDGES, READERS, WRITERS};
use crate::budget::{Crowded, Share};
use crate::services::{Backend, check_result};
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use futures::TryStreamExt as _;
use prost::Message as _;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::entries;
use pumphouse_proto::limits::BATCH_SIZE_BYTES;
use pumphouse_proto::reapi::ActionResult;

/// What an upload has in memory until it is written.
const BLOCK_SIZE_BYTES: u64 = 1024 * 1024;

/// What is possible here.
const ALLOWED: &str = "GET, HEAD, PUT, DELETE, OPTIONS, MKCOL, PROPFIND";

/// Answers a request to a cache.
pub(super) async fn serve(
    State(backend): State<Backend>,
    Extension(caller): Extension<Caller>,
    Extension(share): Extension<Share>,
    request: Request,
) -> Response<Body> {
    let is_head = request.method() == Method::HEAD;
    match answer(&backend, (&caller, &share), request).await {
        Ok(response) if is_head => response.map(|_| Body::empty()),
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn answer(
    backend: &Backend,
    (caller, share): (&Caller, &Share),
    request: Request,
) -> Result<Response<Body>, Refusal> {
    let (head, body) = request.into_parts();
    let key = match may(caller, head.method.as_str(), head.uri.path()) {
        Ok(key) => key,
        Err(refusal) => {
            drain(&head.headers, body).await;
            return Err(refusal);
        }
    };
    match head.method.as_str() {
        "GET" => get(backend, Some(&head.headers), &key).await,
        "HEAD" => get(backend, None, &key).await,
        "PUT" => match Upload::new(backend, &head.headers, body) {
            Ok(upload) => put(backend, (caller, share), &key, upload).await,
            Err((refusal, body)) => {
                drain(&head.headers, body).await;
                Err(refusal)
            }
        },
        "DELETE" => delete(backend, caller, &key).await,
        "OPTIONS" => Ok(webdav::options(ALLOWED)),
        "MKCOL" => webdav::make_collection(&key),
        "PROPFIND" => match (&key, find(backend, &key).await?) {
            (Key::Collection(_), _) => Ok(webdav::properties(head.uri.path(), None)),
            (_, Some(found)) => Ok(webdav::properties(head.uri.path(), Some(found.size_bytes()))),
            (_, None) => Err(absent()),
        },
        _ => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, &format!("only {ALLOWED} are possible here"));
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(ALLOWED));
            Ok(response)
        }
    }
}

/// What a path names, for a caller who may do that with it.
fn may(caller: &Caller, method: &str, path: &str) -> Result<Key, Refusal> {
    let key = Key::of(path)?;
    let roles = match (method, &key) {
        // Collections are made by nobody, so whoever asks for one may.
        ("GET" | "HEAD" | "OPTIONS" | "PROPFIND" | "MKCOL", _) => READERS,
        (_, Key::Blob { .. }) => WRITERS,
        _ => JUDGES,
    };
    caller.check(roles, key.instance_name())?;
    if method == "PUT" && matches!(key, Key::Name(_)) {
        // Its content is a blob that everyone may share.
        caller.check(WRITERS, key.instance_name())?;
    }
    Ok(key)
}

/// What a key stands for.
enum Found {
    /// A blob of the CAS.
    Blob(Digest),
    /// A result, as it is sent.
    Result(Bytes),
}

impl Found {
    fn size_bytes(&self) -> u64 {
        match self {
            Self::Blob(digest) => digest.size_bytes(),
            Self::Result(result) => result.len() as u64,
        }
    }
}

/// The name of what isn't a result, but was brought as one.
fn name_of_result(instance_name: &str, hash: &[u8; 32]) -> String {
    format!("{instance_name}/ac/{}", const_hex::encode(hash))
}

async fn find(backend: &Backend, key: &Key) -> Result<Option<Found>, Refusal> {
    let named = async |name: &str| Ok(backend.action_cache.named(name).await?.map(Found::Blob));
    match key {
        Key::Collection(_) => Ok(None),
        Key::Name(name) => named(name).await,
        Key::Result { instance_name, hash } => match backend.action_cache.get_by_hash(instance_name, *hash).await? {
            Some(result) => Ok(Some(Found::Result(result.encode_to_vec().into()))),
            None => named(&name_of_result(instance_name, hash)).await,
        },
        Key::Blob { hash, .. } => {
            let Some(digest) = backend.blobs.digest_of(*hash).await? else { return Ok(None) };
            // Whoever is told that it is there finds it there for a while.
            let missing = backend.blobs.find_missing(&[digest]).await?;
            Ok(missing.is_empty().then_some(Found::Blob(digest)))
        }
    }
}

fn absent() -> Refusal {
    Refusal(StatusCode::NOT_FOUND, "there is nothing of this name".to_owned())
}

/// What a key stands for, or only its headers, where there are none that ask for a part.
async fn get(backend: &Backend, headers: Option<&HeaderMap>, key: &Key) -> Result<Response<Body>, Refusal> {
    match find(backend, key).await?.ok_or_else(absent)? {
        Found::Result(result) => Ok(bytes(result)),
        Found::Blob(digest) => blob(backend, headers, digest).await,
    }
}

fn bytes(content: Bytes) -> Response<Body> {
    let length = HeaderValue::from(content.len() as u64);
    let mut response = Response::new(Body::from(content));
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

async fn blob(backend: &Backend, headers: Option<&HeaderMap>, digest: Digest) -> Result<Response<Body>, Refusal> {
    let size = digest.size_bytes();
    let tag = format!("\"{}\"", digest.hash_hex());
    let (status, range) = match headers.map_or(Wanted::Whole, |headers| Wanted::by(headers, &tag, size)) {
        Wanted::Nothing => (StatusCode::NOT_MODIFIED, 0..0),
        Wanted::Impossible => (StatusCode::RANGE_NOT_SATISFIABLE, 0..0),
        Wanted::Whole => (StatusCode::OK, 0..size),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
    };
    let length = range.end - range.start;
    let mut response = match length {
        _ if headers.is_none() => {
            let mut response = bytes(Bytes::new());
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(size));
            response
        }
        0 => bytes(Bytes::new()),
        _ => {
            let limit = (length < size).then_some(length);
            let pieces = backend.blobs.read(digest, range.start, limit).await?;
            let mut response = Response::new(Body::from_stream(pieces.inspect_err(|error| tracing::warn!("{error}"))));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            response
        }
    };
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if status == StatusCode::NOT_MODIFIED {
        headers.remove(header::CONTENT_LENGTH);
    }
    let content_range = match status {
        StatusCode::PARTIAL_CONTENT => Some(format!("bytes {}-{}/{size}", range.start, range.end - 1)),
        StatusCode::RANGE_NOT_SATISFIABLE => Some(format!("bytes */{size}")),
        _ => None,
    };
    let value = |text: String| HeaderValue::from_str(&text).map_err(|_| Refusal::bad("a header has no form"));
    if let Some(content_range) = content_range {
        headers.insert(header::CONTENT_RANGE, value(content_range)?);
    }
    headers.insert(header::ETAG, value(tag)?);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    Ok(response)
}

async fn put(
    backend: &Backend,
    (caller, share): (&Caller, &Share),
    key: &Key,
    mut upload: Upload<'_>,
) -> Result<Response<Body>, Refusal> {
    let most = if matches!(key, Key::Result { .. }) { BATCH_SIZE_BYTES as u64 } else { BLOCK_SIZE_BYTES };
    let _hold = share.take(upload.declared().map_or(most, |declared| declared.min(most))).await?;
    match key {
        Key::Collection(_) => return Err(Refusal::bad("the path names nothing: it ends with a slash")),
        Key::Blob { hash, .. } => {
            if let Some(Found::Blob(known)) = find(backend, key).await?
                && upload.declared().is_none_or(|declared| declared == known.size_bytes())
            {
                upload.drain().await;
                return Ok(plain(StatusCode::OK, "known already"));
            }
            upload.store_as(*hash).await?;
        }
        Key::Name(name) => {
            let blob = upload.store_unnamed(Bytes::new()).await?;
            backend.action_cache.name(name, blob).await?;
            tracing::info!(target: "audit", %caller, name, blob = %blob, "put a name");
        }
        Key::Result { instance_name, hash } => {
            let content = upload.beginning(BATCH_SIZE_BYTES).await?;
            let name = name_of_result(instance_name, hash);
            if let Some(result) = as_result(&content)? {
                check_result(&result).map_err(|status| Refusal::bad(status.message()))?;
                backend.action_cache.put_by_hash(instance_name, *hash, result).await?;
                backend.action_cache.unname(&name).await?;
            } else {
                caller.check(WRITERS, instance_name)?;
                let blob = upload.store_unnamed(content).await?;
                backend.action_cache.name(&name, blob).await?;
                backend.action_cache.remove_by_hash(instance_name, *hash).await?;
            }
            tracing::info!(target: "audit", %caller, instance_name, action = const_hex::encode(hash), "put a result");
        }
    }
    Ok(plain(StatusCode::CREATED, "stored"))
}

/// The result that `content` is. What would be sent otherwise than it came is none: its client gets back what it brought.
///
/// # Errors
/// It may be one, and would list too much.
fn as_result(content: &Bytes) -> Result<Option<ActionResult>, Refusal> {
    // Nothing at all would be a success without outputs, which nobody means who sends nothing.
    if content.is_empty() || content.len() > BATCH_SIZE_BYTES {
        return Ok(None);
    }
    entries::check_encoded_result(content).map_err(|error| Refusal::bad(format!("action_result: {error}")))?;
    let result = ActionResult::decode(content.clone()).ok();
    Ok(result.filter(|result| result.encode_to_vec() == *content))
}

async fn delete(backend: &Backend, caller: &Caller, key: &Key) -> Result<Response<Body>, Refusal> {
    match key {
        Key::Name(name) => {
            backend.action_cache.unname(name).await?;
            tracing::info!(target: "audit", %caller, name, "removed a name");
        }
        Key::Result { instance_name, hash } => {
            backend.action_cache.remove_by_hash(instance_name, *hash).await?;
            backend.action_cache.unname(&name_of_result(instance_name, hash)).await?;
            tracing::info!(target: "audit", %caller, instance_name, action = const_hex::encode(hash), "removed a result");
        }
        Key::Blob { .. } | Key::Collection(_) => {
            let message = "only results and names can be deleted; blobs leave when there is no room".to_owned();
            return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, message));
        }
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

impl From<Crowded> for Refusal {
    fn from(crowded: Crowded) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, crowded.to_string())
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        let status = match denial {
            Denial::Unknown(_) => StatusCode::UNAUTHORIZED,
            Denial::Forbidden(_) => StatusCode::FORBIDDEN,
        };
        Self(status, denial.to_string())
    }
}
