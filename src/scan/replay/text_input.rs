//! Files that a compile reads without including them: `.incbin` and `.include` of the assembler, `#embed`,
//! `#line`.

use crate::command::{Family, SearchChain, SearchDirectory};
use crate::fallback::{Fallback, Reason};
use crate::files::directory::Directory;
use crate::files::resolve::Resolution;
use crate::scan::closure::record::Record;
use crate::scan::lex::assembler_directive::AssemblerDirective;
use crate::scan::preprocess::expand::ExpansionSite;
use crate::scan::preprocess::program::{Inclusion, Program, Quoting};
use crate::scan::preprocess::program::{Op, OperandId};
use crate::scan::preprocess::symbols::Symbol;
use crate::scan::preprocess::tokens::tokenize;
use crate::scan::replay::{Cursor, Replay};
use crate::scan::search::header::Header;
use crate::scan::text::assembler::{self, AssemblerInput, AssemblyIn};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

/// Why a compile is refused whose assembly reads a file of an unclear name.
pub(super) const UNCLEAR: &str = "the name of the file that .incbin or .include reads is not clear";

/// How deep `.include` nests.
const MAX_ASSEMBLER_DEPTH: u32 = 50;

impl Replay<'_> {
    /// `.incbin` or `.include` in text.
    pub(super) fn text_input(&mut self, cursor: &Cursor<'_>, at: usize, operand: OperandId) -> Result<(), Fallback> {
        if !self.may_be_assembly(cursor, at) || self.literal_input(cursor, at, operand)? {
            return Ok(());
        }
        // The name is made by macros: the statement's strings, expanded and joined, hold it.
        let text = cursor.program.operand(operand);
        let statement = assembler::statement(text, self.assembly_in());
        match self.inputs_of(cursor, at, &statement)? {
            Some(inputs) if !inputs.is_empty() => self.read_assembler_inputs(cursor, at, &inputs),
            _ => Err(self.refuse_at(cursor, at, Reason::Unscannable, UNCLEAR)),
        }
    }

    /// Where assembly stands in the files of this compile.
    fn assembly_in(&self) -> AssemblyIn {
        if self.setting.probe.lex_modes.assembler { AssemblyIn::Source } else { AssemblyIn::Strings }
    }

    /// Whether the string of the step at `at` may be assembly: no function's argument, and no part of a table.
    fn may_be_assembly(&mut self, cursor: &Cursor<'_>, at: usize) -> bool {
        self.is_within_macro(cursor, at).unwrap_or(true)
    }

    /// Whether a name around the step at `at` is a macro; `None` where no names are told.
    pub(super) fn is_within_macro(&mut self, cursor: &Cursor<'_>, at: usize) -> Option<bool> {
        let Op::EnclosingNames { operand } = cursor.program.ops[at.checked_sub(1)?] else { return None };
        self.record.spoil();
        let mut names = cursor.program.operand(operand).split(|byte| *byte == b' ');
        Some(names.any(|name| self.table.read(self.world.symbols.intern(name)).is_some()))
    }

    /// Reads the file that stands there in full; `false` where the directive has a name that must be made first.
    fn literal_input(&mut self, cursor: &Cursor<'_>, at: usize, operand: OperandId) -> Result<bool, Fallback> {
        self.record.spoil();
        let text = cursor.program.operand(operand);
        if !assembler::may_take_operand(text, self.assembly_in()) {
            return Ok(true);
        }
        let Some(input) = assembler::literal_input(text) else { return Ok(false) };
        self.read_assembler_input(cursor, at, &input, 0)?;
        Ok(true)
    }

    /// The files that the assembly reads which the strings of `statement`, expanded and joined, are. `None` where that is
    /// not clear.
    pub(super) fn inputs_of(
        &mut self,
        cursor: &Cursor<'_>,
        at: usize,
        statement: &[u8],
    ) -> Result<Option<Vec<AssemblerInput>>, Fallback> {
        let mut tokens = Vec::new();
        tokenize(statement, self.setting.probe.token_modes, &self.world.symbols, &mut tokens);
        let Ok((expanded, None)) = self.expand_operand(cursor, at, ExpansionSite::Text, &tokens)? else {
            return Ok(None);
        };
        Ok(assembler::inputs_of_tokens(&expanded, self.assembly_in(), &self.world.symbols))
    }

    pub(super) fn read_assembler_inputs(
        &mut self,
        cursor: &Cursor<'_>,
        at: usize,
        inputs: &[AssemblerInput],
    ) -> Result<(), Fallback> {
        inputs.iter().try_for_each(|input| self.read_assembler_input(cursor, at, input, 0))
    }

    /// A macro whose body holds `.incbin` or `.include`: it reads a file wherever it is used.
    pub(super) fn defined_input(
        &mut self,
        cursor: &Cursor<'_>,
        at: usize,
        operand: OperandId,
        symbol: Symbol,
    ) -> Result<(), Fallback> {
        if self.literal_input(cursor, at, operand)? {
            return Ok(());
        }
        self.text_macros.inputs.note(symbol, &self.world.symbols);
        Ok(())
    }

    /// Adds the file that the assembler reads, and those that it reads in turn.
    fn read_assembler_input(
        &mut self,
        cursor: &Cursor<'_>,
        at: usize,
        input: &AssemblerInput,
        depth: u32,
    ) -> Result<(), Fallback> {
        let name = input.name.as_slice();
        if depth > MAX_ASSEMBLER_DEPTH {
            return Err(self.refuse_at(cursor, at, Reason::ScanLimit, "too many nested .include"));
        }
        let (store, view) = (self.searcher.store, self.searcher.view);
        let mut directories: Vec<Arc<Directory>> = vec![Arc::clone(&self.setting.start)];
        for directory in assembler::search_directories(self.command) {
            if let Resolution::Directory(found) =
                store.resolve(&self.setting.start, &directory, view, &mut self.record.trail)?
            {
                directories.push(found);
            }
        }
        // clang searches other directories than the assembler, in another order.
        let options = &self.command.preprocessor;
        let told = options.assembler_path.as_ref().map_or(options.assembler_directories.len(), Vec::len);
        let is_other = |directory: &SearchDirectory| directory.chain != SearchChain::Bracket;
        let has_others = options.directories.iter().any(is_other)
            || self.command.environment.iter().any(|(name, _)| name.as_bytes().ends_with(b"PATH"));
        let is_ambiguous = self.setting.family == Family::Clang && (options.directories.len() + told > 1 || has_others);
        for (number, directory) in directories.into_iter().enumerate() {
            match store.resolve(&directory, name, view, &mut self.record.trail)? {
                Resolution::File(_) if number > 0 && is_ambiguous => {
                    return Err(self.refuse_at(cursor, at, Reason::Unscannable, UNCLEAR));
                }
                Resolution::File(file) => {
                    if name.starts_with(b"/") {
                        self.record.add_absolute(&file);
                    }
                    self.record.inputs.push(Arc::clone(&file));
                    if input.directive == AssemblerDirective::Include {
                        let bytes = std::fs::read(file.path()).map_err(|error| {
                            Fallback::at(Reason::Unreadable, error.to_string(), file.path().as_ref(), 0)
                        })?;
                        let unclear = || Fallback::at(Reason::Unscannable, UNCLEAR, file.path().as_ref(), 0);
                        for input in assembler::inputs(&bytes).ok_or_else(unclear)? {
                            self.read_assembler_input(cursor, at, &input, depth + 1)?;
                        }
                    }
                    return Ok(());
                }
                Resolution::Absent | Resolution::Directory(_) => {
                    self.record.absent.push(crate::files::lexical::lexical(directory.path(), name));
                }
                Resolution::Special(path) => {
                    return Err(Fallback::at(Reason::Unreadable, "not a regular file", path.as_ref(), 0));
                }
            }
        }
        if is_ambiguous {
            return Err(self.refuse_at(cursor, at, Reason::Unscannable, UNCLEAR));
        }
        // The assembler complains, as it would here.
        Ok(())
    }

    /// The program of a source that is not preprocessed, which is a part of the record from now on.
    fn begin_without_preprocessing(&mut self, header: &Arc<Header>) -> Result<Arc<Program>, Fallback> {
        let (program, generation) = self.program(header)?;
        let clock = self.clock();
        self.record.add_file(&header.file, generation, clock);
        Ok(program)
    }

    /// A source for the assembler alone: what `.include` and `.incbin` name in it.
    ///
    /// # Errors
    /// A [`Fallback`] as for any other source.
    pub(crate) fn run_assembler(mut self, header: &Arc<Header>) -> Result<Record, Fallback> {
        let program = self.begin_without_preprocessing(header)?;
        let bytes = std::fs::read(header.file.path())
            .map_err(|error| Fallback::at(Reason::Unreadable, error.to_string(), header.file.path().as_ref(), 0))?;
        let cursor = Cursor::new(header, &program);
        let unclear = || Fallback::at(Reason::Unscannable, UNCLEAR, header.file.path().as_ref(), 0);
        for input in assembler::inputs(&bytes).ok_or_else(unclear)? {
            self.read_assembler_input(&cursor, 0, &input, 0)?;
        }
        Ok(self.record)
    }

    /// A source that is preprocessed already: what its inline assembly names.
    ///
    /// # Errors
    /// A [`Fallback`] as for any other source.
    pub(crate) fn run_preprocessed(mut self, header: &Arc<Header>) -> Result<Record, Fallback> {
        let program = self.begin_without_preprocessing(header)?;
        let mut cursor = Cursor::new(header, &program);
        for at in 0..program.ops.len() {
            match program.ops[at] {
                Op::TextInput { operand } => self.text_input(&cursor, at, operand)?,
                Op::Line { operand, form } => self.set_line(&mut cursor, at, operand, form)?,
                _ => {}
            }
        }
        Ok(self.record)
    }

    /// The file that `#line` names: gcc reads it wherever it quotes a line under a message.
    pub(super) fn quote_lines_of(&mut self, name: &[u8]) -> Result<(), Fallback> {
        self.record.spoil();
        let (store, view) = (self.searcher.store, self.searcher.view);
        match store.resolve(&self.setting.start, name, view, &mut self.record.trail)? {
            Resolution::File(file) if self.record.has_file(&file) => {}
            Resolution::File(file) => {
                if name.starts_with(b"/") {
                    self.record.add_absolute(&file);
                }
                self.record.inputs.push(file);
            }
            Resolution::Absent => {
                self.record.absent.push(crate::files::lexical::lexical(self.setting.start.path(), name));
            }
            // It can't be quoted.
            Resolution::Directory(_) | Resolution::Special(_) => {}
        }
        Ok(())
    }

    /// `#embed`.
    pub(super) fn embed(&mut self, cursor: &Cursor<'_>, at: usize, operand: OperandId) -> Result<(), Fallback> {
        self.record.spoil();
        let Some(name) = cursor.program.header(operand) else {
            return Err(self.refuse_at(cursor, at, Reason::Unscannable, "the name of the embedded file is computed"));
        };
        let (store, view) = (self.searcher.store, self.searcher.view);
        let spelled = self.world.symbols.text(name.name);
        let mut directories = Vec::new();
        if name.quoting == Quoting::Quotes {
            directories.push(self.world.symbols.text(cursor.header.beside).to_vec());
        }
        let embed_directories = &self.command.preprocessor.embed_directories;
        directories.extend(embed_directories.iter().map(|directory| directory.as_os_str().as_bytes().to_vec()));
        for directory in directories {
            let path =
                if directory.is_empty() { spelled.to_vec() } else { [&directory, b"/".as_slice(), spelled].concat() };
            match store.resolve(&self.setting.start, &path, view, &mut self.record.trail)? {
                Resolution::File(file) => {
                    if spelled.starts_with(b"/") {
                        self.record.add_absolute(&file);
                    }
                    self.record.inputs.push(file);
                    return Ok(());
                }
                Resolution::Special(path) => {
                    return Err(Fallback::at(Reason::Unreadable, "not a regular file", path.as_ref(), 0));
                }
                _ => self.record.absent.push(crate::files::lexical::lexical(self.setting.start.path(), &path)),
            }
        }
        let lookup = self.setting.look_up(name, Inclusion::Plain, cursor.includer(), &self.searcher);
        let clock = self.clock();
        self.record.add_lookup(&lookup, clock);
        self.record.add_probed(&lookup);
        Ok(())
    }
}
