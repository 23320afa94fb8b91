//! The Remote Asset API, where it is served: `Fetch` and `Push`.

use super::suite::{Outcome, Suite, check, fails, same};
use super::target::Target;
use pumphouse_proto::asset::fetch_client::FetchClient;
use pumphouse_proto::asset::push_client::PushClient;
use pumphouse_proto::asset::{
    FetchBlobRequest, FetchBlobResponse, FetchDirectoryRequest, PushBlobRequest, PushDirectoryRequest, Qualifier,
};
use pumphouse_proto::connection::Connection;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{Directory, FileNode};
use std::time::{Duration, SystemTime};
use tonic::{Code, Status};

fn fetch(target: &Target) -> FetchClient<Connection> {
    FetchClient::new(target.connection())
}

fn push(target: &Target) -> PushClient<Connection> {
    PushClient::new(target.connection())
}

fn qualifiers(pairs: &[(&str, &str)]) -> Vec<Qualifier> {
    pairs.iter().map(|(name, value)| Qualifier { name: (*name).to_owned(), value: (*value).to_owned() }).collect()
}

/// Who doesn't serve this has nothing to get wrong.
fn served<T>(result: Result<T, Status>) -> Result<T, Outcome> {
    result.map_err(|status| match status.code() {
        Code::Unimplemented => Outcome::Absent("the Remote Asset API is not served".to_owned()),
        _ => status.into(),
    })
}

/// What an answer says: the blob, or why there is none, be that said by the call's status or within.
fn found(result: Result<FetchBlobResponse, Status>) -> Result<Result<Digest, Code>, Outcome> {
    match result {
        Err(status) if status.code() == Code::NotFound => Ok(Err(Code::NotFound)),
        result => {
            let response = served(result)?;
            match Code::from(response.status.unwrap_or_default().code) {
                Code::Ok => Digest::try_from(&response.blob_digest)
                    .map(Ok)
                    .map_err(|error| Outcome::Wrong(format!("blob_digest: {error}"))),
                code => Ok(Err(code)),
            }
        }
    }
}

async fn fetch_blob(target: &Target, uri: &str, pairs: &[(&str, &str)]) -> Result<Result<Digest, Code>, Outcome> {
    let request = FetchBlobRequest {
        instance_name: target.instance(),
        uris: vec![uri.to_owned()],
        qualifiers: qualifiers(pairs),
        ..Default::default()
    };
    found(fetch(target).fetch_blob(request).await.map(tonic::Response::into_inner))
}

/// Stores a blob and says that it stands at an address of its own; gives both.
async fn pushed(target: &Target, change: impl FnOnce(&mut PushBlobRequest)) -> Result<(String, Digest), Outcome> {
    let blob = target.store(&[target.unique(100)]).await?[0];
    let uri = format!("urn:uuid:{}", target.upload_id());
    let mut request = PushBlobRequest {
        instance_name: target.instance(),
        uris: vec![uri.clone()],
        blob_digest: Some(blob.into()),
        ..Default::default()
    };
    change(&mut request);
    served(push(target).push_blob(request).await)?;
    Ok((uri, blob))
}

pub(super) fn add(suite: &mut Suite) {
    suite.case("assets/pushed", "what was pushed is fetched under its address", |target| async move {
        let (uri, blob) = pushed(&target, |_| {}).await?;
        same("the blob", &fetch_blob(&target, &uri, &[]).await?, &Ok(blob))
    });
    suite.case("assets/any-address", "each address of a push leads to the content", |target| async move {
        let other = format!("urn:uuid:{}", target.upload_id());
        let (uri, blob) = pushed(&target, |request| request.uris.push(other.clone())).await?;
        same("the blob at the first", &fetch_blob(&target, &uri, &[]).await?, &Ok(blob))?;
        same("the blob at the second", &fetch_blob(&target, &other, &[]).await?, &Ok(blob))
    });
    suite.case("assets/first-known-address", "of several addresses one that is known is enough", |target| async move {
        let (uri, blob) = pushed(&target, |_| {}).await?;
        let request = FetchBlobRequest {
            instance_name: target.instance(),
            uris: vec![format!("urn:uuid:{}", target.upload_id()), uri.clone()],
            ..Default::default()
        };
        let response = served(fetch(&target).fetch_blob(request).await)?.into_inner();
        same("blob_digest", &response.blob_digest, &Some(blob.into()))?;
        same("uri", &response.uri, &uri)
    });
    suite.case("assets/unknown", "what nobody pushed is not found", |target| async move {
        pushed(&target, |_| {}).await?;
        let uri = format!("urn:uuid:{}", target.upload_id());
        same("the outcome", &fetch_blob(&target, &uri, &[]).await?, &Err(Code::NotFound))
    });
    suite.case("assets/qualifiers", "qualifiers tell contents apart, in any order", |target| async move {
        let pairs = [("vcs.branch", "main"), ("vcs.commit", "1")];
        let (uri, blob) = pushed(&target, |request| request.qualifiers = qualifiers(&pairs)).await?;
        let [one, other] = pairs;
        same("the blob", &fetch_blob(&target, &uri, &[other, one]).await?, &Ok(blob))?;
        let elsewhere = fetch_blob(&target, &uri, &[one, ("vcs.commit", "2")]).await;
        check(elsewhere != Ok(Ok(blob)), || "another commit has the same content".to_owned())
    });
    suite.case("assets/pushed-again", "the last push counts", |target| async move {
        let (uri, _) = pushed(&target, |_| {}).await?;
        let (_, newer) = pushed(&target, |request| request.uris = vec![uri.clone()]).await?;
        same("the blob", &fetch_blob(&target, &uri, &[]).await?, &Ok(newer))
    });
    suite.case("assets/expired", "what has expired is not given", |target| async move {
        let past = SystemTime::now() - Duration::from_secs(100);
        let (uri, _) = pushed(&target, |request| request.expire_at = Some(past.into())).await?;
        same("the outcome", &fetch_blob(&target, &uri, &[]).await?, &Err(Code::NotFound))
    });
    suite.case("assets/too-old", "content older than the client accepts is not given", |target| async move {
        let (uri, _) = pushed(&target, |_| {}).await?;
        let request = FetchBlobRequest {
            instance_name: target.instance(),
            uris: vec![uri],
            oldest_content_accepted: Some((SystemTime::now() + Duration::from_secs(100)).into()),
            ..Default::default()
        };
        let answer = found(fetch(&target).fetch_blob(request).await.map(tonic::Response::into_inner))?;
        same("the outcome", &answer, &Err(Code::NotFound))
    });
    suite.case("assets/directory", "a directory is pushed and fetched", |target| async move {
        let file = target.store(&[target.unique(50)]).await?[0];
        let node = FileNode { name: "file".into(), digest: Some(file.into()), ..Default::default() };
        let root = target.store_message(&Directory { files: vec![node], ..Default::default() }).await?;
        let uri = format!("urn:uuid:{}", target.upload_id());
        let request = PushDirectoryRequest {
            instance_name: target.instance(),
            uris: vec![uri.clone()],
            root_directory_digest: Some(root.into()),
            ..Default::default()
        };
        served(push(&target).push_directory(request).await)?;
        let request =
            FetchDirectoryRequest { instance_name: target.instance(), uris: vec![uri.clone()], ..Default::default() };
        let response = served(fetch(&target).fetch_directory(request).await)?.into_inner();
        same("root_directory_digest", &response.root_directory_digest, &Some(root.into()))?;
        same("the blob of that name", &fetch_blob(&target, &uri, &[]).await?, &Err(Code::NotFound))
    });
    add_refusals(suite);
}

fn add_refusals(suite: &mut Suite) {
    suite.case("assets/absent-content", "what is pushed has to be there", |target| async move {
        pushed(&target, |_| {}).await?;
        let request = PushBlobRequest {
            instance_name: target.instance(),
            uris: vec![format!("urn:uuid:{}", target.upload_id())],
            blob_digest: Some(Digest::of(&target.unique(100)).into()),
            ..Default::default()
        };
        fails(
            push(&target).push_blob(request).await,
            &[Code::FailedPrecondition, Code::InvalidArgument, Code::NotFound],
        )
    });
    suite.case("assets/no-address", "a request without an address is refused", |target| async move {
        pushed(&target, |_| {}).await?;
        let request = FetchBlobRequest { instance_name: target.instance(), ..Default::default() };
        fails(fetch(&target).fetch_blob(request).await, &[Code::InvalidArgument])
    });
    suite.case("assets/qualifier-twice", "a qualifier that stands twice is refused", |target| async move {
        let (uri, _) = pushed(&target, |_| {}).await?;
        let request = FetchBlobRequest {
            instance_name: target.instance(),
            uris: vec![uri],
            qualifiers: qualifiers(&[("a", "1"), ("a", "2")]),
            ..Default::default()
        };
        fails(fetch(&target).fetch_blob(request).await, &[Code::InvalidArgument])
    });
    suite.case("assets/no-digest", "a push without content is refused", |target| async move {
        let refused = [Code::InvalidArgument];
        pushed(&target, |_| {}).await?;
        let uris = vec![format!("urn:uuid:{}", target.upload_id())];
        let request = PushBlobRequest { instance_name: target.instance(), uris, ..Default::default() };
        fails(push(&target).push_blob(request).await, &refused)
    });
}
