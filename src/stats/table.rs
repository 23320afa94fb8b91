//! The statistics for people.

use super::Counters;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// The counters as a table, a line each; ends with a line feed.
pub(crate) fn render(counters: &Counters) -> String {
    let mut table = String::new();
    let mut line = |name: &str, count: u64, indent: usize| {
        let share = match counters.compiles {
            0 => String::new(),
            compiles => format!("{:7.1} %", count as f64 * 100.0 / compiles as f64),
        };
        let width = 28 - indent;
        let _ = writeln!(table, "{:indent$}{name:<width$}{count:>12}{share}", "");
    };
    line("compiles", counters.compiles, 0);
    line("local hits", counters.local_hits, 2);
    line("remote hits", counters.remote_hits, 2);
    line("remote runs", counters.remote_runs, 2);
    line("plain runs", counters.plain_runs, 2);
    line("local runs", counters.local_runs.values().sum(), 2);
    for (reason, count) in &counters.local_runs {
        line(reason, *count, 4);
    }
    line("failed", counters.failed, 0);
    if counters.discrepancies > 0 {
        line("discrepancies", counters.discrepancies, 0);
    }
    if counters.corrupt_entries > 0 {
        let _ = writeln!(table, "{:<28}{:>12}", "corrupt cache entries", counters.corrupt_entries);
    }
    for (name, count) in [
        ("hits compiled again", counters.audits),
        ("  without a verdict", counters.audits_open),
        ("  wrong", counters.audit_differences),
    ] {
        if count > 0 {
            let _ = writeln!(table, "{name:<28}{count:>12}");
        }
    }
    let _ = writeln!(table, "{:<28}{:>12}", "bytes uploaded", size(counters.bytes_uploaded));
    let _ = writeln!(table, "{:<28}{:>12}", "bytes downloaded", size(counters.bytes_downloaded));
    for (stage, milliseconds) in &counters.stage_ms {
        let name = format!("time in {}", stage.replace('_', " "));
        let _ = writeln!(table, "{name:<28}{:>12}", time(*milliseconds));
    }
    if !counters.without_daemon.is_empty() {
        let _ = writeln!(table, "{:<28}{:>12}", "without the daemon", counters.without_daemon.values().sum::<u64>());
        for (reason, count) in &counters.without_daemon {
            let _ = writeln!(table, "    {reason:<24}{count:>12}");
        }
    }
    let problems = counters.problems.latest_first();
    if !problems.is_empty() {
        let _ = writeln!(table, "last problems");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        for (words, problem) in problems {
            let times = if problem.count == 1 { String::new() } else { format!(", {} times", problem.count) };
            let _ = writeln!(table, "    {words} ({}{times})", age(now.saturating_sub(problem.last)));
        }
    }
    table
}

fn age(seconds: u64) -> String {
    match seconds {
        0..=1 => "just now".to_owned(),
        2..=119 => format!("{seconds} s ago"),
        120..=7199 => format!("{} min ago", seconds / 60),
        7200..=172_799 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86400),
    }
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

fn time(milliseconds: f64) -> String {
    if milliseconds < 1000.0 { format!("{milliseconds:.1} ms") } else { format!("{:.1} s", milliseconds / 1000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shows_outcomes_shares_and_reasons() {
        let counters = Counters {
            compiles: 4,
            local_hits: 3,
            local_runs: [("unknown-flag".to_owned(), 1)].into(),
            bytes_uploaded: 1_234_567,
            stage_ms: [("local_cache".to_owned(), 1234.5)].into(),
            without_daemon: [("locked".to_owned(), 2)].into(),
            ..Counters::default()
        };
        let mut counters = counters;
        counters.problems.add("no such server", SystemTime::now());
        let table = render(&counters);
        for expect in [
            "    locked                             2",
            "    no such server (just now)",
            "compiles",
            "75.0 %",
            "    unknown-flag",
            "1.2 MB",
            "time in local cache",
            "1.2 s",
        ] {
            assert!(table.contains(expect), "{expect:?} in\n{table}");
        }
    }

    #[test]
    fn sizes_have_units() {
        let check = |bytes: u64, expect: &str| assert_eq!(size(bytes), expect);
        check(0, "0 B");
        check(999, "999 B");
        check(1000, "1.0 kB");
        check(2_500_000_000, "2.5 GB");
        check(u64::MAX, "18446744.1 TB");
    }
}
