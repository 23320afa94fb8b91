//! BLAKE3, where it is offered.

use super::actions;
use super::suite::{Outcome, Suite, Verdict, check, fails, same};
use super::target::{Target, compressed, pieces};
use bytes::Bytes;
use prost::Message as _;
use pumphouse_proto::digest::{Digest, DigestFunction};
use pumphouse_proto::reapi::{
    self, Action, ActionResult, BatchReadBlobsRequest, BatchUpdateBlobsRequest, Directory, DirectoryNode,
    ExecuteRequest, FileNode, FindMissingBlobsRequest, GetActionResultRequest, GetTreeRequest, OutputFile,
    UpdateActionResultRequest, batch_update_blobs_request,
};
use tonic::{Code, Status};

const BLAKE3: DigestFunction = DigestFunction::Blake3;

fn offered(target: &Target) -> Verdict {
    let cache = target.capabilities.cache_capabilities.clone().unwrap_or_default();
    if cache.digest_functions.contains(&BLAKE3.to_field()) {
        Ok(())
    } else {
        Err(Outcome::Absent("BLAKE3 is not among the digest functions".to_owned()))
    }
}

async fn batch(target: &Target, blobs: &[(Digest, Bytes)]) -> Result<Vec<i32>, Status> {
    let request = |(digest, data): &(Digest, Bytes)| batch_update_blobs_request::Request {
        digest: Some(digest.into()),
        data: data.clone(),
        ..Default::default()
    };
    let request = BatchUpdateBlobsRequest {
        instance_name: target.instance(),
        requests: blobs.iter().map(request).collect(),
        digest_function: BLAKE3.to_field(),
    };
    let responses = target.cas().batch_update_blobs(request).await?.into_inner().responses;
    Ok(responses.into_iter().map(|response| response.status.unwrap_or_default().code).collect())
}

async fn store(target: &Target, blob: impl Into<Bytes>) -> Result<Digest, Outcome> {
    offered(target)?;
    let blob = blob.into();
    let digest = BLAKE3.digest(&blob);
    same("the statuses of an upload", &batch(target, &[(digest, blob)]).await?, &vec![0])?;
    Ok(digest)
}

async fn missing(target: &Target, digests: &[Digest]) -> Result<Vec<reapi::Digest>, Outcome> {
    let request = FindMissingBlobsRequest {
        instance_name: target.instance(),
        blob_digests: digests.iter().map(Into::into).collect(),
        digest_function: BLAKE3.to_field(),
    };
    Ok(target.cas().find_missing_blobs(request).await?.into_inner().missing_blob_digests)
}

pub(super) fn add(suite: &mut Suite) {
    add_blobs(suite);
    add_streams(suite);
    suite.case("functions/tree", "a tree is of its root's function", |target| async move {
        let file = store(&target, target.unique(60)).await?;
        let file = FileNode { name: "f".into(), digest: Some(file.into()), ..Default::default() };
        let below = store(&target, Directory { files: vec![file], ..Default::default() }.encode_to_vec()).await?;
        let node = DirectoryNode { name: "d".into(), digest: Some(below.into()) };
        let root = store(&target, Directory { directories: vec![node], ..Default::default() }.encode_to_vec()).await?;
        let request = GetTreeRequest {
            instance_name: target.instance(),
            root_digest: Some(root.into()),
            digest_function: BLAKE3.to_field(),
            ..Default::default()
        };
        let mut pages = target.cas().get_tree(request).await?.into_inner();
        let mut directories = 0;
        while let Some(page) = pages.message().await? {
            directories += page.directories.len();
        }
        same("directories", &directories, &2)
    });
    suite.case("functions/result", "a result is found by the function of its action alone", |target| async move {
        let output = store(&target, target.unique(60)).await?;
        let action = BLAKE3.digest(&target.unique(61));
        let file = OutputFile { path: "o".into(), digest: Some(output.into()), ..Default::default() };
        let request = UpdateActionResultRequest {
            instance_name: target.instance(),
            action_digest: Some(action.into()),
            action_result: Some(ActionResult { output_files: vec![file], ..Default::default() }),
            digest_function: BLAKE3.to_field(),
            ..Default::default()
        };
        target.action_cache().update_action_result(request).await?;
        let get = GetActionResultRequest {
            instance_name: target.instance(),
            action_digest: Some(action.into()),
            digest_function: BLAKE3.to_field(),
            ..Default::default()
        };
        let result = target.action_cache().get_action_result(get.clone()).await?.into_inner();
        same("outputs", &result.output_files.len(), &1)?;
        let other = GetActionResultRequest { digest_function: DigestFunction::Sha256.to_field(), ..get };
        fails(target.action_cache().get_action_result(other).await, &[Code::NotFound])
    });
}

fn add_blobs(suite: &mut Suite) {
    suite.case("functions/presence", "what was stored is there, what was not is missing", |target| async move {
        let stored = store(&target, target.unique(100)).await?;
        let absent = BLAKE3.digest(&target.unique(100));
        same("missing", &missing(&target, &[stored, absent]).await?, &vec![absent.into()])
    });
    suite.case("functions/empty-blob", "the empty blob is always there", |target| async move {
        offered(&target)?;
        same("missing", &missing(&target, &[BLAKE3.empty()]).await?, &Vec::new())
    });
    suite.case("functions/batch", "a batch is read as it was written", |target| async move {
        let blob = target.unique(1000);
        let digest = store(&target, blob.clone()).await?;
        let request = BatchReadBlobsRequest {
            instance_name: target.instance(),
            digests: vec![digest.into(), BLAKE3.digest(b"absent").into()],
            digest_function: BLAKE3.to_field(),
            ..Default::default()
        };
        let responses = target.cas().batch_read_blobs(request).await?.into_inner().responses;
        check(responses.len() == 2 && responses[0].data == blob, || format!("{responses:?}"))?;
        let code = responses[1].status.clone().unwrap_or_default().code;
        same("the status of an absent blob", &code, &Code::NotFound.into())
    });
    suite.case("functions/batch-unlike", "what has another hash is refused, and not stored", |target| async move {
        offered(&target)?;
        let blob = target.unique(100);
        let digest = Digest::of(&blob).by(BLAKE3);
        let codes = batch(&target, &[(digest, blob)]).await?;
        check(codes.len() == 1 && codes[0] != 0, || format!("{codes:?}"))?;
        same("missing", &missing(&target, &[digest]).await?, &vec![digest.into()])
    });
}

fn add_streams(suite: &mut Suite) {
    for size in [1, 100_000, 3_000_000] {
        let fact = "a stream names its function, and is read as it was written";
        suite.case(format!("functions/stream-{size}"), fact, move |target| async move {
            offered(&target)?;
            let blob = target.unique(size);
            let digest = BLAKE3.digest(&blob);
            let committed = target.write(pieces(&target.write_name(digest), &blob, 65_536)).await?;
            same("committed_size", &committed, &(blob.len() as i64))?;
            let read = target.read(&target.read_name(digest), 0, 0).await?;
            check(read == blob, || "other bytes come back".to_owned())?;
            same("missing", &missing(&target, &[digest]).await?, &Vec::new())
        });
    }
    suite.case("functions/stream-zstd", "a compressed stream names its function", |target| async move {
        offered(&target)?;
        target.zstd()?;
        let blob = target.unique(50_000);
        let (digest, id) = (BLAKE3.digest(&blob), target.upload_id());
        let name = format!("{}uploads/{id}/compressed-blobs/zstd/{digest}", target.prefix());
        target.write(pieces(&name, &compressed(&blob), 10_000)).await?;
        let read = target.read(&target.read_name(digest), 0, 0).await?;
        check(read == blob, || "other bytes come back".to_owned())
    });
    suite.case("functions/stream-unlike", "a hash of the other function is refused", |target| async move {
        offered(&target)?;
        let blob = target.unique(100);
        for wrong in [Digest::of(&blob).by(BLAKE3), BLAKE3.digest(&blob).by(DigestFunction::Sha256)] {
            fails(target.write(pieces(&target.write_name(wrong), &blob, 100)).await, &[Code::InvalidArgument])?;
        }
        Ok(())
    });
    suite.case("functions/stream-absent", "what nobody stored is not found", |target| async move {
        offered(&target)?;
        let name = target.read_name(BLAKE3.digest(&target.unique(100)));
        fails(target.read(&name, 0, 0).await, &[Code::NotFound])
    });
}

/// Needs a worker.
pub(super) fn add_actions(suite: &mut Suite) {
    suite.case("functions/execute", "outputs are named by the function of their action", |target| async move {
        let command = actions::shell("printf made > o; printf said", &["o"]);
        let command = store(&target, command.encode_to_vec()).await?;
        let action = Action {
            command_digest: Some(command.into()),
            input_root_digest: Some(store(&target, Bytes::new()).await?.into()),
            salt: target.unique(50),
            ..Default::default()
        };
        let action = store(&target, action.encode_to_vec()).await?;
        let request = ExecuteRequest {
            action_digest: Some(action.into()),
            digest_function: BLAKE3.to_field(),
            skip_cache_lookup: true,
            ..Default::default()
        };
        let response = actions::response(&actions::operations(&target, request).await?)?;
        let result = response.result.ok_or_else(|| Outcome::Wrong(format!("{:?}", response.status)))?;
        let expected = Some(BLAKE3.digest(b"made").into());
        same("the output's digest", &result.output_files.first().and_then(|file| file.digest.clone()), &expected)?;
        let read = target.read(&target.read_name(BLAKE3.digest(b"made")), 0, 0).await?;
        check(read == "made", || format!("{read:?}"))
    });
}
