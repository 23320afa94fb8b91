//! Second compiles of hits, and what follows where one gives another result.
//!
//! A verdict needs inputs that are the same before and after, and a compiler that agrees with itself: where the second
//! compile differs from what is stored, a third one must agree with the second.

use super::Handler;
use super::prepare::Prepared;
use crate::audit::apart::{Apart, Group, Made, TIME_LIMIT};
use crate::audit::report::Discrepancy;
use crate::ipc::CompileRequest;
use crate::local::{BlobRead, Lookup};
use anyhow::{Context as _, anyhow, ensure};
use pumphouse_proto::digest::Digest;
use std::fmt::Write as _;
use std::io::{Read as _, Seek as _};
use std::process::Stdio;
use std::sync::Arc;

/// A hit, with all that is needed to compile it again.
#[derive(Debug)]
pub(crate) struct Hit {
    pub(super) prepared: Arc<Prepared>,
    pub(super) request: CompileRequest,
}

/// What a second compile showed.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The stored result is right.
    Confirmed,
    /// It is not.
    Wrong(Box<Discrepancy>),
    /// Nothing follows, for this reason.
    Open(String),
}

impl Handler {
    /// Compiles the hit that waits longest again, and deals with what that shows; false where none waits. Dropped, it ends
    /// the compiler, and the hit waits on.
    pub(crate) async fn audit_next(self: &Arc<Self>) -> bool {
        let Some(hit) = self.drawn.begin() else { return false };
        let verdict = self.audit(&hit).await.unwrap_or_else(|error| Verdict::Open(format!("{error:#}")));
        self.drawn.settle();
        let action = hit.prepared.action.digest;
        match verdict {
            Verdict::Confirmed => self.statistics.update(|counters| counters.audits += 1),
            Verdict::Wrong(discrepancy) => self.condemn(action, *discrepancy).await,
            Verdict::Open(reason) => {
                tracing::info!(%action, reason, "an audit without a verdict");
                self.statistics.update(|counters| counters.audits_open += 1);
            }
        }
        true
    }

    async fn audit(self: &Arc<Self>, hit: &Arc<Hit>) -> anyhow::Result<Verdict> {
        let Some(stored) = self.blocking(hit, Self::stored).await?? else {
            return Ok(Verdict::Open("the entry is gone".to_owned()));
        };
        let Some(fresh) = self.compile_apart(hit).await? else { return Ok(changed()) };
        if fresh == stored {
            return Ok(Verdict::Confirmed);
        }
        let Some(again) = self.compile_apart(hit).await? else { return Ok(changed()) };
        if again != fresh {
            return Ok(Verdict::Open("the compiler differs from itself".to_owned()));
        }
        Ok(Verdict::Wrong(Box::new(discrepancy(hit, stored, fresh))))
    }

    /// Runs `work` where it may block.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        hit: &Arc<Hit>,
        work: impl FnOnce(&Self, &Hit) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let (compiler, hit) = (Arc::clone(self), Arc::clone(hit));
        Ok(tokio::task::spawn_blocking(move || work(&compiler, &hit)).await?)
    }

    /// The stored result, whole; none where it was evicted.
    fn stored(&self, hit: &Hit) -> anyhow::Result<Option<Made>> {
        let Lookup::Hit(result) = self.cache.lookup(&hit.prepared.action.digest) else { return Ok(None) };
        let mut outputs = Vec::new();
        for place in &hit.prepared.places {
            let Some(file) = result.output_files.iter().find(|file| file.path == place.name) else {
                outputs.push(None);
                continue;
            };
            let digest = Digest::try_from(&file.digest)?;
            if digest.size_bytes() == file.contents.len() as u64 {
                outputs.push(Some(file.contents.to_vec()));
                continue;
            }
            let mut blob = tempfile::tempfile()?;
            if self.cache.copy_blob(&digest, &mut blob)? != BlobRead::Copied {
                return Ok(None);
            }
            blob.rewind()?;
            let mut content = Vec::new();
            blob.read_to_end(&mut content)?;
            outputs.push(Some(content));
        }
        Ok(Some(Made { code: 0, streams: [result.stdout_raw.to_vec(), result.stderr_raw.to_vec()], outputs }))
    }

    /// Compiles `hit` where its outputs reach nobody; none where an input changed.
    async fn compile_apart(self: &Arc<Self>, hit: &Arc<Hit>) -> anyhow::Result<Option<Made>> {
        if !self.blocking(hit, Self::is_the_same).await? {
            return Ok(None);
        }
        let scratch = tempfile::Builder::new().prefix("audit-").tempdir_in(&self.state)?;
        let prepared = &hit.prepared;
        let mut command = vec![prepared.command.program.clone().into_os_string()];
        command.extend(prepared.command.arguments.iter().cloned());
        let apart = Apart {
            scratch: scratch.path().to_owned(),
            directory: hit.request.working_directory.clone(),
            outputs: prepared.places.iter().map(|place| place.path.clone()).collect(),
            command,
        };
        let mut helper = apart.helper();
        helper.env_clear().envs(hit.request.environment.iter().map(|(name, value)| (name, value)));
        helper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        std::os::unix::process::CommandExt::process_group(&mut helper, 0);
        let child = tokio::process::Command::from(helper).spawn().context("starting the helper")?;
        let id = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
        let group = Group(id.ok_or_else(|| anyhow!("the helper has ended"))?);
        let output = tokio::time::timeout(TIME_LIMIT, child.wait_with_output()).await;
        // What it may have left running ends with it.
        drop(group);
        let output = output.context("it took too long")??;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        let made = self.blocking(hit, move |_, _| (apart.made(), scratch)).await?.0?;
        Ok(self.blocking(hit, Self::is_the_same).await?.then_some(made))
    }

    /// Whether `hit` would still be the same action.
    fn is_the_same(&self, hit: &Hit) -> bool {
        let prepared = &hit.prepared;
        self.scanner.scan(&prepared.command).is_ok_and(|closure| closure == prepared.closure)
            && self.toolchains.of(&prepared.command).is_ok_and(|tools| tools.identity == prepared.toolchain.identity)
    }

    /// Has nobody get the wrong result under `key` again, nor one that was found by the same memory; keeps both, and says so.
    async fn condemn(self: &Arc<Self>, key: Digest, discrepancy: Discrepancy) {
        let compiler = Arc::clone(self);
        let condemned = tokio::task::spawn_blocking(move || {
            compiler.distrust.add(&discrepancy.action, &discrepancy.toolchain);
            let removed = compiler.cache.remove(&key);
            compiler.scanner.forget();
            compiler.toolchains.forget();
            compiler.statistics.update(|counters| {
                counters.audits += 1;
                counters.audit_differences += 1;
            });
            let summary = discrepancy.summary();
            match discrepancy.keep(&compiler.state).and_then(|place| Ok(removed.map(|()| place)?)) {
                Ok(place) => tracing::error!(
                    "an audit found a wrong result in the cache ({summary}); it is removed, and {} holds both",
                    place.display()
                ),
                Err(error) => tracing::error!("an audit found a wrong result in the cache ({summary}): {error:#}"),
            }
        });
        if let Err(error) = condemned.await {
            tracing::error!(%error, "dealing with a wrong result");
        }
    }
}

fn changed() -> Verdict {
    Verdict::Open("an input changed meanwhile".to_owned())
}

fn discrepancy(hit: &Hit, stored: Made, fresh: Made) -> Discrepancy {
    let prepared = &hit.prepared;
    let mut description = format!("action: {}\n", prepared.action.digest);
    let _ = writeln!(description, "directory: {}", hit.request.working_directory.display());
    let _ = writeln!(description, "compiler: {}", prepared.command.program.display());
    for argument in &prepared.command.arguments {
        let _ = writeln!(description, "argument: {}", argument.display());
    }
    for (name, value) in &hit.request.environment {
        let _ = writeln!(description, "variable: {}={}", name.display(), value.display());
    }
    for file in &prepared.closure.files {
        let _ = writeln!(description, "input: {} {}", file.digest, file.path.display());
    }
    for file in &prepared.toolchain.files {
        let _ = writeln!(description, "tool: {} {}", file.digest, file.path.display());
    }
    Discrepancy {
        action: prepared.action.name,
        toolchain: prepared.toolchain.identity,
        description,
        names: prepared.places.iter().map(|place| place.name.clone()).collect(),
        stored,
        fresh,
        inputs: prepared.closure.files.iter().map(|file| file.path.to_path_buf()).collect(),
    }
}
