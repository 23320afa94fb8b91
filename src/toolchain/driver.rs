//! What a driver runs and reads, by asking it: `-###` prints the commands instead of running them.
//!
//! **Source:** gcc's manual, "Overall Options" (`-###`) and "Developer Options" (`-print-file-name=`); clang's manual.

use super::process;
use crate::command::{Command, Family, Language};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What a driver says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Description {
    /// The programs that a compile runs: absolute, or bare names for `PATH`.
    pub(super) programs: BTreeSet<PathBuf>,
    /// Files that the programs are told to read: lists of sanitizers, plugins, ….
    pub(super) files: BTreeSet<PathBuf>,
    /// Files that the driver reads: specs, configuration.
    pub(super) option_files: BTreeSet<PathBuf>,
    /// Directories of the compiler's own headers as it spells them: it may reach them through links that it doesn't tell of.
    pub(super) directories: BTreeSet<PathBuf>,
    /// The installations of gcc that clang chooses among.
    pub(super) gcc_installations: BTreeSet<PathBuf>,
}

/// The language that stands for those which run the same programs.
pub(super) const fn representative(language: Language, family: Family) -> Language {
    match (family, language) {
        // clang is one program, which takes every language.
        (Family::Clang, _)
        | (_, Language::C | Language::CppOutput | Language::AssemblerWithCpp | Language::Assembler) => Language::C,
        (_, Language::Cxx | Language::CxxCppOutput) => Language::Cxx,
        (_, Language::ObjectiveC) => Language::ObjectiveC,
        (_, Language::ObjectiveCxx) => Language::ObjectiveCxx,
    }
}

/// Asks the driver of `command`, under its flags and `environment`. Runs it two or three times.
///
/// # Errors
/// Where the driver can't be run, or refuses its flags.
pub(super) fn describe(command: &Command, environment: &[(OsString, OsString)]) -> io::Result<Description> {
    let ask = |arguments: &[&OsStr]| {
        let mut all = command.probe_arguments.clone();
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        process::ask(&command.compiler, &all, &command.working_directory, environment)
    };
    let language = representative(command.language, command.family).name();
    let mut arguments = vec!["-###", "-x", language, "-c", "/dev/null", "-o", "/dev/null"];
    if command.family == Family::Clang {
        arguments.insert(0, "-v");
    }
    let answer = ask(&arguments.into_iter().map(OsStr::new).collect::<Vec<_>>())?;
    let mut description = read_commands(&answer.stderr, &command.working_directory);
    if description.programs.is_empty() {
        let message = String::from_utf8_lossy(&answer.stderr);
        return Err(io::Error::other(message.lines().next_back().unwrap_or("says nothing").to_owned()));
    }
    if command.family == Family::Gcc {
        let named = command.option_files.iter().filter(|file| !command.working_directory.join(file).is_file());
        let own = ["specs", "include", "include-fixed"].map(PathBuf::from);
        for name in own.iter().chain(named) {
            let mut question = OsString::from("-print-file-name=");
            question.push(name);
            let answer = ask(&[&question])?;
            // What isn't found comes back as it was asked for.
            let path = PathBuf::from(OsStr::from_bytes(answer.stdout.trim_ascii()));
            if path.is_absolute() && path.is_file() {
                description.option_files.insert(path);
            } else if path.is_absolute() && path.is_dir() {
                description.directories.insert(path);
            }
        }
    }
    for file in
        command.option_files.iter().map(|file| command.working_directory.join(file)).filter(|file| file.is_file())
    {
        description.option_files.insert(file);
    }
    for file in &description.option_files {
        check_options(file)?;
    }
    Ok(description)
}

/// Looks for what a file with options could say behind the scanner's back. Macros and directories are no secret: the
/// compiler's own answers show them.
fn check_options(file: &Path) -> io::Result<()> {
    const SECRETS: [&[u8]; 4] = [b"-include", b"-imacros", b"%include", b"@"];
    let content = std::fs::read(file)?;
    let is_specs = content.contains(&b'%');
    match SECRETS.iter().find(|secret| {
        // In specs, `@` is an operator.
        !(is_specs && **secret == b"@") && content.windows(secret.len()).any(|window| window == **secret)
    }) {
        Some(secret) => {
            let secret = String::from_utf8_lossy(secret);
            Err(io::Error::other(format!("{}: {secret} in a file with options", file.display())))
        }
        None => Ok(()),
    }
}

/// Reads the answer to `-###`: a line that starts with a blank is a command.
fn read_commands(text: &[u8], directory: &Path) -> Description {
    let mut description = Description::default();
    for line in text.split(|&byte| byte == b'\n') {
        let path_after =
            |prefix: &[u8]| line.strip_prefix(prefix).map(|path| directory.join(OsStr::from_bytes(path.trim_ascii())));
        if line.starts_with(b" ") {
            let words = words(line);
            let Some((program, arguments)) = words.split_first().filter(|(program, _)| *program != "(in-process)")
            else {
                continue;
            };
            description.programs.insert(program.into());
            description.files.extend(arguments.iter().filter_map(|argument| named_file(argument, directory)));
        } else if let Some(path) = path_after(b"Found candidate GCC installation: ") {
            description.gcc_installations.insert(path);
        } else if let Some(path) = path_after(b"Configuration file: ") {
            description.option_files.insert(path);
        }
    }
    description
}

/// The file that an argument is, or names behind its first `=`.
fn named_file(argument: &OsStr, directory: &Path) -> Option<PathBuf> {
    let bytes = argument.as_bytes();
    let operand = match bytes.iter().position(|&byte| byte == b'=') {
        Some(equals) if bytes.starts_with(b"-") => &bytes[equals + 1..],
        _ => bytes,
    };
    let path = directory.join(OsStr::from_bytes(operand));
    let is_path = operand.contains(&b'/') && !operand.starts_with(b"/dev/");
    (is_path && path.is_file()).then_some(path)
}

/// Splits a printed command: words are bare, or quoted with backslashes before quotes and backslashes.
fn words(line: &[u8]) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut current: Option<Vec<u8>> = None;
    let mut is_quoted = false;
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => current.get_or_insert_default().extend(bytes.next()),
            b'"' => {
                is_quoted = !is_quoted;
                current.get_or_insert_default();
            }
            b' ' if !is_quoted => words.extend(current.take().map(OsString::from_vec)),
            _ => current.get_or_insert_default().push(byte),
        }
    }
    words.extend(current.map(OsString::from_vec));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        let text = b"Found candidate GCC installation: /usr/lib/gcc/x/12\n\
            Selected GCC installation: /usr/lib/gcc/x/12\n\
            \x20(in-process)\n\
            \x20\"/opt/my clang\" \"-cc1\" \"-fsanitize-system-ignorelist=/etc/passwd\" \"-o\" \"/dev/null\" \"-x=/nowhere\"\n\
            \x20as --64 -o /dev/null /tmp/absent.s\n";
        let description = read_commands(text, Path::new("/"));
        assert_eq!(description.programs, ["/opt/my clang", "as"].map(PathBuf::from).into());
        assert_eq!(description.files, ["/etc/passwd"].map(PathBuf::from).into());
        assert_eq!(description.gcc_installations, ["/usr/lib/gcc/x/12"].map(PathBuf::from).into());
    }

    #[test]
    fn words_are_unquoted() {
        let check = |line: &str, expect: &[&str]| assert_eq!(words(line.as_bytes()), expect, "{line}");
        check(" as --64", &["as", "--64"]);
        check(r#" "/a b/c" "-D" "x=\"y\"" "#, &["/a b/c", "-D", "x=\"y\""]);
        check(r#" "" x"#, &["", "x"]);
    }
}
