//! What an include server has done: `--statistics` and `--time`.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::{Duration, Instant};

/// Counts and times since the start.
#[derive(Debug, Clone, Default)]
pub(super) struct Statistics {
    /// Requests that named files.
    pub(super) covered: u64,
    /// Requests that were left to the client, by reason.
    pub(super) not_covered: BTreeMap<&'static str, u64>,
    /// Requests that could not be understood.
    pub(super) malformed: u64,
    /// Requests whose answer was the same as before.
    pub(super) repeated: u64,
    /// Files of the closures, together.
    pub(super) closure_files: u64,
    /// Paths in answers, together.
    pub(super) paths: u64,
    /// Copies that were made.
    pub(super) copies: u64,
    /// Their compressed length.
    pub(super) copied_bytes: u64,
    times: Option<Times>,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    last: Duration,
    least: Duration,
    most: Duration,
    total: Duration,
    count: u32,
}

impl Statistics {
    /// Notes that a request took `time`.
    pub(super) fn took(&mut self, time: Duration) {
        self.times = Some(match self.times {
            None => Times { last: time, least: time, most: time, total: time, count: 1 },
            Some(times) => Times {
                last: time,
                least: times.least.min(time),
                most: times.most.max(time),
                total: times.total + time,
                count: times.count.saturating_add(1),
            },
        });
    }

    /// Notes that a request was left to the client.
    pub(super) fn count_not_covered(&mut self, name: &'static str) {
        *self.not_covered.entry(name).or_default() += 1;
    }

    /// Requests that were left to the client.
    pub(super) fn not_covered_total(&self) -> u64 {
        self.not_covered.values().sum()
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(times) = self.times {
            let average = times.total / times.count;
            let [last, shortest, longest, average] =
                [times.last, times.least, times.most, average].map(|time| time.as_secs_f64() * 1000.0);
            writeln!(
                formatter,
                "TIME:    last {last:.3} ms, min {shortest:.3} ms, max {longest:.3} ms, average {average:.3} ms, #: {}, total: \
                 {:.3} s",
                times.count,
                times.total.as_secs_f64()
            )?;
        }
        let mut line = |name: &str, count: u64| writeln!(formatter, "COUNTER: {name:<24} {count:>10}");
        line("covered", self.covered)?;
        line("not covered", self.not_covered_total())?;
        for (name, count) in &self.not_covered {
            line(&format!("  {name}"), *count)?;
        }
        line("malformed requests", self.malformed)?;
        line("repeated answers", self.repeated)?;
        line("files in closures", self.closure_files)?;
        line("paths in answers", self.paths)?;
        line("files compressed", self.copies)?;
        line("compressed bytes", self.copied_bytes)
    }
}

/// What `--time` prints at the end.
pub(super) fn times(started: Instant) -> String {
    let (user, system) = processor_seconds().unwrap_or_default();
    let mut text = String::from("Include server timing. ");
    let elapsed = started.elapsed().as_secs_f64();
    let _ = write!(
        text,
        "Elapsed: {elapsed:3.1}s User: {user:3.1}s System: {system:3.1}s User + System: {:3.1}s",
        user + system
    );
    text
}

/// Seconds of user and system time of this process and the children that it waited for.
///
/// **Source:** `proc_pid_stat(5)`.
fn processor_seconds() -> Option<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, which may hold anything, ends at the last parenthesis; the third field follows.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let seconds = |number: usize| fields.get(number - 3)?.parse::<u64>().ok().map(|count| count as f64 / ticks);
    Some((seconds(14)? + seconds(16)?, seconds(15)? + seconds(17)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_happened() {
        let mut statistics = Statistics { covered: 2, paths: 7, ..Statistics::default() };
        statistics.count_not_covered("header-map");
        statistics.count_not_covered("header-map");
        statistics.took(Duration::from_millis(3));
        statistics.took(Duration::from_millis(1));
        let text = statistics.to_string();
        assert!(text.starts_with(
            "TIME:    last 1.000 ms, min 1.000 ms, max 3.000 ms, average 2.000 ms, #: 2, total: 0.004 s\n\
             COUNTER: covered                           2\n\
             COUNTER: not covered                       2\n\
             COUNTER:   header-map                      2\n"
        ));
        assert_eq!(Statistics::default().not_covered_total(), 0);
    }

    #[test]
    fn times_of_a_real_process() {
        let text = times(Instant::now());
        assert!(text.starts_with("Include server timing. Elapsed: 0.0s User: "), "{text}");
        let (user, system) = processor_seconds().expect("this process has a stat");
        assert!(user + system >= 0.0);
    }
}
