//! Content by address.

use crate::http;
use crate::support::*;
use base64::Engine as _;
use prost::Message as _;
use pumphouse_proto::asset::fetch_client::FetchClient;
use pumphouse_proto::asset::push_client::PushClient;
use pumphouse_proto::asset::{
    FetchBlobRequest, FetchBlobResponse, FetchDirectoryRequest, PushBlobRequest, PushDirectoryRequest, Qualifier,
};
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{self, Directory, FileNode};
use pumphouse_server::access::{Role, Roles};
use sha2::{Digest as _, Sha256, Sha512};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tonic::transport::Channel;
use tonic::{Code, Status};

fn qualifiers(pairs: &[(&str, &str)]) -> Vec<Qualifier> {
    pairs.iter().map(|(name, value)| Qualifier { name: (*name).into(), value: (*value).into() }).collect()
}

fn fetcher(server: &TestServer) -> FetchClient<Channel> {
    FetchClient::new(server.channel.clone())
}

async fn fetch(server: &TestServer, uris: &[&str], pairs: &[(&str, &str)]) -> Result<FetchBlobResponse, Status> {
    let uris = uris.iter().map(|uri| (*uri).to_owned()).collect();
    let request = FetchBlobRequest { uris, qualifiers: qualifiers(pairs), ..Default::default() };
    Ok(fetcher(server).fetch_blob(request).await?.into_inner())
}

fn code(response: &FetchBlobResponse) -> Code {
    Code::from(response.status.as_ref().unwrap().code)
}

fn content(response: &FetchBlobResponse) -> Digest {
    assert_eq!(code(response), Code::Ok, "{response:?}");
    Digest::try_from(&response.blob_digest).unwrap()
}

#[tokio::test]
async fn what_was_pushed_is_fetched_under_its_names() {
    let server = TestServer::start().await;
    let [blob] = server.upload(&[b"content"]).await[..] else { panic!("one") };
    let mut push = PushClient::new(server.channel.clone());
    let request = PushBlobRequest {
        uris: vec!["urn:one".into(), "https://two.example/x".into()],
        qualifiers: qualifiers(&[("b", "2"), ("a", "1")]),
        blob_digest: Some(blob.into()),
        ..Default::default()
    };
    push.push_blob(request.clone()).await.unwrap();
    // A reference that says nothing is none.
    let unsaid = PushBlobRequest { references_directories: vec![reapi::Digest::default()], ..request.clone() };
    push.push_blob(unsaid).await.unwrap();
    let both = [("a", "1"), ("b", "2")];
    let found = fetch(&server, &["urn:none", "https://two.example/x"], &both).await.unwrap();
    assert_eq!((content(&found), found.uri.as_str()), (blob, "https://two.example/x"));
    assert_eq!(code(&fetch(&server, &["urn:one"], &both[..1]).await.unwrap()), Code::NotFound);
    assert_eq!(code(&fetch(&server, &["urn:none"], &both).await.unwrap()), Code::NotFound);
    let other = FetchBlobRequest {
        instance_name: "other".into(),
        uris: vec!["urn:one".into()],
        qualifiers: qualifiers(&both),
        ..Default::default()
    };
    assert_eq!(code(&fetcher(&server).fetch_blob(other).await.unwrap().into_inner()), Code::NotFound);
    // A directory is another thing, even under the same name.
    let directory =
        FetchDirectoryRequest { uris: vec!["urn:one".into()], qualifiers: qualifiers(&both), ..Default::default() };
    let directory = fetcher(&server).fetch_directory(directory).await.unwrap().into_inner();
    assert_eq!(directory.status.unwrap().code, Code::NotFound as i32);
    // Said again, it is something else.
    let [newer] = server.upload(&[b"newer"]).await[..] else { panic!("one") };
    push.push_blob(PushBlobRequest { blob_digest: Some(newer.into()), ..request }).await.unwrap();
    assert_eq!(content(&fetch(&server, &["urn:one"], &both).await.unwrap()), newer);
}

#[tokio::test]
async fn what_is_pushed_is_there_whole_and_for_as_long_as_was_said() {
    let server = TestServer::start().await;
    let mut push = PushClient::new(server.channel.clone());
    let absent = Digest::of(b"absent");
    let request =
        PushBlobRequest { uris: vec!["urn:x".into()], blob_digest: Some(absent.into()), ..Default::default() };
    let refused = push.push_blob(request.clone()).await.unwrap_err();
    assert_eq!(pumphouse_proto::status::missing_blobs_in(&refused), Some(vec![absent]));
    let file = FileNode { name: "file".into(), digest: Some(absent.into()), ..Default::default() };
    let root = Directory { files: vec![file], ..Default::default() }.encode_to_vec();
    let [blob, root] = server.upload(&[b"content", &root]).await[..] else { panic!("two") };
    let with_root = PushBlobRequest {
        blob_digest: Some(blob.into()),
        references_directories: vec![root.into()],
        ..request.clone()
    };
    let refused = push.push_blob(with_root.clone()).await.unwrap_err();
    assert_eq!(pumphouse_proto::status::missing_blobs_in(&refused), Some(vec![absent]), "what it refers to");
    let directory = PushDirectoryRequest {
        uris: vec!["urn:x".into()],
        root_directory_digest: Some(root.into()),
        ..Default::default()
    };
    let refused = push.push_directory(directory.clone()).await.unwrap_err();
    assert_eq!(pumphouse_proto::status::missing_blobs_in(&refused), Some(vec![absent]), "what is below it");
    assert_eq!(code(&fetch(&server, &["urn:x"], &[]).await.unwrap()), Code::NotFound);

    server.upload(&[b"absent"]).await;
    push.push_directory(directory).await.unwrap();
    let fetched = FetchDirectoryRequest { uris: vec!["urn:x".into()], ..Default::default() };
    let fetched = fetcher(&server).fetch_directory(fetched).await.unwrap().into_inner();
    assert_eq!(fetched.root_directory_digest, Some(root.into()));

    let before = SystemTime::now() - Duration::from_secs(60);
    push.push_blob(PushBlobRequest { expire_at: Some(before.into()), ..with_root.clone() }).await.unwrap();
    assert_eq!(code(&fetch(&server, &["urn:x"], &[]).await.unwrap()), Code::NotFound, "its time is over");
    let later = SystemTime::now() + Duration::from_secs(3600);
    push.push_blob(PushBlobRequest { expire_at: Some(later.into()), ..with_root }).await.unwrap();
    let found = fetch(&server, &["urn:x"], &[]).await.unwrap();
    assert_eq!((content(&found), found.expires_at), (blob, Some(later.into())));
    let aged = |time: SystemTime| FetchBlobRequest {
        uris: vec!["urn:x".into()],
        oldest_content_accepted: Some(time.into()),
        ..Default::default()
    };
    let found = fetcher(&server).fetch_blob(aged(before)).await.unwrap().into_inner();
    assert_eq!(content(&found), blob);
    let found = fetcher(&server).fetch_blob(aged(later)).await.unwrap().into_inner();
    assert_eq!(code(&found), Code::NotFound, "too old");
}

#[tokio::test]
async fn blobs_are_brought_from_origins_that_the_operator_names_and_from_nowhere_else() {
    let origin = TestServer::start().await;
    assert_eq!(http::request(&origin, "PUT", "/files/x", &[], b"from afar").await.status, 201);
    assert_eq!(http::request(&origin, "PUT", "/other/x", &[], b"hidden").await.status, 201);
    let place = format!("http://{}/files/", origin.address);
    let server = TestServer::start_with(|config| config.fetch_origins = vec![place.clone()]).await;
    let uri = format!("{place}x");
    let blob = Digest::of(b"from afar");
    let sri = |name: &str, sum: &[u8]| format!("{name}-{}", base64::engine::general_purpose::STANDARD.encode(sum));

    let elsewhere = format!("http://{}/other/x", origin.address);
    assert_eq!(code(&fetch(&server, &[&elsewhere], &[]).await.unwrap()), Code::NotFound);
    let wrong = sri("sha256", &Sha256::digest("something else"));
    let found = fetch(&server, &[&uri], &[("checksum.sri", &wrong)]).await.unwrap();
    assert_eq!(code(&found), Code::Aborted, "{found:?}");
    assert_eq!(server.missing(&[blob]).await, [blob], "what is wrong isn't kept");
    let refused = fetch(&server, &[&uri], &[("vcs.branch", "main")]).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("vcs.branch"), "{refused}");

    let right = sri("sha512", &Sha512::digest("from afar"));
    let missing = format!("{place}absent");
    let found = fetch(&server, &[&elsewhere, &missing, &uri], &[("checksum.sri", &right)]).await.unwrap();
    assert_eq!((content(&found), found.uri.as_str()), (blob, uri.as_str()));
    assert_eq!(server.missing(&[blob]).await, []);
    let found = fetch(&server, &[&missing], &[]).await.unwrap();
    assert_eq!(code(&found), Code::NotFound);
    assert!(found.status.unwrap().message.contains("404"));
    // What it must be is there already: nobody is asked.
    origin.stop().await;
    let known = sri("sha256", &Sha256::digest("from afar"));
    assert_eq!(content(&fetch(&server, &[&missing], &[("checksum.sri", &known)]).await.unwrap()), blob);
    assert_eq!(code(&fetch(&server, &[&missing], &[]).await.unwrap()), Code::Aborted, "nobody answers");
}

#[tokio::test]
async fn readers_get_what_is_there_and_have_nothing_brought() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start_from(config(dir.path())).await;
    let [blob] = server.upload(&[b"content"]).await[..] else { panic!("one") };
    server.stop().await;
    let mut config = config(dir.path());
    config.access.anonymous = Some(Roles::of(&[Role::Read]));
    // Nobody listens there.
    config.fetch_origins = vec!["http://127.0.0.1:1/".into()];
    let server = TestServer::start_from(config).await;
    let sri = |text: &str| format!("sha256-{}", base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text)));
    let uri = "http://127.0.0.1:1/x";
    let found = fetch(&server, &[uri], &[("checksum.sri", &sri("content"))]).await.unwrap();
    assert_eq!(content(&found), blob);
    let refused = fetch(&server, &[uri], &[("checksum.sri", &sri("other"))]).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
}

#[tokio::test]
async fn an_origin_leads_nowhere_else_and_secrets_stay_with_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let origin = tokio::spawn(async move {
        let mut requests = Vec::new();
        for answer in [
            "HTTP/1.1 302 Found\r\nlocation: /moved\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nyes",
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.2:1/x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\ntorn",
        ] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).await.unwrap();
                request.push(byte[0]);
            }
            requests.push(String::from_utf8(request).unwrap().to_ascii_lowercase());
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
        requests
    });
    let place = format!("http://{address}/");
    let server = TestServer::start_with(|config| config.fetch_origins = vec![place.clone()]).await;
    let found =
        fetch(&server, &[&format!("{place}a")], &[("http_header:Authorization", "Bearer s3cret")]).await.unwrap();
    assert_eq!(content(&found), Digest::of(b"yes"));
    let found = fetch(&server, &[&format!("{place}b")], &[]).await.unwrap();
    assert_eq!(code(&found), Code::PermissionDenied, "{found:?}");
    let found = fetch(&server, &[&format!("{place}c")], &[]).await.unwrap();
    assert_eq!(code(&found), Code::Aborted, "{found:?}");
    assert_eq!(server.missing(&[Digest::of(b"torn")]).await.len(), 1);
    let requests = origin.await.unwrap();
    let told: Vec<bool> = requests.iter().map(|request| request.contains("bearer s3cret")).collect();
    assert_eq!(told, [true, false, false, false], "{requests:?}");
}

#[tokio::test]
async fn malformed_requests_are_refused_by_their_fields() {
    let server = TestServer::start().await;
    let refused = fetch(&server, &[], &[]).await.unwrap_err();
    assert_eq!((refused.code(), refused.message().starts_with("uris")), (Code::InvalidArgument, true));
    let refused = fetch(&server, &["urn:x"], &[("a", "1"), ("a", "2")]).await.unwrap_err();
    assert_eq!((refused.code(), refused.message().starts_with("qualifiers")), (Code::InvalidArgument, true));
    let request = PushBlobRequest { uris: vec!["urn:x".into()], ..Default::default() };
    let refused = PushClient::new(server.channel.clone()).push_blob(request).await.unwrap_err();
    assert_eq!((refused.code(), refused.message().starts_with("blob_digest")), (Code::InvalidArgument, true));
}
