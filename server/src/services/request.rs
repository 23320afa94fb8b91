//! Fields of requests, checked; errors name the field.

use crate::access::{Caller, Party, Role};
use crate::scheduler::{ActionKey, BuildId};
use prost::Message as _;
use pumphouse_proto::cas_client::REQUEST_METADATA_HEADER;
use pumphouse_proto::digest::{Digest, DigestFunction};
use pumphouse_proto::reapi::{self, RequestMetadata};
use std::hash::{Hash as _, Hasher as _};
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Status};

/// The longest instance name.
const INSTANCE_NAME_SIZE_BYTES: usize = 1024;

/// How many builds of a party are told apart.
const BUILDS_PER_PARTY: u64 = 256;

/// The longest name of a build; the rest of a longer one is ignored.
const BUILD_ID_SIZE_BYTES: usize = 256;

/// A digest by `function`, that must be there and well formed.
pub(super) fn digest(function: DigestFunction, field: &str, digest: Option<&reapi::Digest>) -> Result<Digest, Status> {
    let digest = digest.ok_or_else(|| Status::invalid_argument(format!("{field} is missing")))?;
    function.read(digest).map_err(|error| Status::invalid_argument(format!("{field}: {error}")))
}

/// The function by which a request's digests are made: SHA-256 where the field says nothing.
pub(super) fn digest_function(value: i32) -> Result<DigestFunction, Status> {
    let message = || format!("digest_function: {value} is not supported, SHA256 and BLAKE3 are");
    DigestFunction::of_field(value).ok_or_else(|| Status::invalid_argument(message()))
}

/// Whether whoever sent a request with these extensions has one of `roles` for the instance, whose name must be good.
pub(super) fn admit(extensions: &Extensions, roles: &[Role], instance_name: &str) -> Result<(), Status> {
    check_instance_name(instance_name)?;
    // Every connection says who calls; without that nothing is done.
    let caller = extensions.get::<Caller>().ok_or_else(|| Status::internal("it is not known who calls"))?;
    Ok(caller.check(roles, instance_name)?)
}

/// Has `tell` tell, in the audit log, what the caller of a request with these extensions has done.
pub(super) fn audit(extensions: &Extensions, tell: impl FnOnce(&str)) {
    if let Some(caller) = extensions.get::<Caller>() {
        tell(&caller.to_string());
    }
}

/// The instance's name must be of a sensible length, and printable.
pub(super) fn check_instance_name(name: &str) -> Result<(), Status> {
    if name.len() > INSTANCE_NAME_SIZE_BYTES {
        let message = format!("instance_name is longer than {INSTANCE_NAME_SIZE_BYTES} bytes");
        return Err(Status::invalid_argument(message));
    }
    if name.chars().any(char::is_control) {
        return Err(Status::invalid_argument(format!("instance_name: {name:?} has a control character")));
    }
    Ok(())
}

/// The key of an action, for somebody who has one of `roles` for its instance.
pub(super) fn action_key(
    extensions: &Extensions,
    roles: &[Role],
    instance_name: &str,
    function: DigestFunction,
    action_digest: Option<&reapi::Digest>,
) -> Result<ActionKey, Status> {
    admit(extensions, roles, instance_name)?;
    Ok(ActionKey { instance_name: instance_name.into(), digest: digest(function, "action_digest", action_digest)? })
}

/// The build that a request belongs to: without a name where the client doesn't say, or says it unreadably.
pub(super) fn build_id(metadata: &MetadataMap, extensions: &Extensions) -> BuildId {
    let value = metadata.get_bin(REQUEST_METADATA_HEADER).and_then(|value| value.to_bytes().ok());
    let metadata = value.and_then(|bytes| RequestMetadata::decode(bytes).ok()).unwrap_or_default();
    let build = metadata.tool_invocation_id;
    let end = (0..=BUILD_ID_SIZE_BYTES.min(build.len())).rev().find(|end| build.is_char_boundary(*end));
    let party = extensions.get::<Party>().cloned().unwrap_or_default();
    // Builds beyond a bound share: whoever names another one for each action gains nothing, and costs nothing.
    let mut hasher = std::hash::DefaultHasher::new();
    build[..end.unwrap_or(0)].hash(&mut hasher);
    BuildId { party: party.0, name: format!("{:02x}", hasher.finish() % BUILDS_PER_PARTY).into() }
}
