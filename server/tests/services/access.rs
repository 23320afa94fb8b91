//! Who may do what: by tokens, passwords, JSON web tokens and certificates.

use crate::http::request;
use crate::support::*;
use pumphouse_proto::address::Address;
use pumphouse_proto::connection::{Connection, Credentials, Dialer};
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::action_cache_client::ActionCacheClient;
use pumphouse_proto::reapi::capabilities_client::CapabilitiesClient;
use pumphouse_proto::reapi::content_addressable_storage_client::ContentAddressableStorageClient;
use pumphouse_proto::reapi::execution_client::ExecutionClient;
use pumphouse_proto::reapi::{
    ActionResult, BatchUpdateBlobsRequest, ExecuteRequest, FindMissingBlobsRequest, GetCapabilitiesRequest,
    UpdateActionResultRequest,
};
use pumphouse_proto::worker::workers_client::WorkersClient;
use pumphouse_server::access::{Role, Roles, TokenPolicy};
use pumphouse_server::config::Tls;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tonic::{Code, Status};

const IDENTITIES: &str = "
[[identity]]
name = \"reader\"
token = \"reader-reader-reader\"
roles = [\"read\"]

[[identity]]
name = \"writer\"
token = \"writer-writer-writer\"
roles = [\"read\", \"write-cas\", \"write-action-cache\", \"execute\"]
instances = [\"main\"]

[[identity]]
name = \"worker\"
token = \"worker-worker-worker\"
roles = [\"worker\"]
";

/// A connection that shows these credentials.
fn connection(server: &TestServer, credentials: &Credentials) -> Connection {
    let scheme = if credentials.ca_file.is_some() { "grpcs" } else { "grpc" };
    let host = if credentials.ca_file.is_some() { "localhost" } else { "127.0.0.1" };
    let address = Address::parse(&format!("{scheme}://{host}:{}", server.address.port())).unwrap();
    Dialer::new(&address, credentials, |endpoint| endpoint).unwrap().connect_lazy()
}

fn token(token: &str) -> Credentials {
    Credentials { token: Some(token.to_owned()), ..Credentials::default() }
}

/// How each call ends by which roles are told apart: capabilities, a look, an upload, a result, an execution, a worker's
/// session.
async fn outcomes(connection: &Connection, instance_name: &str) -> Vec<Code> {
    let code = |result: Result<(), Status>| result.map_or_else(|status| status.code(), |()| Code::Ok);
    let name = || instance_name.to_owned();
    let mut codes = Vec::new();
    let request = GetCapabilitiesRequest { instance_name: name() };
    codes.push(code(CapabilitiesClient::new(connection.clone()).get_capabilities(request).await.map(drop)));
    let mut cas = ContentAddressableStorageClient::new(connection.clone());
    let request = FindMissingBlobsRequest { instance_name: name(), ..Default::default() };
    codes.push(code(cas.find_missing_blobs(request).await.map(drop)));
    let request = BatchUpdateBlobsRequest { instance_name: name(), ..Default::default() };
    codes.push(code(cas.batch_update_blobs(request).await.map(drop)));
    let request = UpdateActionResultRequest {
        instance_name: name(),
        action_digest: Some(Digest::of(b"action").into()),
        action_result: Some(ActionResult::default()),
        ..Default::default()
    };
    codes.push(code(ActionCacheClient::new(connection.clone()).update_action_result(request).await.map(drop)));
    let request = ExecuteRequest {
        instance_name: name(),
        action_digest: Some(Digest::of(b"absent").into()),
        ..Default::default()
    };
    codes.push(code(ExecutionClient::new(connection.clone()).execute(request).await.map(drop)));
    let nothing = tokio_stream::iter(Vec::new());
    codes.push(code(WorkersClient::new(connection.clone()).session(nothing).await.map(drop)));
    codes
}

/// What is refused: `U` for want of credentials, `P` of permission; what isn't, `-`.
fn letters(codes: &[Code]) -> String {
    let letter = |code: &Code| match code {
        Code::Unauthenticated => 'U',
        Code::PermissionDenied => 'P',
        Code::Ok | Code::FailedPrecondition => '-',
        code => panic!("{code:?}"),
    };
    codes.iter().map(letter).collect()
}

#[tokio::test]
async fn each_caller_does_what_its_roles_allow() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("identities.toml");
    std::fs::write(&file, IDENTITIES).unwrap();
    let server = TestServer::start_with(|config| config.access.identities_file = Some(file)).await;
    for (credentials, instance_name, expect) in [
        (Credentials::default(), "", "UUUUUU"),
        (token("wrong"), "", "UUUUUU"),
        (token("reader-reader-reader"), "", "--PPPP"),
        (token("writer-writer-writer"), "main", "-----P"),
        (token("writer-writer-writer"), "main/sub", "-----P"),
        (token("writer-writer-writer"), "", "PPPPPP"),
        (token("worker-worker-worker"), "", "---PP-"),
    ] {
        let codes = outcomes(&connection(&server, &credentials), instance_name).await;
        assert_eq!(letters(&codes), expect, "{credentials:?} {instance_name:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn each_caller_is_told_what_it_may_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("identities.toml");
    std::fs::write(&file, IDENTITIES).unwrap();
    let server = TestServer::start_with(|config| config.access.identities_file = Some(file)).await;
    for (name, instance_name, expect) in
        [("reader", "", (false, false)), ("writer", "main", (true, true)), ("worker", "", (false, false))]
    {
        let connection = connection(&server, &token(&format!("{name}-{name}-{name}")));
        let request = GetCapabilitiesRequest { instance_name: instance_name.to_owned() };
        let told = CapabilitiesClient::new(connection).get_capabilities(request).await.unwrap().into_inner();
        let updates = told.cache_capabilities.unwrap().action_cache_update_capabilities.unwrap();
        let execution = told.execution_capabilities.unwrap();
        assert_eq!((updates.update_enabled, execution.exec_enabled), expect, "{name}");
    }
    server.stop().await;
}

#[tokio::test]
async fn anonymous_callers_have_the_roles_that_they_are_given() {
    let server = TestServer::start_with(|config| config.access.anonymous = Some(Roles::of(&[Role::Read]))).await;
    assert_eq!(letters(&outcomes(&connection(&server, &Credentials::default()), "").await), "--UUUU");
    let answer = request(&server, "GET", "/name", &[], b"").await;
    assert_eq!(answer.status, 404);
    let answer = request(&server, "PUT", "/name", &[], b"x").await;
    assert!(answer.status == 401 && answer.headers["www-authenticate"].starts_with("Basic"), "{answer:?}");
    server.stop().await;
}

#[tokio::test]
async fn http_callers_show_passwords_or_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("identities.toml");
    std::fs::write(&file, IDENTITIES).unwrap();
    let server = TestServer::start_with(|config| config.access.identities_file = Some(file)).await;
    // "writer:writer-writer-writer", "reader:reader-reader-reader", "reader:writer-writer-writer"
    let [writer, reader, mixed] = [
        "Basic d3JpdGVyOndyaXRlci13cml0ZXItd3JpdGVy",
        "Basic cmVhZGVyOnJlYWRlci1yZWFkZXItcmVhZGVy",
        "Basic cmVhZGVyOndyaXRlci13cml0ZXItd3JpdGVy",
    ];
    for (method, path, value, expect) in [
        ("PUT", "/main/a", writer, 201),
        ("PUT", "/other/a", writer, 403),
        ("PUT", "/a", writer, 403),
        ("GET", "/main/a", reader, 200),
        ("GET", "/main/a", "Bearer reader-reader-reader", 200),
        ("PUT", "/main/a", reader, 403),
        ("GET", "/main/a", mixed, 401),
        ("GET", "/main/a", "Bearer x", 401),
        ("GET", "/metrics", reader, 200),
    ] {
        let answer = request(&server, method, path, &[("authorization", value)], b"").await;
        assert_eq!(answer.status, expect, "{method} {path} {value}: {answer:?}");
    }
    for (path, expect) in [("/main/a", 401), ("/metrics", 401), ("/healthz", 200), ("/readyz", 200)] {
        assert_eq!(request(&server, "GET", path, &[], b"").await.status, expect, "{path}");
    }
    server.stop().await;
}

/// An authority, with its certificate in a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, dir }
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A certificate of this name and its key, as files.
    fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let paths = (self.dir.path().join(format!("{name}.pem")), self.dir.path().join(format!("{name}.key")));
        std::fs::write(&paths.0, certificate.pem()).unwrap();
        std::fs::write(&paths.1, key.serialize_pem()).unwrap();
        paths
    }

    fn tls(&self) -> Tls {
        let (certificate_file, key_file) = self.issue("localhost");
        let client_ca_file = Some(self.ca());
        Tls { certificate_file, key_file, client_ca_file, demands_client_certificate: false }
    }

    /// The credentials of whoever has a certificate of this name.
    fn credentials(&self, name: &str) -> Credentials {
        let (certificate, key) = self.issue(name);
        Credentials {
            ca_file: Some(self.ca()),
            certificate_file: Some(certificate),
            key_file: Some(key),
            ..Credentials::default()
        }
    }
}

/// Has the server listen as `localhost` is looked up.
async fn encrypted(authority: &Authority, change: impl FnOnce(&mut pumphouse_server::Config)) -> TestServer {
    let tls = authority.tls();
    TestServer::start_with_unconnected(|config| {
        config.tls = Some(tls);
        change(config);
    })
    .await
}

#[tokio::test]
async fn certificates_make_callers_known() {
    let authority = Authority::new();
    let file = authority.dir.path().join("identities.toml");
    let text = "[[identity]]\nname = \"farm\"\ncertificate = \"farm.example\"\nroles = [\"worker\"]\n";
    std::fs::write(&file, text).unwrap();
    let server = encrypted(&authority, |config| {
        config.access.identities_file = Some(file);
        config.access.certified = Roles::of(&[Role::Read]);
    })
    .await;
    let nobody = Credentials { ca_file: Some(authority.ca()), ..Credentials::default() };
    assert_eq!(letters(&outcomes(&connection(&server, &nobody), "").await), "UUUUUU");
    let farm = authority.credentials("farm.example");
    assert_eq!(letters(&outcomes(&connection(&server, &farm), "").await), "---PP-");
    let other = authority.credentials("other.example");
    assert_eq!(letters(&outcomes(&connection(&server, &other), "").await), "--PPPP");
    // Another authority's word counts for nothing, in either direction.
    let stranger = Authority::new();
    let forged = Credentials { ca_file: Some(authority.ca()), ..stranger.credentials("farm.example") };
    let request = || GetCapabilitiesRequest::default();
    let mut client = CapabilitiesClient::new(connection(&server, &forged));
    assert!(client.get_capabilities(request()).await.is_err());
    let doubting = Credentials { ca_file: Some(stranger.ca()), ..Credentials::default() };
    let mut client = CapabilitiesClient::new(connection(&server, &doubting));
    assert_eq!(client.get_capabilities(request()).await.unwrap_err().code(), Code::Unavailable);
    server.stop().await;
}

#[tokio::test]
async fn an_encrypted_server_takes_no_plain_words_and_exchanges_its_certificate() {
    let authority = Authority::new();
    let server = encrypted(&authority, |_| {}).await;
    let plainly = connection(&server, &Credentials::default());
    assert!(CapabilitiesClient::new(plainly).get_capabilities(GetCapabilitiesRequest::default()).await.is_err());
    let trusting = |authority: &Authority| Credentials { ca_file: Some(authority.ca()), ..Credentials::default() };
    let ask = async |credentials: &Credentials| {
        let mut client = CapabilitiesClient::new(connection(&server, credentials));
        client.get_capabilities(GetCapabilitiesRequest::default()).await.is_ok()
    };
    assert!(ask(&trusting(&authority)).await);
    // Another authority's certificate in the place of the first one.
    let next = Authority::new();
    let (certificate, key) = next.issue("localhost");
    std::fs::copy(certificate, authority.dir.path().join("localhost.pem")).unwrap();
    std::fs::copy(key, authority.dir.path().join("localhost.key")).unwrap();
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while !ask(&trusting(&next)).await {
        assert!(tokio::time::Instant::now() < end, "the new certificate is not used");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(!ask(&trusting(&authority)).await);
    server.stop().await;
}

/// A JSON web token of these claims, signed by `key`, and the key set with the public half of it.
fn web_token(key: &KeyPair, claims: &serde_json::Value) -> (String, String) {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let point = key.public_key_raw();
    let [x, y] = [&point[1..33], &point[33..65]].map(|half| URL_SAFE_NO_PAD.encode(half));
    let set = serde_json::json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k", "alg": "ES256", "x": x, "y": y}]});
    let header =
        jsonwebtoken::Header { kid: Some("k".to_owned()), ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256) };
    let encoding = jsonwebtoken::EncodingKey::from_ec_der(&key.serialize_der());
    (jsonwebtoken::encode(&header, claims, &encoding).unwrap(), set.to_string())
}

async fn with_web_tokens(dir: &Path, key_set: &str) -> TestServer {
    let jwks_file = dir.join("jwks.json");
    std::fs::write(&jwks_file, key_set).unwrap();
    let policy = TokenPolicy {
        jwks_file,
        issuer: "https://issuer.example".to_owned(),
        audience: "pumphouse".to_owned(),
        roles_claim: "roles".to_owned(),
        instances_claim: "instances".to_owned(),
        default_roles: vec![Role::Read],
    };
    TestServer::start_with(|config| config.access.tokens = Some(policy)).await
}

#[tokio::test]
async fn web_tokens_are_believed_for_their_audience_and_their_time() {
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let claims = |change: serde_json::Value| {
        let mut claims = serde_json::json!({
            "iss": "https://issuer.example", "aud": "pumphouse", "exp": now + 600, "sub": "ci",
        });
        for (name, value) in change.as_object().unwrap() {
            match value {
                serde_json::Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        claims
    };
    let (_, key_set) = web_token(&key, &claims(serde_json::json!({})));
    let server = with_web_tokens(dir.path(), &key_set).await;
    for (change, expect) in [
        (serde_json::json!({}), "--PPPP"),
        (serde_json::json!({"roles": ["worker", "unknown"]}), "---PP-"),
        (serde_json::json!({"roles": "read write-cas execute"}), "---P-P"),
        (serde_json::json!({"roles": ["admin"], "instances": ["main"]}), "PPPPPP"),
        (serde_json::json!({"aud": "other"}), "UUUUUU"),
        (serde_json::json!({"iss": "https://other.example"}), "UUUUUU"),
        (serde_json::json!({"exp": now - 600}), "UUUUUU"),
        (serde_json::json!({"exp": null}), "UUUUUU"),
        (serde_json::json!({"aud": null}), "UUUUUU"),
        (serde_json::json!({"nbf": now + 600}), "UUUUUU"),
    ] {
        let (text, _) = web_token(&key, &claims(change.clone()));
        let codes = outcomes(&connection(&server, &token(&text)), "").await;
        assert_eq!(letters(&codes), expect, "{change}");
    }
    // Signed by another key; not signed at all; signed with the public key as if it were a shared secret.
    let (forged, _) = web_token(&KeyPair::generate().unwrap(), &claims(serde_json::json!({})));
    let shared = jsonwebtoken::EncodingKey::from_secret(key_set.as_bytes());
    let header = jsonwebtoken::Header { kid: Some("k".to_owned()), ..jsonwebtoken::Header::default() };
    let confused = jsonwebtoken::encode(&header, &claims(serde_json::json!({})), &shared).unwrap();
    // {"alg":"none","kid":"k"}
    let unsigned = format!("eyJhbGciOiJub25lIiwia2lkIjoiayJ9.{}.", confused.split('.').nth(1).unwrap());
    for text in [forged, confused, unsigned] {
        assert_eq!(letters(&outcomes(&connection(&server, &token(&text)), "").await), "UUUUUU", "{text}");
    }
    server.stop().await;
}

#[tokio::test]
async fn workers_are_served_at_an_address_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("identities.toml");
    std::fs::write(&file, IDENTITIES).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let workers = listener.local_addr().unwrap();
    drop(listener);
    let server = TestServer::start_with(|config| {
        config.access.identities_file = Some(file);
        config.worker_listen = Some(workers);
    })
    .await;
    let worker = token("worker-worker-worker");
    assert_eq!(letters(&outcomes(&connection(&server, &worker), "").await), "---PPP");
    let there = Address::parse(&format!("grpc://{workers}")).unwrap();
    let there =
        |credentials: &Credentials| Dialer::new(&there, credentials, |endpoint| endpoint).unwrap().connect_lazy();
    assert_eq!(letters(&outcomes(&there(&worker), "").await), "---PP-");
    assert_eq!(letters(&outcomes(&there(&token("reader-reader-reader")), "").await), "PPPPPP");
    server.stop().await;
}
