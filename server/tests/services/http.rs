//! What is served by plain HTTP.

use crate::support::*;
use prost::Message as _;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{ActionResult, GetActionResultRequest, OutputFile};
use std::collections::HashMap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends a request as it stands, and reads until the server closes.
async fn exchange(server: &TestServer, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Answer { status, headers, body: answer[end + 4..].to_vec() }
}

/// Sends a request with a body.
pub(crate) async fn request(
    server: &TestServer,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if method == "PUT" && !headers.iter().any(|(name, _)| *name == "transfer-encoding") {
        head += &format!("content-length: {}\r\n", body.len());
    }
    exchange(server, &[head.as_bytes(), b"\r\n", body].concat()).await
}

async fn get(server: &TestServer, path: &str) -> Answer {
    request(server, "GET", path, &[], b"").await
}

async fn put(server: &TestServer, path: &str, body: &[u8]) -> Answer {
    request(server, "PUT", path, &[], body).await
}

#[tokio::test]
async fn health_is_told_and_what_is_not_there_is_not_found() {
    let mut server = TestServer::start().await;
    for path in ["/healthz", "/readyz"] {
        let answer = get(&server, path).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok\n"), "{path}");
        assert_eq!(request(&server, "POST", path, &[], b"").await.status, 405);
    }
    let metrics = get(&server, "/metrics").await;
    assert!(metrics.headers["content-type"].starts_with("application/openmetrics-text"), "{metrics:?}");
    assert!(metrics.text().contains("pumphouse_cas_bytes_limit 53687091200\n"), "{}", metrics.text());
    assert_eq!(get(&server, "/nothing").await.status, 404);
    assert_eq!(request(&server, "POST", "/nothing", &[], b"").await.status, 405);
    assert_eq!(get(&server, "/").await.status, 404);
    server.begin_stop();
    server.stop().await;
}

#[tokio::test]
async fn blobs_are_the_same_by_either_protocol() {
    let server = TestServer::start().await;
    let blob: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).collect();
    let digest = Digest::of(&blob);
    let path = format!("/some/instance/cas/{}", digest.hash_hex());
    assert_eq!(get(&server, &path).await.status, 404);
    assert_eq!(request(&server, "HEAD", &path, &[], b"").await.status, 404);
    assert_eq!(put(&server, &path, &blob).await.status, 201);
    assert_eq!(put(&server, &path, &blob).await.status, 200, "it is there already");
    assert!(server.missing(&[digest]).await.is_empty());
    let answer = get(&server, &path).await;
    assert!(answer.status == 200 && answer.body == blob);
    assert_eq!(answer.headers["content-length"], blob.len().to_string());
    let head = request(&server, "HEAD", &path, &[], b"").await;
    assert_eq!((head.status, &head.headers["content-length"], head.body.len()), (200, &blob.len().to_string(), 0));
    let other = server.upload(&[b"by gRPC"]).await[0];
    assert_eq!(get(&server, &format!("/cas/{}", other.hash_hex())).await.text(), "by gRPC");
    let empty = get(&server, &format!("/cas/{}", Digest::EMPTY.hash_hex())).await;
    assert_eq!((empty.status, empty.body.len()), (200, 0));
    assert_eq!(request(&server, "DELETE", &path, &[], b"").await.status, 405);
    server.stop().await;
}

#[tokio::test]
async fn parts_and_tags_are_as_the_standard_has_them() {
    let server = TestServer::start().await;
    let digest = server.upload(&[b"0123456789"]).await[0];
    let path = format!("/cas/{}", digest.hash_hex());
    let tag = format!("\"{}\"", digest.hash_hex());
    for (header, status, range, body) in [
        (("range", "bytes=2-4"), 206, Some("bytes 2-4/10"), "234"),
        (("range", "bytes=-3"), 206, Some("bytes 7-9/10"), "789"),
        (("range", "bytes=10-"), 416, Some("bytes */10"), ""),
        (("range", "bytes=x"), 200, None, "0123456789"),
        (("if-none-match", tag.as_str()), 304, None, ""),
        (("if-none-match", "\"x\""), 200, None, "0123456789"),
    ] {
        let answer = request(&server, "GET", &path, &[header], b"").await;
        let seen = (answer.status, answer.headers.get("content-range").map(String::as_str), answer.text());
        assert_eq!(seen, (status, range, body.to_owned()), "{header:?}");
        assert_eq!(answer.headers["etag"], tag);
    }
    let head = request(&server, "HEAD", &path, &[("range", "bytes=2-4")], b"").await;
    assert_eq!((head.status, head.headers["content-length"].as_str()), (200, "10"), "parts are for GET");
    server.stop().await;
}

#[tokio::test]
async fn what_does_not_match_is_not_stored() {
    let server = TestServer::start_with(|config| config.blob_size_bytes = 100_000).await;
    let path = format!("/cas/{}", Digest::of(b"right").hash_hex());
    let answer = put(&server, &path, b"wrong").await;
    assert!(answer.status == 400 && answer.text().contains("does not match"), "{answer:?}");
    let chunked = [("transfer-encoding", "chunked")];
    let answer = request(&server, "PUT", &path, &chunked, b"5\r\nwrong\r\n0\r\n\r\n").await;
    assert!(answer.status == 400 && answer.text().contains("hash"), "{answer:?}");
    assert_eq!(get(&server, &path).await.status, 404);
    let answer = request(&server, "PUT", &path, &chunked, b"5\r\nright\r\n0\r\n\r\n").await;
    assert_eq!(answer.status, 201);
    assert_eq!(get(&server, &path).await.text(), "right");
    let answer = put(&server, "/name", &vec![0; 100_001]).await;
    assert!(answer.status == 413 && answer.text().contains("100001"), "{answer:?}");
    let answer = request(&server, "PUT", "/name", &[("content-encoding", "gzip")], b"x").await;
    assert!(answer.status == 415 && answer.text().contains("content-encoding"), "{answer:?}");
    for bad in ["/cas/xyz", "/a/../b", "/a%20b"] {
        let answer = put(&server, bad, b"x").await;
        assert_eq!(answer.status, 400, "{bad}: {answer:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn results_are_the_same_by_either_protocol_and_only_while_they_are_complete() {
    let server = TestServer::start().await;
    let file = Digest::of(b"output");
    let output = OutputFile { path: "o".into(), digest: Some(file.into()), ..OutputFile::default() };
    let result = ActionResult { output_files: vec![output], ..ActionResult::default() };
    let action = Digest::of(b"an action");
    let path = format!("/ac/{}", action.hash_hex());
    assert_eq!(put(&server, &path, &result.encode_to_vec()).await.status, 201);
    assert_eq!(get(&server, &path).await.status, 404, "its output is not there");
    server.upload(&[b"output"]).await;
    assert!(get(&server, &path).await.body == result.encode_to_vec());
    let wanted = GetActionResultRequest { action_digest: Some(action.into()), ..Default::default() };
    assert_eq!(server.action_cache().get_action_result(wanted.clone()).await.unwrap().into_inner(), result);
    let other = format!("/other/ac/{}", action.hash_hex());
    assert_eq!(get(&server, &other).await.status, 404, "instances are apart");
    let failed = ActionResult { exit_code: 1, ..ActionResult::default() };
    let answer = put(&server, &path, &failed.encode_to_vec()).await;
    assert!(answer.status == 400 && answer.text().contains("exit_code"), "{answer:?}");
    assert_eq!(request(&server, "DELETE", &path, &[], b"").await.status, 204);
    assert_eq!(get(&server, &path).await.status, 404);
    assert!(server.action_cache().get_action_result(wanted).await.is_err());
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_result_is_given_back_as_it_came() {
    let server = TestServer::start().await;
    let large: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_be_bytes).collect();
    let hash = Digest::of(b"key").hash_hex();
    let names = [format!("/ac/{hash}"), format!("/x/ac/{hash}"), "/ab/cdef".to_owned(), "/a.b/c_d-e".to_owned()];
    for body in [&b"\xcc\xac\x00\x01"[..], b"", &large] {
        for name in &names {
            assert_eq!(put(&server, name, body).await.status, 201, "{name}");
            let answer = get(&server, name).await;
            assert!(answer.status == 200 && answer.body == body, "{name} {}", body.len());
        }
    }
    assert_eq!(get(&server, &format!("/y/ac/{hash}")).await.status, 404);
    for name in &names {
        assert_eq!(request(&server, "DELETE", name, &[], b"").await.status, 204);
        assert_eq!(get(&server, name).await.status, 404, "{name}");
    }
    server.stop().await;
}

#[tokio::test]
async fn collections_are_there_as_soon_as_somebody_wants_them() {
    let server = TestServer::start().await;
    assert_eq!(request(&server, "MKCOL", "/a/b/", &[], b"").await.status, 201);
    let answer = request(&server, "PROPFIND", "/a/b/", &[("depth", "0")], b"").await;
    assert!(answer.status == 207 && answer.text().contains("<D:collection/>"), "{answer:?}");
    assert_eq!(request(&server, "PROPFIND", "/a/b/c", &[], b"").await.status, 404);
    put(&server, "/a/b/c", b"twelve bytes").await;
    let answer = request(&server, "PROPFIND", "/a/b/c", &[], b"").await;
    assert!(answer.status == 207 && answer.text().contains("<D:getcontentlength>12<"), "{answer:?}");
    let answer = request(&server, "OPTIONS", "/a/b/c", &[], b"").await;
    assert!(answer.status == 200 && answer.headers["allow"].contains("MKCOL"), "{answer:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing() {
    let server = TestServer::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"PUT /name HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nhalf").await.unwrap();
    drop(stream);
    for _ in 0..20 {
        assert_eq!(get(&server, "/name").await.status, 404);
    }
    server.stop().await;
}
