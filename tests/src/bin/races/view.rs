//! The views of the file system in which compiles take place: this one, and two in which other headers are mounted over.

use anyhow::{Context, Result, ensure};
use pumphouse_tests::client::Client;
use pumphouse_tests::program::program;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A view.
#[derive(Debug)]
pub(crate) enum View {
    /// This process's own.
    Here,
    /// A mount namespace.
    Namespace(Holder),
    /// A root directory in a mount namespace.
    Root(Holder, PathBuf),
}

/// A process that holds a namespace, and leaves with its standard input.
#[derive(Debug)]
pub(crate) struct Holder(Child);

impl Holder {
    /// One that has run `script`.
    fn new(script: &str) -> Result<Self> {
        let script = format!("{script}\necho ready; exec cat");
        let mut child = Command::new("unshare")
            .args(["--mount", "sh", "-euc", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting unshare (package util-linux, as root)")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its standard output is piped")?).read_line(&mut line)?;
        ensure!(line == "ready\n", "the namespace was not made");
        Ok(Self(child))
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.0.id())).arg("--mount");
        command
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl View {
    /// A namespace in which `other` is mounted over `place`.
    pub(crate) fn namespace(place: &Path, other: &Path) -> Result<Self> {
        Ok(Self::Namespace(Holder::new(&format!("mount --bind {} {}", other.display(), place.display()))?))
    }

    /// A root at `root` that has this machine's programs, the files below `site`, and `other` mounted over `place`.
    pub(crate) fn root(root: &Path, site: &Path, place: &Path, other: &Path) -> Result<Self> {
        let (program, inside) = (program()?, format!("{}{}", root.display(), site.display()));
        let script = format!(
            "root={}; mount -t tmpfs root $root; mkdir -p $root/usr $root/proc $root/dev $root/tmp {inside}; chmod 1777 $root/tmp
             mount --bind /usr $root/usr; for link in bin lib lib64; do ln -s usr/$link $root/$link; done
             mknod -m 666 $root/dev/null c 1 3; cp {} $root/pumphouse; mount -t proc proc $root/proc
             mount --bind {} {inside}; mount --bind {} $root{}",
            root.display(),
            program.display(),
            site.display(),
            other.display(),
            place.display()
        );
        Ok(Self::Root(Holder::new(&script)?, root.to_owned()))
    }

    /// Whether other headers are mounted over there.
    pub(crate) const fn is_other(&self) -> bool {
        !matches!(self, Self::Here)
    }

    /// `words` as a command in `directory`, through a launcher of `client`.
    pub(crate) fn launched(&self, words: &[String], directory: &Path, client: &Client) -> Result<Command> {
        let pumphouse = match self {
            Self::Root(..) => PathBuf::from("/pumphouse"),
            _ => program()?,
        };
        let words = std::iter::once(pumphouse.display().to_string()).chain(words.iter().cloned());
        let mut command = self.plainly(&words.collect::<Vec<_>>(), directory);
        client.equip(&mut command);
        Ok(command)
    }

    /// `words` as a command in `directory`.
    pub(crate) fn plainly(&self, words: &[String], directory: &Path) -> Command {
        let mut command = match self {
            Self::Here => Command::new("env"),
            Self::Namespace(holder) => holder.enter(),
            Self::Root(holder, root) => {
                let mut command = holder.enter();
                command.arg("chroot").arg(root);
                command
            }
        };
        // The directory is that of the view.
        command.args(["sh", "-c", "cd \"$0\" && exec \"$@\""]).arg(directory).args(words);
        command
    }
}
