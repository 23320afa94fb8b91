//! Fuzz targets of what callers show, and of the files that say who they are.

use super::{Access, Identities, Policy, Role, Roles, TokenPolicy};
use axum::http::{HeaderMap, HeaderValue, header};
use pumphouse_fuzz::{bounded, check, like, text_like};
use std::path::Path;

const TOKEN: &str = "t0ken-of-sixteen-bytes";
const KEYS: &str = r#"{"keys": [{"kty": "EC", "crv": "P-256", "kid": "k", "use": "sig",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
    {"kty": "oct", "kid": "shared", "k": "c2VjcmV0"}]}"#;

fn identities() -> String {
    format!(
        "[[identity]]\nname = \"ci\"\ntoken = \"{TOKEN}\"\nroles = [\"read\", \"write-cas\"]\ninstances = [\"main\"]\n"
    )
}

fn access(dir: &Path) -> Access {
    let (named, keys) = (dir.join("identities.toml"), dir.join("keys.json"));
    std::fs::write(&named, identities()).expect("written");
    std::fs::write(&keys, KEYS).expect("written");
    let tokens = TokenPolicy {
        jwks_file: keys,
        issuer: "issuer".to_owned(),
        audience: "audience".to_owned(),
        roles_claim: "roles".to_owned(),
        instances_claim: "instances".to_owned(),
        default_roles: vec![Role::Admin],
    };
    let anonymous = Some(Roles::NONE);
    let policy = Policy { anonymous, identities_file: Some(named), tokens: Some(tokens), ..Policy::default() };
    Access::open(&policy, Some("private".to_owned())).expect("opens")
}

/// Nobody becomes somebody without the secret.
#[test]
fn credentials() {
    let dir = tempfile::tempdir().expect("a directory");
    let access = access(dir.path());
    let bearer = format!("Bearer {TOKEN}");
    let basic = "Basic Y2k6dDBrZW4tb2Ytc2l4dGVlbi1ieXRlcw==";
    // A header of {"alg":"ES256","kid":"k"}, claims of {"iss":"issuer"}, and no signature.
    let token = "Bearer eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.eyJpc3MiOiJpc3N1ZXIifQ.AAAA";
    let none = "Bearer eyJhbGciOiJub25lIn0.eyJpc3MiOiJpc3N1ZXIiLCJhdWQiOiJhdWRpZW5jZSIsImV4cCI6OTk5OTk5OTk5OX0.";
    check(&like(&[bearer.as_str(), basic, token, none, "Digest x"]), |shown| {
        let Ok(value) = HeaderValue::from_bytes(&shown) else { return };
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
        if let Ok(caller) = bounded(shown.len(), || access.identify(&headers, None)) {
            let text = String::from_utf8_lossy(&shown);
            let has_secret = text.contains(TOKEN) || text.contains("private") || caller.to_string() == "ci";
            assert!(has_secret, "{caller} by {text}");
            assert!(caller.check(&[Role::Admin], "").is_err());
        }
    });
}

#[test]
fn files_of_identities() {
    let hashed = "[[identity]]\nname = \"w\"\nroles = [\"worker\"]\ncertificate = \"sha256:00\"\n";
    check(&text_like(&[identities().as_str(), hashed]), |text| {
        bounded(text.len(), || drop(Identities::parse(&text)));
    });
}

#[test]
fn sets_of_keys() {
    check(&text_like(&[KEYS]), |text| bounded(text.len(), || drop(super::tokens::parse_keys(&text))));
}

#[test]
fn names_of_roles() {
    check(&text_like(&["read", "write-cas", "write-action-cache", "execute", "worker", "admin"]), |name| {
        assert!(Role::parse(&name).is_ok_and(|role| role.name() == name) || Role::parse(&name).is_err());
    });
}
