//! `FindMissingBlobs`.

use super::suite::{Suite, check, same};
use super::target::Target;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::FindMissingBlobsRequest;
use std::collections::HashSet;

pub(super) fn add(suite: &mut Suite) {
    suite.case("presence/absent", "what nobody stored is missing", |target| async move {
        let digest = Digest::of(&target.unique(100));
        same("missing", &target.missing(&[digest]).await?, &vec![digest])
    });
    suite.case("presence/stored", "what was stored is not missing, at once", |target| async move {
        let digests = target.store(&[target.unique(100)]).await?;
        same("missing", &target.missing(&digests).await?, &Vec::new())
    });
    suite.case("presence/nothing", "a request for nothing is answered by nothing", |target| async move {
        same("missing", &target.missing(&[]).await?, &Vec::new())
    });
    suite.case("presence/empty-blob", "the empty blob is always there", |target| async move {
        same("missing", &target.missing(&[Digest::EMPTY]).await?, &Vec::new())
    });
    suite.case("presence/mixed", "of many, exactly those that are absent are missing", |target| async move {
        let stored = target.store(&(0..20).map(|_| target.unique(50)).collect::<Vec<_>>()).await?;
        let absent: Vec<Digest> = (0..20).map(|_| Digest::of(&target.unique(50))).collect();
        let all: Vec<Digest> = stored.iter().zip(&absent).flat_map(|(one, other)| [*one, *other]).collect();
        let missing: HashSet<Digest> = target.missing(&all).await?.into_iter().collect();
        same("missing", &missing, &absent.into_iter().collect())
    });
    for (name, change) in [("longer", 1_i64), ("shorter", -1), ("much-longer", 1 << 40)] {
        let fact = "the size is part of the digest";
        suite.case(format!("presence/size-{name}"), fact, move |target| async move {
            let stored = target.store(&[target.unique(100)]).await?[0];
            let other = Digest::new(*stored.hash(), stored.size_bytes().saturating_add_signed(change));
            same("missing", &target.missing(&[other]).await?, &vec![other])
        });
    }
    for count in [2, 100] {
        let fact = "a digest may stand in a request many times";
        suite.case(format!("presence/repeated-{count}"), fact, move |target| async move {
            let absent = Digest::of(&target.unique(100));
            let missing = target.missing(&vec![absent; count]).await?;
            check(!missing.is_empty() && missing.iter().all(|digest| *digest == absent), || format!("{missing:?}"))?;
            let stored = target.store(&[target.unique(100)]).await?[0];
            same("missing", &target.missing(&vec![stored; count]).await?, &Vec::new())
        });
    }
    for count in [1_000, 10_000] {
        suite.case(format!("presence/many-{count}"), "clients ask for thousands at a time", move |target| async move {
            let digests: Vec<Digest> = (0..count).map(|_| Digest::of(&target.unique(41))).collect();
            let missing: HashSet<Digest> = target.missing(&digests).await?.into_iter().collect();
            same("missing", &missing.len(), &count)
        });
    }
    suite.case("presence/function-said", "SHA-256 may be said", |target| async move { said(&target, 1).await });
    suite.case(
        "presence/function-unsaid",
        "the function may be left out",
        |target| async move { said(&target, 0).await },
    );
    for size in [1, 1000, 100_000, 3_000_000] {
        suite.case(
            format!("presence/stored-{size}"),
            "blobs of any size are there once stored",
            move |target| async move {
                let digests = target.store(&[target.unique(size)]).await?;
                same("missing", &target.missing(&digests).await?, &Vec::new())
            },
        );
    }
}

async fn said(target: &Target, digest_function: i32) -> super::suite::Verdict {
    let stored = target.store(&[target.unique(100)]).await?[0];
    let request = FindMissingBlobsRequest {
        instance_name: target.instance(),
        blob_digests: vec![stored.into()],
        digest_function,
    };
    let missing = target.cas().find_missing_blobs(request).await?.into_inner().missing_blob_digests;
    same("missing", &missing, &Vec::new())
}
