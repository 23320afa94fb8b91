//! Outputs from the server: checked against what was asked for, verified, and staged beside their places.

use super::RemoteError;
use crate::outputs::{OutputPath, OutputPaths, Presence, Staging};
use bytes::Bytes;
use pumphouse_proto::cas_client::CasClient;
use pumphouse_proto::digest::Digest;
use pumphouse_proto::reapi::{self, ActionResult, OutputFile};
use std::collections::HashSet;
use std::fs::File;
use std::io;
use tokio::runtime::Handle;

/// The largest output that is accepted, in bytes.
const OUTPUT_SIZE_LIMIT_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// The largest standard output or error that is accepted, in bytes: it must fit the answer to the launcher.
const STREAM_SIZE_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// Outputs from this size on go straight to a file, in bytes.
const FILE_SIZE_BYTES: u64 = crate::local::INLINE_OUTPUT_SIZE_BYTES;

/// A result whose every byte is here.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The outputs, ready to be committed.
    pub staging: Staging,
    /// The result with the contents of its small outputs, as the local cache keeps it.
    pub result: ActionResult,
    /// How many bytes were received besides the result itself.
    pub bytes_downloaded: u64,
}

/// Checks that a result of exit code 0 has the outputs that a compile must have, and none that it can't.
///
/// # Errors
/// What is wrong, which makes the result worthless.
pub(crate) fn check_result(result: &ActionResult, places: &OutputPaths) -> Result<(), RemoteError> {
    let wrong = |message: String| Err(RemoteError::Wrong(message));
    if !result.output_directories.is_empty() || !result.output_symlinks.is_empty() {
        return wrong("a compile made directories or links".to_owned());
    }
    let mut names = HashSet::new();
    for file in &result.output_files {
        if places.get(&file.path).is_none() {
            return wrong(format!("an output {:?} that was not asked for", file.path));
        }
        if !names.insert(file.path.as_str()) {
            return wrong(format!("two outputs {:?}", file.path));
        }
        let digest = digest(file.digest.as_ref(), &file.path)?;
        if digest.size_bytes() > OUTPUT_SIZE_LIMIT_BYTES {
            return wrong(format!("an output {:?} of {} bytes", file.path, digest.size_bytes()));
        }
    }
    match places.iter().find(|place| place.presence == Presence::Certain && !names.contains(place.name.as_str())) {
        Some(place) => wrong(format!("no output {:?}", place.name)),
        None => Ok(()),
    }
}

/// How many bytes of `result` must be fetched besides it.
pub(crate) fn must_fetch_bytes(result: &ActionResult) -> u64 {
    let size = |digest: &Option<reapi::Digest>| digest.as_ref().map_or(0, |digest| digest.size_bytes.max(0) as u64);
    let outputs = result.output_files.iter().filter(|file| file.contents.is_empty()).map(|file| size(&file.digest));
    let streams = [(&result.stdout_raw, &result.stdout_digest), (&result.stderr_raw, &result.stderr_digest)];
    let streams = streams.iter().filter(|(raw, _)| raw.is_empty()).map(|(_, digest)| size(digest));
    outputs.chain(streams).fold(0, u64::saturating_add)
}

impl Fetched {
    /// Fetches what `result` does not carry itself. The result has passed [`check_result`].
    ///
    /// # Errors
    /// A blob is absent or not what its digest says, or an output can't be written.
    pub(crate) async fn fetch(
        cas: &CasClient,
        mut result: ActionResult,
        places: &OutputPaths,
    ) -> Result<Self, RemoteError> {
        let mut fetched = Self { staging: Staging::new(), result: ActionResult::default(), bytes_downloaded: 0 };
        let stdout = fetched.stream(cas, result.stdout_raw, result.stdout_digest.as_ref(), "standard output").await?;
        let stderr = fetched.stream(cas, result.stderr_raw, result.stderr_digest.as_ref(), "standard error").await?;
        // The object's place stands first, and is renamed last.
        let order = |file: &OutputFile| places.iter().position(|place| place.name == file.path);
        result.output_files.sort_by_key(order);
        fetched.small_outputs(cas, &mut result.output_files).await?;
        fetched.outputs(cas, &mut result.output_files, places).await?;
        fetched.result = ActionResult {
            output_files: result.output_files,
            exit_code: result.exit_code,
            stdout_raw: stdout,
            stderr_raw: stderr,
            ..ActionResult::default()
        };
        Ok(fetched)
    }

    /// Fetches the small outputs that the result does not carry, together.
    async fn small_outputs(&mut self, cas: &CasClient, files: &mut [OutputFile]) -> Result<(), RemoteError> {
        let mut wanted = Vec::new();
        for file in &*files {
            let digest = digest(file.digest.as_ref(), &file.path)?;
            if file.contents.is_empty() && !digest.is_empty() && digest.size_bytes() <= FILE_SIZE_BYTES {
                wanted.push(digest);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        wanted.sort_unstable();
        wanted.dedup();
        let blobs = cas.read_all(&wanted).await.map_err(RemoteError::call("downloading outputs"))?;
        for file in files {
            if let Some(blob) = blobs.get(&digest(file.digest.as_ref(), &file.path)?) {
                self.bytes_downloaded += blob.len() as u64;
                file.contents = blob.clone();
            }
        }
        Ok(())
    }

    /// Stages all outputs, the large ones as they arrive.
    async fn outputs(
        &mut self,
        cas: &CasClient,
        files: &mut [OutputFile],
        places: &OutputPaths,
    ) -> Result<(), RemoteError> {
        let mut outputs = Vec::new();
        for file in files {
            let Some(place) = places.get(&file.path) else { continue };
            let digest = digest(file.digest.as_ref(), &file.path)?;
            let is_large = digest.size_bytes() > FILE_SIZE_BYTES;
            if is_large && file.contents.is_empty() {
                outputs.push((place.clone(), digest, None));
                continue;
            }
            if !digest.matches(&file.contents) {
                return Err(RemoteError::Wrong(format!("the output {:?} is not what {digest} names", file.path)));
            }
            outputs.push((place.clone(), digest, Some(file.contents.clone())));
            if is_large {
                // The local cache keeps it in a file of its own.
                file.contents = Bytes::new();
            }
        }
        // Where the disk does not answer, nobody else is to wait for it.
        let staged = tokio::task::spawn_blocking(move || stage(outputs));
        let open;
        (self.staging, open) = staged.await.map_err(io::Error::other)??;
        for (place, digest, file) in open {
            let reading = cas.read_to_file(digest, file, &place.path);
            let found = reading.await.map_err(RemoteError::call("downloading an output"))?;
            if !found {
                return Err(RemoteError::Wrong(format!("the output {:?} ({digest}) is not in the CAS", place.name)));
            }
            self.bytes_downloaded += digest.size_bytes();
        }
        Ok(())
    }

    async fn stream(
        &mut self,
        cas: &CasClient,
        raw: Bytes,
        named: Option<&reapi::Digest>,
        what: &str,
    ) -> Result<Bytes, RemoteError> {
        let Some(named) = named else {
            return Ok(raw);
        };
        let digest = digest(Some(named), what)?;
        if digest.size_bytes() > STREAM_SIZE_LIMIT_BYTES {
            return Err(RemoteError::Wrong(format!("a {what} of {} bytes", digest.size_bytes())));
        }
        if !raw.is_empty() || digest.is_empty() {
            return if digest.matches(&raw) {
                Ok(raw)
            } else {
                Err(RemoteError::Wrong(format!("the {what} is not what {digest} names")))
            };
        }
        self.bytes_downloaded += digest.size_bytes();
        cas.read(digest)
            .await
            .map_err(RemoteError::call("downloading a stream"))?
            .ok_or_else(|| RemoteError::Wrong(format!("the {what} ({digest}) is not in the CAS")))
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        let staging = std::mem::take(&mut self.staging);
        if let (false, Ok(runtime)) = (staging.is_empty(), Handle::try_current()) {
            // What is not committed is removed, which blocks.
            runtime.spawn_blocking(move || drop(staging));
        }
    }
}

/// Files to be filled with what a digest names.
type OpenFiles = Vec<(OutputPath, Digest, File)>;

/// Stages outputs in the order of their places, those whose content is not here as files to be filled. Blocks.
fn stage(outputs: Vec<(OutputPath, Digest, Option<Bytes>)>) -> io::Result<(Staging, OpenFiles)> {
    let (mut staging, mut open) = (Staging::new(), Vec::new());
    for (place, digest, content) in outputs {
        match content {
            Some(content) => staging.write(&place, &content)?,
            // Nobody may write into it who may not write into the output.
            None => {
                let file = staging.create(&place)?;
                open.push((place, digest, file));
            }
        }
    }
    Ok((staging, open))
}

fn digest(message: Option<&reapi::Digest>, what: &str) -> Result<Digest, RemoteError> {
    let message = message.ok_or_else(|| RemoteError::Wrong(format!("{what:?} has no digest")))?;
    Digest::try_from(message).map_err(|error| RemoteError::Wrong(format!("{what:?}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command;
    use std::path::Path;

    fn output(name: &str, content: &[u8]) -> OutputFile {
        OutputFile { path: name.to_owned(), digest: Some(Digest::of(content).into()), ..OutputFile::default() }
    }

    #[test]
    fn results_that_cannot_be_right_are_refused() {
        let scratch = tempfile::tempdir().expect("scratch");
        let base = scratch.path().canonicalize().expect("resolved");
        let outputs = command::Outputs {
            object: "a.o".into(),
            depfile: Some("a.d".into()),
            others: vec![Path::new("a.su").to_owned()],
            ..command::Outputs::default()
        };
        let places = OutputPaths::find(&outputs, &base, 0o022, None).expect("found");
        let check = |files: Vec<OutputFile>, expect: Option<&str>| {
            let result = ActionResult { output_files: files, ..ActionResult::default() };
            let refusal = check_result(&result, &places).err().map(|error| error.to_string());
            match (&refusal, expect) {
                (None, None) => {}
                (Some(refusal), Some(expect)) if refusal.contains(expect) => {}
                _ => panic!("{refusal:?} where {expect:?} was expected"),
            }
        };
        let [object, depfile] = [output("a.o", b"o"), output("a.d", b"d")];
        check(vec![object.clone(), depfile.clone()], None);
        check(vec![object.clone(), depfile.clone(), output("a.su", b"s")], None);
        check(vec![depfile.clone()], Some("no output \"a.o\""));
        check(vec![object.clone()], Some("no output \"a.d\""));
        check(vec![object.clone(), object.clone(), depfile.clone()], Some("two outputs"));
        check(vec![object.clone(), depfile.clone(), output("../../etc/passwd", b"")], Some("not asked for"));
        check(vec![OutputFile { digest: None, ..object.clone() }, depfile.clone()], Some("no digest"));
        let huge = reapi::Digest { size_bytes: i64::MAX, ..Digest::EMPTY.into() };
        check(vec![OutputFile { digest: Some(huge), ..object }, depfile], Some("bytes"));
    }
}
