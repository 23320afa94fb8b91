//! The sub-command's command line, which is that of distcc's own include server.
//!
//! **Source:** `include_server(1)`.

use crate::include_server::observation::Observation;
use crate::include_server::triggers::Triggers;
use clap::{ArgAction, Args};
use std::path::PathBuf;

/// How many mails are sent at most.
const DEFAULT_EMAIL_BOUND: u32 = 3;

/// Answer distcc's clients which files a compile needs, so that distcc's servers preprocess (pump mode)
///
/// Takes the place of the `include_server.py` of distcc 3.4. The command ends as soon as the include server, a process of
/// its own, is ready.
#[derive(Debug, Args)]
#[command(infer_long_args = true, args_override_self = true, next_line_help = false)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of include_server(1)")]
pub(crate) struct IncludeServerArguments {
    /// The socket where clients ask: what distcc's clients find in `INCLUDE_SERVER_PORT`
    #[arg(long, value_name = "SOCKET", required_unless_present_any = ["startup", "shutdown"])]
    pub(super) port: Option<PathBuf>,
    /// Write the number of the include server's process to FILE once it answers
    #[arg(long = "pid_file", value_name = "FILE")]
    pub(super) pid_file: Option<PathBuf>,
    /// What goes to standard error: the sum of 1 (warnings), 2, 4 and 8 (traces), 16 (data)
    #[arg(short = 'd', long = "debug_pattern", value_name = "PAT", default_value_t = 1)]
    pub(super) debug_pattern: u32,
    /// Print statistics to standard output after each request
    #[arg(short = 's', long)]
    pub(super) statistics: bool,
    /// Print elapsed, user and system time to standard error at the end
    #[arg(short = 't', long)]
    pub(super) time: bool,
    /// Verify that the files which the compiler reads are among those that are sent
    #[arg(short = 'v', long)]
    pub(super) verify: bool,
    /// Write the files found to `OUTPUT.d_approx`; with -x, also those that the compiler reads to `OUTPUT.d_exact`
    #[arg(short = 'w', long = "write_include_closure")]
    pub(super) write_include_closure: bool,
    /// Send what the compiler's own preprocessor says that it reads, and nothing more
    #[arg(short = 'x', long = "exact_analysis")]
    pub(super) exact_analysis: bool,
    /// Mail warnings to `DISTCC_EMAILLOG_WHOM_TO_BLAME`, or else to distcc-pump-errors
    #[arg(short = 'e', long, overrides_with = "no_email")]
    pub(super) email: bool,
    /// Send no mail: the default
    #[arg(long = "no-email", overrides_with = "email")]
    pub(super) no_email: bool,
    /// Send at most NUMBER mails, and a last one in case of an internal error
    #[arg(long = "email_bound", value_name = "NUMBER", default_value_t = DEFAULT_EMAIL_BOUND)]
    pub(super) email_bound: u32,
    /// Warn of each file whose path, free of symbolic links, RE matches; an empty RE matches all
    #[arg(long = "path_observation_re", value_name = "RE", value_parser = Observation::parse)]
    pub(super) path_observation_re: Option<Observation>,
    /// Flush everything that is kept when a file of LIST changes, appears or goes (paths and globs, separated by colons)
    #[arg(long = "stat_reset_triggers", value_name = "LIST", value_parser = Triggers::parse)]
    pub(super) stat_reset_triggers: Option<Triggers>,
    /// Ignore files that are included by an absolute path, rather than leave the compile to its client
    #[arg(long = "unsafe_absolute_includes")]
    pub(super) unsafe_absolute_includes: bool,
    /// Don't have servers create directories in which no file is needed
    #[arg(long = "no_force_dirs")]
    pub(super) no_force_dirs: bool,
    /// Accepted and without effect: no function-like macro is left unexpanded
    #[arg(long = "unsafe_no_unexpanded_functions")]
    pub(super) unsafe_no_unexpanded_functions: bool,
    /// Accepted for the usage of distcc's own, which does not implement it either
    #[arg(long = "simple_algorithm", hide = true)]
    pub(super) simple_algorithm: bool,
    /// Serve in this process, rather than start one of its own
    #[arg(long)]
    pub(super) foreground: bool,
    /// Start one in a directory of its own, and print the shell's commands that export where it is
    #[arg(long, action = ArgAction::SetTrue, conflicts_with_all = ["port", "pid_file", "shutdown", "foreground"])]
    pub(super) startup: bool,
    /// End the one that --startup started, and print what it had to say
    #[arg(long, action = ArgAction::SetTrue, conflicts_with_all = ["port", "pid_file", "foreground"])]
    pub(super) shutdown: bool,
    /// Say on standard input, which is a socket, when it is ready: how the command starts its own process
    #[arg(long = "ready-on-stdin", hide = true, requires = "foreground")]
    pub(super) ready_on_stdin: bool,
}

impl IncludeServerArguments {
    /// Whether discrepancies and refusals are mailed.
    pub(super) const fn sends_email(&self) -> bool {
        self.email && !self.no_email
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        arguments: IncludeServerArguments,
    }

    fn parse(line: &str) -> Result<IncludeServerArguments, String> {
        let words = std::iter::once("include-server").chain(line.split_whitespace());
        Program::try_parse_from(words).map(|program| program.arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn all_that_the_manual_page_lists() {
        let line = "--port /tmp/s --pid_file /tmp/p -d17 -e --email_bound 5 --path_observation_re=^/usr \
                    --stat_reset_triggers=a:b*.h -s -t -v -w -x --unsafe_absolute_includes --no_force_dirs \
                    --unsafe_no_unexpanded_functions";
        let arguments = parse(line).expect("understood");
        assert_eq!(arguments.port.as_deref(), Some(std::path::Path::new("/tmp/s")));
        assert_eq!(arguments.debug_pattern, 17);
        assert_eq!(arguments.email_bound, 5);
        assert!(arguments.sends_email() && arguments.no_force_dirs && arguments.unsafe_absolute_includes);
        assert!(arguments.statistics && arguments.time && arguments.verify);
        assert!(arguments.write_include_closure && arguments.exact_analysis);
    }

    #[test]
    fn the_last_word_counts() {
        for (line, expect) in [("", false), ("-e", true), ("-e --no-email", false), ("--no-email --email", true)] {
            let arguments = parse(&format!("--port s {line}")).expect("understood");
            assert_eq!(arguments.sends_email(), expect, "{line}");
        }
        assert_eq!(parse("--port s -d1 -d2 --debug_pattern=3").expect("understood").debug_pattern, 3);
        assert_eq!(parse("--port s").expect("understood").debug_pattern, 1);
        // As getopt has it.
        assert!(parse("--port s --stati --unsafe_abs").expect("understood").statistics);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, expect) in [
            ("", "--port <SOCKET>"),
            ("--port s -dx", "'x' for '--debug_pattern <PAT>'"),
            ("--port s --email_bound many", "'many' for '--email_bound <NUMBER>'"),
            ("--port s --path_observation_re=(", "'(' for '--path_observation_re <RE>'"),
            ("--port s --unknown", "'--unknown'"),
            ("--startup --port s", "'--startup' cannot be used with '--port <SOCKET>'"),
        ] {
            let error = parse(line).expect_err("refused");
            assert!(error.contains(expect), "{line}: {error}");
        }
    }
}
