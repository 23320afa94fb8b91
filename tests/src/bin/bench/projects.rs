//! Real projects, built plainly, through pumphouse and again: times, outcomes and the comparison of every object.

use crate::table::Table;
use anyhow::{Result, ensure};
use pumphouse_tests::project::{ALL, Trial, compiles};
use pumphouse_tests::pumphouse::Pumphouse;

/// Prints the table.
///
/// # Errors
/// When a build fails; and, after the table, when objects differ or too little was remote: this much is not a matter of
/// time.
pub(crate) fn run() -> Result<()> {
    let chosen: Vec<_> = std::env::args().skip(2).collect();
    let mut table = Table::new(&[
        "project",
        "plain",
        "first",
        "second",
        "objects",
        "identical",
        "compiles",
        "remote",
        "here",
        "second: hits",
    ]);
    let mut wrong = Vec::new();
    for project in ALL.iter().filter(|project| chosen.is_empty() || chosen.iter().any(|name| name == project.name)) {
        let site = Pumphouse::up()?;
        let trial = project.trial(&site.root().join(project.name), &site.client)?;
        let stats = &trial.first_stats;
        table.row([
            project.name.to_owned(),
            format!("{:.1} s", trial.wall[0].as_secs_f64()),
            format!("{:.1} s", trial.wall[1].as_secs_f64()),
            format!("{:.1} s", trial.wall[2].as_secs_f64()),
            (trial.first.identical + trial.first.different.len()).to_string(),
            trial.first.identical.to_string(),
            stats.compiles.to_string(),
            format!("{:.1} %", trial.remote_share() * 100.0),
            stats.local().to_string(),
            format!("{} of {}", trial.second_stats.hits(), compiles(&trial.second_stats)),
        ]);
        judge(project.name, &trial, &mut wrong);
    }
    table.print();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn judge(name: &str, trial: &Trial, wrong: &mut Vec<String>) {
    for (build, comparison) in [("first", &trial.first), ("second", &trial.second)] {
        if !comparison.is_identical() {
            wrong.push(format!("{name}: objects of the {build} build differ: {comparison:?}"));
        }
    }
    for (reason, count) in &trial.first_stats.local_runs {
        println!("{name}: {count} ran here: {reason}");
    }
    if trial.remote_share() < 0.95 {
        wrong.push(format!("{name}: too little was remote: {:?}", trial.first_stats));
    }
    if !trial.is_all_hits() {
        wrong.push(format!("{name}: the second build compiled: {:?}", trial.second_stats));
    }
}
