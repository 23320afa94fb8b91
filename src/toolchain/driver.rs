//! What a driver runs and reads, by asking it: `-###` prints the commands instead of running them.
//!
//! **Source:** gcc's manual, "Overall Options" (`-###`) and "Developer Options" (`-print-file-name=`); clang's manual.

use super::process;
use crate::command::printed::{self, words};
use crate::command::{Command, Family, Language};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
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
    /// Where programs and files of options would be found first, if they were there.
    pub(super) candidates: BTreeSet<PathBuf>,
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

/// Asks the driver of `command`, under its flags and `environment`. Runs it a few times.
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
    if command.is_led() {
        let directories = match command.family {
            Family::Gcc => ask(&[OsStr::new("-print-search-dirs")])?.stdout,
            Family::Clang => Vec::new(),
        };
        description.candidates = candidates(&directories, &answer.stderr, &description.programs, command);
    }
    for file in
        command.option_files.iter().map(|file| command.working_directory.join(file)).filter(|file| file.is_file())
    {
        description.option_files.insert(file);
    }
    Ok(description)
}

/// Where `-B` and its like would lead to another program or file of options.
fn candidates(directories: &[u8], answer: &[u8], programs: &BTreeSet<PathBuf>, command: &Command) -> BTreeSet<PathBuf> {
    let target = answer.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"Target: "));
    let mut tools: BTreeSet<Vec<u8>> =
        programs.iter().filter_map(|program| Some(program.file_name()?.as_bytes().to_vec())).collect();
    tools.insert(b"as".to_vec());
    tools.extend(target.map(|target| [target, b"-as"].concat()));
    let mut options = BTreeSet::from([b"specs".to_vec()]);
    options.extend(command.option_files.iter().map(|file| file.as_os_str().as_bytes().to_vec()));
    let in_list = |title, names: &BTreeSet<Vec<u8>>| {
        let prefixes = printed::search_list(directories, title);
        prefixes.flat_map(|prefix| names.iter().map(|name| [prefix, name].concat()).collect::<Vec<_>>()).collect()
    };
    let mut paths: Vec<Vec<u8>> = in_list(printed::PROGRAMS, &tools);
    paths.append(&mut in_list(printed::LIBRARIES, &options));
    for directory in command.tool_directories.iter().map(|directory| directory.as_os_str().as_bytes()) {
        paths.push(directory.to_vec());
        for separator in [&b"/"[..], b""] {
            paths.extend(tools.iter().map(|name| [directory, separator, name].concat()));
        }
    }
    paths.into_iter().map(|path| command.working_directory.join(OsStr::from_bytes(&path))).collect()
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
        } else if let Some(path) = path_after(b"Configuration file: ").or_else(|| path_after(b"Reading specs from ")) {
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
}
