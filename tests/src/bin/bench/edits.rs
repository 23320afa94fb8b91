//! What an edit costs: one header of a project changes, and all units are scanned again.
//!
//! Only the units that include the header are to be worked again, and of their files only those whose directives act on
//! what changed. `clang-scan-deps`, beside it, remembers nothing: after an edit it does everything again.

use crate::corpora::{self, Corpus, Pass};
use crate::table::Table;
use crate::usage::{milliseconds, ratio};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Headers that are edited: one that most units read, and one that few do.
const EDITED: &[(&str, [&str; 2])] = &[
    ("abseil", ["absl/base/config.h", "absl/strings/cord.h"]),
    ("git", ["git-compat-util.h", "diffcore.h"]),
    ("linux", ["include/linux/sched.h", "include/linux/buffer_head.h"]),
    ("redis", ["src/server.h", "src/cluster.h"]),
];

/// Prints a row for each edit: in the projects that are named, or in all that it knows headers of.
pub(crate) fn run(names: &[String]) -> Result<()> {
    let known = || EDITED.iter().map(|(name, _)| (*name).to_owned());
    if let Some(unknown) = names.iter().find(|name| !known().any(|known| known == **name)) {
        bail!("no header to edit is known of {unknown}");
    }
    let names: Vec<_> = known().filter(|name| names.is_empty() || names.contains(name)).collect();
    let mut table = Table::new(&[
        "",
        "edited",
        "units",
        "replayed",
        "their files",
        "replayed",
        "lexed",
        "all units, cold",
        "warm",
        "after the edit",
        "ratio to cold",
        "a replayed unit",
        "clang-scan-deps",
        "ratio",
    ]);
    for Corpus { name, database } in corpora::prepare(&names)? {
        let headers = EDITED.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, headers)| headers);
        let peer = corpora::clang_scan_deps(&database)?;
        for header in headers {
            table.row(measure(&name, &database, header, peer)?);
        }
    }
    println!("processor time, by one thread; every closure after an edit was compared with the compiler's list");
    table.print();
    Ok(())
}

/// A file that is edited, and gets its content back at the end.
struct Edited {
    path: PathBuf,
    content: Vec<u8>,
}

impl Edited {
    fn new(path: PathBuf) -> Result<Self> {
        let content = std::fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path, content })
    }
}

impl Drop for Edited {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(&self.path, &self.content) {
            eprintln!("bench: {}: getting its content back: {error}", self.path.display());
        }
    }
}

fn measure(name: &str, database: &Path, header: &str, peer: Duration) -> Result<[String; 14]> {
    let edited = Edited::new(database.with_file_name(header))?;
    let prepare =
        format!("[ $PUMPHOUSE_PASS -ne 3 ] || echo '#define PUMPHOUSE_BENCH_EDIT 1' >>'{}'", edited.path.display());
    let report = corpora::scan(database, &["--repeat", "3", "--verify", "--prepare", &prepare])?;
    let [cold, warm, edit] = &report.passes[..] else { bail!("three passes were asked for: {report:?}") };
    let equal = report.verification.equal_units;
    let units = report.translation_units;
    ensure!(equal == units, "{name}: {equal} of {units} closures are right after an edit of {header}");
    let replayed = u32::try_from(edit.replayed_units)?;
    let of_all = |pass: &Pass| milliseconds(pass.cpu());
    Ok([
        name.to_owned(),
        header.to_owned(),
        units.to_string(),
        replayed.to_string(),
        format!("{:.0}", report.files_per_unit.mean * f64::from(replayed)),
        edit.replayed_files.to_string(),
        edit.lexed_files.to_string(),
        of_all(cold),
        of_all(warm),
        of_all(edit),
        ratio(edit.cpu(), cold.cpu()),
        milliseconds(edit.cpu().saturating_sub(warm.cpu()) / replayed.max(1)),
        milliseconds(peer),
        ratio(edit.cpu(), peer),
    ])
}
