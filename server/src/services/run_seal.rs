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

/// What a seal vouches for: who was given which run, of what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SealedRun<'a> {
    /// The run's name, with its seal where that is to be opened.
    pub(crate) run: &'a str,
    pub(crate) worker: &'a str,
    pub(crate) action: &'a ActionKey,
    pub(crate) do_not_cache: bool,
}

impl RunKey {
    /// The key in `dir`, made where there is none yet, or none any more: runs that were given under another one are not believed.
    ///
    /// # Errors
    /// It can't be read or written.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(FILE);
        let name = || path.display().to_string();
        match std::fs::read(&path) {
            Ok(bytes) => match bytes.try_into() {
                Ok(key) => return Ok(Self(key)),
                Err(_) => tracing::warn!(file = name(), "is no key; runs of servers before this one are not believed"),
            },
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

    /// The name of a run as its worker is told it.
    pub(crate) fn seal(&self, run: &SealedRun<'_>) -> String {
        format!("{}.{}", run.run, const_hex::encode(&self.mac(run).finalize().into_bytes()[..SEAL_SIZE_BYTES]))
    }

    /// The name of a run that has a seal; `None` where it is forged, or another worker's.
    pub(crate) fn open_seal<'a>(&self, sealed: &SealedRun<'a>) -> Option<&'a str> {
        let (run, seal) = sealed.run.rsplit_once('.')?;
        let mut code = [0; SEAL_SIZE_BYTES];
        const_hex::decode_to_slice(seal, &mut code).ok()?;
        self.mac(&SealedRun { run, ..*sealed }).verify_truncated_left(&code).is_ok().then_some(run)
    }

    fn mac(&self, run: &SealedRun<'_>) -> Hmac<Sha256> {
        let SealedRun { run, worker, action, do_not_cache } = *run;
        let mut mac = Hmac::new_from_slice(&self.0).expect("a key may have any length");
        let digest = action.digest.to_string();
        let flags = [u8::from(do_not_cache)];
        // Lengths first, so that no two of them give the same bytes.
        for part in [run.as_bytes(), worker.as_bytes(), action.instance_name.as_bytes(), digest.as_bytes(), &flags] {
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
        let given = SealedRun { run: "run-1", worker: "w", action: &one, do_not_cache: false };
        let sealed = key.seal(&given);
        let told = SealedRun { run: &sealed, ..given };
        let again = RunKey::open(dir.path()).expect("read");
        assert_eq!(again.open_seal(&told), Some("run-1"));
        for other in [action(b"b", ""), action(b"a", "x")] {
            assert_eq!(key.open_seal(&SealedRun { action: &other, ..told }), None);
        }
        assert_eq!(key.open_seal(&SealedRun { worker: "v", ..told }), None);
        assert_eq!(key.open_seal(&SealedRun { do_not_cache: true, ..told }), None);
        let seal = sealed.rsplit_once('.').expect("a seal").1;
        for forged in ["run-1", "run-1.", "", &format!("run-2.{seal}"), &format!("run-1.{}", &seal[2..])] {
            assert_eq!(key.open_seal(&SealedRun { run: forged, ..given }), None, "{forged}");
        }
        let elsewhere = tempfile::tempdir().expect("a directory");
        assert_eq!(RunKey::open(elsewhere.path()).expect("made").open_seal(&told), None);
        std::fs::write(elsewhere.path().join(FILE), "short").expect("written");
        let new = RunKey::open(elsewhere.path()).expect("made anew");
        let sealed = new.seal(&given);
        let again = RunKey::open(elsewhere.path()).expect("read");
        assert_eq!(again.open_seal(&SealedRun { run: &sealed, ..given }), Some("run-1"));
    }
}
