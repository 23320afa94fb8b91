//! `ByteStream.Read`.

use super::suite::{Suite, check, fails, same};
use super::target::{Target, pieces};
use bytes::Bytes;
use pumphouse_proto::digest::Digest;
use tonic::Code;

const SIZE: i64 = 700_000;

async fn written(target: &Target) -> Result<(Bytes, String), super::suite::Outcome> {
    let blob = target.unique(SIZE as usize);
    let digest = Digest::of(&blob);
    target.write(pieces(&target.write_name(digest), &blob, 300_000)).await?;
    Ok((blob, target.read_name(digest)))
}

pub(super) fn add(suite: &mut Suite) {
    for (offset, limit) in [
        (0, 0),
        (0, 1),
        (0, SIZE),
        (0, SIZE + 1),
        (0, i64::MAX),
        (1, 0),
        (1, 1),
        (SIZE / 2, 0),
        (SIZE / 2, 1000),
        (SIZE - 1, 0),
        (SIZE - 1, 1),
        (SIZE - 1, 100),
        (262_144, 262_144),
        (262_143, 2),
    ] {
        let fact = "offset and limit choose a part; no limit is 0";
        suite.case(format!("read/part-{offset}-{limit}"), fact, move |target| async move {
            let (blob, name) = written(&target).await?;
            let end = if limit == 0 { SIZE } else { SIZE.min(offset.saturating_add(limit)) };
            let read = target.read(&name, offset, limit).await?;
            check(read == blob.slice(offset as usize..end as usize), || format!("{} other bytes", read.len()))
        });
    }
    suite.case("read/at-the-end", "from the end on there is nothing, which is no error", |target| async move {
        let (_, name) = written(&target).await?;
        same("bytes", &target.read(&name, SIZE, 0).await?.len(), &0)
    });
    for (name, offset, limit, code) in [
        ("behind-the-end", SIZE + 1, 0, Code::OutOfRange),
        ("far-behind-the-end", i64::MAX, 0, Code::OutOfRange),
        ("negative-offset", -1, 0, Code::OutOfRange),
        ("negative-limit", 0, -1, Code::InvalidArgument),
    ] {
        let fact = "an offset outside of the blob is OUT_OF_RANGE, a negative limit INVALID_ARGUMENT";
        suite.case(format!("read/{name}"), fact, move |target| async move {
            let (_, name) = written(&target).await?;
            fails(target.read(&name, offset, limit).await, &[code])
        });
    }
    suite.case("read/absent", "an absent blob is NOT_FOUND", |target| async move {
        let name = target.read_name(Digest::of(&target.unique(100)));
        fails(target.read(&name, 0, 0).await, &[Code::NotFound])
    });
    suite.case("read/other-size", "the size is part of the digest", |target| async move {
        let stored = target.store(&[target.unique(100)]).await?[0];
        let other = Digest::new(*stored.hash(), 99);
        fails(target.read(&target.read_name(other), 0, 0).await, &[Code::NotFound, Code::InvalidArgument])
    });
    suite.case("read/empty-blob", "the empty blob is read without having been stored", |target| async move {
        same("bytes", &target.read(&target.read_name(Digest::EMPTY), 0, 0).await?.len(), &0)
    });
    suite.case("read/batch-stored", "what came in a batch is read as a stream", |target| async move {
        let blob = target.unique(2_000_000);
        let digest = target.store(std::slice::from_ref(&blob)).await?[0];
        check(target.read(&target.read_name(digest), 0, 0).await? == blob, || "other bytes".to_owned())
    });
    suite.case("read/together", "many may read the same blob at once", |target| async move {
        let (blob, name) = written(&target).await?;
        for read in futures::future::join_all((0..16).map(|_| target.read(&name, 0, 0))).await {
            check(read? == blob, || "other bytes".to_owned())?;
        }
        Ok(())
    });
    for offset in [0, 1, SIZE / 2, SIZE - 1, SIZE] {
        let fact = "the offset of a compressed read is one of the blob's own bytes";
        suite.case(format!("read/zstd-{offset}"), fact, move |target| async move {
            target.zstd()?;
            let (blob, name) = written(&target).await?;
            let name = name.replace("blobs/", "compressed-blobs/zstd/");
            let read = target.read(&name, offset, 0).await?;
            let read =
                if read.is_empty() { Vec::new() } else { zstd::stream::decode_all(&read[..]).unwrap_or_default() };
            check(read == blob[offset as usize..], || format!("{} other bytes", read.len()))
        });
    }
    suite.case("read/zstd-limit", "a compressed read has no limit", |target| async move {
        target.zstd()?;
        let (_, name) = written(&target).await?;
        fails(target.read(&name.replace("blobs/", "compressed-blobs/zstd/"), 0, 10).await, &[Code::InvalidArgument])
    });
    suite.case("read/zstd-absent", "an absent blob is NOT_FOUND, compressed as well", |target| async move {
        target.zstd()?;
        let name = target.read_name(Digest::of(&target.unique(100))).replace("blobs/", "compressed-blobs/zstd/");
        fails(target.read(&name, 0, 0).await, &[Code::NotFound])
    });
}
