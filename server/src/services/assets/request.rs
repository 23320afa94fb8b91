//! Fields of requests for assets, checked.

use crate::action_cache::AssetKind;
use crate::services::request::digest;
use pumphouse_proto::asset::Qualifier;
use pumphouse_proto::digest::{Digest, DigestFunction};
use pumphouse_proto::reapi;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::time::SystemTime;
use tonic::Status;

/// How many addresses, qualifiers and references one request may have.
const ITEMS: usize = 256;

/// The longest address, name or value.
const TEXT_SIZE_BYTES: usize = 16 * 1024;

/// The addresses of a request, with all that they mean by.
#[derive(Debug)]
pub(super) struct Names {
    function: DigestFunction,
    instance_name: String,
    uris: Vec<String>,
    qualifiers: BTreeMap<String, String>,
}

impl Names {
    /// # Errors
    /// There is no address, or too much of anything, or a qualifier twice.
    pub(super) fn read(
        function: DigestFunction,
        instance_name: &str,
        uris: &[String],
        qualifiers: &[Qualifier],
    ) -> Result<Self, Status> {
        if uris.is_empty() {
            return Err(Status::invalid_argument("uris: there is none"));
        }
        for (field, count) in [("uris", uris.len()), ("qualifiers", qualifiers.len())] {
            if count > ITEMS {
                return Err(Status::invalid_argument(format!("{field}: {count} are more than {ITEMS}")));
            }
        }
        if uris.iter().any(|uri| uri.is_empty() || uri.len() > TEXT_SIZE_BYTES) {
            return Err(Status::invalid_argument(format!("uris: one has not 1 to {TEXT_SIZE_BYTES} bytes")));
        }
        let mut unique = BTreeMap::new();
        for Qualifier { name, value } in qualifiers {
            if name.is_empty() || name.len() > TEXT_SIZE_BYTES || value.len() > TEXT_SIZE_BYTES {
                let message = format!("qualifiers: {name:?} has not 1 to {TEXT_SIZE_BYTES} bytes");
                return Err(Status::invalid_argument(message));
            }
            if unique.insert(name.clone(), value.clone()).is_some() {
                return Err(Status::invalid_argument(format!("qualifiers: {name:?} stands twice")));
            }
        }
        Ok(Self { function, instance_name: instance_name.to_owned(), uris: uris.to_vec(), qualifiers: unique })
    }

    pub(super) fn instance_name(&self) -> &str {
        &self.instance_name
    }

    /// Each address with the key under which its content is remembered.
    pub(super) fn keys(&self, kind: AssetKind) -> impl Iterator<Item = (&str, Digest)> {
        self.uris.iter().map(move |uri| (uri.as_str(), self.key(kind, uri)))
    }

    /// The key of the content of one address: equal for equal names of equal kind, in whatever order the
    /// qualifiers came. It is by the function of what it stands for.
    pub(super) fn key(&self, kind: AssetKind, uri: &str) -> Digest {
        let mut hasher = Sha256::new();
        let mut size_bytes = 0;
        let mut add = |text: &str| {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
            size_bytes += 8 + text.len() as u64;
        };
        add(match kind {
            AssetKind::Blob => "blob",
            AssetKind::Directory => "directory",
        });
        add(&self.instance_name);
        add(uri);
        for (name, value) in &self.qualifiers {
            add(name);
            add(value);
        }
        Digest::named(self.function, hasher.finalize().into(), size_bytes)
    }
}

/// A point in time, if there is one.
pub(super) fn time(field: &str, time: Option<&prost_types::Timestamp>) -> Result<Option<SystemTime>, Status> {
    let read = |time: &prost_types::Timestamp| {
        SystemTime::try_from(*time).map_err(|error| Status::invalid_argument(format!("{field}: {error}")))
    };
    time.map(read).transpose()
}

/// Digests that must be well formed, or say nothing at all: `BuildStream` refers to what isn't there so.
pub(super) fn references(
    function: DigestFunction,
    field: &str,
    digests: &[reapi::Digest],
) -> Result<Vec<Digest>, Status> {
    if digests.len() > ITEMS {
        return Err(Status::invalid_argument(format!("{field}: {} are more than {ITEMS}", digests.len())));
    }
    let said = digests.iter().filter(|message| **message != reapi::Digest::default());
    said.map(|message| digest(function, field, Some(message))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qualifier(name: &str, value: &str) -> Qualifier {
        Qualifier { name: name.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn a_key_is_of_all_that_a_name_has_but_the_order() {
        let key = |instance: &str, uri: &str, qualifiers: &[Qualifier], kind| {
            Names::read(DigestFunction::Sha256, instance, &[uri.to_owned()], qualifiers).expect("good").key(kind, uri)
        };
        let (one, two) = (qualifier("a", "1"), qualifier("b", "2"));
        let base = key("i", "u", &[one.clone(), two.clone()], AssetKind::Blob);
        assert_eq!(key("i", "u", &[two.clone(), one.clone()], AssetKind::Blob), base);
        for other in [
            key("j", "u", &[one.clone(), two.clone()], AssetKind::Blob),
            key("i", "v", &[one.clone(), two.clone()], AssetKind::Blob),
            key("i", "u", std::slice::from_ref(&one), AssetKind::Blob),
            key("i", "u", &[one.clone(), qualifier("b", "3")], AssetKind::Blob),
            key("i", "u", &[one, two], AssetKind::Directory),
        ] {
            assert_ne!(other, base);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |uris: &[&str], qualifiers: &[Qualifier]| {
            let uris: Vec<String> = uris.iter().map(|uri| (*uri).to_owned()).collect();
            Names::read(DigestFunction::Sha256, "", &uris, qualifiers).expect_err("is wrong").message().to_owned()
        };
        assert!(refused(&[], &[]).starts_with("uris"));
        assert!(refused(&[""], &[]).starts_with("uris"));
        assert!(refused(&["u"; 300], &[]).starts_with("uris"));
        assert!(refused(&["u"], &[qualifier("", "v")]).starts_with("qualifiers"));
        assert!(refused(&["u"], &[qualifier("n", "v"), qualifier("n", "w")]).contains("twice"));
    }
}
