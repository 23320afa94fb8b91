//! What the path of a request names.
//!
//! Bazel, moon and others ask for `[INSTANCE/]cas/HASH` and `[INSTANCE/]ac/HASH` with a SHA-256. Everything else is a name that
//! the client chose: ccache's `KEY` and `KE/Y…`, Gradle's `PREFIX/KEY`, sccache's `k/e/y/key…`.

use super::Refusal;
use pumphouse_proto::digest::Digest;

/// The longest path.
const PATH_SIZE_BYTES: usize = 1024;

/// The letters of hexadecimal digits in a SHA-256.
const HASH_LENGTH: usize = 64;

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// A blob of the CAS.
    Blob { instance_name: String, hash: [u8; 32] },
    /// The result of an action.
    Result { instance_name: String, hash: [u8; 32] },
    /// Whatever the client stores under this name.
    Name(String),
    /// What names may be below: only `WebDAV` knows such things.
    Collection(String),
}

impl Key {
    /// Reads the path of a request, as it stands in the request line.
    pub(super) fn of(path: &str) -> Result<Self, Refusal> {
        if path.len() > PATH_SIZE_BYTES {
            return Err(Refusal::bad(format!("the path is longer than {PATH_SIZE_BYTES} bytes")));
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte);
        if let Some(byte) = path.bytes().find(|byte| !is_plain(*byte)) {
            return Err(Refusal::bad(format!("the path holds {:?}", byte.escape_ascii().to_string())));
        }
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        if segments.iter().any(|segment| matches!(*segment, "." | "..")) {
            return Err(Refusal::bad("the path holds a segment of dots"));
        }
        if path.ends_with('/') || segments.is_empty() {
            return Ok(Self::Collection(segments.join("/")));
        }
        let name = || Self::Name(segments.join("/"));
        let [instance @ .., kind, hash] = &segments[..] else { return Ok(name()) };
        let instance_name = instance.join("/");
        match *kind {
            "cas" => {
                let blob = Digest::parse(hash, 0).map_err(|error| Refusal::bad(error.to_string()))?;
                Ok(Self::Blob { instance_name, hash: *blob.hash() })
            }
            // ccache's keys may be spread over directories of two letters, which may be these.
            "ac" if hash.len() == HASH_LENGTH => {
                let action = Digest::parse(hash, 0).map_err(|error| Refusal::bad(error.to_string()))?;
                Ok(Self::Result { instance_name, hash: *action.hash() })
            }
            _ => Ok(name()),
        }
    }

    /// The instance that it belongs to; for a name, the path to it.
    pub(super) fn instance_name(&self) -> &str {
        match self {
            Self::Blob { instance_name, .. } | Self::Result { instance_name, .. } => instance_name,
            Self::Name(name) => name.rsplit_once('/').map_or("", |(place, _)| place),
            Self::Collection(path) => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_what_clients_mean() {
        let (hash, hex) = ([0xab; 32], "ab".repeat(32));
        let blob = |instance: &str| Key::Blob { instance_name: instance.to_owned(), hash };
        let result = |instance: &str| Key::Result { instance_name: instance.to_owned(), hash };
        let name = |name: &str| Key::Name(name.to_owned());
        let short = "ab".repeat(19);
        for (path, expect) in [
            (format!("/cas/{hex}"), blob("")),
            (format!("/ac/{hex}"), result("")),
            (format!("/a/b/cas/{hex}"), blob("a/b")),
            (format!("//main//ac/{hex}"), result("main")),
            (format!("/ac/{short}"), name(&format!("ac/{short}"))),
            (format!("/ccache/01/{short}"), name(&format!("ccache/01/{short}"))),
            ("/cache/0123".to_owned(), name("cache/0123")),
            ("/.sccache_check".to_owned(), name(".sccache_check")),
            ("/a/b/".to_owned(), Key::Collection("a/b".to_owned())),
            ("/".to_owned(), Key::Collection(String::new())),
        ] {
            assert_eq!(Key::of(&path).expect("is good"), expect, "{path}");
        }
    }

    #[test]
    fn bad_paths_are_refused_in_words() {
        let upper = "AB".repeat(32);
        for (path, expect) in [
            (format!("/cas/{upper}"), "hexadecimal"),
            (format!("/ac/{upper}"), "hexadecimal"),
            ("/cas/1".to_owned(), "hexadecimal"),
            ("/a/../b".to_owned(), "dots"),
            ("/a%2fb".to_owned(), "\"%\""),
            ("/a\\b".to_owned(), "\\\\"),
            (format!("/{}", "a".repeat(2000)), "longer"),
        ] {
            let Refusal(status, message) = Key::of(&path).expect_err("is bad");
            assert!(status == 400 && message.contains(expect), "{path}: {message}");
        }
    }
}
