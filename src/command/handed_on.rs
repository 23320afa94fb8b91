//! What a driver hands on to the compiler proper and to the assembler, read back from the command lines that it prints.
//!
//! Where files of options take part, these lines alone say what the preprocessor is told. Whatever reads or writes a
//! file that the user's own command line doesn't name is refused.
//!
//! What it does not know: how a driver is asked, and which files it read.
//!
//! **Source:** gcc's manual, "Specifying Subprocesses and the Switches to Pass to Them"; clang's manual, "Configuration
//! files"; both compilers as observed.

use super::arguments::Reader;
use super::meant::Meant;
use super::options::proper;
use super::{AskedFrom, CompileCommand, Family, Language, PreprocessorOptions, assembler, outputs, response_file};
use crate::compiler::answer::{commands, is_gcc_proper};
use crate::fallback::{Fallback, Reason};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What the programs that a driver runs are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HandedOn {
    /// What the preprocessor and the assembler are told.
    pub(crate) preprocessor: PreprocessorOptions,
    /// The compiler proper; `None` where only the assembler runs.
    pub(crate) proper: Option<Proper>,
    /// Files that flags name and that the compile reads.
    pub(crate) inputs: Vec<PathBuf>,
    /// The names of the programs, without directories.
    pub(crate) programs: Vec<OsString>,
}

/// The compiler proper as a driver runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proper {
    pub(crate) program: PathBuf,
    /// What it is told besides [`HandedOn::preprocessor`], the source, the outputs and the warnings.
    pub(crate) arguments: Vec<OsString>,
    /// Whether one of them names a path from the working directory.
    pub(crate) asked_from: AskedFrom,
}

/// Functions of specs that look at what the scanner doesn't see: variables and files.
const UNSEEN_FUNCTIONS: [&[u8]; 3] = [b"%:getenv", b"%:if-exists", b"%:find-file"];

impl HandedOn {
    /// Reads the answer of the driver of `command` to `-###`: a line that starts with a blank is a command.
    ///
    /// # Errors
    /// [`Reason::UnsupportedFlag`], or the reason that the flag itself has, for what isn't followed;
    /// [`Reason::Compiler`] where there is no command that compiles.
    pub(crate) fn read(answer: &[u8], command: &CompileCommand) -> Result<Self, Fallback> {
        let mut read =
            Self { preprocessor: command.preprocessor.clone(), proper: None, inputs: Vec::new(), programs: Vec::new() };
        let mut assembles = false;
        for words in commands(answer) {
            let Some((program, arguments)) = words.split_first() else { continue };
            let unfollowed = |what: &OsStr| Fallback::new(Reason::UnsupportedFlag, what.to_string_lossy());
            if let Some(strange) = arguments.iter().find(|word| word.as_bytes().starts_with(b"@")) {
                return Err(unfollowed(strange));
            }
            let name = Path::new(program).file_name().unwrap_or_default();
            read.programs.push(name.to_owned());
            let first = arguments.first().map(|word| word.as_bytes());
            match name.as_bytes() {
                name if is_gcc_proper(name) && read.proper.is_none() => {
                    read.compiles(program, arguments, command)?;
                }
                _ if first == Some(proper::CLANG_PROPER.as_bytes()) && read.proper.is_none() => {
                    read.compiles(program, &arguments[1..], command)?;
                }
                _ if first == Some(proper::CLANG_ASSEMBLER.as_bytes()) && !assembles => {
                    read.preprocessor.assembler_path = Some(directories_of_integrated_assembler(&arguments[1..]));
                    assembles = true;
                }
                name if name.ends_with(b"as") && !assembles => {
                    read.assembles(arguments, command)?;
                    assembles = true;
                }
                name if name.ends_with(b"objcopy") => {}
                _ => return Err(unfollowed(program)),
            }
        }
        if read.proper.is_none() && !(assembles && command.language == Language::Assembler) {
            let text = String::from_utf8_lossy(answer);
            let last = text.lines().next_back().unwrap_or("the driver says nothing");
            return Err(Fallback::new(Reason::Compiler, last));
        }
        Ok(read)
    }

    /// Takes in the command line of the compiler proper.
    fn compiles(&mut self, program: &OsStr, arguments: &[OsString], command: &CompileCommand) -> Result<(), Fallback> {
        let family = command.family;
        let mut list: Vec<OsString> = Vec::with_capacity(arguments.len());
        let mut writes_dependencies = false;
        let mut rest = arguments.iter();
        while let Some(word) = rest.next() {
            if proper::is_name(word) {
                writes_dependencies |= word == proper::DEPENDENCY_FILE;
                rest.next();
            } else if !(proper::is_report(word)
                || word == proper::ONLY_PREPROCESSES && command.language == Language::AssemblerWithCpp)
            {
                list.push(word.clone());
            }
        }
        if family == Family::Clang && list.last().is_some_and(|last| *last == command.source.as_os_str()) {
            list.pop();
        }
        if let Some(native) = list.iter().find(|word| *word == "native" || word.as_bytes().ends_with(b"=native")) {
            return Err(Fallback::new(Reason::HostDependent, native.to_string_lossy()));
        }
        // To a driver this would be a library.
        let assembler =
            list.iter().position(|word| family == Family::Gcc && word == proper::ASSEMBLY).map(|at| list.remove(at));
        let mut meant = Meant::default();
        meant.read(&list, family, Reader::Proper)?;
        meant.probe.extend(assembler);
        if let Some((file, _)) = meant.sources.iter().find(|(file, _)| *file != command.source) {
            return Err(Fallback::new(Reason::UnsupportedFlag, file.to_string_lossy()));
        }
        meant.output = Some(command.outputs.object.clone());
        meant.names_dumps = false;
        let derived = outputs::derive(&meant, &command.source, command.language, family)?;
        let known = |output: &PathBuf| command.outputs.others.contains(output);
        if let Some(other) = derived.others.iter().find(|other| !known(other)) {
            return Err(Fallback::new(Reason::UnsupportedFlag, format!("output {}", other.display())));
        }
        let names_no_depfile = meant.dependency_file.as_deref() == Some(Path::new("/dev/null"));
        if (meant.writes_dependencies && !names_no_depfile || writes_dependencies) && command.outputs.depfile.is_none()
        {
            return Err(Fallback::new(Reason::UnsupportedFlag, proper::DEPENDENCIES));
        }
        self.inputs = outputs::profile_inputs(&meant, &command.outputs.object, &command.working_directory, family);
        self.inputs.append(&mut meant.inputs);
        if family == Family::Clang {
            meant.probe.insert(0, proper::CLANG_PROPER.into());
            if let Some(language) = meant.language {
                meant.probe.extend([proper::LANGUAGE, language.asked_as().name()].map(OsString::from));
            }
        }
        meant.preprocessor.sysroot = meant.header_sysroot.take();
        self.preprocessor = meant.preprocessor;
        let is_path = program.as_bytes().contains(&b'/');
        let program = if is_path { command.working_directory.join(program) } else { program.into() };
        self.proper = Some(Proper { program, arguments: meant.probe, asked_from: meant.asked_from });
        Ok(())
    }

    /// Takes in the command line of the assembler.
    fn assembles(&mut self, arguments: &[OsString], command: &CompileCommand) -> Result<(), Fallback> {
        let mut list = arguments.to_vec();
        // The assembly comes last.
        list.pop();
        list.retain(|word| !proper::is_report(word));
        if let Some(output) = list.iter().position(|word| word == proper::OUTPUT) {
            list.drain(output..(output + 2).min(list.len()));
        }
        let options = assembler::read(&list)?;
        if let Some(output) = options.outputs.iter().find(|output| !command.outputs.others.contains(output)) {
            return Err(Fallback::new(Reason::UnsupportedFlag, format!("output {}", output.display())));
        }
        self.preprocessor.assembler_path = Some(options.directories);
        Ok(())
    }
}

fn directories_of_integrated_assembler(arguments: &[OsString]) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        match proper::ForAssembler::of(word.as_bytes()) {
            proper::ForAssembler::Directory(None) => directories.extend(rest.next().map(PathBuf::from)),
            proper::ForAssembler::Directory(Some(directory)) => directories.push(OsStr::from_bytes(directory).into()),
            _ => {}
        }
    }
    directories
}

/// Looks for what specs could say behind the back of the answer to `-###`.
///
/// # Errors
/// [`Reason::UnsupportedFlag`] for functions that read variables or look for files; [`Reason::HostDependent`] for what
/// depends on the machine that compiles.
pub(crate) fn check_specs(content: &[u8]) -> Result<(), Fallback> {
    let holds = |line: &[u8], text: &[u8]| memchr::memmem::find(line, text).is_some();
    for line in content.split(|byte| *byte == b'\n') {
        if let Some(function) = UNSEEN_FUNCTIONS.iter().find(|function| holds(line, function)) {
            return Err(Fallback::new(Reason::UnsupportedFlag, String::from_utf8_lossy(function)));
        }
        // The built-in specs have it where the command line asks for it, which is refused there.
        if holds(line, b"local_cpu_detect") && !holds(line, b"=native:") {
            return Err(Fallback::new(Reason::UnsupportedFlag, "%:local_cpu_detect"));
        }
        if let Some(flag) = proper::NATIVE_IN_SPECS.iter().find(|flag| holds(line, flag)) {
            return Err(Fallback::new(Reason::HostDependent, String::from_utf8_lossy(flag)));
        }
    }
    Ok(())
}

/// What stands in a configuration file of clang.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) arguments: Vec<OsString>,
    /// The names behind `@`: further files, from this one's directory.
    pub(crate) files: Vec<PathBuf>,
}

/// Reads the configuration file that is in `directory`, for which `<CFGDIR>` stands in it.
///
/// # Errors
/// The reason for which an argument isn't followed: [`Reason::UnsupportedFlag`] for what writes a file or is one.
pub(crate) fn read_configuration(content: &[u8], directory: &Path) -> Result<Configuration, Fallback> {
    let in_place = |word: &OsString| in_directory(word, directory);
    let (files, arguments): (Vec<_>, Vec<_>) =
        configuration(content).iter().map(in_place).partition(|word| word.as_bytes().starts_with(b"@"));
    let mut meant = Meant::default();
    meant.read(&arguments, Family::Clang, Reader::Driver)?;
    let is_said = meant.phase.is_some()
        || meant.output.is_some()
        || meant.writes_dependencies
        || !meant.products.is_empty()
        || !meant.named_outputs.is_empty()
        || meant.language.is_some()
        || !meant.sources.is_empty()
        || meant.emits_llvm;
    if is_said {
        return Err(Fallback::new(Reason::UnsupportedFlag, "a source or an output"));
    }
    let file = |name: &OsString| directory.join(OsStr::from_bytes(&name.as_bytes()[1..]));
    Ok(Configuration { files: files.iter().map(file).collect(), arguments })
}

/// `word` with `directory` for its `<CFGDIR>`.
fn in_directory(word: &OsString, directory: &Path) -> OsString {
    const DIRECTORY: &[u8] = b"<CFGDIR>";
    let Some(at) = memchr::memmem::find(word.as_bytes(), DIRECTORY) else { return word.clone() };
    let (before, rest) = (&word.as_bytes()[..at], &word.as_bytes()[at + DIRECTORY.len()..]);
    OsStr::from_bytes(&[before, directory.as_os_str().as_bytes(), rest].concat()).to_owned()
}

/// Splits a configuration file: lines that start with `#` are comments, a backslash at the end of a line joins the next.
fn configuration(content: &[u8]) -> Vec<OsString> {
    let mut text = Vec::with_capacity(content.len());
    let mut is_joined = false;
    for line in content.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !is_joined && line.trim_ascii_start().starts_with(b"#") {
            continue;
        }
        is_joined = line.ends_with(b"\\");
        text.extend_from_slice(line.strip_suffix(b"\\").unwrap_or(line));
        if !is_joined {
            text.push(b'\n');
        }
    }
    response_file::split(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_split() {
        let check = |text: &str, expect: &[&str]| assert_eq!(configuration(text.as_bytes()), expect, "{text:?}");
        check("# a\n  # b\n-I x\n", &["-I", "x"]);
        check("-D\\\nX '-DY=a b' @c\n", &["-DX", "-DY=a b", "@c"]);
        check("-I \\\n# no comment", &["-I", "#", "no", "comment"]);
    }

    #[test]
    fn specs_that_look_elsewhere_are_refused() {
        let check = |text: &str, expect: Option<Reason>| {
            assert_eq!(check_specs(text.as_bytes()).err().map(|fallback| fallback.reason), expect, "{text}");
        };
        check("*cpp:\n+ -Iextra %{!r:-fPIE}\n", None);
        check("*cc1:\n%{march=native:%>march=native %:local_cpu_detect(arch)}\n", None);
        check("*cc1:\n%:local_cpu_detect(arch)\n", Some(Reason::UnsupportedFlag));
        check("*cpp:\n+ %:getenv(HOME /x)\n", Some(Reason::UnsupportedFlag));
        check("*self_spec:\n+ -march=native\n", Some(Reason::HostDependent));
    }

    #[test]
    fn lines_are_read() {
        let argv: Vec<OsString> = ["gcc", "-c", "d/a.c", "-Iuser", "-MMD", "-specs=own"].map(OsString::from).into();
        let environment = [("PATH".into(), "/usr/bin:/bin".into())];
        let command = crate::command::parse(&argv, Path::new("/"), &environment).expect("parsed");
        let text = b"Reading specs from own\n /lib/cc1 -quiet -I user -imultiarch x86 -D \"A=b c\" d/a.c -MMD a.d \
            -dumpbase a.c -include p.h -fPIE -o /tmp/x.s\n as -I user -o a.o /tmp/x.s\n";
        let read = HandedOn::read(text, &command).expect("read");
        let proper = read.proper.expect("a compiler proper");
        assert_eq!(proper.program, Path::new("/lib/cc1"));
        assert_eq!(proper.arguments, ["-imultiarch", "x86", "-fPIE"]);
        assert_eq!(read.preprocessor.forced_includes.len(), 1);
        assert_eq!(read.preprocessor.directories.len(), 1);
        assert_eq!(read.preprocessor.assembler_path, Some(vec!["user".into()]));
        assert_eq!(read.programs, ["cc1", "as"]);
        for other in [" /lib/cc1 b.c d/a.c\n", " /lib/cc1 d/a.c -fstack-usage\n", " /lib/tool d/a.c\n", "no\n"] {
            assert!(HandedOn::read(other.as_bytes(), &command).is_err(), "{other}");
        }
    }
}
