//! The file that names callers: by tokens, by names and passwords, by certificates.

use super::Caller;
use super::certificates::{Certificate, CertificateName};
use super::roles::{Instances, Role, Roles};
use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;

/// A shorter secret is found by trying.
const SHORTEST_SECRET: usize = 16;

/// The callers that a file names. Secrets are kept as their hashes, so that looking for one takes no time that tells of others.
#[derive(Debug, Default)]
pub struct Identities {
    by_secret: HashMap<[u8; 32], (String, Caller)>,
    by_certificate: HashMap<CertificateName, Caller>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    identity: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    name: String,
    /// The secret, as a bearer token, and as the password of `name`.
    token: Option<String>,
    /// Its SHA-256 in its place.
    token_sha256: Option<String>,
    /// A DNS name or URI in a certificate, or `sha256:` and a certificate's fingerprint.
    certificate: Option<String>,
    roles: Vec<Role>,
    instances: Option<Vec<String>>,
}

impl Identities {
    /// Reads the text of such a file.
    ///
    /// # Errors
    /// Says what makes no sense, and where.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let file: File = toml::from_str(text)?;
        let mut identities = Self::default();
        for entry in file.identity {
            let name = entry.name.clone();
            identities.add(entry).with_context(|| format!("identity {name:?}"))?;
        }
        Ok(identities)
    }

    fn add(&mut self, entry: Entry) -> anyhow::Result<()> {
        ensure!(!entry.name.is_empty() && !entry.name.contains(':'), "name: must not be empty or hold a colon");
        let instances = entry.instances.map_or(Instances::All, Instances::Named);
        let caller = Caller::new(Some(entry.name.clone()), Roles::of(&entry.roles), instances);
        let secret = match (&entry.token, &entry.token_sha256) {
            (Some(_), Some(_)) => bail!("token and token-sha256: only one of them is possible"),
            (Some(token), None) => {
                ensure!(token.len() >= SHORTEST_SECRET, "token: is shorter than {SHORTEST_SECRET} bytes");
                Some(Sha256::digest(token).into())
            }
            (None, Some(hash)) => {
                let mut bytes = [0; 32];
                const_hex::decode_to_slice(hash, &mut bytes).context("token-sha256")?;
                Some(bytes)
            }
            (None, None) => None,
        };
        ensure!(secret.is_some() || entry.certificate.is_some(), "token, token-sha256 or certificate: one is needed");
        if let Some(certificate) = entry.certificate {
            let known = self.by_certificate.insert(CertificateName::parse(&certificate), caller.clone());
            ensure!(known.is_none(), "certificate: {certificate:?} is another identity's as well");
        }
        if let Some(secret) = secret {
            let known = self.by_secret.insert(secret, (entry.name, caller));
            ensure!(known.is_none(), "token: is another identity's as well");
        }
        Ok(())
    }

    pub(super) fn by_token(&self, token: &str) -> Option<Caller> {
        self.by_secret.get(&<[u8; 32]>::from(Sha256::digest(token))).map(|(_, caller)| caller.clone())
    }

    pub(super) fn by_password(&self, name: &str, password: &str) -> Option<Caller> {
        let (known, caller) = self.by_secret.get(&<[u8; 32]>::from(Sha256::digest(password)))?;
        (known == name).then(|| caller.clone())
    }

    pub(super) fn by_certificate(&self, certificate: &Certificate) -> Option<Caller> {
        certificate.names().iter().find_map(|name| self.by_certificate.get(name).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_make_no_sense_are_refused_in_words() {
        let secret = "token = \"0123456789abcdef\"\n";
        for (text, expect) in [
            ("[[identity]]\nname = \"a\"\nroles = [\"read\"]\n".to_owned(), "one is needed"),
            (format!("[[identity]]\nname = \"a:b\"\nroles = []\n{secret}"), "colon"),
            (format!("[[identity]]\nname = \"a\"\nroles = [\"root\"]\n{secret}"), "root"),
            (format!("[[identity]]\nname = \"a\"\n{secret}"), "roles"),
            ("[[identity]]\nname = \"a\"\nroles = []\ntoken = \"short\"\n".to_owned(), "shorter"),
            ("[[identity]]\nname = \"a\"\nroles = []\ntoken-sha256 = \"00\"\n".to_owned(), "token-sha256"),
            (
                format!(
                    "[[identity]]\nname = \"a\"\nroles = []\n{secret}[[identity]]\nname = \"b\"\nroles = []\n{secret}"
                ),
                "another",
            ),
            (format!("[[identity]]\nname = \"a\"\nroles = []\nrole = []\n{secret}"), "role"),
            ("identities = 1".to_owned(), "identities"),
        ] {
            let error = format!("{:#}", Identities::parse(&text).expect_err("makes no sense"));
            assert!(error.contains(expect), "{text}: {error}");
        }
    }

    #[test]
    fn a_hash_stands_for_its_secret() {
        let hash = const_hex::encode(Sha256::digest("a secret that is long"));
        let text = format!("[[identity]]\nname = \"a\"\nroles = [\"worker\"]\ntoken-sha256 = \"{hash}\"\n");
        let identities = Identities::parse(&text).expect("makes sense");
        assert_eq!(identities.by_token("a secret that is long").map(|caller| caller.to_string()), Some("a".to_owned()));
        assert!(identities.by_password("a", "a secret that is long").is_some());
        assert!(identities.by_password("b", "a secret that is long").is_none());
        assert!(identities.by_token(&hash).is_none());
    }
}
