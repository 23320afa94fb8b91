//! Which role a call takes, by its name. What isn't named here takes an administrator.
//!
//! **Source:** the services of the Remote Execution API v2, `google.bytestream`, `google.longrunning`.

use super::Role;

/// What a call takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needed {
    /// Nothing: even strangers may ask whether the server lives.
    Nothing,
    /// One of these roles, for some instance. Which one, the service looks at.
    OneOf(&'static [Role]),
}

/// Roles of those who ask for blobs.
pub(crate) const READERS: &[Role] = &[Role::Read];
/// Roles of those who ask which blobs are missing: also whoever is about to bring them.
pub(crate) const SEEKERS: &[Role] = &[Role::Read, Role::WriteCas];
/// Roles of those who bring blobs.
pub(crate) const WRITERS: &[Role] = &[Role::WriteCas];
/// Roles of those who say what a result is.
pub(crate) const JUDGES: &[Role] = &[Role::WriteActionCache];
/// Roles of those who have actions run.
pub(crate) const EXECUTORS: &[Role] = &[Role::Execute];
/// Roles of those who run actions.
const WORKERS: &[Role] = &[Role::Worker];
/// Roles of whoever has any.
pub(crate) const ANYONE: &[Role] =
    &[Role::Read, Role::WriteCas, Role::WriteActionCache, Role::Execute, Role::Worker, Role::Admin];

/// Whether there is a call at this path.
pub(crate) fn is_known(path: &str) -> bool {
    needed(path) != STRANGE
}

/// What takes an administrator, for it isn't known here.
const STRANGE: Needed = Needed::OneOf(&[Role::Admin]);

/// What the call at this path takes.
pub(crate) fn needed(path: &str) -> Needed {
    let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) else {
        return STRANGE;
    };
    let roles = match (service, method) {
        ("grpc.health.v1.Health", _) => return Needed::Nothing,
        ("grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection", _) => ANYONE,
        ("build.bazel.remote.execution.v2.Capabilities", "GetCapabilities") => ANYONE,
        ("build.bazel.remote.execution.v2.ContentAddressableStorage", method) => match method {
            "FindMissingBlobs" => SEEKERS,
            "BatchReadBlobs" | "GetTree" | "SplitBlob" => READERS,
            "BatchUpdateBlobs" | "SpliceBlob" => WRITERS,
            _ => &[Role::Admin],
        },
        ("google.bytestream.ByteStream", method) => match method {
            "Read" => READERS,
            "Write" => WRITERS,
            "QueryWriteStatus" => SEEKERS,
            _ => &[Role::Admin],
        },
        ("build.bazel.remote.execution.v2.ActionCache", method) => match method {
            "GetActionResult" => READERS,
            "UpdateActionResult" => JUDGES,
            _ => &[Role::Admin],
        },
        ("build.bazel.remote.execution.v2.Execution", "Execute" | "WaitExecution") => EXECUTORS,
        ("build.bazel.remote.asset.v1.Fetch", "FetchBlob" | "FetchDirectory") => READERS,
        ("build.bazel.remote.asset.v1.Push", "PushBlob" | "PushDirectory") => JUDGES,
        ("google.longrunning.Operations", _) => EXECUTORS,
        ("pumphouse.worker.v1.Workers", _) => WORKERS,
        _ => &[Role::Admin],
    };
    Needed::OneOf(roles)
}
