//! On a terminal, messages are those that the compiler would have written there: cut to its width, with its colours and links.

use anyhow::{Result, ensure};
use pumphouse_tests::client::Client;
use pumphouse_tests::process::succeed;
use pumphouse_tests::workspace::Workspace;
use std::process::Command;

const FILES: &[(&str, &str)] = &[
    (
        "warning.c",
        "int f(void) { int first_unused_variable_with_a_long_name, second_unused_variable_with_a_long_name, third; return 0; }\n",
    ),
    ("silent.c", "int f(void) { return 0; }\n"),
    ("error.c", "int f(void) { return undeclared; }\n"),
];

/// Variables and widths under which compilers write otherwise.
const TERMINALS: &[(&str, u32)] = &[
    ("TERM=xterm-256color COLORTERM=truecolor", 60),
    ("TERM=xterm-256color COLORTERM=truecolor", 200),
    ("TERM=xterm", 80),
    ("TERM=vt100", 80),
    ("TERM=dumb", 60),
    ("TERM=xterm-256color COLUMNS=50", 120),
];

/// What `line` writes to a terminal of so many columns.
fn on_terminal(client: &Client, workspace: &Workspace, variables: &str, columns: u32, line: &str) -> Result<String> {
    let script = format!("stty cols {columns}; {variables} {line}; echo ended with $?");
    let mut command = Command::new("script");
    command.args(["-qec", &script, "/dev/null"]).env_remove("COLUMNS").env_remove("COLORTERM");
    succeed(client.equip(&mut command).current_dir(workspace.path()))
}

#[test]
fn messages_on_a_terminal_are_those_that_the_compiler_writes_there() -> Result<()> {
    let workspace = Workspace::new(FILES)?;
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let program = pumphouse_tests::program::program()?;
    for line in ["gcc -Wall -c warning.c", "clang -Wall -c warning.c", "gcc -c error.c"] {
        let mut written = Vec::new();
        for (variables, columns) in TERMINALS {
            let plain = on_terminal(&client, &workspace, variables, *columns, line)?;
            for _ in 0..2 {
                let through = format!("{} {line}", program.display());
                let through = on_terminal(&client, &workspace, variables, *columns, &through)?;
                ensure!(through == plain, "{variables}, {columns} columns, {line}:\n{plain:?}\n{through:?}");
            }
            written.push(plain);
        }
        written.sort();
        written.dedup();
        ensure!(written.len() > 1, "{line}: all terminals show the same");
    }
    Ok(())
}

#[test]
fn what_says_nothing_comes_from_the_cache_on_a_terminal_too() -> Result<()> {
    let workspace = Workspace::new(FILES)?;
    let directory = tempfile::tempdir()?;
    let client = Client::new(directory.path(), None)?;
    let program = pumphouse_tests::program::program()?;
    for line in ["gcc -Wall -c silent.c", "clang -Wall -c silent.c"] {
        let line = format!("{} {line}", program.display());
        for columns in [60, 80, 100] {
            let said = on_terminal(&client, &workspace, "TERM=xterm", columns, &line)?;
            ensure!(said.trim() == "ended with 0", "{said:?}");
        }
    }
    let stats = client.stats()?;
    ensure!(stats.local_hits == 4, "{stats:?}");
    Ok(())
}
