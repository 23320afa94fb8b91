//! As much of `WebDAV` as clients ask for that store there: collections are there as soon as somebody wants them.
//!
//! **Source:** RFC 4918, sections 9.1 and 9.3.

use super::key::Key;
use super::{Refusal, plain};
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use std::fmt::Write as _;

/// What `OPTIONS` says.
pub(super) fn options(allowed: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response.headers_mut().insert("dav", HeaderValue::from_static("1"));
    response
}

/// `MKCOL`: there is nothing to be done for it.
pub(super) fn make_collection(key: &Key) -> Result<Response<Body>, Refusal> {
    match key {
        Key::Collection(_) | Key::Name(_) => Ok(plain(StatusCode::CREATED, "created")),
        Key::Blob { .. } | Key::Result { .. } => {
            Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "this names something that is no collection".to_owned()))
        }
    }
}

/// `PROPFIND` of something at `path`: a collection, or what has `size_bytes`.
pub(super) fn properties(path: &str, size_bytes: Option<u64>) -> Response<Body> {
    let mut href = String::new();
    for letter in path.chars() {
        match letter {
            '&' => href.push_str("&amp;"),
            '\'' => href.push_str("&apos;"),
            _ => href.push(letter),
        }
    }
    let mut text =
        String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\"><D:response>");
    let _ = write!(text, "<D:href>{href}</D:href><D:propstat><D:prop>");
    text.push_str(match size_bytes {
        None => "<D:resourcetype><D:collection/></D:resourcetype>",
        Some(_) => "<D:resourcetype/>",
    });
    if let Some(size_bytes) = size_bytes {
        let _ = write!(text, "<D:getcontentlength>{size_bytes}</D:getcontentlength>");
    }
    // Clients insist on a time, and nobody's is known.
    text.push_str("<D:getlastmodified>Thu, 01 Jan 1970 00:00:00 GMT</D:getlastmodified></D:prop>");
    text.push_str("<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response></D:multistatus>\n");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::MULTI_STATUS;
    let kind = HeaderValue::from_static("application/xml; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
