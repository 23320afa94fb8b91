//! Results, complete or not at all.

use crate::support::*;
use bytes::Bytes;
use prost::Message as _;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::limits::ANSWER_SIZE_BYTES;
use pumphouse_proto::reapi::{
    self, ActionResult, Directory, FileNode, GetActionResultRequest, OutputDirectory, OutputFile, Tree,
    UpdateActionResultRequest,
};
use tonic::{Code, Status};

fn action() -> Digest {
    Digest::of(b"any key at all")
}

fn get_request() -> GetActionResultRequest {
    GetActionResultRequest { action_digest: Some(action().into()), ..Default::default() }
}

async fn get(server: &TestServer, request: GetActionResultRequest) -> Result<ActionResult, Status> {
    Ok(server.action_cache().get_action_result(request).await?.into_inner())
}

async fn update(server: &TestServer, result: ActionResult) -> Result<ActionResult, Status> {
    let request = UpdateActionResultRequest {
        action_digest: Some(action().into()),
        action_result: Some(result),
        ..Default::default()
    };
    Ok(server.action_cache().update_action_result(request).await?.into_inner())
}

fn output(path: &str, digest: Digest) -> OutputFile {
    OutputFile { path: path.into(), digest: Some(digest.into()), ..Default::default() }
}

#[tokio::test]
async fn a_result_is_a_hit_only_when_every_blob_is_there() {
    let server = TestServer::start().await;
    let in_tree = Directory {
        files: vec![FileNode { name: "f".into(), digest: Some(Digest::of(b"in tree").into()), ..Default::default() }],
        ..Default::default()
    };
    let tree = Tree { root: Some(Directory::default()), children: vec![in_tree] }.encode_to_vec();
    let result = ActionResult {
        output_files: vec![output("o", Digest::of(b"file")), output("empty", Digest::EMPTY)],
        output_directories: vec![OutputDirectory {
            path: "d".into(),
            tree_digest: Some(Digest::of(&tree).into()),
            ..Default::default()
        }],
        stdout_digest: Some(Digest::of(b"stdout").into()),
        stderr_digest: Some(Digest::of(b"stderr").into()),
        ..Default::default()
    };
    update(&server, result.clone()).await.unwrap();
    for blob in [&b"file"[..], b"stdout", b"stderr", &tree, b"in tree"] {
        let status = get(&server, get_request()).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{} is missing", Digest::of(blob));
        server.upload(&[blob]).await;
    }
    assert_eq!(get(&server, get_request()).await.unwrap(), result);
    server.stop().await;
}

#[tokio::test]
async fn directories_without_a_tree_are_followed() {
    let server = TestServer::start().await;
    let file = FileNode { name: "f".into(), digest: Some(Digest::of(b"leaf").into()), ..Default::default() };
    let inner = Directory { files: vec![file], ..Default::default() }.encode_to_vec();
    let node = reapi::DirectoryNode { name: "d".into(), digest: Some(Digest::of(&inner).into()) };
    let root = Directory { directories: vec![node], ..Default::default() }.encode_to_vec();
    let directory = OutputDirectory {
        path: "d".into(),
        root_directory_digest: Some(Digest::of(&root).into()),
        ..Default::default()
    };
    let result = ActionResult { output_directories: vec![directory], ..Default::default() };
    update(&server, result.clone()).await.unwrap();
    for blob in [&root[..], &inner, b"leaf"] {
        assert_eq!(get(&server, get_request()).await.unwrap_err().code(), Code::NotFound);
        server.upload(&[blob]).await;
    }
    assert_eq!(get(&server, get_request()).await.unwrap(), result);
    server.stop().await;
}

#[tokio::test]
async fn contents_are_inlined_for_those_who_ask() {
    let server = TestServer::start().await;
    server.upload(&[b"a", b"b", b"stdout", b"stderr"]).await;
    let result = ActionResult {
        output_files: vec![output("x.o", Digest::of(b"a")), output("x.d", Digest::of(b"b"))],
        stdout_digest: Some(Digest::of(b"stdout").into()),
        stderr_digest: Some(Digest::of(b"stderr").into()),
        ..Default::default()
    };
    update(&server, result.clone()).await.unwrap();
    assert_eq!(get(&server, get_request()).await.unwrap(), result, "nobody asked");
    let request = GetActionResultRequest {
        inline_stdout: true,
        inline_stderr: true,
        inline_output_files: vec!["x.d".into(), "no such file".into()],
        ..get_request()
    };
    let mut expect = result.clone();
    expect.stdout_raw = Bytes::from_static(b"stdout");
    expect.stderr_raw = Bytes::from_static(b"stderr");
    expect.output_files[1].contents = Bytes::from_static(b"b");
    assert_eq!(get(&server, request).await.unwrap(), expect, "the digests stay");
    assert_eq!(get(&server, get_request()).await.unwrap(), result, "what one asked for another doesn't get");
    server.stop().await;
}

#[tokio::test]
async fn inlining_never_makes_an_answer_too_large() {
    let server = TestServer::start().await;
    let mut result = ActionResult::default();
    let mut request = get_request();
    for number in 0..12_u8 {
        let blob = vec![number; 900_000];
        let digest = server.upload(&[&blob]).await[0];
        result.output_files.push(output(&format!("f{number}"), digest));
        request.inline_output_files.push(format!("f{number}"));
    }
    update(&server, result).await.unwrap();
    let inlined = get(&server, request).await.unwrap();
    assert!(inlined.encoded_len() < ANSWER_SIZE_BYTES);
    let contents = inlined.output_files.iter().filter(|file| !file.contents.is_empty()).count();
    assert_eq!(contents, 4);
    server.stop().await;
}

#[tokio::test]
async fn results_are_replaced_and_instances_are_apart() {
    let server = TestServer::start().await;
    for stdout_raw in ["1", "2"] {
        let stdout_raw = Bytes::from_static(stdout_raw.as_bytes());
        update(&server, ActionResult { stdout_raw: stdout_raw.clone(), ..Default::default() }).await.unwrap();
        assert_eq!(get(&server, get_request()).await.unwrap().stdout_raw, stdout_raw);
    }
    let other = GetActionResultRequest { instance_name: "other/one".into(), ..get_request() };
    assert_eq!(get(&server, other).await.unwrap_err().code(), Code::NotFound);
    server.stop().await;
}

#[tokio::test]
async fn malformed_results_are_refused() {
    let server = TestServer::start().await;
    let bad = |field: &str, change: &dyn Fn(&mut ActionResult)| {
        let mut result = ActionResult::default();
        change(&mut result);
        (field.to_owned(), result)
    };
    let cases = [
        bad("exit_code", &|result| result.exit_code = 1),
        bad("output_files", &|result| result.output_files = vec![OutputFile::default()]),
        bad("output_directories", &|result| result.output_directories = vec![OutputDirectory::default()]),
        bad("stdout_digest", &|result| result.stdout_digest = Some(reapi::Digest { hash: "x".into(), size_bytes: 1 })),
        bad("action_result", &|result| result.stdout_raw = Bytes::from(vec![0; ANSWER_SIZE_BYTES])),
    ];
    for (field, result) in cases {
        let status = update(&server, result).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(&field), "{field}: {status}");
    }
    let status = get(&server, GetActionResultRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("action_digest is missing"), "{status}");
    server.stop().await;
}

#[tokio::test]
async fn results_and_blobs_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start_from(config(dir.path())).await;
    server.upload(&[b"file"]).await;
    let result = ActionResult { output_files: vec![output("o", Digest::of(b"file"))], ..Default::default() };
    update(&server, result.clone()).await.unwrap();
    server.stop().await;
    let server = TestServer::start_from(config(dir.path())).await;
    assert_eq!(get(&server, get_request()).await.unwrap(), result);
    server.stop().await;
}
