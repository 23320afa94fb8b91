//! JSON web tokens: who has signed them, for whom, until when, and which roles they give.
//!
//! **Source:** RFC 7519 (claims), RFC 7517 (key sets).

use super::Caller;
use super::roles::{Instances, Role, Roles};
use crate::reload::Reloaded;
use anyhow::ensure;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::str::FromStr as _;

/// How far the clocks of whoever signs and of this machine may differ, in seconds.
const LEEWAY_SECONDS: u64 = 60;

/// How JSON web tokens are believed.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TokenPolicy {
    /// The file with the public keys, as a key set.
    pub jwks_file: PathBuf,
    /// Who has to have signed: `iss`.
    pub issuer: String,
    /// For whom it has to be: `aud`.
    pub audience: String,
    /// The claim that holds the roles, as a list or separated by blanks.
    #[serde(default = "roles_claim")]
    pub roles_claim: String,
    /// The claim that holds the instances, as a list or separated by blanks; without it all are meant.
    #[serde(default = "instances_claim")]
    pub instances_claim: String,
    /// The roles of a token without that claim.
    #[serde(default)]
    pub default_roles: Vec<Role>,
}

fn roles_claim() -> String {
    "roles".to_owned()
}

fn instances_claim() -> String {
    "instances".to_owned()
}

/// A policy with its keys.
#[derive(Debug)]
pub(super) struct Tokens {
    policy: TokenPolicy,
    keys: Reloaded<JwkSet>,
}

type Claims = serde_json::Map<String, serde_json::Value>;

impl Tokens {
    pub(super) fn open(policy: &TokenPolicy) -> anyhow::Result<Self> {
        ensure!(!policy.issuer.is_empty(), "issuer: must not be empty");
        ensure!(!policy.audience.is_empty(), "audience: must not be empty");
        let keys = crate::reload::open(&policy.jwks_file, parse_keys)?;
        Ok(Self { policy: policy.clone(), keys })
    }

    /// Whose token that is, or what is wrong with it.
    pub(super) fn caller(&self, token: &str) -> Result<Caller, String> {
        let wrong = |error: jsonwebtoken::errors::Error| format!("the token is not good: {error}");
        let header = decode_header(token).map_err(|_| "the token is not known".to_owned())?;
        let keys = self.keys.current();
        let key = match &header.kid {
            Some(id) => keys.find(id),
            None if keys.keys.len() == 1 => keys.keys.first(),
            None => None,
        };
        let key = key.ok_or_else(|| "the token's key is not known".to_owned())?;
        // Whoever has a public key must not be able to use it as a shared one.
        let is_public = !matches!(key.algorithm, AlgorithmParameters::OctetKey(_));
        let is_shared = matches!(header.alg, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512);
        if !is_public || is_shared {
            return Err("the token is signed with a shared secret, which is not supported".to_owned());
        }
        if let Some(named) = key.common.key_algorithm
            && Algorithm::from_str(&named.to_string()).ok() != Some(header.alg)
        {
            return Err("the token's algorithm is not its key's".to_owned());
        }
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.policy.issuer]);
        validation.set_audience(&[&self.policy.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_SECONDS;
        let key = DecodingKey::from_jwk(key).map_err(wrong)?;
        let claims = decode::<Claims>(token, &key, &validation).map_err(wrong)?.claims;
        self.caller_of(&claims)
    }

    fn caller_of(&self, claims: &Claims) -> Result<Caller, String> {
        let name = claims.get("sub").and_then(serde_json::Value::as_str).unwrap_or("a token");
        let roles = match claims.get(&self.policy.roles_claim) {
            None => self.policy.default_roles.clone(),
            // Tokens may name roles of other services.
            Some(value) => words(value)?.iter().filter_map(|name| Role::parse(name).ok()).collect(),
        };
        let instances = match claims.get(&self.policy.instances_claim) {
            None => Instances::All,
            Some(value) => Instances::Named(words(value)?),
        };
        // Whoever signs may write what it likes; a line of the log stays a line.
        Ok(Caller::new(Some(name.escape_debug().to_string()), Roles::of(&roles), instances))
    }
}

/// The keys of a set that are known here, and for signatures; others are left out, as the standard says.
pub(super) fn parse_keys(text: &str) -> anyhow::Result<JwkSet> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_str(text)?;
    let known = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
    let signs = |key: &Jwk| matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
    Ok(JwkSet { keys: known.filter(signs).collect() })
}

/// The words of a claim.
fn words(value: &serde_json::Value) -> Result<Vec<String>, String> {
    match value {
        serde_json::Value::String(text) => Ok(text.split_whitespace().map(str::to_owned).collect()),
        serde_json::Value::Array(values) => values
            .iter()
            .map(|value| value.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or_else(|| "the token's list of words holds something else".to_owned()),
        _ => Err("a claim of the token holds neither words nor a list of them".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_not_known_are_left_out() {
        let text = r#"{"keys": [
            {"kty": "EC", "crv": "P-256", "kid": "good", "x": "AA", "y": "AA"},
            {"kty": "EC", "crv": "P-256", "kid": "sealing", "use": "enc", "x": "AA", "y": "AA"},
            {"kty": "unheard-of", "kid": "new"}
        ]}"#;
        let set = parse_keys(text).expect("a set");
        let ids: Vec<_> = set.keys.iter().filter_map(|key| key.common.key_id.as_deref()).collect();
        assert_eq!(ids, ["good"]);
        assert!(parse_keys("{}").is_err());
    }
}
