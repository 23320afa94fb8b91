//! Which isolation this machine allows, found by trying it.

use super::{Command, Level, Limits, Outcome, Sandbox, SlotGroups};
use anyhow::Context as _;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);

/// The fixed place of the input root of actions that say nothing about it, the same on every worker.
pub const NEUTRAL_EXEC_ROOT: &str = "/execroot";

/// What isolation there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    /// The level.
    pub level: Level,
    /// What actions have to do without at that level, in words.
    pub lacks: Vec<String>,
    /// The better levels and why they can't be had.
    pub refused: Vec<(Level, String)>,
}

impl Isolation {
    /// Tries the levels from `best` on, with a supervisor and an empty input root below `dir`.
    ///
    /// # Errors
    /// Not even a plain process can be started, or `dir` can't be written to.
    pub async fn probe(best: Level, limits: &Limits, dir: &Path) -> anyhow::Result<Self> {
        let mut refused = Vec::new();
        let is_root = super::gives_ids();
        for level in [Level::UserNamespaces, Level::Namespaces, Level::Chroot, Level::None] {
            if level < best && level != Level::None || matches!(level, Level::Namespaces | Level::Chroot) && !is_root {
                continue;
            }
            match try_level(level, limits, &dir.join("probe")).await {
                Ok(lacks) => return Ok(Self { level, lacks, refused }),
                Err(error) if level == Level::None => return Err(error.context("running a command without isolation")),
                Err(error) => refused.push((level, format!("{error:#}"))),
            }
        }
        unreachable!("the last level returns")
    }

    /// Whether an input root can stand at the absolute path that an action asks for.
    pub fn reproduces_absolute_paths(&self) -> bool {
        self.level <= Level::Chroot
    }

    /// The level's name in the platform property `isolation`.
    pub fn name(&self) -> &'static str {
        match self.level {
            Level::UserNamespaces | Level::Namespaces => "namespaces",
            Level::Chroot => "chroot",
            Level::None => "none",
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.level {
            Level::UserNamespaces => "namespaces (user, mount, pid, network, ipc, uts)",
            Level::Namespaces => "namespaces (mount, pid, network, ipc, uts; not user)",
            Level::Chroot => "chroot (actions share processes and network with this machine)",
            Level::None => "none (actions see all that this worker sees)",
        })?;
        if !self.lacks.is_empty() {
            write!(formatter, ", without {}", self.lacks.join(", without "))?;
        }
        for (level, why) in &self.refused {
            let level = match level {
                Level::UserNamespaces => "namespaces with a user namespace",
                Level::Namespaces => "namespaces",
                Level::Chroot => "chroot",
                Level::None => "none",
            };
            write!(formatter, "; {level} impossible: {why}")?;
        }
        Ok(())
    }
}

async fn try_level(level: Level, limits: &Limits, dir: &Path) -> anyhow::Result<Vec<String>> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("clearing {}", dir.display()))?;
    }
    for name in ["root", "stage"] {
        let path = dir.join(name);
        fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
    }
    if super::gives_ids() {
        let id = super::action_id(0);
        std::os::unix::fs::chown(dir.join("root"), Some(id), Some(id)).context("giving a directory to an action")?;
    }
    let mut sandbox = Sandbox::start(level, limits, &SlotGroups::default(), 0, dir).await?;
    let mut lacks = Vec::new();
    for exec_root in ["/", NEUTRAL_EXEC_ROOT] {
        let command = Command {
            exec_root: PathBuf::from(exec_root),
            directories: vec![PathBuf::from("a/b")],
            ..Command::default()
        };
        let finished = sandbox.run(&command, PROBE_TIMEOUT, &CancellationToken::new()).await?;
        anyhow::ensure!(finished.outcome == Outcome::Exited(0), "probe ended with {:?}", finished.outcome);
        lacks = finished.lacks;
    }
    drop(sandbox);
    fs::remove_dir_all(dir).with_context(|| format!("clearing {}", dir.display()))?;
    Ok(lacks)
}
