//! `BatchUpdateBlobs` and `BatchReadBlobs`.

use super::suite::{Outcome, Suite, Verdict, check, fails, same};
use super::target::{DAMAGES, Make, Target, compressed, upload};
use bytes::Bytes;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{
    BatchReadBlobsRequest, BatchUpdateBlobsRequest, batch_read_blobs_response, batch_update_blobs_request, compressor,
};
use tonic::Code;

const INVALID: i32 = Code::InvalidArgument as i32;
const NOT_FOUND: i32 = Code::NotFound as i32;

fn as_zstd(blob: &Bytes, data: Bytes) -> batch_update_blobs_request::Request {
    let zstd = compressor::Value::Zstd.into();
    batch_update_blobs_request::Request { digest: Some(Digest::of(blob).into()), data, compressor: zstd }
}

async fn read(
    target: &Target,
    digests: &[Digest],
    compressors: &[compressor::Value],
) -> Result<Vec<batch_read_blobs_response::Response>, Outcome> {
    let request = BatchReadBlobsRequest {
        instance_name: target.instance(),
        digests: digests.iter().map(Into::into).collect(),
        acceptable_compressors: compressors.iter().map(|compressor| (*compressor).into()).collect(),
        ..Default::default()
    };
    Ok(target.cas().batch_read_blobs(request).await?.into_inner().responses)
}

/// Asks for the blobs, and requires them.
async fn gives(target: &Target, blobs: &[Bytes]) -> Verdict {
    let digests: Vec<Digest> = blobs.iter().map(|blob| Digest::of(blob)).collect();
    let responses = read(target, &digests, &[]).await?;
    let data: Vec<Bytes> = responses.into_iter().map(|response| response.data).collect();
    check(data == blobs, || "other bytes than were stored".to_owned())
}

pub(super) fn add(suite: &mut Suite) {
    add_updates(suite);
    add_compressed_updates(suite);
    add_reads(suite);
}

fn add_updates(suite: &mut Suite) {
    for size in [1, 41, 1000, 65_536, 1_000_000, 3_500_000] {
        suite.case(format!("batch/roundtrip-{size}"), "what is stored is given back", move |target| async move {
            let blob = target.unique(size);
            target.store(std::slice::from_ref(&blob)).await?;
            gives(&target, &[blob]).await
        });
    }
    suite.case("batch/empty-blob", "the empty blob may be stored", |target| async move {
        target.store(&[Bytes::new()]).await?;
        gives(&target, &[Bytes::new()]).await
    });
    suite.case("batch/nothing", "a batch of nothing is answered by nothing", |target| async move {
        same("statuses", &target.batch(Vec::new()).await?, &Vec::new())
    });
    suite.case("batch/many", "one answer a blob, for hundreds", |target| async move {
        let blobs: Vec<Bytes> = (0..500).map(|_| target.unique(200)).collect();
        target.store(&blobs).await?;
        gives(&target, &blobs).await
    });
    suite.case("batch/twice", "storing again does no harm", |target| async move {
        let blobs = [target.unique(100)];
        target.store(&blobs).await?;
        target.store(&blobs).await.map(drop)
    });
    suite.case("batch/same-blob-twice", "a blob may stand in a batch twice", |target| async move {
        let blob = target.unique(100);
        target.store(&[blob.clone(), blob]).await.map(drop)
    });
    suite.case("batch/order", "answers come in order, with their digests", |target| async move {
        let blobs: Vec<Bytes> = (0..50).map(|_| target.unique(60)).collect();
        let request = BatchUpdateBlobsRequest {
            instance_name: target.instance(),
            requests: blobs.iter().map(upload).collect(),
            ..Default::default()
        };
        let responses = target.cas().batch_update_blobs(request).await?.into_inner().responses;
        let digests: Vec<_> = responses.into_iter().filter_map(|response| response.digest).collect();
        same("digests", &digests, &blobs.iter().map(|blob| Digest::of(blob).into()).collect())
    });
    for (name, data) in [
        ("other-content", Bytes::from_static(b"12346")),
        ("longer", Bytes::from_static(b"123456")),
        ("shorter", Bytes::from_static(b"1234")),
        ("empty", Bytes::new()),
    ] {
        let fact = "what is not what its digest names is refused, and not stored";
        suite.case(format!("batch/mismatch-{name}"), fact, move |target| async move {
            let blob = [&target.unique(60)[..], b"12345"].concat();
            let digest = Digest::of(&blob);
            let data = [&blob[..60], &data[..]].concat();
            let wrong = batch_update_blobs_request::Request {
                digest: Some(digest.into()),
                data: data.into(),
                ..Default::default()
            };
            same("statuses", &target.batch(vec![wrong]).await?, &vec![INVALID])?;
            same("missing", &target.missing(&[digest]).await?, &vec![digest])
        });
    }
    suite.case("batch/others-go-on", "one bad blob keeps no other from being stored", |target| async move {
        let (one, other) = (target.unique(100), target.unique(100));
        let bad = batch_update_blobs_request::Request { data: Bytes::from_static(b"x"), ..upload(&target.unique(100)) };
        let codes = target.batch(vec![upload(&one), bad, upload(&other)]).await?;
        same("statuses", &codes, &vec![0, INVALID, 0])?;
        gives(&target, &[one, other]).await
    });
    suite.case("batch/too-large", "a batch above the limit is refused as a whole", |target| async move {
        let limit = target.capabilities.cache_capabilities.clone().unwrap_or_default().max_batch_total_size_bytes;
        let most = usize::try_from(limit).unwrap_or(0);
        if most == 0 {
            return Err(Outcome::Absent("there is no limit".to_owned()));
        }
        let blobs = [target.unique(most / 2 + 1), target.unique(most / 2 + 1)];
        fails(target.batch(blobs.iter().map(upload).collect()).await, &[Code::InvalidArgument, Code::OutOfRange])
    });
    suite.case("batch/at-the-limit", "a batch up to the limit is taken", |target| async move {
        let limit = target.capabilities.cache_capabilities.clone().unwrap_or_default().max_batch_total_size_bytes;
        let most = usize::try_from(limit).unwrap_or(0).min(4 << 20);
        let most = if most == 0 { 1 << 20 } else { most - 1024 };
        target.store(&[target.unique(most)]).await.map(drop)
    });
    suite.case("batch/unknown-compressor", "a compressor that isn't offered is refused", |target| async move {
        let bad = batch_update_blobs_request::Request { compressor: 99, ..upload(&target.unique(100)) };
        match target.batch(vec![bad]).await {
            Ok(codes) => check(codes.iter().all(|code| *code != 0), || format!("{codes:?}")),
            Err(status) => fails::<()>(Err(status), &[Code::InvalidArgument, Code::Unimplemented]),
        }
    });
}

fn add_compressed_updates(suite: &mut Suite) {
    for size in [0, 1, 1000, 500_000] {
        suite.case(
            format!("batch/zstd-roundtrip-{size}"),
            "batches take zstd where that is offered",
            move |target| async move {
                target.batch_zstd()?;
                let blob = target.unique(size);
                let codes = target.batch(vec![as_zstd(&blob, compressed(&blob))]).await?;
                same("statuses", &codes, &vec![0])?;
                gives(&target, &[blob]).await
            },
        );
    }
    let own: (&str, Make) = ("nothing", |_| Bytes::new());
    for (name, make) in DAMAGES.into_iter().chain([own]) {
        let fact = "zstd that doesn't make the blob is refused, and not stored";
        suite.case(format!("batch/zstd-{name}"), fact, move |target| async move {
            target.batch_zstd()?;
            let blob = target.unique(5000);
            let codes = target.batch(vec![as_zstd(&blob, make(&blob))]).await?;
            same("statuses", &codes, &vec![INVALID])?;
            let digest = Digest::of(&blob);
            same("missing", &target.missing(&[digest]).await?, &vec![digest])
        });
    }
    suite.case("batch/zstd-two-frames", "several frames are one blob", |target| async move {
        target.batch_zstd()?;
        let blob = target.unique(5000);
        let frames = [&compressed(&blob[..2000])[..], &compressed(&blob[2000..])].concat();
        same("statuses", &target.batch(vec![as_zstd(&blob, frames.into())]).await?, &vec![0])?;
        gives(&target, &[blob]).await
    });
    suite.case("batch/zstd-unsized", "frames need not say how long their content is", |target| async move {
        target.batch_zstd()?;
        let blob = target.unique(5000);
        let stream = zstd::stream::encode_all(&blob[..], 1).unwrap_or_default();
        same("statuses", &target.batch(vec![as_zstd(&blob, stream.into())]).await?, &vec![0])?;
        gives(&target, &[blob]).await
    });
    suite.case("batch/zstd-bomb", "what grows beyond its digest's size is refused early", |target| async move {
        target.batch_zstd()?;
        let blob = target.unique(100);
        let bomb = compressed(&vec![0; 200 << 20]);
        same("statuses", &target.batch(vec![as_zstd(&blob, bomb)]).await?, &vec![INVALID])
    });
}

fn add_reads(suite: &mut Suite) {
    suite.case(
        "batch-read/absent",
        "each absent blob is NOT_FOUND, beside those that are there",
        |target| async move {
            let stored = target.unique(100);
            let digests = [target.store(std::slice::from_ref(&stored)).await?[0], Digest::of(&target.unique(100))];
            let responses = read(&target, &digests, &[]).await?;
            let codes: Vec<i32> =
                responses.iter().map(|response| response.status.clone().unwrap_or_default().code).collect();
            same("statuses", &codes, &vec![0, NOT_FOUND])?;
            check(responses[0].data == stored && responses[1].data.is_empty(), || "other bytes".to_owned())
        },
    );
    suite.case("batch-read/nothing", "a request for nothing is answered by nothing", |target| async move {
        same("answers", &read(&target, &[], &[]).await?.len(), &0)
    });
    suite.case("batch-read/empty-blob", "the empty blob is given without having been stored", |target| async move {
        gives(&target, &[Bytes::new()]).await
    });
    suite.case("batch-read/order", "answers come in order", |target| async move {
        let blobs: Vec<Bytes> = (0..50).map(|number| target.unique(60 + number)).collect();
        target.store(&blobs).await?;
        let reversed: Vec<Bytes> = blobs.into_iter().rev().collect();
        gives(&target, &reversed).await
    });
    suite.case("batch-read/repeated", "a digest may stand in a request twice", |target| async move {
        let blob = target.unique(100);
        target.store(std::slice::from_ref(&blob)).await?;
        gives(&target, &[blob.clone(), blob]).await
    });
    suite.case("batch-read/size", "the size is part of the digest", |target| async move {
        let stored = target.store(&[target.unique(100)]).await?[0];
        let other = Digest::new(*stored.hash(), stored.size_bytes() + 1);
        let responses = read(&target, &[other], &[]).await?;
        same("status", &responses[0].status.clone().unwrap_or_default().code, &NOT_FOUND)
    });
    suite.case("batch-read/identity", "nothing is compressed for clients that don't ask for it", |target| async move {
        let blob = Bytes::from([&target.unique(41)[..], &vec![b'a'; 50_000]].concat());
        let digests = target.store(&[blob]).await?;
        let responses = read(&target, &digests, &[]).await?;
        same("compressor", &responses[0].compressor, &i32::from(compressor::Value::Identity))
    });
    suite.case("batch-read/zstd", "what is compressed is the blob, and says so", |target| async move {
        target.zstd()?;
        let blob = Bytes::from([&target.unique(41)[..], &vec![b'a'; 50_000]].concat());
        let digests = target.store(std::slice::from_ref(&blob)).await?;
        let response = read(&target, &digests, &[compressor::Value::Zstd]).await?.remove(0);
        let data = if response.compressor == i32::from(compressor::Value::Zstd) {
            zstd::stream::decode_all(&response.data[..]).unwrap_or_default().into()
        } else {
            response.data
        };
        check(data == blob, || "other bytes".to_owned())
    });
    suite.case("batch-read/too-large", "an answer above the limit is refused, not sent", |target| async move {
        let blobs = [target.unique(3 << 20), target.unique(3 << 20)];
        for blob in &blobs {
            target.store(std::slice::from_ref(blob)).await?;
        }
        let request = BatchReadBlobsRequest {
            instance_name: target.instance(),
            digests: blobs.iter().map(|blob| Digest::of(blob).into()).collect(),
            ..Default::default()
        };
        fails(target.cas().batch_read_blobs(request).await, &[Code::InvalidArgument, Code::OutOfRange])
    });
}
