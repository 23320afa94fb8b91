//! What a driver runs and reads, by asking it: `-###` prints the commands instead of running them.
//!
//! **Source:** gcc's manual, "Overall Options" (`-###`) and "Developer Options" (`-print-file-name=`); clang's manual.

use super::Objects;
use crate::command::{CompileCommand, Family, Language};
use crate::compiler::answer::{self, OptionFile};
use crate::compiler::driver;
use crate::compiler::environment::{About, asking};
use crate::compiler::process::{NoAnswer, Request};
use std::collections::BTreeSet;
use std::ffi::OsStr;
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
    /// What the compiler proper is told to write.
    pub(super) objects: Objects,
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

/// Asks the driver of `command`, under its flags and variables. Runs it a few times.
///
/// # Errors
/// Where the driver can't be run, or refuses its flags.
pub(super) fn describe(command: &CompileCommand) -> io::Result<Description> {
    let request = Request {
        program: command.compiler.clone(),
        arguments: command.toolchain_arguments.clone(),
        environment: asking(command.environment.iter().chain(&command.tool_environment), About::Itself),
        directory: command.working_directory.clone(),
    };
    let refuse = |error: NoAnswer| io::Error::other(error.to_string());
    let language = representative(command.language, command.family).name();
    let commands = driver::commands(&request.with_last(driver::empty_compile(language))).map_err(refuse)?;
    let answer = &commands.standard_error;
    let mut description = read_commands(answer, &command.working_directory);
    if description.programs.is_empty() {
        return Err(io::Error::other(commands.last_words()));
    }
    if command.family == Family::Gcc {
        let named = command.option_files.iter().filter(|file| !command.working_directory.join(file).is_file());
        let own = ["specs", "include", "include-fixed"].map(PathBuf::from);
        for name in own.iter().chain(named) {
            match driver::file_name(&request, name).map_err(refuse)? {
                Some(file) if file.is_file() => drop(description.option_files.insert(file)),
                Some(directory) if directory.is_dir() => drop(description.directories.insert(directory)),
                _ => {}
            }
        }
    }
    if command.is_led() {
        let directories = match command.family {
            Family::Gcc => driver::search_lists(&request).map_err(refuse)?,
            Family::Clang => Vec::new(),
        };
        description.candidates = candidates(&directories, answer, &description.programs, command);
    }
    for file in
        command.option_files.iter().map(|file| command.working_directory.join(file)).filter(|file| file.is_file())
    {
        description.option_files.insert(file);
    }
    Ok(description)
}

/// Where `-B` and its like would lead to another program or file of options.
fn candidates(
    directories: &[u8],
    answer: &[u8],
    programs: &BTreeSet<PathBuf>,
    command: &CompileCommand,
) -> BTreeSet<PathBuf> {
    let target = answer::target(answer);
    let mut tools: BTreeSet<Vec<u8>> =
        programs.iter().filter_map(|program| Some(program.file_name()?.as_bytes().to_vec())).collect();
    tools.insert(b"as".to_vec());
    tools.extend(target.map(|target| [target, b"-as"].concat()));
    let mut options = BTreeSet::from([b"specs".to_vec()]);
    options.extend(command.option_files.iter().map(|file| file.as_os_str().as_bytes().to_vec()));
    let in_list = |title, names: &BTreeSet<Vec<u8>>| {
        let prefixes = answer::search_list(directories, title);
        prefixes.flat_map(|prefix| names.iter().map(|name| [prefix, name].concat()).collect::<Vec<_>>()).collect()
    };
    let mut paths: Vec<Vec<u8>> = in_list(answer::PROGRAMS, &tools);
    paths.append(&mut in_list(answer::LIBRARIES, &options));
    for directory in command.tool_directories.iter().map(|directory| directory.as_os_str().as_bytes()) {
        paths.push(directory.to_vec());
        for separator in [&b"/"[..], b""] {
            paths.extend(tools.iter().map(|name| [directory, separator, name].concat()));
        }
    }
    paths.into_iter().map(|path| command.working_directory.join(OsStr::from_bytes(&path))).collect()
}

/// Reads the answer to `-###`.
fn read_commands(text: &[u8], directory: &Path) -> Description {
    let mut description = Description::default();
    for words in answer::commands(text) {
        let Some((program, arguments)) = words.split_first() else { continue };
        description.programs.insert(program.into());
        description.files.extend(arguments.iter().filter_map(|argument| named_file(argument, directory)));
        if answer::writes_passing_objects(arguments) {
            description.objects = Objects::Passing;
        }
    }
    let place = |path: &[u8]| directory.join(OsStr::from_bytes(path));
    description.gcc_installations.extend(answer::gcc_installations(text).map(|path| directory.join(path)));
    description.option_files.extend(answer::option_files(text).filter_map(|file| match file {
        OptionFile::Specs(path) | OptionFile::Configuration(path) => Some(place(path)),
        OptionFile::NoSpecs(_) => None,
    }));
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
