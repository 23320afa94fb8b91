//! Batches and trees.

use crate::support::*;
use bytes::Bytes;
use futures::TryStreamExt as _;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::limits::BATCH_SIZE_BYTES;
use pumphouse_proto::reapi::{
    self, BatchReadBlobsRequest, BatchUpdateBlobsRequest, Directory, FindMissingBlobsRequest, GetTreeRequest,
    GetTreeResponse, SpliceBlobRequest, SplitBlobRequest, batch_update_blobs_request::Request as Upload,
};
use pumphouse_proto::tree::TreeBuilder;
use tonic::Code;

const IDENTITY: i32 = 0;
const ZSTD: i32 = 1;

fn upload(digest: Digest, data: &[u8], compressor: i32) -> Upload {
    Upload { digest: Some(digest.into()), data: Bytes::copy_from_slice(data), compressor }
}

async fn update(server: &TestServer, requests: Vec<Upload>) -> Result<Vec<Code>, tonic::Status> {
    let request = BatchUpdateBlobsRequest { requests: requests.clone(), ..Default::default() };
    let responses = server.cas().batch_update_blobs(request).await?.into_inner().responses;
    assert_eq!(
        responses.iter().map(|response| &response.digest).collect::<Vec<_>>(),
        requests.iter().map(|request| &request.digest).collect::<Vec<_>>(),
        "one answer a request, in order"
    );
    Ok(responses.iter().map(|response| Code::from(response.status.as_ref().unwrap().code)).collect())
}

fn read_request(digests: &[Digest]) -> BatchReadBlobsRequest {
    BatchReadBlobsRequest { digests: digests.iter().map(Into::into).collect(), ..Default::default() }
}

#[tokio::test]
async fn missing_blobs_are_found_exactly() {
    let server = TestServer::start().await;
    let (here, absent) = (Digest::of(b"here"), Digest::of(b"absent"));
    assert_eq!(server.missing(&[here, absent, Digest::EMPTY]).await, [here, absent], "the empty blob is always there");
    server.upload(&[b"here"]).await;
    assert_eq!(server.missing(&[absent, here]).await, [absent]);
    let other_size = Digest::new(*here.hash(), 5);
    assert_eq!(server.missing(&[other_size]).await, [other_size], "the size is part of the identity");
    server.stop().await;
}

#[tokio::test]
async fn each_blob_of_a_batch_has_a_status_of_its_own() {
    let server = TestServer::start().await;
    let (good, wrong) = (Digest::of(b"good"), Digest::of(b"other"));
    let wrong_size = Digest::new(*good.hash(), 3);
    let malformed = Upload {
        digest: Some(reapi::Digest { hash: "x".into(), size_bytes: 1 }),
        data: Bytes::from_static(b"x"),
        compressor: 0,
    };
    let compressed = zstd::encode_all(&b"compressed"[..], 1).unwrap();
    let zipped = Digest::of(b"compressed");
    let codes = update(
        &server,
        vec![
            upload(wrong, b"wrong", IDENTITY),
            upload(good, b"good", IDENTITY),
            upload(wrong_size, b"good", IDENTITY),
            malformed,
            upload(zipped, &compressed, ZSTD),
            upload(Digest::of(b"q"), b"q", 3),
            upload(Digest::EMPTY, b"", IDENTITY),
            upload(Digest::of(b"never"), &compressed, ZSTD),
            Upload::default(),
        ],
    );
    let bad = Code::InvalidArgument;
    assert_eq!(codes.await.unwrap(), [bad, Code::Ok, bad, bad, Code::Ok, bad, Code::Ok, bad, bad]);
    assert_eq!(server.missing(&[wrong, good, wrong_size, zipped]).await, [wrong, wrong_size], "nothing bad is stored");
    let read = server.cas().batch_read_blobs(read_request(&[zipped, wrong, good, Digest::EMPTY])).await.unwrap();
    let responses = read.into_inner().responses;
    let codes: Vec<i32> = responses.iter().map(|response| response.status.as_ref().unwrap().code).collect();
    assert_eq!(codes, [0, Code::NotFound.into(), 0, 0]);
    assert_eq!(responses[0].data, "compressed");
    assert_eq!(responses[2].data, "good");
    server.stop().await;
}

#[tokio::test]
async fn batches_have_a_limit() {
    let server = TestServer::start().await;
    let half = vec![7; BATCH_SIZE_BYTES / 2 + 1];
    let digest = Digest::of(&half);
    let halves = vec![upload(digest, &half, IDENTITY), upload(digest, &half, IDENTITY)];
    let status = update(&server, halves).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(update(&server, vec![upload(digest, &half, IDENTITY)]).await.unwrap(), [Code::Ok]);
    let status = server.cas().batch_read_blobs(read_request(&[digest, digest])).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let bomb = zstd::encode_all(&vec![0; 100 << 20][..], 1).unwrap();
    let status = update(&server, vec![upload(Digest::new([1; 32], 100 << 20), &bomb, ZSTD)]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    server.stop().await;
}

#[tokio::test]
async fn batches_are_compressed_for_those_who_accept_it() {
    let server = TestServer::start().await;
    let (long, short) = (vec![b'a'; 100_000], b"short".to_vec());
    let digests = server.upload(&[&long, &short]).await;
    let request = BatchReadBlobsRequest { acceptable_compressors: vec![ZSTD], ..read_request(&digests) };
    let responses = server.cas().batch_read_blobs(request).await.unwrap().into_inner().responses;
    assert_eq!((responses[0].compressor, responses[1].compressor), (ZSTD, IDENTITY));
    assert_eq!(zstd::decode_all(&responses[0].data[..]).unwrap(), long);
    assert_eq!(responses[1].data, short);
    server.stop().await;
}

/// A tree of `width` directories, each with a directory in it.
fn tree(width: usize) -> pumphouse_proto::tree::MerkleTree {
    let mut tree = TreeBuilder::new();
    for number in 0..width {
        tree.file(&format!("d{number}/inner/file{number}"), Digest::of(b"content")).unwrap();
    }
    tree.build()
}

async fn get_tree(server: &TestServer, request: GetTreeRequest) -> Result<Vec<GetTreeResponse>, tonic::Status> {
    server.cas().get_tree(request).await?.into_inner().try_collect().await
}

#[tokio::test]
async fn trees_come_in_pages() {
    let server = TestServer::start().await;
    let tree = tree(25);
    let blobs: Vec<&[u8]> = tree.directories.values().map(AsRef::as_ref).collect();
    server.upload(&blobs).await;
    let request = |page_token: &str| GetTreeRequest {
        root_digest: Some(tree.root.into()),
        page_size: 10,
        page_token: page_token.into(),
        ..Default::default()
    };
    let pages = get_tree(&server, request("")).await.unwrap();
    let sizes: Vec<usize> = pages.iter().map(|page| page.directories.len()).collect();
    assert_eq!(sizes, [10, 10, 10, 10, 10, 1]);
    assert!(pages.last().unwrap().next_page_token.is_empty());
    let all: Vec<&Directory> = pages.iter().flat_map(|page| &page.directories).collect();
    assert_eq!(all[0].directories.len(), 25, "the root comes first");
    let rest = get_tree(&server, request(&pages[1].next_page_token)).await.unwrap();
    let rest: Vec<&Directory> = rest.iter().flat_map(|page| &page.directories).collect();
    assert_eq!(rest, all[20..], "a token goes on where its page ended");
    for (page_size, token) in [(-1, ""), (0, "x")] {
        let request = GetTreeRequest { page_size, ..request(token) };
        assert_eq!(get_tree(&server, request).await.unwrap_err().code(), Code::InvalidArgument);
    }
    server.stop().await;
}

#[tokio::test]
async fn of_a_tree_with_gaps_the_rest_comes() {
    let server = TestServer::start().await;
    let tree = tree(3);
    let request = GetTreeRequest { root_digest: Some(tree.root.into()), ..Default::default() };
    assert_eq!(get_tree(&server, request.clone()).await.unwrap_err().code(), Code::NotFound);
    server.upload(&[&tree.directories[&tree.root]]).await;
    let pages = get_tree(&server, request).await.unwrap();
    assert_eq!(pages.len(), 1);
    assert_eq!(pages[0].directories.len(), 1);
    let empty = GetTreeRequest { root_digest: Some(Digest::EMPTY.into()), ..Default::default() };
    assert_eq!(get_tree(&server, empty).await.unwrap()[0].directories, [Directory::default()]);
    server.stop().await;
}

#[tokio::test]
async fn blobs_are_cut_and_put_together() {
    let server = TestServer::start().await;
    let parts = server.upload(&[b"one ", b"two ", b"three"]).await;
    let whole = Digest::of(b"one two three");
    let splice = SpliceBlobRequest {
        blob_digest: Some(whole.into()),
        chunk_digests: parts.iter().map(Into::into).collect(),
        ..Default::default()
    };
    let made = server.cas().splice_blob(splice.clone()).await.unwrap().into_inner();
    assert_eq!(made.blob_digest, Some(whole.into()));
    assert!(server.missing(&[whole]).await.is_empty());
    let split = SplitBlobRequest { blob_digest: Some(whole.into()), ..Default::default() };
    let chunks = server.cas().split_blob(split).await.unwrap().into_inner();
    assert_eq!(chunks.chunk_digests, [whole.into()], "it is too short to be cut");
    let wrong = SpliceBlobRequest { blob_digest: Some(Digest::of(b"one two thirty").into()), ..splice };
    let status = server.cas().splice_blob(wrong).await.unwrap_err();
    assert!(status.code() == Code::InvalidArgument && status.message().contains("chunk_digests"), "{status}");
    let status = server.cas().split_blob(SplitBlobRequest::default()).await.unwrap_err();
    assert!(status.code() == Code::InvalidArgument && status.message().contains("blob_digest"), "{status}");
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_supported_says_so() {
    let server = TestServer::start().await;
    let md5 = FindMissingBlobsRequest { digest_function: 3, ..Default::default() };
    let status = server.cas().find_missing_blobs(md5).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("digest_function"), "{status}");
    server.stop().await;
}
