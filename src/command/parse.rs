//! From arguments as written to a [`CompileCommand`] as meant.
//!
//! The driver's own arguments come first, then those that it hands to the preprocessor (`-Wp,`), then those for clang's
//! front end (`-Xclang`): the order in which the drivers put them on the command line of the compiler proper.

use super::arguments::{self, Argument, Reader};
use super::environment::{self, Environment, Variables};
use super::meant::Meant;
use super::options::{self, Asked, Meaning, Names, Plain, Product};
use super::{AskedFrom, CompileCommand, Family, Language, SearchChain, assembler, language, outputs, response_file};
use crate::compiler::identify::{self, Compiler};
use crate::compiler::search::{PASSED_VARIABLE, SearchScope};
use crate::fallback::{Fallback, Reason};
use crate::files::own_paths;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Understands `argv`, whose first element names the compiler. See [`parse`](super::parse).
pub(super) fn parse(
    argv: &[OsString],
    directory: &Path,
    variables: &[(OsString, OsString)],
) -> Result<CompileCommand, Fallback> {
    let environment = Environment(variables);
    let (name, written) =
        argv.split_first().ok_or_else(|| Fallback::new(Reason::NotACompile, "no compiler is named"))?;
    let place = SearchScope { directory, path: environment.get("PATH"), passed: environment.get(PASSED_VARIABLE) };
    let compiler = identify::find(name, &place)?;
    refuse_own_paths(&[name])?;
    let expanded = response_file::expand(written, directory)?;
    let mut meant = read(&expanded.arguments, compiler.family)?;
    let Variables { mut passed_on, for_tools } = environment.variables(compiler.family)?;
    let (source, language) = meant.source(&compiler)?;
    let (working_directory, pwd) = environment::working_directory(directory, environment)?;
    let outputs = outputs::derive(&meant, &source, language, compiler.family)?;
    let mut extra_inputs = expanded.files;
    extra_inputs.extend(outputs::profile_inputs(&meant, &outputs.object, &working_directory, compiler.family));
    extra_inputs.append(&mut meant.inputs);
    extra_inputs.extend(meant.option_files.iter().cloned());
    let draws_seed = compiler.family == Family::Gcc && meant.is_seeded && meant.seed.is_none();
    let shows_temporary = meant.shows_assembly && language != Language::Assembler;
    if let Some(variable) = environment.temporary_place().filter(|_| shows_temporary) {
        return Err(Fallback::new(Reason::HostDependent, format!("a result with the name of a file in {variable}")));
    }
    let is_deterministic = !draws_seed && !shows_temporary && !meant.products.contains(&Product::TimeTrace);
    passed_on.extend(pwd.map(|pwd| ("PWD".into(), pwd)));
    passed_on.sort();
    Ok(CompileCommand {
        program: compiler.program,
        compiler: compiler.path,
        family: compiler.family,
        arguments: meant.colored(written, compiler.family, environment)?,
        working_directory,
        environment: passed_on,
        tool_environment: for_tools,
        source,
        language,
        preprocessor: meant.preprocessor,
        probe_arguments: meant.probe,
        toolchain_arguments: meant.toolchain,
        asked_from: meant.asked_from,
        characters: meant.characters,
        option_files: meant.option_files,
        tool_directories: meant.tool_directories,
        extra_inputs,
        outputs,
        is_deterministic,
    })
}

/// Refuses what each process has another file for.
///
/// # Errors
/// [`Reason::HostDependent`]: one of the `arguments` names such a path.
fn refuse_own_paths(arguments: &[impl AsRef<OsStr>]) -> Result<(), Fallback> {
    let mut arguments = arguments.iter().map(AsRef::as_ref);
    match arguments.find(|argument| own_paths::are_named_in(argument.as_bytes())) {
        Some(argument) => Err(Fallback::new(Reason::HostDependent, argument.to_string_lossy())),
        None => Ok(()),
    }
}

/// Reads the driver's arguments and everything that they hand on.
fn read(list: &[OsString], family: Family) -> Result<Meant, Fallback> {
    let mut meant = Meant::default();
    meant.read(list, family, Reader::Driver)?;
    if family == Family::Gcc {
        meant.order_as_gcc();
    }
    let list = std::mem::take(&mut meant.for_preprocessor);
    meant.read(&list, family, Reader::Preprocessor)?;
    let list = std::mem::take(&mut meant.for_front_end);
    meant.read(&list, family, Reader::FrontEnd)?;
    let assembler = assembler::read(&meant.for_assembler)?;
    meant.preprocessor.assembler_directories = assembler.directories;
    meant.named_outputs.extend(assembler.outputs);
    meant.shows_assembly = assembler.shows_name;
    meant.preprocessor.sysroot = meant.header_sysroot.take().or(meant.sysroot.take());
    if meant.phase.is_none() {
        return Err(Fallback::new(Reason::NotACompile, "neither -c nor -S"));
    }
    Ok(meant)
}

impl Meant {
    /// Puts the directories in the order in which gcc's driver hands them on: every `-I` first, `-I-` among them, then all
    /// flags that start with `-i`.
    ///
    /// **Source:** gcc's `cpp_unique_options`.
    fn order_as_gcc(&mut self) {
        let is_first = |chain| matches!(chain, SearchChain::Bracket | SearchChain::Split);
        self.preprocessor.directories.sort_by_key(|directory| !is_first(directory.chain));
    }

    /// Takes in what `list` says, in its order.
    ///
    /// # Errors
    /// The reason for which a flag isn't followed.
    pub(super) fn read(&mut self, list: &[OsString], family: Family, reader: Reader) -> Result<(), Fallback> {
        for argument in arguments::read(list, family, reader)? {
            match argument {
                Argument::File(file) => refuse_own_paths(&[file])?,
                Argument::Unknown(written) => refuse_own_paths(&[written])?,
                Argument::Flag { flag, .. } if flag.meaning.is_text() => {}
                Argument::Flag { written, .. } => refuse_own_paths(written)?,
            }
            match argument {
                // Operands of flags that are not in the table.
                Argument::File(file) if reader == Reader::Proper && family == Family::Clang => {
                    self.ask_under(&[file.to_owned()], Some(file), Names::Perhaps, Asked::Both, reader);
                }
                Argument::File(file) if !matches!(reader, Reader::Driver | Reader::Proper) => {
                    return Err(Fallback::new(Reason::UnknownFlag, file.to_string_lossy()));
                }
                Argument::File(file) => self.sources.push((file.into(), self.language)),
                Argument::Unknown(written) => match options::short_spelling(written.as_bytes(), family) {
                    Some(short) if reader == Reader::Driver => self.read(&[short], family, reader)?,
                    // The compiler proper has flags that no driver's user writes.
                    _ if reader == Reader::Proper => {
                        self.ask_under(
                            std::slice::from_ref(written),
                            Some(written),
                            Names::Perhaps,
                            Asked::Both,
                            reader,
                        );
                    }
                    _ => return Err(Fallback::new(Reason::UnknownFlag, written.to_string_lossy())),
                },
                Argument::Flag { flag, operand, written } => {
                    self.take(flag, operand, written, family, reader)?;
                    // Of clang's own flags, some start with the letters of linkers' flags.
                    let is_proper = reader == Reader::Proper;
                    let is_clangs = is_proper && family == Family::Clang;
                    let asked = match flag.asked {
                        Asked::Nobody if is_clangs && flag.meaning == Meaning::Plain(Plain::Irrelevant) => Asked::Both,
                        Asked::Toolchain if is_proper => Asked::Both,
                        asked => asked,
                    };
                    self.ask_under(written, operand, flag.names, asked, reader);
                }
            }
        }
        Ok(())
    }

    /// Adds a flag to those that compilers are asked under, in the way in which it reached its reader.
    fn ask_under(&mut self, written: &[OsString], operand: Option<&OsStr>, names: Names, asked: Asked, reader: Reader) {
        let hand = match reader {
            Reader::Driver | Reader::Proper => None,
            Reader::Preprocessor => Some(options::FOR_PREPROCESSOR),
            Reader::FrontEnd => Some(options::FOR_FRONT_END),
        };
        let words = written.iter().flat_map(|argument| hand.map(OsString::from).into_iter().chain([argument.clone()]));
        match asked {
            Asked::Nobody => return,
            Asked::Toolchain => self.toolchain.extend(words),
            Asked::Both => {
                let words: Vec<OsString> = words.collect();
                self.probe.extend_from_slice(&words);
                self.toolchain.extend(words);
            }
        }
        let operand = operand.unwrap_or_default().as_bytes();
        let value = memchr::memchr(b'=', operand).map_or(operand, |equals| &operand[equals + 1..]);
        let is_relative = match names {
            Names::Nothing => false,
            Names::Path(_) => !operand.starts_with(b"/"),
            Names::Perhaps => options::looks_like_path(value) && !value.starts_with(b"/"),
        };
        if is_relative {
            self.asked_from = AskedFrom::WorkingDirectory;
        }
    }

    /// The one source and its language.
    fn source(&self, compiler: &Compiler) -> Result<(PathBuf, Language), Fallback> {
        let (source, given) = match &self.sources[..] {
            [one] => one,
            [] => return Err(Fallback::new(Reason::SourceCount, "no source file")),
            [_, _, ..] => return Err(Fallback::new(Reason::SourceCount, format!("{} files", self.sources.len()))),
        };
        if source.as_os_str() == "-" || source.starts_with("/dev") {
            return Err(Fallback::new(Reason::StandardStream, source.to_string_lossy()));
        }
        // Once a language is named, g++ takes C for C.
        let takes_c_for_c = !compiler.is_cxx || self.names_language && compiler.family == Family::Gcc;
        let of_c = if takes_c_for_c { Language::C } else { Language::Cxx };
        let language = match given {
            Some(language) => *language,
            None => language::by_suffix(source, compiler.family, of_c)?
                .ok_or_else(|| Fallback::new(Reason::NotACompile, format!("{}: not a source", source.display())))?,
        };
        Ok((source.clone(), language))
    }

    /// `written`, with what makes the compiler colour its diagnostics though it will not see the user's terminal.
    ///
    /// # Errors
    /// Where the compiler may record that flag as well.
    fn colored(
        &self,
        written: &[OsString],
        family: Family,
        environment: Environment<'_>,
    ) -> Result<Vec<OsString>, Fallback> {
        let mut arguments = written.to_vec();
        if self.color.is_none() && environment.colors_diagnostics(family) {
            // gcc up to version 10 records it beside the code, and no version does in the debug information.
            if self.records_command_line || self.records_in_debug_information && family == Family::Clang {
                return Err(Fallback::new(
                    Reason::UnsupportedFlag,
                    "a recorded command line, with colours on a terminal",
                ));
            }
            let end = written.iter().position(|argument| argument == "--").unwrap_or(written.len());
            arguments.insert(end, options::ALWAYS_COLORED.into());
        }
        Ok(arguments)
    }
}
