//! Decides one case: the scanner's closure against the compiler's list and against the replica.

use crate::command_line::Compiler;
use crate::tally::Tally;
use anyhow::{Context, Result};
use pumphouse::fallback::Fallback;
use pumphouse::scan::closure::Closure;
use pumphouse_tests::scan_oracle::compiler::{Invocation, Product};
use pumphouse_tests::scan_oracle::replica::Replica;
use pumphouse_tests::scan_oracle::{Scanner, compare};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is wrong with the scanner's answer to a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Files that the compiler reads are not in the closure.
    Misses(Vec<PathBuf>),
    /// The compile in the replica differs from the local one in this.
    Replica(String),
    /// A scanner that remembers earlier compiles answers differently from a new one.
    Stale(String),
    /// The scanner refused what it has to handle.
    Refused(Fallback),
    /// The closure has files that the compiler doesn't read, though every condition can be known.
    Surplus(Vec<PathBuf>),
}

impl Wrong {
    /// Whether two are of the same kind, for minimising.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Refused(one), Self::Refused(other)) => one.reason == other.reason,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misses(files) => write!(formatter, "the closure lacks {files:?}"),
            Self::Replica(what) => write!(formatter, "in the replica: {what}"),
            Self::Stale(what) => write!(formatter, "a warm scanner differs from a new one: {what}"),
            Self::Refused(fallback) => write!(formatter, "refused: {fallback}"),
            Self::Surplus(files) => write!(formatter, "the closure has more: {files:?}"),
        }
    }
}

/// How thoroughly a case is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Depth {
    /// Preprocess in the replica as well.
    pub(crate) replica: bool,
    /// Compile to an object here and in the replica.
    pub(crate) object: bool,
    /// Ask a new scanner as well.
    pub(crate) fresh: bool,
}

/// The places in which cases are judged.
#[derive(Debug)]
pub(crate) struct Court {
    pub(crate) scratch: PathBuf,
    pub(crate) replica: Replica,
    pub(crate) strict: bool,
}

impl Court {
    /// Decides one case. `listed` is the compiler's list where it is known already.
    pub(crate) fn judge(
        &self,
        scanner: &Scanner,
        invocation: &Invocation,
        listed: Option<&[PathBuf]>,
        depth: Depth,
        tally: &mut Tally,
    ) -> Result<Option<Wrong>> {
        let outcome = scanner.scan(invocation);
        if depth.fresh {
            tally.fresh += 1;
            if let Some(difference) = stale(&outcome, &Scanner::new().scan(invocation)) {
                return Ok(Some(difference));
            }
        }
        let closure = match outcome {
            Ok(closure) => closure,
            Err(fallback) => {
                let answer = invocation.run(Product::Preprocessed, &self.scratch, &[])?;
                tally.refused(&fallback, answer.code == Some(0));
                return Ok((self.strict && answer.code == Some(0)).then_some(Wrong::Refused(fallback)));
            }
        };
        if let Some(wrong) = self.compare_lists(&closure, invocation, listed, tally)? {
            return Ok(Some(wrong));
        }
        let products = [(depth.replica, Product::Preprocessed), (depth.object, Product::Object)];
        for (_, product) in products.into_iter().filter(|(wanted, _)| *wanted) {
            if let Some(wrong) = self.compare_in_replica(&closure, invocation, product, tally)? {
                return Ok(Some(wrong));
            }
        }
        Ok(None)
    }

    fn compare_lists(
        &self,
        closure: &Closure,
        invocation: &Invocation,
        listed: Option<&[PathBuf]>,
        tally: &mut Tally,
    ) -> Result<Option<Wrong>> {
        let asked;
        let listed = if let Some(listed) = listed {
            listed
        } else {
            asked = invocation.run(Product::Preprocessed, &self.scratch, &[])?;
            if asked.code != Some(0) {
                tally.failing += 1;
                return Ok(None);
            }
            &asked.listed
        };
        let difference = compare(closure, listed, invocation);
        tally.compared(closure.files.len(), difference.surplus.len());
        if !difference.misses.is_empty() && is_list_of_compile(invocation, closure) {
            return Ok(Some(Wrong::Misses(difference.misses)));
        }
        Ok((self.strict && !difference.surplus.is_empty()).then_some(Wrong::Surplus(difference.surplus)))
    }

    fn compare_in_replica(
        &self,
        closure: &Closure,
        invocation: &Invocation,
        product: Product,
        tally: &mut Tally,
    ) -> Result<Option<Wrong>> {
        if product == Product::Preprocessed && !is_list_of_compile(invocation, closure) {
            return Ok(None);
        }
        let local = invocation.run(product, &self.scratch, &[])?;
        self.replica.fill(closure, &invocation.directory)?;
        let remote = invocation.run(product, &self.scratch, &self.replica.prefix(&invocation.directory))?;
        tally.replicas += 1;
        let draws_seed = product == Product::Object
            && local.output != remote.output
            && invocation.run(product, &self.scratch, &[])?.output != local.output;
        if product == Product::Object && local.code == Some(0) {
            *(if draws_seed { &mut tally.incomparable } else { &mut tally.objects }) += 1;
        }
        if local.code != Some(0) && remote.code != Some(0) {
            // Both fail: the local compile decides, and what the remote one said is not shown.
            return Ok(None);
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let what = if local.code != remote.code || local.stderr != remote.stderr {
            format!(
                "code {:?}, not {:?}; it says\n{}\nnot\n{}",
                remote.code,
                local.code,
                text(&remote.stderr),
                text(&local.stderr)
            )
        } else if local.output != remote.output && !draws_seed {
            let (remote, local) = (text(&remote.output), text(&local.output));
            let differs = remote.lines().zip(local.lines()).find(|(remote, local)| remote != local);
            let (remote, local) = differs.unwrap_or(("more or fewer lines", "these"));
            format!("another output ({product:?}): {remote:?}, not {local:?}")
        } else if local.listed != remote.listed {
            format!("lists {:?}, not {:?}", remote.listed, local.listed)
        } else {
            return Ok(None);
        };
        Ok(Some(Wrong::Replica(what)))
    }
}

/// Whether the compiler's list is that of a compile. Where clang only preprocesses C of 1990, `//` starts no comment, so that
/// a `/*` behind it does; a compile takes it for one.
fn is_list_of_compile(invocation: &Invocation, closure: &Closure) -> bool {
    const OLD: [&str; 7] =
        ["-ansi", "-std=c89", "-std=c90", "-std=gnu89", "-std=gnu90", "-std=iso9899:1990", "-std=iso9899:199409"];
    let is_clang = invocation.compiler.to_string_lossy().contains("clang");
    let is_old = invocation.arguments.iter().any(|argument| OLD.iter().any(|old| argument == old));
    let opens_behind_slashes = |line: &[u8]| {
        let slashes = line.windows(2).position(|pair| pair == b"//");
        slashes.is_some_and(|at| line[at + 2..].windows(2).any(|pair| pair == b"/*"))
    };
    let is_doubtful = |path: &Path| {
        std::fs::read(path).is_ok_and(|content| content.split(|byte| *byte == b'\n').any(opens_behind_slashes))
    };
    !(is_clang && is_old && closure.files.iter().any(|file| is_doubtful(&file.path)))
}

/// What differs between the answers of a scanner that has seen other compiles and one that has not.
pub(crate) fn stale(warm: &Result<Arc<Closure>, Fallback>, fresh: &Result<Arc<Closure>, Fallback>) -> Option<Wrong> {
    let what = match (warm, fresh) {
        (Ok(warm), Ok(fresh)) if warm == fresh => return None,
        (Ok(warm), Ok(fresh)) => {
            let paths = |closure: &Closure| format!("{closure:#?}");
            let (warm, fresh) = (paths(warm), paths(fresh));
            let only = |left: &str, right: &str| {
                let right: std::collections::HashSet<&str> = right.lines().collect();
                left.lines().filter(|line| !right.contains(line)).map(str::trim).collect::<Vec<_>>().join(" ")
            };
            format!("only warm: {}; only new: {}", only(&warm, &fresh), only(&fresh, &warm))
        }
        (Err(warm), Err(fresh)) if warm.reason == fresh.reason => return None,
        (Ok(_), Err(fresh)) => format!("the new one refuses: {fresh}"),
        (Err(warm), Ok(_)) => format!("the warm one refuses: {warm}"),
        (Err(warm), Err(fresh)) => format!("refused with {warm}, not {fresh}"),
    };
    Some(Wrong::Stale(what))
}

/// The compilers' lists for all of `invocations` at once, by `clang-scan-deps`, which replays the real preprocessor.
/// `None` for those that fail.
pub(crate) fn clang_lists(invocations: &[Invocation], scratch: &Path) -> Result<Vec<Option<Vec<PathBuf>>>> {
    use pumphouse_tests::scan_oracle::depfile;
    let entries: Vec<_> = invocations
        .iter()
        .enumerate()
        .map(|(index, invocation)| {
            let arguments = invocation.compile_arguments(Path::new(&format!("case{index}.o")));
            let source = arguments.iter().find(|argument| is_source(argument)).cloned().unwrap_or_default();
            serde_json::json!({
                "directory": invocation.directory.to_string_lossy(),
                "file": source.to_string_lossy(),
                "arguments": arguments.iter().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>(),
            })
        })
        .collect();
    let database = scratch.join("clang.json");
    std::fs::write(&database, serde_json::to_vec(&entries)?)?;
    let done = std::process::Command::new("clang-scan-deps-14")
        .args(["-j", "1", "-mode", "preprocess", "-compilation-database"])
        .arg(&database)
        .output()
        .context("run clang-scan-deps-14 (package clang-tools-14)")?;
    let mut lists = vec![None; invocations.len()];
    for rule in depfile::parse(&done.stdout) {
        let target = rule.target.to_string_lossy().into_owned();
        let index = target
            .rsplit('/')
            .next()
            .and_then(|name| name.strip_prefix("case")?.strip_suffix(".o")?.parse::<usize>().ok());
        if let Some(slot) = index.and_then(|index| lists.get_mut(index)) {
            *slot = Some(rule.prerequisites);
        }
    }
    Ok(lists)
}

fn is_source(argument: &std::ffi::OsStr) -> bool {
    Path::new(argument).extension().is_some_and(|extension| ["c", "cc", "S"].iter().any(|wanted| extension == *wanted))
}

/// Whether a case is one that `clang-scan-deps` answers as clang does.
pub(crate) fn fits_batch(invocation: &Invocation, compiler: Compiler) -> bool {
    compiler == Compiler::Clang && invocation.environment.is_empty()
}
