//! What was counted over all cases.

use pumphouse::fallback::Fallback;
use std::collections::BTreeMap;
use std::fmt;

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cases: u64,
    /// Cases that the compiler itself does not accept.
    pub(crate) failing: u64,
    /// Cases whose closure was compared with the compiler's list.
    pub(crate) lists: u64,
    pub(crate) files: u64,
    pub(crate) surplus_files: u64,
    pub(crate) surplus_cases: u64,
    pub(crate) replicas: u64,
    pub(crate) objects: u64,
    /// Objects that differ from themselves when the same compile runs twice here: nothing follows from their bytes.
    pub(crate) incomparable: u64,
    pub(crate) fresh: u64,
    /// Refusals by reason: of cases that the compiler accepts, and of others.
    pub(crate) refusals: BTreeMap<&'static str, (u64, u64)>,
    pub(crate) wrong: u64,
}

impl Tally {
    pub(crate) fn refused(&mut self, fallback: &Fallback, compiles: bool) {
        let count = self.refusals.entry(fallback.reason.name()).or_default();
        if compiles {
            count.0 += 1;
        } else {
            count.1 += 1;
            self.failing += 1;
        }
    }

    pub(crate) fn compared(&mut self, files: usize, surplus: usize) {
        self.lists += 1;
        self.files += files as u64;
        self.surplus_files += surplus as u64;
        self.surplus_cases += u64::from(surplus > 0);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{} cases: {} wrong; {} closures equal to the compiler's list or larger, {} files, {} surplus files in {} cases",
            self.cases, self.wrong, self.lists, self.files, self.surplus_files, self.surplus_cases
        )?;
        writeln!(
            formatter,
            "{} runs in the replica ({} objects, {} more that differ from themselves), {} against a new scanner, {} cases \
             that the compiler rejects",
            self.replicas, self.objects, self.incomparable, self.fresh, self.failing
        )?;
        for (reason, (good, bad)) in &self.refusals {
            writeln!(formatter, "refused, {reason}: {good} that compile, {bad} that don't")?;
        }
        Ok(())
    }
}
