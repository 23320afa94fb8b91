//! What distcc's pump mode costs the client's machine: distcc's own client, and our include server.
//!
//! Each unit of a project is compiled once by `distccd` on the loopback, one at a time, and then once more. The
//! include server's time holds the compilers that it asks. Debian's own include server can't be measured beside it, for it
//! ends at its first request; distcc's authors publish 3.1 ms a unit for a cold one and 1.3 ms for a warm one.

use crate::scan::units;
use crate::table::Table;
use crate::usage::{children, milliseconds, process_with_children};
use anyhow::{Result, ensure};
use pumphouse_tests::distcc::Distcc;
use pumphouse_tests::process::succeed;
use pumphouse_tests::project::{LUA, Project, REDIS};
use std::process::Command;

/// Prints a table for each project.
pub(crate) fn run() -> Result<()> {
    for project in [LUA, REDIS] {
        measure(&project)?;
    }
    println!("published of distcc's include server: 3.10 ms cold, 1.30 ms warm");
    Ok(())
}

fn measure(project: &Project) -> Result<()> {
    let farm = Distcc::start()?;
    let server = farm.include_server("include-server", &[])?;
    let units = units(project, &farm.root().join(project.name))?;
    let count = units.len() as u32;
    let mut table = Table::new(&["", "client a unit", "include server a unit", "together"]);
    for name in ["cold", "warm"] {
        let before = (children()?, process_with_children(server.process)?);
        for unit in &units {
            let mut command = Command::new("distcc");
            succeed(server.equip(command.args(&unit.arguments).current_dir(&unit.directory)))?;
        }
        let client = children()?.saturating_sub(before.0) / count;
        let own = process_with_children(server.process)?.saturating_sub(before.1) / count;
        table.row([name.to_owned(), milliseconds(client), milliseconds(own), milliseconds(client + own)]);
    }
    ensure!(server.local_compiles().is_empty(), "{:?}", server.local_compiles());
    ensure!(server.remote_compiles() == 2 * units.len(), "{} of {}", server.remote_compiles(), 2 * units.len());
    println!("{}: {count} units, all compiled by distccd from what the include server listed", project.name);
    table.print();
    Ok(())
}
