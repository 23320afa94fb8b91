//! From arguments as written to a [`Command`] as meant.
//!
//! The driver's own arguments come first, then those that it hands to the preprocessor (`-Wp,`), then those for clang's
//! front end (`-Xclang`): the order in which the drivers put them on the command line of the compiler proper.

use super::arguments::{self, Argument, Reader};
use super::environment::{self, Environment};
use super::meant::{Meant, Phase};
use super::options::{self, Color, Flag, Meaning, Product};
use super::{
    Command, Family, ForcedInclude, Language, MacroOption, SearchChain, SearchDirectory, assembler, comma_separated,
    language, outputs, response_file,
};
use crate::compiler::identify::{self, Compiler};
use crate::compiler::search::{PASSED_VARIABLE, Place};
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
) -> Result<Command, Fallback> {
    let environment = Environment(variables);
    let (name, written) =
        argv.split_first().ok_or_else(|| Fallback::new(Reason::NotACompile, "no compiler is named"))?;
    let place = Place { directory, path: environment.get("PATH"), passed: environment.get(PASSED_VARIABLE) };
    let compiler = identify::find(name, &place)?;
    let expanded = response_file::expand(written, directory)?;
    let mut meant = read(&expanded.arguments, compiler.family)?;
    environment.check(compiler.family)?;
    let own = argv.iter().chain(&expanded.arguments).find(|argument| own_paths::are_named_in(argument.as_bytes()));
    if let Some(argument) = own {
        return Err(Fallback::new(Reason::HostDependent, argument.to_string_lossy()));
    }
    let (source, language) = meant.source(&compiler)?;
    let (working_directory, pwd) = environment::working_directory(directory, environment)?;
    let outputs = outputs::derive(&meant, &source, language, compiler.family)?;
    let mut extra_inputs = expanded.files;
    extra_inputs.extend(outputs::profile_inputs(&meant, &outputs.object, &working_directory, compiler.family));
    extra_inputs.append(&mut meant.inputs);
    extra_inputs.extend(meant.option_files.iter().cloned());
    let draws_seed = compiler.family == Family::Gcc && meant.is_seeded && meant.seed.is_none();
    let is_deterministic = !draws_seed && !meant.products.contains(&Product::TimeTrace);
    let mut passed_on = environment.passed_on(compiler.family);
    passed_on.extend(pwd.map(|pwd| ("PWD".into(), pwd)));
    passed_on.sort();
    Ok(Command {
        program: compiler.program,
        compiler: compiler.path,
        family: compiler.family,
        arguments: meant.colored(written, compiler.family, environment),
        working_directory,
        environment: passed_on,
        tool_environment: environment.for_tools(),
        source,
        language,
        preprocessor: meant.preprocessor,
        probe_arguments: meant.probe,
        option_files: meant.option_files,
        tool_directories: meant.tool_directories,
        extra_inputs,
        outputs,
        is_deterministic,
    })
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
                // Operands of flags that are not in the table.
                Argument::File(file) if reader == Reader::Proper && family == Family::Clang => {
                    self.probe.push(file.to_owned());
                }
                Argument::File(file) if !matches!(reader, Reader::Driver | Reader::Proper) => {
                    return Err(Fallback::new(Reason::UnknownFlag, file.to_string_lossy()));
                }
                Argument::File(file) => self.sources.push((file.into(), self.language)),
                Argument::Unknown(written) => match options::short_spelling(written.as_bytes(), family) {
                    Some(short) if reader == Reader::Driver => self.read(&[short], family, reader)?,
                    _ => self.pass_unknown(written, reader)?,
                },
                // Of clang's own flags, some start with the letters of linkers' flags.
                Argument::Flag { flag, written, .. }
                    if reader == Reader::Proper && family == Family::Clang && flag.meaning == Meaning::Irrelevant =>
                {
                    self.probe_under(written, reader);
                }
                // gcc takes `-I -` for `-I-`.
                Argument::Flag { flag, operand, .. }
                    if family == Family::Gcc
                        && flag.meaning == Meaning::Directory(SearchChain::Bracket)
                        && operand.is_some_and(|operand| operand == "-") =>
                {
                    self.take_preprocessor(Meaning::Split, OsStr::new(""))
                        .map_err(|reason| Fallback::new(reason, "-I -"))?;
                }
                Argument::Flag { flag, operand, written } => {
                    if !self.take(flag, operand, written)? {
                        self.probe_under(written, reader);
                    }
                }
            }
        }
        Ok(())
    }

    /// Passes on a flag that only its first letters are known of.
    fn pass_unknown(&mut self, written: &OsString, reader: Reader) -> Result<(), Fallback> {
        if reader != Reader::Proper && !options::is_passed_through(written.as_bytes()) {
            return Err(Fallback::new(Reason::UnknownFlag, written.to_string_lossy()));
        }
        if reader == Reader::FrontEnd {
            // Flags of the front end alone may name any file.
            self.take_file_value(written.as_bytes());
        }
        self.records_command_line |= written.as_bytes().windows(7).any(|window| window == b"record-");
        match written.as_bytes() {
            b"-fno-lto" => self.is_seeded = false,
            b"-fprofile-arcs" | b"-fprofile-generate" => self.is_seeded = true,
            flag if flag.starts_with(b"-flto") || flag.starts_with(b"-fprofile-generate=") => self.is_seeded = true,
            flag if flag.starts_with(b"-frandom-seed=") => self.seed = Some(written.clone()),
            _ => {}
        }
        if !options::is_irrelevant_to_probe(written.as_bytes()) {
            self.probe_under(std::slice::from_ref(written), reader);
        }
        Ok(())
    }

    /// Adds a flag to those of the probe, in the way in which it reached its reader.
    fn probe_under(&mut self, written: &[OsString], reader: Reader) {
        let hand = match reader {
            Reader::Driver | Reader::Proper => None,
            Reader::Preprocessor => Some("-Xpreprocessor"),
            Reader::FrontEnd => Some("-Xclang"),
        };
        for argument in written {
            self.probe.extend(hand.map(OsString::from));
            self.probe.push(argument.clone());
        }
    }

    /// Takes in what a flag says; `false` where the probe has to be asked under it.
    fn take(&mut self, flag: &Flag, operand: Option<&OsStr>, written: &[OsString]) -> Result<bool, Fallback> {
        let operand_or_empty = operand.unwrap_or_default();
        let bytes = operand_or_empty.as_bytes();
        let path = || PathBuf::from(operand_or_empty);
        let refuse = |reason| Fallback::new(reason, written.join(OsStr::new(" ")).to_string_lossy());
        match flag.meaning {
            Meaning::Refuse(reason) => return Err(refuse(reason)),
            Meaning::SyntaxOnly => return Err(refuse(Reason::NotACompile)),
            Meaning::Compile => self.phase = self.phase.or(Some(Phase::Object)),
            Meaning::Assemble => self.phase = Some(Phase::Assembly),
            Meaning::EmitLlvm => self.emits_llvm = true,
            Meaning::Output => self.output = Some(path()),
            Meaning::Language => {
                self.language = language::by_name(bytes)?;
                self.names_language = true;
            }
            Meaning::Dependencies => {
                self.writes_dependencies = true;
                self.dependency_file = operand.map(PathBuf::from).or(self.dependency_file.take());
            }
            Meaning::DependencyFile => self.dependency_file = Some(path()),
            Meaning::PreprocessorList => self.for_preprocessor.extend(comma_separated(bytes)),
            Meaning::PreprocessorArgument => self.for_preprocessor.push(operand_or_empty.to_owned()),
            Meaning::AssemblerList => self.for_assembler.extend(comma_separated(bytes)),
            Meaning::AssemblerArgument => self.for_assembler.push(operand_or_empty.to_owned()),
            Meaning::FrontEndArgument => self.for_front_end.push(operand_or_empty.to_owned()),
            Meaning::LlvmArgument => {
                if bytes.contains(&b'/') || bytes.windows(4).any(|window| window == b"file") {
                    return Err(refuse(Reason::UnsupportedFlag));
                }
            }
            Meaning::Product(product) => {
                self.is_seeded |= product == Product::Notes;
                self.products.insert(product);
                return Ok(false);
            }
            Meaning::NoProduct(product) => {
                self.products.remove(&product);
                return Ok(false);
            }
            Meaning::NamedOutput => self.named_outputs.push(path()),
            Meaning::SaveTemps(place) => self.save_temps = Some(place),
            Meaning::DumpName(_) => self.names_dumps = true,
            Meaning::Color(Color::Operand) => {
                self.color = match bytes {
                    b"always" => Some(Color::Always),
                    b"never" => Some(Color::Never),
                    _ => None,
                };
            }
            Meaning::Color(color) => self.color = Some(color),
            Meaning::InputCharset if !bytes.eq_ignore_ascii_case(b"utf-8") && !bytes.eq_ignore_ascii_case(b"utf8") => {
                return Err(refuse(Reason::UnsupportedFlag));
            }
            Meaning::InputCharset => return Ok(false),
            Meaning::OptimizationReport if bytes.contains(&b'=') => return Err(refuse(Reason::UnsupportedFlag)),
            Meaning::DiagnosticFormat if bytes.ends_with(b"-file") => return Err(refuse(Reason::UnsupportedFlag)),
            Meaning::OptimizationReport
            | Meaning::DiagnosticFormat
            | Meaning::DependencyDetail
            | Meaning::Irrelevant => {}
            Meaning::MachineModel if bytes.starts_with(b"native") => return Err(refuse(Reason::HostDependent)),
            Meaning::MachineModel | Meaning::Pass => return Ok(false),
            Meaning::ToolDirectory => {
                self.tool_directories.push(path());
                return Ok(false);
            }
            meaning if self.take_input(meaning, operand) => return Ok(false),
            meaning => return self.take_preprocessor(meaning, operand_or_empty).map_err(refuse),
        }
        Ok(true)
    }

    /// Takes in a flag that names something to read; whether it is one. The probe is asked under all of these.
    fn take_input(&mut self, meaning: Meaning, operand: Option<&OsStr>) -> bool {
        let path = || PathBuf::from(operand.unwrap_or_default());
        match meaning {
            Meaning::Input => self.inputs.push(path()),
            Meaning::OptionFile => self.option_files.push(path()),
            Meaning::Profile => self.profiles.push(operand.map(PathBuf::from)),
            Meaning::ProfileDirectory => self.profile_directory = Some(path()),
            Meaning::ProfileGenerate => {
                self.profile_directory = Some(path());
                self.is_seeded = true;
            }
            Meaning::ProfilePrefix => self.profile_prefix = Some(path()),
            Meaning::AutoProfile => self.inputs.push("fbdata.afdo".into()),
            Meaning::PluginArgument => self.take_file_value(operand.unwrap_or_default().as_bytes()),
            _ => return false,
        }
        true
    }

    /// Takes in what is the preprocessor's alone; `false` where the probe has to be asked under it as well.
    fn take_preprocessor(&mut self, meaning: Meaning, operand: &OsStr) -> Result<bool, Reason> {
        let preprocessor = &mut self.preprocessor;
        let path = || PathBuf::from(operand);
        match meaning {
            Meaning::Define => preprocessor.macros.push(MacroOption::Define(operand.to_owned())),
            Meaning::Undefine => preprocessor.macros.push(MacroOption::Undefine(operand.to_owned())),
            Meaning::Include | Meaning::IncludeMacros => {
                let macros_only = meaning == Meaning::IncludeMacros;
                preprocessor.forced_includes.push(ForcedInclude { path: path(), macros_only });
            }
            Meaning::Directory(chain) => {
                if operand.as_bytes().ends_with(b".hmap") {
                    return Err(Reason::HeaderMap);
                }
                preprocessor.directories.push(SearchDirectory { chain, path: path() });
            }
            Meaning::Split => {
                preprocessor.directories.push(SearchDirectory { chain: SearchChain::Split, path: PathBuf::new() });
            }
            Meaning::Prefix => {
                self.prefix = Some(operand.to_owned());
                // gcc's own directories are looked for below it as well.
                return Ok(false);
            }
            Meaning::WithPrefix(chain) => {
                // Without `-iprefix`, the prefix is the compiler's own, which is not known here.
                let mut joined = self.prefix.clone().ok_or(Reason::UnsupportedFlag)?;
                joined.push(operand);
                preprocessor.directories.push(SearchDirectory { chain, path: joined.into() });
            }
            Meaning::EmbedDirectory => preprocessor.embed_directories.push(path()),
            Meaning::Preprocessed => preprocessor.preprocessed = true,
            Meaning::Sysroot => {
                self.sysroot = Some(path());
                return Ok(false);
            }
            Meaning::HeaderSysroot => {
                self.header_sysroot = Some(path());
                return Ok(false);
            }
            Meaning::NoStandardIncludes => {
                preprocessor.no_standard_includes = true;
                return Ok(false);
            }
            Meaning::Undef => {
                preprocessor.undef = true;
                return Ok(false);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `KEY=VALUE`: a value that may name a file is an input.
    fn take_file_value(&mut self, argument: &[u8]) {
        let Some(equals) = argument.iter().position(|&byte| byte == b'=') else { return };
        let value = &argument[equals + 1..];
        if value.contains(&b'/') || value.contains(&b'.') {
            self.inputs.push(OsStr::from_bytes(value).into());
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
        let is_cxx = compiler.is_cxx && !(self.names_language && compiler.family == Family::Gcc);
        let language = match given {
            Some(language) => *language,
            None => language::by_suffix(source, compiler.family, is_cxx)?
                .ok_or_else(|| Fallback::new(Reason::NotACompile, format!("{}: not a source", source.display())))?,
        };
        Ok((source.clone(), language))
    }

    /// `written`, with what makes the compiler colour its diagnostics though it will not see the user's terminal.
    fn colored(&self, written: &[OsString], family: Family, environment: Environment<'_>) -> Vec<OsString> {
        let mut arguments = written.to_vec();
        if self.color.is_none() && !self.records_command_line && environment.colors_diagnostics(family) {
            let end = written.iter().position(|argument| argument == "--").unwrap_or(written.len());
            arguments.insert(end, "-fdiagnostics-color=always".into());
        }
        arguments
    }
}
