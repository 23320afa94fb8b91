//! What went wrong lately, for `pumphouse stats`: a build's standard error is its compilers' alone.
//!
//! Every warning and error of the daemon's log is one, by its words: how often it came up, and when it last did. A bounded
//! number is kept, the latest.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// How many different problems are kept.
const PROBLEM_LIMIT: usize = 16;

/// How long the words of one may be, in characters.
const WORDS_LIMIT: usize = 500;

/// Problems by their words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Problems(BTreeMap<String, Problem>);

/// How often something went wrong, and when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    /// How often.
    pub count: u64,
    /// When it last did, in seconds since 1970.
    pub last: u64,
}

impl Problems {
    /// Adds one that came up at `time`. Words that take several lines become one.
    pub(crate) fn add(&mut self, words: &str, time: SystemTime) {
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        let last = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.merge(words.chars().take(WORDS_LIMIT).collect(), Problem { count: 1, last });
    }

    /// Adds what `other` has.
    pub(super) fn add_all(&mut self, other: &Self) {
        for (words, problem) in &other.0 {
            self.merge(words.clone(), *problem);
        }
    }

    /// The words and the figures, the latest first.
    pub(super) fn latest_first(&self) -> Vec<(&str, Problem)> {
        let mut list: Vec<_> = self.0.iter().map(|(words, problem)| (words.as_str(), *problem)).collect();
        list.sort_by_key(|(_, problem)| std::cmp::Reverse(problem.last));
        list
    }

    fn merge(&mut self, words: String, problem: Problem) {
        let known = self.0.entry(words).or_default();
        known.count += problem.count;
        known.last = known.last.max(problem.last);
        if self.0.len() > PROBLEM_LIMIT {
            let oldest = self.0.iter().min_by_key(|(_, problem)| problem.last).map(|(words, _)| words.clone());
            oldest.map(|words| self.0.remove(&words));
        }
    }
}

/// Counts the warnings and errors of a log.
#[derive(Debug)]
pub(crate) struct Recorder(pub(crate) Arc<super::Statistics>);

impl<S: Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() <= Level::WARN {
            let mut words = Words::default();
            event.record(&mut words);
            self.0.problem(&(words.message + &words.fields));
        }
    }
}

#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "error" => write!(self.fields, ": {value:?}"),
            name => write!(self.fields, ", {name}: {value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_latest_are_kept_on_one_line_each() {
        let mut problems = Problems::default();
        for number in 0..PROBLEM_LIMIT as u64 + 4 {
            problems.add(&format!("line {number}\n  goes on"), UNIX_EPOCH + Duration::from_secs(number));
        }
        problems.add("line 9 goes on", UNIX_EPOCH + Duration::from_secs(100));
        let latest = problems.latest_first();
        assert_eq!(latest.len(), PROBLEM_LIMIT);
        assert_eq!(latest[0], ("line 9 goes on", Problem { count: 2, last: 100 }));
        assert!(problems.0.keys().all(|words| words != "line 0 goes on"));
    }
}
