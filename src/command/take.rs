//! What is made of each flag: a match for every kind of meaning, which names every meaning of its kind.
//!
//! What it does not know: how flags are spelled, and in which order lists are read ([`parse`](super::parse)).

use super::arguments::Reader;
use super::meant::{Meant, Phase};
use super::options::{
    Color, Dependencies, Diagnostic, Flag, HandOn, Input, Meaning, Output, Phases, Plain, Preprocessor, Product,
    Search, Seed, Switch, looks_like_path,
};
use super::{
    Characters, Family, ForcedInclude, MacroOption, MappedPrefix, SearchChain, SearchDirectory, comma_separated,
    language, options,
};
use crate::fallback::{Fallback, Reason};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

impl Meant {
    /// Takes in what a flag says, as it is `written`.
    ///
    /// # Errors
    /// The reason for which it isn't followed.
    pub(super) fn take(
        &mut self,
        flag: &Flag,
        operand: Option<&OsStr>,
        written: &[OsString],
        family: Family,
        reader: Reader,
    ) -> Result<(), Fallback> {
        let value = operand.unwrap_or_default();
        let taken = match flag.meaning {
            Meaning::Refuse(reason) => Err(reason),
            Meaning::Phase(phases) => self.take_phases(phases),
            Meaning::Language => {
                self.language = language::by_name(value.as_bytes())?;
                self.names_language = true;
                Ok(())
            }
            Meaning::Preprocessor(meaning) => self.take_preprocessor(meaning, value),
            Meaning::Search(meaning) => self.take_search(meaning, value, family),
            Meaning::Dependencies(meaning) => {
                self.take_dependencies(meaning, operand);
                Ok(())
            }
            Meaning::HandOn(meaning) => self.hand_on(meaning, value, family),
            Meaning::Input(meaning) => {
                self.take_input(meaning, operand);
                Ok(())
            }
            Meaning::Output(meaning) => self.take_output(meaning, value),
            Meaning::Seed(seed) => {
                self.take_seed(seed, written);
                Ok(())
            }
            Meaning::Diagnostic(meaning) => self.take_diagnostic(meaning, value),
            Meaning::Plain(meaning) => self.take_plain(meaning, value, reader),
        };
        taken.map_err(|reason| Fallback::new(reason, written.join(OsStr::new(" ")).to_string_lossy()))
    }

    fn take_phases(&mut self, phases: Phases) -> Result<(), Reason> {
        match phases {
            Phases::Compile => self.phase = self.phase.or(Some(Phase::Object)),
            Phases::Assemble => self.phase = Some(Phase::Assembly),
            Phases::EmitLlvm => self.emits_llvm = true,
            Phases::SyntaxOnly => return Err(Reason::NotACompile),
        }
        Ok(())
    }

    fn take_preprocessor(&mut self, meaning: Preprocessor, operand: &OsStr) -> Result<(), Reason> {
        let preprocessor = &mut self.preprocessor;
        let mut include = |macros_only| {
            preprocessor.forced_includes.push(ForcedInclude { path: PathBuf::from(operand), macros_only });
        };
        match meaning {
            Preprocessor::Include => include(false),
            Preprocessor::IncludeMacros => include(true),
            Preprocessor::Define => preprocessor.macros.push(MacroOption::Define(operand.to_owned())),
            Preprocessor::Undefine => preprocessor.macros.push(MacroOption::Undefine(operand.to_owned())),
            Preprocessor::Undef => preprocessor.undef = true,
            Preprocessor::Preprocessed => preprocessor.preprocessed = true,
            Preprocessor::InputCharset => {
                let is_utf8 = ["utf-8", "utf8"].iter().any(|name| operand.eq_ignore_ascii_case(name));
                if !is_utf8 {
                    return Err(Reason::UnsupportedFlag);
                }
                self.characters = Characters::Converted;
            }
            Preprocessor::ExecutionCharset => self.characters = Characters::Converted,
            Preprocessor::PrefixMap(names) => {
                preprocessor.mapped_prefixes.push(MappedPrefix { names, operand: operand.to_owned() });
            }
            Preprocessor::CanonicalSystemHeaders(switch) => preprocessor.keeps_system_headers = switch == Switch::Off,
            Preprocessor::UnwindTables => preprocessor.names_unwind_tables = true,
        }
        Ok(())
    }

    fn take_search(&mut self, meaning: Search, operand: &OsStr, family: Family) -> Result<(), Reason> {
        let path = || PathBuf::from(operand);
        let directories = &mut self.preprocessor.directories;
        let split = || SearchDirectory { chain: SearchChain::Split, path: PathBuf::new() };
        match meaning {
            // gcc takes `-I -` for `-I-`.
            Search::Directory(SearchChain::Bracket) if family == Family::Gcc && operand == "-" => {
                directories.push(split());
            }
            Search::Directory(_) if operand.as_bytes().ends_with(b".hmap") => return Err(Reason::HeaderMap),
            Search::Directory(chain) => directories.push(SearchDirectory { chain, path: path() }),
            Search::Split => directories.push(split()),
            Search::Prefix => self.prefix = Some(operand.to_owned()),
            Search::WithPrefix(chain) => {
                // Without `-iprefix`, the prefix is the compiler's own, which is not known here.
                let mut joined = self.prefix.clone().ok_or(Reason::UnsupportedFlag)?;
                joined.push(operand);
                directories.push(SearchDirectory { chain, path: joined.into() });
            }
            Search::EmbedDirectory => self.preprocessor.embed_directories.push(path()),
            Search::Sysroot => self.sysroot = Some(path()),
            Search::HeaderSysroot => self.header_sysroot = Some(path()),
            Search::NoStandardIncludes => self.preprocessor.no_standard_includes = true,
            Search::ToolDirectory => self.tool_directories.push(path()),
            // The probe tells.
            Search::Own => {}
        }
        Ok(())
    }

    fn take_dependencies(&mut self, meaning: Dependencies, operand: Option<&OsStr>) {
        match meaning {
            Dependencies::Write => {
                self.writes_dependencies = true;
                self.dependency_file = operand.map(PathBuf::from).or(self.dependency_file.take());
            }
            Dependencies::File => self.dependency_file = Some(operand.unwrap_or_default().into()),
            Dependencies::Target | Dependencies::Detail => {}
        }
    }

    fn hand_on(&mut self, meaning: HandOn, operand: &OsStr, family: Family) -> Result<(), Reason> {
        let list = || comma_separated(operand.as_bytes());
        match meaning {
            HandOn::PreprocessorList => {
                let list: Vec<OsString> = list().collect();
                match options::rewritten_dependencies(&list, family) {
                    Some(rewritten) => self.take_dependencies(Dependencies::Write, rewritten.file),
                    None => self.for_preprocessor.extend(list),
                }
            }
            HandOn::PreprocessorArgument => self.for_preprocessor.push(operand.to_owned()),
            HandOn::AssemblerList => self.for_assembler.extend(list()),
            HandOn::AssemblerArgument => self.for_assembler.push(operand.to_owned()),
            HandOn::FrontEndArgument => self.for_front_end.push(operand.to_owned()),
            HandOn::LlvmArgument => {
                let bytes = operand.as_bytes();
                if bytes.contains(&b'/') || bytes.windows(4).any(|window| window == b"file") {
                    return Err(Reason::UnsupportedFlag);
                }
            }
        }
        Ok(())
    }

    fn take_input(&mut self, meaning: Input, operand: Option<&OsStr>) {
        let path = || PathBuf::from(operand.unwrap_or_default());
        match meaning {
            Input::File => self.inputs.push(path()),
            Input::OptionFile => self.option_files.push(path()),
            Input::Profile => self.profiles.push(operand.map(PathBuf::from)),
            Input::ProfileDirectory => self.profile_directory = Some(path()),
            Input::ProfileGenerate => {
                self.profile_directory = Some(path());
                self.is_seeded = true;
            }
            Input::ProfilePrefix => self.profile_prefix = Some(path()),
            Input::AutoProfile => self.inputs.push("fbdata.afdo".into()),
            Input::PluginArgument => self.take_file_value(operand.unwrap_or_default().as_bytes()),
        }
    }

    fn take_output(&mut self, meaning: Output, operand: &OsStr) -> Result<(), Reason> {
        match meaning {
            Output::Object => self.output = Some(operand.into()),
            Output::Product(product) => {
                self.is_seeded |= product == Product::Notes;
                self.products.insert(product);
            }
            Output::NoProduct(product) => {
                self.products.remove(&product);
            }
            Output::Named => self.named_outputs.push(operand.into()),
            Output::SaveTemps(place) => self.save_temps = Some(place),
            Output::DumpName => self.names_dumps = true,
            Output::OptimizationReport if operand.as_bytes().contains(&b'=') => return Err(Reason::UnsupportedFlag),
            Output::OptimizationReport => {}
        }
        Ok(())
    }

    fn take_seed(&mut self, seed: Seed, written: &[OsString]) {
        match seed {
            Seed::Draw => self.is_seeded = true,
            Seed::DrawNone => self.is_seeded = false,
            Seed::Give => self.seed = written.first().cloned(),
        }
    }

    fn take_diagnostic(&mut self, meaning: Diagnostic, operand: &OsStr) -> Result<(), Reason> {
        match meaning {
            Diagnostic::Color(Color::Operand) => {
                self.color = match operand.as_bytes() {
                    b"always" => Some(Color::Always),
                    b"never" => Some(Color::Never),
                    _ => None,
                };
            }
            Diagnostic::Color(color @ (Color::Always | Color::Never)) => self.color = Some(color),
            Diagnostic::Format if operand.as_bytes().ends_with(b"file") => return Err(Reason::UnsupportedFlag),
            Diagnostic::Format => {}
            Diagnostic::RecordsCommandLine => self.records_command_line = true,
            Diagnostic::RecordsInDebugInformation => self.records_in_debug_information = true,
        }
        Ok(())
    }

    fn take_plain(&mut self, meaning: Plain, operand: &OsStr, reader: Reader) -> Result<(), Reason> {
        match meaning {
            Plain::Machine if operand.as_bytes().starts_with(b"native") => return Err(Reason::HostDependent),
            Plain::Guess if matches!(reader, Reader::Driver | Reader::FrontEnd) => {
                self.take_file_value(operand.as_bytes());
            }
            Plain::Guess | Plain::Machine | Plain::Pass | Plain::Irrelevant | Plain::Warning => {}
        }
        Ok(())
    }

    /// `KEY=VALUE`: a value that may name a file is an input.
    fn take_file_value(&mut self, argument: &[u8]) {
        let Some(equals) = argument.iter().position(|&byte| byte == b'=') else { return };
        let value = &argument[equals + 1..];
        if looks_like_path(value) {
            self.inputs.push(OsStr::from_bytes(value).into());
        }
    }
}
