//! Where the programs' own messages go.

use anyhow::Context as _;
use std::fs::File;
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// What is logged where nothing is said.
pub(super) const DEFAULT: &str = "info";

/// Logs what `directives` say to standard error.
///
/// # Errors
/// They are not understood.
pub(super) fn to_stderr(directives: &str) -> anyhow::Result<()> {
    let is_terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter(directives)?)
        .with_ansi(is_terminal)
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}

/// Logs what `directives` say to `file`.
///
/// # Errors
/// They are not understood.
pub(super) fn to_file(directives: &str, file: File) -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_env_filter(filter(directives)?).with_ansi(false).with_writer(file).init();
    Ok(())
}

/// Reads directives as `tracing` understands them. A level alone is meant for Pumphouse; the libraries warn at most.
fn filter(directives: &str) -> anyhow::Result<EnvFilter> {
    let is_level = !directives.contains(['=', ',', '[']);
    let meant = if is_level { format!("warn,pumphouse={directives}") } else { directives.to_owned() };
    EnvFilter::try_new(meant)
        .with_context(|| format!("{directives:?} are not log directives, such as debug or info,h2=debug"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_alone_is_for_pumphouse() {
        let check = |directives: &str, expect: Option<&str>| {
            assert_eq!(filter(directives).ok().map(|filter| filter.to_string()).as_deref(), expect);
        };
        check("debug", Some("pumphouse=debug,warn"));
        check("trace,h2=debug", Some("h2=debug,trace"));
        check("pumphouse=loud", None);
    }
}
