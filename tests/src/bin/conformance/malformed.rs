//! Requests that make no sense: each gets the code that the API names, in words, and stores nothing.

use super::suite::{Outcome, Suite, Verdict, check, fails};
use super::target::{Target, pieces, raw_digest};
use bytes::Bytes;
use pumphouse_proto::bytestream::QueryWriteStatusRequest;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{
    self, ActionResult, BatchReadBlobsRequest, FindMissingBlobsRequest, GetActionResultRequest, GetTreeRequest,
    OutputDirectory, OutputFile, UpdateActionResultRequest, batch_update_blobs_request,
};
use tonic::Code;

const INVALID: &[Code] = &[Code::InvalidArgument];

/// Digests that are none.
fn digests() -> Vec<(&'static str, Option<reapi::Digest>)> {
    let good = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    vec![
        ("none", None),
        ("empty-hash", Some(raw_digest("", 1))),
        ("short-hash", Some(raw_digest(&good[1..], 1))),
        ("long-hash", Some(raw_digest(&format!("{good}0"), 1))),
        ("no-hex", Some(raw_digest(&good.replace('e', "g"), 1))),
        ("path", Some(raw_digest("../../../../etc/passwd", 1))),
        ("negative-size", Some(raw_digest(good, -1))),
        ("least-size", Some(raw_digest(good, i64::MIN))),
    ]
}

pub(super) fn add(suite: &mut Suite) {
    for (name, digest) in digests() {
        let fact = "a malformed digest is INVALID_ARGUMENT";
        if digest.is_some() {
            let given = digest.clone();
            suite.case(format!("malformed/find-missing/{name}"), fact, move |target| async move {
                let request = FindMissingBlobsRequest {
                    instance_name: target.instance(),
                    blob_digests: given.into_iter().collect(),
                    ..Default::default()
                };
                fails(target.cas().find_missing_blobs(request).await, INVALID)
            });
            let given = digest.clone();
            suite.case(format!("malformed/batch-read/{name}"), fact, move |target| async move {
                let request = BatchReadBlobsRequest {
                    instance_name: target.instance(),
                    digests: given.into_iter().collect(),
                    ..Default::default()
                };
                match target.cas().batch_read_blobs(request).await {
                    Err(status) => fails::<()>(Err(status), INVALID),
                    Ok(answer) => {
                        let responses = answer.into_inner().responses;
                        let code = |response: &reapi::batch_read_blobs_response::Response| {
                            response.status.clone().unwrap_or_default().code
                        };
                        check(responses.iter().all(|response| code(response) != 0), || "it was read".to_owned())
                    }
                }
            });
        }
        let given = digest.clone();
        suite.case(format!("malformed/batch-update/{name}"), fact, move |target| async move {
            let bad = batch_update_blobs_request::Request {
                digest: given,
                data: Bytes::from_static(b"x"),
                ..Default::default()
            };
            match target.batch(vec![bad]).await {
                Err(status) => fails::<()>(Err(status), INVALID),
                Ok(codes) => check(codes == [Code::InvalidArgument as i32], || format!("{codes:?}")),
            }
        });
        let given = digest.clone();
        suite.case(format!("malformed/get-tree/{name}"), fact, move |target| async move {
            let request = GetTreeRequest { instance_name: target.instance(), root_digest: given, ..Default::default() };
            let first = match target.cas().get_tree(request).await {
                Err(status) => Err(status),
                Ok(stream) => stream.into_inner().message().await,
            };
            fails(first, INVALID)
        });
        let given = digest.clone();
        suite.case(format!("malformed/get-result/{name}"), fact, move |target| async move {
            let request =
                GetActionResultRequest { instance_name: target.instance(), action_digest: given, ..Default::default() };
            fails(target.action_cache().get_action_result(request).await, INVALID)
        });
        suite.case(format!("malformed/update-result/{name}"), fact, move |target| async move {
            update(&target, digest, ActionResult::default()).await
        });
    }
    add_results(suite);
    add_names(suite);
    add_functions(suite);
}

async fn update(target: &Target, action_digest: Option<reapi::Digest>, result: ActionResult) -> Verdict {
    let request = UpdateActionResultRequest {
        instance_name: target.instance(),
        action_digest,
        action_result: Some(result),
        ..Default::default()
    };
    let codes = [Code::InvalidArgument, Code::PermissionDenied, Code::Unimplemented];
    fails(target.action_cache().update_action_result(request).await, &codes)
}

fn add_results(suite: &mut Suite) {
    let bad = || Some(raw_digest("x", 1));
    let results: [(&str, ActionResult); 5] = [
        ("file-without-digest", ActionResult { output_files: vec![OutputFile::default()], ..Default::default() }),
        (
            "file-digest",
            ActionResult {
                output_files: vec![OutputFile { digest: bad(), ..Default::default() }],
                ..Default::default()
            },
        ),
        (
            "tree-digest",
            ActionResult {
                output_directories: vec![OutputDirectory { tree_digest: bad(), ..Default::default() }],
                ..Default::default()
            },
        ),
        ("stdout-digest", ActionResult { stdout_digest: bad(), ..Default::default() }),
        ("stderr-digest", ActionResult { stderr_digest: bad(), ..Default::default() }),
    ];
    for (name, result) in results {
        let fact = "a result that names nonsense is refused, and gives nobody anything";
        suite.case(format!("malformed/result/{name}"), fact, move |target| async move {
            update(&target, Some(Digest::of(&target.unique(60)).into()), result).await
        });
    }
    suite.case("malformed/result/none", "an update needs a result", |target| async move {
        let request = UpdateActionResultRequest {
            instance_name: target.instance(),
            action_digest: Some(Digest::of(&target.unique(60)).into()),
            ..Default::default()
        };
        let codes = [Code::InvalidArgument, Code::PermissionDenied, Code::Unimplemented];
        fails(target.action_cache().update_action_result(request).await, &codes)
    });
}

/// Names of blobs that are none; `H` stands for a hash.
const READ_NAMES: [(&str, &str); 12] = [
    ("empty", ""),
    ("slash", "/"),
    ("no-keyword", "H/1"),
    ("no-size", "blobs/H"),
    ("no-hash", "blobs//1"),
    ("size-no-number", "blobs/H/x"),
    ("size-negative", "blobs/H/-1"),
    ("size-huge", "blobs/H/99999999999999999999"),
    ("hash-short", "blobs/abc/1"),
    ("hash-no-hex", "blobs/zzzzc44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855/1"),
    ("upload", "uploads/1/blobs/H/1"),
    ("compressor", "compressed-blobs/none/H/1"),
];

const WRITE_NAMES: [(&str, &str); 10] = [
    ("empty", ""),
    ("no-uploads", "blobs/H/1"),
    ("no-id", "uploads/blobs/H/1"),
    ("no-blobs", "uploads/I/H/1"),
    ("no-size", "uploads/I/blobs/H"),
    ("size-no-number", "uploads/I/blobs/H/x"),
    ("size-negative", "uploads/I/blobs/H/-1"),
    ("size-huge", "uploads/I/blobs/H/99999999999999999999"),
    ("hash-short", "uploads/I/blobs/abc/1"),
    ("hash-no-hex", "uploads/I/blobs/zzzzc44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855/1"),
];

fn name(target: &Target, pattern: &str) -> String {
    let hash = Digest::of(&target.unique(60)).hash_hex();
    format!("{}{}", target.prefix(), pattern.replace('H', &hash).replace('I', &target.upload_id()))
}

fn add_names(suite: &mut Suite) {
    for (label, pattern) in READ_NAMES {
        let fact = "a name that isn't of the API's form is INVALID_ARGUMENT";
        suite.case(format!("malformed/read-name/{label}"), fact, move |target| async move {
            let codes = [Code::InvalidArgument, Code::NotFound, Code::Unimplemented];
            fails(target.read(&name(&target, pattern), 0, 0).await, &codes)
        });
    }
    for (label, pattern) in WRITE_NAMES {
        let fact = "a name that isn't of the API's form is INVALID_ARGUMENT";
        suite.case(format!("malformed/write-name/{label}"), fact, move |target| async move {
            let requests = pieces(&name(&target, pattern), &Bytes::from_static(b"x"), 1);
            fails(target.write(requests).await, &[Code::InvalidArgument, Code::NotFound])
        });
        suite.case(format!("malformed/status-name/{label}"), fact, move |target| async move {
            let request = QueryWriteStatusRequest { resource_name: name(&target, pattern) };
            fails(target.bytes().query_write_status(request).await, &[Code::InvalidArgument, Code::NotFound])
        });
    }
}

fn add_functions(suite: &mut Suite) {
    for (label, function) in [("md5", 3), ("sha1", 2), ("vso", 4), ("unknown", 77), ("negative", -1)] {
        let fact = "a digest function that isn't offered is INVALID_ARGUMENT";
        suite.case(format!("malformed/function/{label}"), fact, move |target| async move {
            let offered = target.capabilities.cache_capabilities.clone().unwrap_or_default().digest_functions;
            if offered.contains(&function) {
                return Err(Outcome::Absent("it is offered".to_owned()));
            }
            let request = FindMissingBlobsRequest {
                instance_name: target.instance(),
                blob_digests: vec![Digest::of(&target.unique(60)).into()],
                digest_function: function,
            };
            fails(target.cas().find_missing_blobs(request).await, &[Code::InvalidArgument, Code::Unimplemented])
        });
    }
}
