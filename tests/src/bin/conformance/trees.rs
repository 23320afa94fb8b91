//! `GetTree`, `SplitBlob` and `SpliceBlob`.

use super::suite::{Outcome, Suite, check, fails, same};
use super::target::{Target, pieces};
use bytes::Bytes;
use futures::StreamExt as _;
use prost::Message as _;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{
    Directory, DirectoryNode, FileNode, GetTreeRequest, GetTreeResponse, SpliceBlobRequest, SplitBlobRequest,
};
use std::collections::BTreeSet;
use tonic::{Code, Status};

fn directory(names: &[(&str, Digest)], file: Digest) -> Directory {
    let node = |(name, digest): &(&str, Digest)| DirectoryNode { name: (*name).into(), digest: Some(digest.into()) };
    Directory {
        directories: names.iter().map(node).collect(),
        files: vec![FileNode { name: "file".into(), digest: Some(file.into()), ..Default::default() }],
        ..Default::default()
    }
}

async fn pages(target: &Target, request: GetTreeRequest) -> Result<Vec<GetTreeResponse>, Status> {
    let request = GetTreeRequest { instance_name: target.instance(), ..request };
    let mut stream = target.cas().get_tree(request).await?.into_inner();
    let mut pages = Vec::new();
    while let Some(page) = stream.next().await {
        pages.push(page?);
    }
    Ok(pages)
}

/// Stores a root with three levels below it; gives its digest and the number of directories.
async fn tree(target: &Target) -> Result<(Digest, usize), Outcome> {
    let file = Digest::of(&target.unique(50));
    let leaf = target.store_message(&directory(&[], file)).await?;
    let left = target.store_message(&directory(&[("a", leaf)], file)).await?;
    let right = target.store_message(&directory(&[("b", leaf), ("c", left)], file)).await?;
    let root = target.store_message(&directory(&[("left", left), ("right", right)], file)).await?;
    Ok((root, 4))
}

fn digests(pages: &[GetTreeResponse]) -> BTreeSet<Digest> {
    pages.iter().flat_map(|page| &page.directories).map(|message| Digest::of(&message.encode_to_vec())).collect()
}

pub(super) fn add(suite: &mut Suite) {
    suite.case("tree/whole", "every directory comes, each of them once", |target| async move {
        let (root, count) = tree(&target).await?;
        let pages = pages(&target, GetTreeRequest { root_digest: Some(root.into()), ..Default::default() }).await?;
        same("directories", &digests(&pages).len(), &count)?;
        check(digests(&pages).contains(&root), || "the root is not among them".to_owned())
    });
    suite.case("tree/root-first", "the root comes first", |target| async move {
        let (root, _) = tree(&target).await?;
        let pages = pages(&target, GetTreeRequest { root_digest: Some(root.into()), ..Default::default() }).await?;
        let first =
            pages.iter().flat_map(|page| &page.directories).next().map(|message| Digest::of(&message.encode_to_vec()));
        same("the first directory", &first, &Some(root))
    });
    suite.case("tree/single", "a directory without others is a tree", |target| async move {
        let root = target.store_message(&directory(&[], Digest::of(&target.unique(50)))).await?;
        let pages = pages(&target, GetTreeRequest { root_digest: Some(root.into()), ..Default::default() }).await?;
        same("directories", &digests(&pages), &BTreeSet::from([root]))
    });
    suite.case("tree/empty-root", "the empty directory is always there", |target| async move {
        let request = GetTreeRequest { root_digest: Some(Digest::EMPTY.into()), ..Default::default() };
        let pages = pages(&target, request).await?;
        check(pages.iter().flat_map(|page| &page.directories).all(|message| *message == Directory::default()), || {
            format!("{pages:?}")
        })
    });
    for size in [1, 2, 3, 100] {
        suite.case(format!("tree/pages-of-{size}"), "the size of a page may be chosen", move |target| async move {
            let (root, count) = tree(&target).await?;
            let (mut seen, mut token) = (BTreeSet::new(), String::new());
            for _ in 0..20 {
                let request = GetTreeRequest {
                    root_digest: Some(root.into()),
                    page_size: size,
                    page_token: token.clone(),
                    ..Default::default()
                };
                let pages = pages(&target, request).await?;
                check(pages.iter().all(|page| page.directories.len() <= size as usize), || {
                    "a page is larger".to_owned()
                })?;
                seen.extend(digests(&pages));
                token = pages.last().map(|page| page.next_page_token.clone()).unwrap_or_default();
                if token.is_empty() {
                    break;
                }
            }
            same("directories", &seen.len(), &count)
        });
    }
    suite.case("tree/absent-root", "an absent root is NOT_FOUND", |target| async move {
        let root = Digest::of(&target.unique(100));
        fails(
            pages(&target, GetTreeRequest { root_digest: Some(root.into()), ..Default::default() }).await,
            &[Code::NotFound],
        )
    });
    suite.case("tree/no-directory", "a root that is no directory is refused", |target| async move {
        let root = target.store(&[Bytes::from([&target.unique(50)[..], &[0xff; 20]].concat())]).await?[0];
        let codes = [Code::InvalidArgument, Code::FailedPrecondition, Code::NotFound];
        fails(pages(&target, GetTreeRequest { root_digest: Some(root.into()), ..Default::default() }).await, &codes)
    });
    suite.case("tree/negative-page-size", "a negative size of pages is refused", |target| async move {
        let (root, _) = tree(&target).await?;
        let request = GetTreeRequest { root_digest: Some(root.into()), page_size: -1, ..Default::default() };
        fails(pages(&target, request).await, &[Code::InvalidArgument])
    });
    suite.case("tree/bad-token", "a token that isn't the server's is refused", |target| async move {
        let (root, _) = tree(&target).await?;
        let page_token = "no such token".to_owned();
        let request = GetTreeRequest { root_digest: Some(root.into()), page_token, ..Default::default() };
        fails(pages(&target, request).await, &[Code::InvalidArgument])
    });
    add_chunks(suite);
}

fn offered(target: &Target) -> Result<(), Outcome> {
    let cache = target.capabilities.cache_capabilities.clone().unwrap_or_default();
    let is_offered = cache.split_blob_support && cache.splice_blob_support;
    if is_offered { Ok(()) } else { Err(Outcome::Absent("blobs are neither cut nor put together".to_owned())) }
}

async fn split(target: &Target, blob: Digest) -> Result<Vec<Digest>, Status> {
    let request =
        SplitBlobRequest { instance_name: target.instance(), blob_digest: Some(blob.into()), ..Default::default() };
    let chunks = target.cas().split_blob(request).await?.into_inner().chunk_digests;
    Ok(chunks.iter().filter_map(|chunk| Digest::try_from(chunk).ok()).collect())
}

async fn splice(target: &Target, blob: Digest, chunks: &[Digest]) -> Result<Option<Digest>, Status> {
    let request = SpliceBlobRequest {
        instance_name: target.instance(),
        blob_digest: Some(blob.into()),
        chunk_digests: chunks.iter().map(Into::into).collect(),
        ..Default::default()
    };
    let made = target.cas().splice_blob(request).await?.into_inner().blob_digest;
    Ok(made.as_ref().and_then(|made| Digest::try_from(made).ok()))
}

fn add_chunks(suite: &mut Suite) {
    for size in [100, 3_000_000, 12_000_000] {
        suite.case(
            format!("chunks/split-{size}"),
            "the chunks are there, and make the blob",
            move |target| async move {
                offered(&target)?;
                let blob = target.unique(size);
                let digest = Digest::of(&blob);
                target.write(pieces(&target.write_name(digest), &blob, 1 << 20)).await?;
                let chunks = split(&target, digest).await?;
                same("missing", &target.missing(&chunks).await?, &Vec::new())?;
                let mut whole = Vec::new();
                for chunk in chunks {
                    whole.extend_from_slice(&target.read(&target.read_name(chunk), 0, 0).await?);
                }
                check(whole == blob, || "other bytes".to_owned())
            },
        );
    }
    suite.case("chunks/splice", "chunks are put together", |target| async move {
        offered(&target)?;
        let parts: Vec<Bytes> = (0..5).map(|number| target.unique(1000 + number)).collect();
        let chunks = target.store(&parts).await?;
        let blob = Bytes::from(parts.concat());
        same("blob_digest", &splice(&target, Digest::of(&blob), &chunks).await?, &Some(Digest::of(&blob)))?;
        check(target.read(&target.read_name(Digest::of(&blob)), 0, 0).await? == blob, || "other bytes".to_owned())
    });
    suite.case("chunks/splice-wrong", "what the chunks don't make is refused, and not stored", |target| async move {
        offered(&target)?;
        let parts = [target.unique(1000), target.unique(1000)];
        let chunks = target.store(&parts).await?;
        let wrong = Digest::of(&target.unique(2000));
        fails(splice(&target, wrong, &chunks).await, &[Code::InvalidArgument])?;
        same("missing", &target.missing(&[wrong]).await?, &vec![wrong])
    });
    suite.case("chunks/splice-absent", "an absent chunk is NOT_FOUND", |target| async move {
        offered(&target)?;
        let (one, other) = (target.unique(1000), target.unique(1000));
        let chunks = [target.store(std::slice::from_ref(&one)).await?[0], Digest::of(&other)];
        fails(splice(&target, Digest::of(&[one, other].concat()), &chunks).await, &[Code::NotFound])
    });
    suite.case("chunks/split-absent", "an absent blob is NOT_FOUND", |target| async move {
        offered(&target)?;
        fails(split(&target, Digest::of(&target.unique(1000))).await, &[Code::NotFound])
    });
}
