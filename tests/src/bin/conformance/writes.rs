//! `ByteStream.Write` and `QueryWriteStatus`.

use super::suite::{Outcome, Suite, Verdict, check, fails, same};
use super::target::{DAMAGES, Make, Target, compressed, pieces};
use bytes::Bytes;
use pumphouse_proto::bytestream::{QueryWriteStatusRequest, WriteRequest};
use pumphouse_proto::digest::Digest;
use tonic::{Code, Status};

/// Requires that exactly these bytes are stored.
async fn stored(target: &Target, blob: &Bytes) -> Verdict {
    let read = target.read(&target.read_name(Digest::of(blob)), 0, 0).await?;
    check(read == *blob, || "other bytes than were written".to_owned())
}

async fn not_stored(target: &Target, digest: Digest) -> Verdict {
    same("missing", &target.missing(&[digest]).await?, &vec![digest])
}

pub(super) fn add(suite: &mut Suite) {
    for size in [1, 41, 1000, 262_143, 262_144, 262_145, 1 << 20, 5_000_000, 20_000_000] {
        suite.case(
            format!("write/roundtrip-{size}"),
            "what is written is read, and all of it is committed",
            move |target| async move {
                let blob = target.unique(size);
                let name = target.write_name(Digest::of(&blob));
                let committed = target.write(pieces(&name, &blob, 256 * 1024)).await?;
                same("committed_size", &committed, &(blob.len() as i64))?;
                stored(&target, &blob).await
            },
        );
    }
    for piece in [1, 7, 1000, 65_536, 1 << 20, 3 << 20] {
        suite.case(format!("write/pieces-{piece}"), "pieces may have any size", move |target| async move {
            let blob = target.unique(piece * 3 + 1);
            let name = target.write_name(Digest::of(&blob));
            let committed = target.write(pieces(&name, &blob, piece)).await?;
            same("committed_size", &committed, &(blob.len() as i64))?;
            stored(&target, &blob).await
        });
    }
    suite.case("write/empty-blob", "the empty blob may be written", |target| async move {
        let name = target.write_name(Digest::EMPTY);
        same("committed_size", &target.write(pieces(&name, &Bytes::new(), 1)).await?, &0)
    });
    suite.case("write/empty-last-piece", "the last piece may be empty", |target| async move {
        let blob = target.unique(1000);
        let mut requests = pieces(&target.write_name(Digest::of(&blob)), &blob, 1000);
        requests[0].finish_write = false;
        requests.push(WriteRequest { write_offset: 1000, finish_write: true, ..Default::default() });
        same("committed_size", &target.write(requests).await?, &1000)?;
        stored(&target, &blob).await
    });
    suite.case("write/empty-pieces", "pieces may be empty", |target| async move {
        let blob = target.unique(1000);
        let requests = pieces(&target.write_name(Digest::of(&blob)), &blob, 500);
        let empty = |offset| WriteRequest { write_offset: offset, ..Default::default() };
        let requests = vec![requests[0].clone(), empty(500), empty(500), requests[1].clone()];
        same("committed_size", &target.write(requests).await?, &1000)?;
        stored(&target, &blob).await
    });
    suite.case("write/name-repeated", "every message may repeat the name", |target| async move {
        let blob = target.unique(1000);
        let name = target.write_name(Digest::of(&blob));
        let mut requests = pieces(&name, &blob, 100);
        for request in &mut requests {
            request.resource_name.clone_from(&name);
        }
        same("committed_size", &target.write(requests).await?, &1000)?;
        stored(&target, &blob).await
    });
    for (name, suffix) in [("file", "/some/file.txt"), ("one-segment", "/x"), ("blobs", "/blobs/x")] {
        suite.case(format!("write/metadata-{name}"), "segments behind the size are legal", move |target| async move {
            let blob = target.unique(1000);
            let name = target.write_name(Digest::of(&blob)) + suffix;
            same("committed_size", &target.write(pieces(&name, &blob, 600)).await?, &1000)?;
            stored(&target, &blob).await
        });
    }
    suite.case("write/known", "a blob that is there may be written again, all of it committed", |target| async move {
        let blob = target.unique(1_000_000);
        for _ in 0..3 {
            let name = target.write_name(Digest::of(&blob));
            same("committed_size", &target.write(pieces(&name, &blob, 100_000)).await?, &1_000_000)?;
        }
        Ok(())
    });
    suite.case("write/known-early", "a blob that is there is done with its first message", |target| async move {
        let blob = target.unique(3_000_000);
        let name = target.write_name(Digest::of(&blob));
        target.write(pieces(&name, &blob, 1 << 20)).await?;
        let mut requests = pieces(&target.write_name(Digest::of(&blob)), &blob, 1 << 20);
        requests.truncate(1);
        same("committed_size", &target.write(requests).await?, &3_000_000)
    });
    suite.case("write/same-name-twice", "a name may be used again", |target| async move {
        let blob = target.unique(1000);
        let name = target.write_name(Digest::of(&blob));
        target.write(pieces(&name, &blob, 300)).await?;
        same("committed_size", &target.write(pieces(&name, &blob, 300)).await?, &1000)
    });
    suite.case("write/together", "many may write the same blob at once", |target| async move {
        let blob = target.unique(2_000_000);
        let digest = Digest::of(&blob);
        let writes = (0..8).map(|_| target.write(pieces(&target.write_name(digest), &blob, 200_000)));
        for committed in futures::future::join_all(writes).await {
            same("committed_size", &committed?, &2_000_000)?;
        }
        stored(&target, &blob).await
    });
    add_bad(suite);
    add_compressed(suite);
    add_status(suite);
}

fn add_bad(suite: &mut Suite) {
    type Damage = fn(&mut Vec<WriteRequest>);
    let damages: [(&str, Damage); 9] = [
        ("other-content", |requests| requests[1].data = Bytes::from(vec![1; 400])),
        ("too-short", |requests| {
            requests.truncate(1);
            requests[0].finish_write = true;
        }),
        ("too-long", |requests| {
            let last = requests.len() - 1;
            requests[last].data = [&requests[last].data[..], b"x"].concat().into();
        }),
        ("unfinished", |requests| requests.iter_mut().for_each(|request| request.finish_write = false)),
        ("offset-ahead", |requests| requests[1].write_offset += 1),
        ("offset-behind", |requests| requests[1].write_offset -= 1),
        ("offset-zero", |requests| requests[1].write_offset = 0),
        ("offset-negative", |requests| requests[0].write_offset = -1),
        ("other-name", |requests| "uploads/x/blobs/y/1".clone_into(&mut requests[1].resource_name)),
    ];
    for (name, damage) in damages {
        let fact = "a stream that doesn't make the blob is refused, and not stored";
        suite.case(format!("write/bad-{name}"), fact, move |target| async move {
            let blob = target.unique(1200);
            let digest = Digest::of(&blob);
            let mut requests = pieces(&target.write_name(digest), &blob, 400);
            damage(&mut requests);
            fails(target.write(requests).await, &[Code::InvalidArgument, Code::OutOfRange, Code::FailedPrecondition])?;
            not_stored(&target, digest).await
        });
    }
    suite.case("write/bad-nothing", "an empty stream is refused", |target| async move {
        fails(target.write(Vec::new()).await, &[Code::InvalidArgument, Code::Unknown, Code::Internal])
    });
    suite.case("write/bad-first-name", "the first message has to have a name", |target| async move {
        let blob = target.unique(1200);
        let mut requests = pieces("", &blob, 400);
        requests[1].resource_name = target.write_name(Digest::of(&blob));
        fails(target.write(requests).await, &[Code::InvalidArgument])
    });
    suite.case("write/bad-size", "the size is part of the digest", |target| async move {
        let blob = target.unique(1200);
        let digest = Digest::new(*Digest::of(&blob).hash(), 1199);
        fails(
            target.write(pieces(&target.write_name(digest), &blob, 400)).await,
            &[Code::InvalidArgument, Code::OutOfRange],
        )
    });
    suite.case("write/after-a-bad-one", "after a bad upload the blob can still be stored", |target| async move {
        let blob = target.unique(1200);
        let digest = Digest::of(&blob);
        let mut requests = pieces(&target.write_name(digest), &blob, 400);
        requests[1].data = Bytes::from(vec![1; 400]);
        fails(target.write(requests).await, &[Code::InvalidArgument])?;
        target.write(pieces(&target.write_name(digest), &blob, 400)).await?;
        stored(&target, &blob).await
    });
}

fn compressed_name(target: &Target, digest: Digest) -> String {
    format!("{}uploads/{}/compressed-blobs/zstd/{digest}", target.prefix(), target.upload_id())
}

fn add_compressed(suite: &mut Suite) {
    for size in [1, 1000, 1_000_000, 9_000_000] {
        let fact = "what is written as zstd is read as it is; what came is committed, or -1 where it was there";
        suite.case(format!("write/zstd-roundtrip-{size}"), fact, move |target| async move {
            target.zstd()?;
            let blob = target.unique(size);
            let data = compressed(&blob);
            let name = compressed_name(&target, Digest::of(&blob));
            let committed = target.write(pieces(&name, &data, 100_000)).await?;
            same("committed_size", &committed, &(data.len() as i64))?;
            stored(&target, &blob).await?;
            let name = compressed_name(&target, Digest::of(&blob));
            let again = target.write(pieces(&name, &data, 100_000)).await?;
            check(again == -1 || again == data.len() as i64, || format!("committed_size is {again} for what is there"))
        });
    }
    suite.case("write/zstd-empty-blob", "the empty blob may be written as zstd", |target| async move {
        target.zstd()?;
        let name = compressed_name(&target, Digest::EMPTY);
        target.write(pieces(&name, &compressed(b""), 100)).await.map(drop).map_err(Outcome::from)
    });
    let own: (&str, Make) = ("bomb", |_| compressed(&vec![0; 200 << 20]));
    for (name, make) in DAMAGES.into_iter().chain([own]) {
        let fact = "zstd that doesn't make the blob is refused, and not stored";
        suite.case(format!("write/zstd-{name}"), fact, move |target| async move {
            target.zstd()?;
            let blob = target.unique(5000);
            let digest = Digest::of(&blob);
            let requests = pieces(&compressed_name(&target, digest), &make(&blob), 1000);
            fails(target.write(requests).await, &[Code::InvalidArgument, Code::OutOfRange])?;
            not_stored(&target, digest).await
        });
    }
    suite.case("write/zstd-frames", "several frames are one blob", |target| async move {
        target.zstd()?;
        let blob = target.unique(90_000);
        let frames: Vec<u8> = blob.chunks(10_000).flat_map(|part| compressed(part).to_vec()).collect();
        let name = compressed_name(&target, Digest::of(&blob));
        target.write(pieces(&name, &frames.into(), 7_000)).await?;
        stored(&target, &blob).await
    });
    suite.case("write/unknown-compressor", "a compressor that isn't known is refused", |target| async move {
        let blob = target.unique(100);
        let name =
            format!("{}uploads/{}/compressed-blobs/lzma/{}", target.prefix(), target.upload_id(), Digest::of(&blob));
        fails(
            target.write(pieces(&name, &blob, 100)).await,
            &[Code::InvalidArgument, Code::Unimplemented, Code::NotFound],
        )
    });
}

async fn status(target: &Target, name: String) -> Result<(i64, bool), Status> {
    let request = QueryWriteStatusRequest { resource_name: name };
    let status = target.bytes().query_write_status(request).await?.into_inner();
    Ok((status.committed_size, status.complete))
}

fn add_status(suite: &mut Suite) {
    suite.case("write-status/unknown", "an unknown upload begins at 0; it is no error", |target| async move {
        let name = target.write_name(Digest::of(&target.unique(100)));
        match status(&target, name).await {
            Ok(status) => same("status", &status, &(0, false)),
            Err(status) => Err(status.into()),
        }
    });
    suite.case("write-status/complete", "what is there is complete", |target| async move {
        let digest = target.store(&[target.unique(1000)]).await?[0];
        let name = target.write_name(digest);
        same("status", &status(&target, name).await?, &(1000, true))
    });
    suite.case("write-status/after-write", "an upload that ended is complete", |target| async move {
        let blob = target.unique(1000);
        let name = target.write_name(Digest::of(&blob));
        target.write(pieces(&name, &blob, 100)).await?;
        same("status", &status(&target, name).await?, &(1000, true))
    });
}
