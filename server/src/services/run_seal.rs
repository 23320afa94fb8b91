//! Seals on the names of runs: what a worker says that an earlier server gave it is believed only where that is so.
//!
//! A run that is adopted ends as a result in the action cache. Without seals, whoever has a worker's credentials could make up runs
//! of any action, and their results. The key outlives the server; whoever has none of its runs can't guess a seal.

use crate::scheduler::ActionKey;
use anyhow::Context as _;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The key's file in the server's directory.
const FILE: &str = "run-key";

/// How much of a seal's code is in a name.
const SEAL_SIZE_BYTES: usize = 16;

/// The key of one server's directory.
pub(crate) struct RunKey([u8; 32]);

impl RunKey {
    /// The key in `dir`, made where there is none yet.
    ///
    /// # Errors
    /// It can't be read or written.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(FILE);
        let name = || path.display().to_string();
        match std::fs::read(&path) {
            Ok(bytes) => {
                let key = bytes.try_into().ok().context("is not a key: remove it").with_context(name)?;
                return Ok(Self(key));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(name),
        }
        let mut key = [0; 32];
        rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty()).context("drawing a key")?;
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        // Whole or not at all, under its name.
        let temporary = dir.join(format!("{FILE}.{}", std::process::id()));
        let mut file = std::fs::File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .with_context(|| temporary.display().to_string())?;
        file.write_all(&key).and_then(|()| file.sync_all()).with_context(name)?;
        std::fs::rename(&temporary, &path).with_context(name)?;
        Ok(Self(key))
    }

    /// The name of `run` of `action` as a worker is told it.
    pub(crate) fn seal(&self, run: &str, action: &ActionKey) -> String {
        format!("{run}.{}", self.code(run, action))
    }

    /// The name of a run of `action` that has this seal; `None` where it is forged.
    pub(crate) fn open_seal<'a>(&self, sealed: &'a str, action: &ActionKey) -> Option<&'a str> {
        let (run, seal) = sealed.rsplit_once('.')?;
        let mut code = [0; SEAL_SIZE_BYTES];
        hex::decode_to_slice(seal, &mut code).ok()?;
        self.mac(run, action).verify_truncated_left(&code).is_ok().then_some(run)
    }

    fn code(&self, run: &str, action: &ActionKey) -> String {
        hex::encode(&self.mac(run, action).finalize().into_bytes()[..SEAL_SIZE_BYTES])
    }

    fn mac(&self, run: &str, action: &ActionKey) -> Hmac<Sha256> {
        let mut mac = Hmac::new_from_slice(&self.0).expect("a key may have any length");
        // Lengths first, so that no two of them give the same bytes.
        for part in [run.as_bytes(), action.instance_name.as_bytes(), action.digest.to_string().as_bytes()] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumphouse_proto::digest::Digest;

    #[test]
    fn a_seal_holds_for_its_run_and_its_action_and_outlives_the_server() {
        let dir = tempfile::tempdir().expect("a directory");
        let key = RunKey::open(dir.path()).expect("made");
        let action =
            |content: &[u8], instance: &str| ActionKey { instance_name: instance.into(), digest: Digest::of(content) };
        let one = action(b"a", "");
        let sealed = key.seal("run-1", &one);
        let again = RunKey::open(dir.path()).expect("read");
        assert_eq!(again.open_seal(&sealed, &one), Some("run-1"));
        for other in [action(b"b", ""), action(b"a", "x")] {
            assert_eq!(key.open_seal(&sealed, &other), None);
        }
        let seal = sealed.rsplit_once('.').expect("a seal").1;
        for forged in ["run-1", "run-1.", "", &format!("run-2.{seal}"), &format!("run-1.{}", &seal[2..])] {
            assert_eq!(key.open_seal(forged, &one), None, "{forged}");
        }
        let elsewhere = tempfile::tempdir().expect("a directory");
        assert_eq!(RunKey::open(elsewhere.path()).expect("made").open_seal(&sealed, &one), None);
        std::fs::write(elsewhere.path().join(FILE), "short").expect("written");
        assert!(format!("{:#}", RunKey::open(elsewhere.path()).err().expect("no key")).contains(FILE));
    }
}
