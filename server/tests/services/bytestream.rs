//! Streams of blobs.

use crate::support::*;
use bytes::Bytes;
use pumphouse_proto::bytestream::{
    QueryWriteStatusRequest, QueryWriteStatusResponse, ReadRequest, WriteRequest, WriteResponse,
};
use pumphouse_proto::digest::Digest;
use tonic::{Code, Status};

fn content(size: usize) -> Vec<u8> {
    (0..size as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// The messages of a write, `piece` bytes each.
fn messages(name: &str, data: &[u8], piece: usize) -> Vec<WriteRequest> {
    let starts: Vec<usize> = if data.is_empty() { vec![0] } else { (0..data.len()).step_by(piece).collect() };
    let message = |start: usize| {
        let end = data.len().min(start + piece);
        WriteRequest {
            resource_name: if start == 0 { name.to_owned() } else { String::new() },
            write_offset: start as i64,
            finish_write: end == data.len(),
            data: Bytes::copy_from_slice(&data[start..end]),
        }
    };
    starts.into_iter().map(message).collect()
}

async fn write(server: &TestServer, messages: Vec<WriteRequest>) -> Result<i64, Status> {
    let response = server.bytestream().write(tokio_stream::iter(messages)).await?;
    let WriteResponse { committed_size } = response.into_inner();
    Ok(committed_size)
}

async fn read_from(server: &TestServer, name: &str, offset: i64, limit: i64) -> Result<Vec<u8>, Status> {
    let request = ReadRequest { resource_name: name.to_owned(), read_offset: offset, read_limit: limit };
    let mut stream = server.bytestream().read(request).await?.into_inner();
    let mut data = Vec::new();
    while let Some(message) = stream.message().await? {
        assert!(message.data.len() <= 2 << 20, "messages stay far below what clients take");
        data.extend(message.data);
    }
    Ok(data)
}

fn upload_name(digest: Digest) -> String {
    format!("uploads/6b3c6a8e-5e2c-4b0e-9d55-0b1a8f5e0001/blobs/{digest}")
}

fn compressed_upload_name(digest: Digest) -> String {
    format!("a/b/uploads/6b3c6a8e-5e2c-4b0e-9d55-0b1a8f5e0001/compressed-blobs/zstd/{digest}")
}

#[tokio::test]
async fn what_is_written_is_read() {
    let server = TestServer::start().await;
    for size in [0, 1, 1000, 64 * 1024, 64 * 1024 + 1, 3_000_000] {
        let data = content(size);
        let digest = Digest::of(&data);
        let name = upload_name(digest);
        let committed = write(&server, messages(&name, &data, 100_000)).await.unwrap();
        assert_eq!(committed, size as i64);
        assert_eq!(write(&server, messages(&name, &data, 100_000)).await.unwrap(), size as i64, "it is there already");
        assert!(read_from(&server, &format!("blobs/{digest}"), 0, 0).await.unwrap() == data);
        let compressed =
            read_from(&server, &format!("any/instance/compressed-blobs/zstd/{digest}"), 0, 0).await.unwrap();
        assert!(zstd::decode_all(&compressed[..]).unwrap() == data);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_long_upload_of_what_is_there_ends_early_and_well() {
    let server = TestServer::start().await;
    let data = content(20_000_000);
    let digest = Digest::of(&data);
    let name = upload_name(digest);
    for _ in 0..3 {
        assert_eq!(write(&server, messages(&name, &data, 1_000_000)).await.unwrap(), 20_000_000);
    }
    server.stop().await;
}

#[tokio::test]
async fn compressed_uploads_count_compressed_bytes() {
    let server = TestServer::start().await;
    for size in [1, 1000, 3_000_000] {
        let data = content(size);
        let digest = Digest::of(&data);
        // Two frames, neither of which says how long it is.
        let mut compressed = zstd::encode_all(&data[..size / 2], 3).unwrap();
        compressed.extend(zstd::encode_all(&data[size / 2..], 3).unwrap());
        let name = compressed_upload_name(digest);
        let committed = write(&server, messages(&name, &compressed, 50_000)).await.unwrap();
        assert_eq!(committed, compressed.len() as i64);
        assert_eq!(write(&server, messages(&name, &compressed, 50_000)).await.unwrap(), -1, "it is there already");
        assert!(read_from(&server, &format!("blobs/{digest}"), 0, 0).await.unwrap() == data);
    }
    let empty = zstd::encode_all(&b""[..], 3).unwrap();
    let committed = write(&server, messages(&compressed_upload_name(Digest::EMPTY), &empty, 100)).await.unwrap();
    assert_eq!(committed, -1, "the empty blob is always there");
    server.stop().await;
}

#[tokio::test]
async fn bad_uploads_are_refused_and_leave_nothing() {
    let server = TestServer::start_with(|config| config.blob_size_bytes = 10_000_000).await;
    let data = content(1_000_000);
    let digest = Digest::of(&data);
    let name = upload_name(digest);
    let good = || messages(&name, &data, 300_000);
    let changed = |change: &dyn Fn(&mut Vec<WriteRequest>)| {
        let mut messages = good();
        change(&mut messages);
        messages
    };
    let zip = |data: &[u8]| messages(&compressed_upload_name(digest), &zstd::encode_all(data, 1).unwrap(), 100_000);
    let cases: Vec<(&str, Vec<WriteRequest>)> = vec![
        ("hash", changed(&|messages| messages[1].data = Bytes::from(vec![0; 300_000]))),
        ("3 bytes came", messages(&name, b"abc", 10)),
        ("finish_write", changed(&|messages| messages.truncate(2))),
        ("write_offset", changed(&|messages| messages[2].write_offset = 1)),
        ("write_offset", changed(&|messages| messages[0].write_offset = 5)),
        ("resource_name", changed(&|messages| messages[1].resource_name = "uploads/u/blobs/x/1".into())),
        ("resource name", messages("blobs/nonsense", b"", 1)),
        ("1000001 bytes", messages(&name, &[&data[..], b"x"].concat(), 300_000)),
        ("longer than its digest says", zip(&[&data[..], b"x"].concat())),
        ("hash", zip(&vec![0; 1_000_000])),
        ("not valid zstd", messages(&compressed_upload_name(digest), &data, 100_000)),
        ("larger than", messages(&upload_name(Digest::new([7; 32], 10_000_001)), b"", 1)),
        ("empty", Vec::new()),
    ];
    for (expect, messages) in cases {
        let status = write(&server, messages).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{expect}: {status}");
        assert!(status.message().contains(expect), "{expect}: {status}");
        assert_eq!(server.missing(&[digest]).await, [digest], "{expect}");
    }
    assert_eq!(write(&server, good()).await.unwrap(), 1_000_000, "none of that is in the way");
    server.stop().await;
}

#[tokio::test]
async fn part_of_a_blob_is_read() {
    let server = TestServer::start().await;
    for size in [1000, 1_000_000] {
        let data = content(size);
        let digest = Digest::of(&data);
        write(&server, messages(&upload_name(digest), &data, 100_000)).await.unwrap();
        let name = format!("blobs/{digest}");
        let compressed = format!("compressed-blobs/zstd/{digest}");
        for (offset, limit) in [(0, 1), (0, size), (size / 2, 0), (size / 2, 7), (size - 1, 100), (size, 0)] {
            let end = if limit == 0 { size } else { size.min(offset + limit) };
            let read = read_from(&server, &name, offset as i64, limit as i64).await.unwrap();
            assert!(read == data[offset..end], "{offset} {limit}");
            let compressed = read_from(&server, &compressed, offset as i64, 0).await.unwrap();
            assert!(zstd::decode_all(&compressed[..]).unwrap() == data[offset..], "the offset is one of the blob");
        }
        let check = async |name: &str, offset: i64, limit: i64, expect: Code| {
            let status = read_from(&server, name, offset, limit).await.unwrap_err();
            assert_eq!(status.code(), expect, "{name} {offset} {limit}: {status}");
        };
        check(&name, size as i64 + 1, 0, Code::OutOfRange).await;
        check(&name, -1, 0, Code::OutOfRange).await;
        check(&name, 0, -1, Code::InvalidArgument).await;
        check(&compressed, 0, 1, Code::InvalidArgument).await;
        check(&format!("blobs/{}", Digest::of(b"absent")), 0, 0, Code::NotFound).await;
        check("blobs/x/1", 0, 0, Code::InvalidArgument).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn the_state_of_an_upload_is_known() {
    let server = TestServer::start().await;
    let data = content(100_000);
    let digest = Digest::of(&data);
    for name in [upload_name(digest), compressed_upload_name(digest)] {
        let query = || async {
            let request = QueryWriteStatusRequest { resource_name: name.clone() };
            server.bytestream().query_write_status(request).await.unwrap().into_inner()
        };
        if name == upload_name(digest) {
            assert_eq!(query().await, QueryWriteStatusResponse { committed_size: 0, complete: false });
            write(&server, messages(&name, &data, 100_000)).await.unwrap();
        }
        assert_eq!(query().await, QueryWriteStatusResponse { committed_size: 100_000, complete: true });
    }
    let request = QueryWriteStatusRequest { resource_name: format!("blobs/{digest}") };
    let status = server.bytestream().query_write_status(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    server.stop().await;
}

#[tokio::test]
async fn many_write_the_same_blob_at_once() {
    let server = TestServer::start().await;
    let data = content(2_000_000);
    let digest = Digest::of(&data);
    let writes = (0..8).map(|_| write(&server, messages(&upload_name(digest), &data, 64 * 1024)));
    for committed in futures::future::join_all(writes).await {
        assert_eq!(committed.unwrap(), 2_000_000);
    }
    assert!(read_from(&server, &format!("blobs/{digest}"), 0, 0).await.unwrap() == data);
    server.stop().await;
}
