//! Blobs: every way in and out, with digests verified, offsets, sizes and compression as clients expect.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use pumphouse_proto::bytestream::QueryWriteStatusRequest;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{
    self, ActionResult, BatchReadBlobsRequest, BatchUpdateBlobsRequest, Directory, DirectoryNode,
    GetActionResultRequest, GetTreeRequest, OutputDirectory, OutputFile, Tree, UpdateActionResultRequest,
    batch_update_blobs_request,
};
use pumphouse_tests::pumphouse::Pumphouse;
use pumphouse_tests::remote::{Remote, blob, digest};
use tonic::Code;

const UPLOAD: &str = "uploads/5a3f8a52-0000-4000-8000-00000000000";

/// Half random, half zeros: compressible, and of many pieces.
fn content(size: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..size).map(|index| if index % 1024 < 512 { next() } else { 0 }).collect()
}

fn name(kind: &str, content: &[u8]) -> String {
    format!("{kind}/{}/{}", Digest::of(content).hash_hex(), content.len())
}

fn code<T: std::fmt::Debug>(result: Result<T, tonic::Status>) -> Code {
    result.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test]
async fn the_empty_blob_is_always_there() -> Result<()> {
    let site = Pumphouse::server()?;
    let remote = Remote::connect(site.address()).await?;
    ensure!(remote.missing(vec![digest(b"")]).await?.is_empty());
    ensure!(remote.read(&name("blobs", b""), 0, 0).await?.is_empty());
    ensure!(remote.fetch(digest(b"")).await?.is_empty());
    ensure!(remote.write(&name(&format!("{UPLOAD}0/blobs"), b""), Bytes::new(), 1024).await? == 0);
    Ok(())
}

#[tokio::test]
async fn what_is_written_is_read_again_at_any_offset() -> Result<()> {
    let site = Pumphouse::server()?;
    let remote = Remote::connect(site.address()).await?;
    let data = content(3_000_000, 1);
    let length = data.len() as i64;
    ensure!(remote.missing(vec![digest(&data)]).await? == [digest(&data)]);
    ensure!(remote.write(&name(&format!("{UPLOAD}1/blobs"), &data), data.clone(), 70_000).await? == length);
    ensure!(remote.missing(vec![digest(&data)]).await?.is_empty());
    let stream = name("blobs", &data);
    ensure!(remote.read(&stream, 0, 0).await? == data);
    ensure!(remote.read(&stream, 1_234_567, 0).await? == data[1_234_567..]);
    ensure!(remote.read(&stream, 10, 100).await? == data[10..110]);
    ensure!(remote.read(&stream, length, 0).await?.is_empty());
    ensure!(code(remote.read(&stream, length + 1, 0).await) == Code::OutOfRange);
    ensure!(code(remote.read(&stream, -1, 0).await) == Code::OutOfRange);
    ensure!(code(remote.read(&stream, 0, -1).await) == Code::InvalidArgument);
    ensure!(code(remote.read(&name("blobs", b"nowhere"), 0, 0).await) == Code::NotFound);
    // An instance name may hold slashes; what follows an upload's digest is the client's own.
    ensure!(
        remote.read(&format!("some/instance/{stream}"), 0, 10).await.is_ok_and(|read| read == data[..10])
            || code(remote.read(&format!("some/instance/{stream}"), 0, 10).await) == Code::NotFound
    );
    let other = content(10_000, 2);
    let trailing = format!("{}/some/path.o", name(&format!("{UPLOAD}2/blobs"), &other));
    ensure!(remote.write(&trailing, other.clone(), 1000).await? == 10_000);
    ensure!(remote.fetch(digest(&other)).await? == other);
    Ok(())
}

#[tokio::test]
async fn writing_what_is_there_is_fine_and_short() -> Result<()> {
    let site = Pumphouse::server()?;
    let remote = Remote::connect(site.address()).await?;
    let data = content(5_000_000, 3);
    let upload = name(&format!("{UPLOAD}3/blobs"), &data);
    for _ in 0..3 {
        ensure!(remote.write(&upload, data.clone(), 100_000).await? == data.len() as i64);
    }
    let status = QueryWriteStatusRequest { resource_name: upload };
    let answer = remote.bytes.clone().query_write_status(status).await?.into_inner();
    ensure!((answer.committed_size, answer.complete) == (data.len() as i64, true), "{answer:?}");
    let status = QueryWriteStatusRequest { resource_name: name(&format!("{UPLOAD}4/blobs"), b"unknown") };
    let answer = remote.bytes.clone().query_write_status(status).await?.into_inner();
    ensure!((answer.committed_size, answer.complete) == (0, false), "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn wrong_bytes_are_refused_and_not_kept() -> Result<()> {
    let site = Pumphouse::server()?;
    let remote = Remote::connect(site.address()).await?;
    let (good, bad) = (content(50_000, 4), content(50_000, 5));
    let upload = name(&format!("{UPLOAD}5/blobs"), &good);
    ensure!(code(remote.write(&upload, bad.clone(), 10_000).await) == Code::InvalidArgument);
    ensure!(code(remote.write(&upload, good.slice(..40_000), 10_000).await) == Code::InvalidArgument, "too short");
    let long: Bytes = [&good[..], b"more"].concat().into();
    ensure!(code(remote.write(&upload, long, 10_000).await) == Code::InvalidArgument, "too long");
    ensure!(code(remote.write("uploads/x/blobs/zz/1", good.clone(), 10_000).await) == Code::InvalidArgument);
    ensure!(code(remote.write("nonsense", good.clone(), 10_000).await) == Code::InvalidArgument);

    let request = |digest: reapi::Digest, data: &Bytes| batch_update_blobs_request::Request {
        digest: Some(digest),
        data: data.clone(),
        ..Default::default()
    };
    let fine = content(100, 6);
    let mut other_size = digest(&fine);
    other_size.size_bytes += 1;
    let requests = vec![request(digest(&good), &bad), request(digest(&fine), &fine), request(other_size, &fine)];
    let batch = BatchUpdateBlobsRequest { requests: requests.clone(), ..Default::default() };
    let answers = remote.cas.clone().batch_update_blobs(batch).await?.into_inner().responses;
    let codes: Vec<_> = answers.iter().map(|answer| answer.status.clone().unwrap_or_default().code).collect();
    ensure!(codes == [Code::InvalidArgument as i32, 0, Code::InvalidArgument as i32], "{codes:?}");
    for (request, answer) in requests.iter().zip(&answers) {
        ensure!(request.digest == answer.digest, "out of order");
    }
    ensure!(remote.missing(vec![digest(&good), digest(&fine)]).await? == [digest(&good)]);
    Ok(())
}

#[tokio::test]
async fn an_interrupted_write_leaves_nothing() -> Result<()> {
    let site = Pumphouse::server()?;
    let remote = Remote::connect(site.address()).await?;
    let data = content(200_000, 7);
    let upload = name(&format!("{UPLOAD}6/blobs"), &data);
    let half = pumphouse_proto::bytestream::WriteRequest {
        resource_name: upload.clone(),
        write_offset: 0,
        finish_write: false,
        data: data.slice(..100_000),
    };
    let result = remote.bytes.clone().write(futures::stream::iter([half])).await;
    ensure!(result.is_err() || result.is_ok_and(|answer| answer.into_inner().committed_size < data.len() as i64));
    ensure!(remote.missing(vec![digest(&data)]).await? == [digest(&data)]);
    ensure!(remote.write(&upload, data.clone(), 50_000).await? == data.len() as i64);
    Ok(())
}

#[tokio::test]
async fn compressed_streams_are_told_apart_from_their_contents() -> Result<()> {
    let site = Pumphouse::server()?;
    let remote = Remote::connect(site.address()).await?;
    let data = content(1_000_000, 8);
    // Two frames in one stream are legal.
    let mut packed = zstd::encode_all(&data[..400_000], 3)?;
    packed.extend(zstd::encode_all(&data[400_000..], 3)?);
    let upload = name(&format!("{UPLOAD}7/compressed-blobs/zstd"), &data);
    let committed = remote.write(&upload, packed.clone().into(), 50_000).await?;
    ensure!(committed == packed.len() as i64, "the compressed size counts: {committed}");
    let again = remote.write(&upload, packed.into(), 50_000).await?;
    ensure!(again == -1, "an early return of a compressed write is -1: {again}");
    let stream = name("compressed-blobs/zstd", &data);
    ensure!(zstd::decode_all(&remote.read(&stream, 0, 0).await?[..])? == data);
    ensure!(zstd::decode_all(&remote.read(&stream, 999_000, 0).await?[..])? == data[999_000..]);
    ensure!(code(remote.read(&stream, 0, 10).await) == Code::InvalidArgument, "limits have no meaning here");
    ensure!(remote.read(&name("blobs", &data), 0, 0).await? == data);

    // A bomb unpacks to more than its digest says.
    let small = content(1000, 9);
    let bomb = zstd::encode_all(&vec![0; 50_000_000][..], 3)?;
    let upload = name(&format!("{UPLOAD}8/compressed-blobs/zstd"), &small);
    ensure!(code(remote.write(&upload, bomb.into(), 50_000).await) == Code::InvalidArgument);
    let rubbish = code(remote.write(&upload, small.clone(), 500).await);
    ensure!(rubbish == Code::InvalidArgument, "{rubbish:?}");
    ensure!(remote.missing(vec![digest(&small)]).await?.len() == 1);
    Ok(())
}

#[tokio::test]
async fn batches_answer_each_blob_in_order() -> Result<()> {
    let site = Pumphouse::server()?;
    let remote = Remote::connect(site.address()).await?;
    let blobs: Vec<_> = (0..20).map(|seed| content(1000 + seed as usize, 100 + seed)).collect();
    remote.store(&blobs[..10]).await?;
    let digests: Vec<_> = blobs.iter().map(|blob| digest(blob)).collect();
    ensure!(remote.missing(digests.clone()).await? == digests[10..]);
    let request = BatchReadBlobsRequest { digests: digests.clone(), ..Default::default() };
    let answers = remote.cas.clone().batch_read_blobs(request).await?.into_inner().responses;
    ensure!(answers.len() == 20);
    for (index, answer) in answers.iter().enumerate() {
        ensure!(answer.digest.as_ref() == Some(&digests[index]), "{index} is out of order");
        let status = answer.status.clone().unwrap_or_default();
        if index < 10 {
            ensure!(status.code == 0 && answer.data == blobs[index], "{index}: {status:?}");
        } else {
            ensure!(status.code == Code::NotFound as i32 && answer.data.is_empty(), "{index}: {status:?}");
        }
    }
    let large = content(5 << 20, 200);
    let requests =
        vec![batch_update_blobs_request::Request { digest: Some(digest(&large)), data: large, ..Default::default() }];
    let batch = BatchUpdateBlobsRequest { requests, ..Default::default() };
    ensure!(code(remote.cas.clone().batch_update_blobs(batch).await) == Code::InvalidArgument);
    Ok(())
}

#[tokio::test]
async fn malformed_digests_are_refused_everywhere() -> Result<()> {
    let site = Pumphouse::server()?;
    let remote = Remote::connect(site.address()).await?;
    for (hash, size_bytes) in
        [("", 1), ("abc", 1), (&*"z".repeat(64), 1), (&*"a".repeat(64), -1), ("../../../etc/passwd", 1)]
    {
        let bad = reapi::Digest { hash: hash.into(), size_bytes };
        ensure!(code(remote.missing(vec![bad.clone()]).await) == Code::InvalidArgument, "{bad:?}");
        let request = GetActionResultRequest { action_digest: Some(bad.clone()), ..Default::default() };
        ensure!(code(remote.action_cache.clone().get_action_result(request).await) == Code::InvalidArgument, "{bad:?}");
        let read = remote.read(&format!("blobs/{hash}/{size_bytes}"), 0, 0).await;
        ensure!(code(read) == Code::InvalidArgument, "{bad:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_tree_is_walked_to_its_leaves() -> Result<()> {
    let site = Pumphouse::server()?;
    let remote = Remote::connect(site.address()).await?;
    let file = content(10, 300);
    let leaf = Directory {
        files: vec![reapi::FileNode { name: "f".to_owned(), digest: Some(digest(&file)), ..Default::default() }],
        ..Default::default()
    };
    let node = |name: &str, directory: &Directory| DirectoryNode {
        name: name.to_owned(),
        digest: Some(digest(&blob(directory))),
    };
    let middle = Directory { directories: vec![node("a", &leaf), node("b", &leaf)], ..Default::default() };
    let root = Directory { directories: vec![node("left", &middle), node("right", &leaf)], ..Default::default() };
    remote.store(&[file, blob(&leaf), blob(&middle), blob(&root)]).await?;
    let request = GetTreeRequest { root_digest: Some(digest(&blob(&root))), ..Default::default() };
    let mut stream = remote.cas.clone().get_tree(request).await?.into_inner();
    let mut directories = Vec::new();
    while let Some(page) = stream.message().await? {
        directories.extend(page.directories);
    }
    ensure!(directories.first() == Some(&root), "the root is not first");
    ensure!(directories.contains(&middle) && directories.contains(&leaf), "{directories:?}");
    let request = GetTreeRequest { root_digest: Some(digest(b"nowhere")), ..Default::default() };
    ensure!(code(remote.cas.clone().get_tree(request).await) == Code::NotFound);
    Ok(())
}

#[tokio::test]
async fn an_action_result_counts_only_with_every_blob() -> Result<()> {
    let site = Pumphouse::server()?;
    let remote = Remote::connect(site.address()).await?;
    let action = digest(b"any key, not the digest of a stored action");
    let get = || async {
        let request = GetActionResultRequest { action_digest: Some(action.clone()), ..Default::default() };
        remote.action_cache.clone().get_action_result(request).await.map(tonic::Response::into_inner)
    };
    let update = |result: &ActionResult| {
        let request = UpdateActionResultRequest {
            action_digest: Some(action.clone()),
            action_result: Some(result.clone()),
            ..Default::default()
        };
        let mut client = remote.action_cache.clone();
        async move { client.update_action_result(request).await }
    };
    ensure!(code(get().await) == Code::NotFound);

    let (object, inside, stdout) = (content(1000, 400), content(1000, 401), content(1000, 402));
    let tree = Tree {
        root: Some(Directory {
            files: vec![reapi::FileNode { name: "f".to_owned(), digest: Some(digest(&inside)), ..Default::default() }],
            ..Default::default()
        }),
        children: Vec::new(),
    };
    let result = ActionResult {
        output_files: vec![OutputFile { path: "o".to_owned(), digest: Some(digest(&object)), ..Default::default() }],
        output_directories: vec![OutputDirectory {
            path: "d".to_owned(),
            tree_digest: Some(digest(&blob(&tree))),
            ..Default::default()
        }],
        stdout_digest: Some(digest(&stdout)),
        ..Default::default()
    };
    // A server may refuse an incomplete result or keep it; it may not answer with it.
    let parts = [object.clone(), blob(&tree), inside, stdout.clone()];
    for part in &parts {
        let _ = update(&result).await;
        ensure!(code(get().await) == Code::NotFound, "a result with missing blobs is a hit");
        remote.store(std::slice::from_ref(part)).await?;
    }
    update(&result).await?;
    let got = get().await?;
    ensure!(got.output_files[0].digest == result.output_files[0].digest, "{got:?}");

    let request = GetActionResultRequest {
        action_digest: Some(action.clone()),
        inline_stdout: true,
        inline_output_files: vec!["o".to_owned()],
        ..Default::default()
    };
    let inlined = remote.action_cache.clone().get_action_result(request).await?.into_inner();
    let file = inlined.output_files.first().context("no output file")?;
    ensure!(file.contents == object && file.digest == Some(digest(&object)), "not inlined beside its digest");
    ensure!(inlined.stdout_raw == stdout, "standard output is not inlined");
    Ok(())
}
