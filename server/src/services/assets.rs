//! Content by where it comes from: what a client said stands there, or what is found there.
//!
//! What was pushed is found under the same address and the same qualifiers. Where an operator names origins, blobs that nobody
//! pushed are brought from there, as Bazel's remote downloader has it; else nothing is ever asked of the network.
//!
//! **Source:** Remote Asset API v1, services `Fetch` and `Push`; Bazel's `GrpcRemoteDownloader` for the qualifiers.

mod checksum;
mod download;
#[cfg(test)]
mod fuzz;
mod origins;
mod request;
mod transport;

use super::Backend;
use super::request::{admit, audit, digest, digest_function};
use crate::access::{JUDGES, READERS, WRITERS};
use crate::action_cache::{Asset, AssetKind};
use crate::blobs::tree::missing_below;
use download::{Unavailable, Wanted};
pub(crate) use origins::Origins;
use pumphouse_proto::asset::fetch_server::Fetch;
use pumphouse_proto::asset::push_server::Push;
use pumphouse_proto::asset::{
    FetchBlobRequest, FetchBlobResponse, FetchDirectoryRequest, FetchDirectoryResponse, PushBlobRequest,
    PushBlobResponse, PushDirectoryRequest, PushDirectoryResponse, Qualifier,
};
use pumphouse_proto::digest::{Digest, DigestFunction};
use pumphouse_proto::reapi;
use pumphouse_proto::{rpc, status};
use request::Names;
use std::time::SystemTime;
use tonic::{Code, Extensions, Request, Response, Status};

/// What stands for an address, and which one it was.
struct Found {
    uri: String,
    asset: Asset,
}

impl Backend {
    /// What was said to stand for one of the names, if it is young enough and all of it is there.
    async fn pushed(
        &self,
        names: &Names,
        kind: AssetKind,
        oldest: Option<SystemTime>,
    ) -> Result<Option<Found>, Status> {
        for (uri, key) in names.keys(kind) {
            let Some(asset) = self.action_cache.asset(key, kind).await? else { continue };
            let is_young = oldest.is_none_or(|oldest| asset.since >= oldest);
            let stands = asset.until.is_none_or(|until| until > SystemTime::now());
            if is_young && stands {
                return Ok(Some(Found { uri: uri.to_owned(), asset }));
            }
        }
        Ok(None)
    }

    /// The blob at one of the addresses, brought from there where nobody has said what it is.
    async fn fetch(
        &self,
        extensions: &Extensions,
        function: DigestFunction,
        request: &FetchBlobRequest,
    ) -> Result<Outcome, Status> {
        let names = Names::read(function, &request.instance_name, &request.uris, &request.qualifiers)?;
        let oldest = request::time("oldest_content_accepted", request.oldest_content_accepted.as_ref())?;
        if let Some(found) = self.pushed(&names, AssetKind::Blob, oldest).await? {
            return Ok(Ok(found));
        }
        let uris = self.origins.allowed(&request.uris);
        if uris.is_empty() {
            return Ok(Err(nothing_pushed(request.uris.first())));
        }
        let wanted = Wanted::read(function, &request.qualifiers, request.timeout.as_ref())?;
        let since = SystemTime::now();
        if oldest.is_none()
            && function == DigestFunction::Sha256
            && let Some(hash) = wanted.sha256()
            && let Some(blob) = self.blobs.digest_of(hash).await?
            && self.blobs.find_missing(&[blob]).await?.is_empty()
        {
            return Ok(Ok(Found { uri: uris[0].1.clone(), asset: Asset::new(blob, since) }));
        }
        // What is brought is stored, for which reading is not enough.
        admit(extensions, WRITERS, &request.instance_name)?;
        let mut last = None;
        for (position, uri) in uris {
            match self.origins.bring(self, position, &uri, &wanted).await? {
                Ok(blob) => {
                    let asset = Asset::new(blob, since);
                    let key = names.key(AssetKind::Blob, &uri);
                    self.action_cache.set_asset(key, AssetKind::Blob, &asset).await?;
                    audit(extensions, |caller| {
                        tracing::info!(target: "audit", caller, %uri, %blob, "had a blob fetched");
                    });
                    return Ok(Ok(Found { uri, asset }));
                }
                Err(unavailable) => last = Some((uri, unavailable)),
            }
        }
        Ok(Err(last.map_or_else(|| nothing_pushed(None), |(uri, error)| (uri, error.into()))))
    }

    /// Notes what stands for the names.
    async fn push(&self, extensions: &Extensions, names: Names, kind: AssetKind, asset: Asset) -> Result<(), Status> {
        let own = [asset.digest].into_iter().filter(|_| kind == AssetKind::Blob);
        let blobs: Vec<Digest> = own.chain(asset.blobs.iter().copied()).collect();
        let mut missing = self.blobs.find_missing(&blobs).await?;
        let roots = [asset.digest].into_iter().filter(|_| kind == AssetKind::Directory);
        for root in roots.chain(asset.directories.iter().copied()) {
            missing.extend(missing_below(self.blobs.as_ref(), root).await?);
        }
        if !missing.is_empty() {
            return Err(status::missing_blobs(&missing));
        }
        for (_, key) in names.keys(kind) {
            self.action_cache.set_asset(key, kind, &asset).await?;
        }
        audit(extensions, |caller| {
            let instance_name = names.instance_name();
            tracing::info!(target: "audit", caller, instance_name, content = %asset.digest, "said what an address has");
        });
        Ok(())
    }
}

/// What was found, or why nothing was, though nobody here is to blame.
type Outcome = Result<Found, (String, Status)>;

fn nothing_pushed(uri: Option<&String>) -> (String, Status) {
    let uri = uri.cloned().unwrap_or_default();
    let message = "nobody has said what stands there, and it is no origin from which this server fetches";
    (uri, Status::not_found(message))
}

impl From<Unavailable> for Status {
    fn from(unavailable: Unavailable) -> Self {
        let message = unavailable.to_string();
        match unavailable {
            Unavailable::NotFound(_) => Self::not_found(message),
            Unavailable::Forbidden(_) => Self::permission_denied(message),
            Unavailable::Late(_) => Self::deadline_exceeded(message),
            Unavailable::TooLarge(_) => Self::resource_exhausted(message),
            Unavailable::Unlike(_) | Unavailable::Broken(_) => Self::aborted(message),
        }
    }
}

/// The fields that both kinds of answers have.
struct Answer {
    status: rpc::Status,
    uri: String,
    expires_at: Option<prost_types::Timestamp>,
    content: Option<reapi::Digest>,
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Ok(Found { uri, asset }) => Self {
                status: status::ok(),
                uri,
                expires_at: asset.until.map(Into::into),
                content: Some(asset.digest.into()),
            },
            Err((uri, why)) => Self { status: status::to_message(&why), uri, expires_at: None, content: None },
        }
    }
}

#[tonic::async_trait]
impl Fetch for Backend {
    async fn fetch_blob(&self, request: Request<FetchBlobRequest>) -> Result<Response<FetchBlobResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        admit(&extensions, READERS, &request.instance_name)?;
        let function = digest_function(request.digest_function)?;
        let answer = Answer::from(self.fetch(&extensions, function, &request).await?);
        Ok(Response::new(FetchBlobResponse {
            status: Some(answer.status),
            uri: answer.uri,
            qualifiers: request.qualifiers,
            expires_at: answer.expires_at,
            blob_digest: answer.content,
            digest_function: function.to_field(),
        }))
    }

    async fn fetch_directory(
        &self,
        request: Request<FetchDirectoryRequest>,
    ) -> Result<Response<FetchDirectoryResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        admit(&extensions, READERS, &request.instance_name)?;
        let function = digest_function(request.digest_function)?;
        let names = Names::read(function, &request.instance_name, &request.uris, &request.qualifiers)?;
        let oldest = request::time("oldest_content_accepted", request.oldest_content_accepted.as_ref())?;
        let found = self.pushed(&names, AssetKind::Directory, oldest).await?;
        let answer = Answer::from(found.ok_or_else(|| nothing_pushed(request.uris.first())));
        Ok(Response::new(FetchDirectoryResponse {
            status: Some(answer.status),
            uri: answer.uri,
            qualifiers: request.qualifiers,
            expires_at: answer.expires_at,
            root_directory_digest: answer.content,
            digest_function: function.to_field(),
        }))
    }
}

#[tonic::async_trait]
impl Push for Backend {
    async fn push_blob(&self, request: Request<PushBlobRequest>) -> Result<Response<PushBlobResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        admit(&extensions, JUDGES, &request.instance_name)?;
        let function = digest_function(request.digest_function)?;
        let names = Names::read(function, &request.instance_name, &request.uris, &request.qualifiers)?;
        let asset = Asset {
            digest: digest(function, "blob_digest", request.blob_digest.as_ref())?,
            since: SystemTime::now(),
            until: request::time("expire_at", request.expire_at.as_ref())?,
            blobs: request::references(function, "references_blobs", &request.references_blobs)?,
            directories: request::references(function, "references_directories", &request.references_directories)?,
        };
        self.push(&extensions, names, AssetKind::Blob, asset).await?;
        Ok(Response::new(PushBlobResponse {}))
    }

    async fn push_directory(
        &self,
        request: Request<PushDirectoryRequest>,
    ) -> Result<Response<PushDirectoryResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        admit(&extensions, JUDGES, &request.instance_name)?;
        let function = digest_function(request.digest_function)?;
        let names = Names::read(function, &request.instance_name, &request.uris, &request.qualifiers)?;
        let asset = Asset {
            digest: digest(function, "root_directory_digest", request.root_directory_digest.as_ref())?,
            since: SystemTime::now(),
            until: request::time("expire_at", request.expire_at.as_ref())?,
            blobs: request::references(function, "references_blobs", &request.references_blobs)?,
            directories: request::references(function, "references_directories", &request.references_directories)?,
        };
        self.push(&extensions, names, AssetKind::Directory, asset).await?;
        Ok(Response::new(PushDirectoryResponse {}))
    }
}

/// A refusal that names what of the qualifiers is not understood.
fn unsupported(qualifiers: &[&Qualifier]) -> Status {
    let names: Vec<&str> = qualifiers.iter().map(|qualifier| qualifier.name.as_str()).collect();
    let violation = |name: &&str| rpc::bad_request::FieldViolation {
        field: "qualifiers.name".to_owned(),
        description: format!("{name:?} not supported"),
    };
    let message = format!("qualifiers: {} not supported", names.join(", "));
    status::bad_request(Code::InvalidArgument, message, names.iter().map(violation).collect())
}
