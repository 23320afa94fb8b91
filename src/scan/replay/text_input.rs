//! Files that a compile reads without including them: `.incbin` and `.include` of the assembler, `#embed`,
//! `#pragma GCC dependency`, `#line`.

use crate::command::{Family, MacroOption};
use crate::fallback::{Fallback, Reason};
use crate::files::directory::Directory;
use crate::files::resolve::Place as Target;
use crate::scan::assembler;
use crate::scan::definitions::Definition;
use crate::scan::program::Op;
use crate::scan::program::{Inclusion, Quoting};
use crate::scan::replay::{Place, Replay, found_header};
use crate::scan::symbols::Symbol;
use crate::scan::tokens::{Kind, Token, continues_identifier, tokenize};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

/// Why a compile is refused whose assembly reads a file of an unclear name.
const UNCLEAR: &str = "the name of the file that .incbin or .include reads is not clear";

/// How deep `.include` nests.
const MAX_ASSEMBLER_DEPTH: u32 = 50;

/// Where the word `name` stands in `bytes`.
fn words<'b>(bytes: &'b [u8], name: &'b [u8]) -> impl Iterator<Item = usize> + 'b {
    memchr::memmem::find_iter(bytes, name).filter(move |found| {
        let before = found.checked_sub(1).map_or(b' ', |at| bytes[at]);
        let after = bytes.get(found + name.len()).copied().unwrap_or(b' ');
        !continues_identifier(before) && !continues_identifier(after)
    })
}

/// Whether the word at `at` is what a `#define` defines.
fn is_defined_at(bytes: &[u8], at: usize) -> bool {
    bytes[..at].trim_ascii_end().ends_with(b"define")
}

/// How often `name` is defined in `bytes`.
fn definitions_of(bytes: &[u8], name: &[u8]) -> usize {
    words(bytes, name).filter(|at| is_defined_at(bytes, *at)).count()
}

/// Whether the byte at `at` is in a directive.
fn in_directive(bytes: &[u8], at: usize) -> bool {
    let mut start = at;
    loop {
        start = memchr::memrchr(b'\n', &bytes[..start]).unwrap_or(0);
        let before = bytes[..start].trim_ascii_end();
        if start == 0 || !before.ends_with(b"\\") {
            break;
        }
    }
    let line = bytes[start..].trim_ascii_start();
    line.starts_with(b"#") || line.starts_with(b"%:")
}

impl Replay<'_> {
    /// `.incbin` or `.include` in text.
    pub(super) fn text_input(&mut self, place: &Place<'_>, at: usize, operand: u32) -> Result<(), Fallback> {
        self.record.spoil();
        let text = place.program.operand(operand);
        if !assembler::may_take_operand(text, self.setting.probe.lex_modes.assembler) {
            return Ok(());
        }
        if let Some(name) = assembler::literal_operand(text) {
            return self.read_assembler_input(place, at, &name, assembler::is_include(text), 0);
        }
        // The name is made by macros: the statement's strings, expanded and joined, hold it.
        let mut tokens = Vec::new();
        let statement = assembler::statement(text);
        tokenize(&statement, self.setting.probe.token_modes, &self.world.symbols, &mut tokens);
        self.expanded_input(place, at, &tokens)
    }

    /// A macro whose body holds `.incbin` or `.include`: it reads a file wherever it is used.
    pub(super) fn defined_input(&mut self, place: &Place<'_>, at: usize, operand: u32) -> Result<(), Fallback> {
        self.record.spoil();
        let text = place.program.operand(operand);
        if !assembler::may_take_operand(text, self.setting.probe.lex_modes.assembler) {
            return Ok(());
        }
        if let Some(name) = assembler::literal_operand(text) {
            return self.read_assembler_input(place, at, &name, assembler::is_include(text), 0);
        }
        let defined = place.program.ops[..at].iter().rev().find_map(|op| match op {
            Op::Define { symbol, .. } => Some(*symbol),
            _ => None,
        });
        if let Some(symbol) = defined {
            self.input_macros.push((symbol, Arc::clone(place.header), place.program.line(at)));
        }
        Ok(())
    }

    /// Expands every use of the macros that read files, in every file of the compile, under the macros of its end.
    pub(super) fn resolve_input_macros(&mut self) -> Result<(), Fallback> {
        let macros = std::mem::take(&mut self.input_macros);
        if macros.is_empty() {
            return Ok(());
        }
        let files: Vec<_> = self.record.files.iter().map(|(file, _)| Arc::clone(file)).collect();
        let mut known_files = std::collections::HashSet::new();
        let mut contents = Vec::new();
        for file in files.into_iter().filter(|file| known_files.insert(file.id())) {
            let bytes = std::fs::read(file.path())
                .map_err(|error| Fallback::at(Reason::Unreadable, error.to_string(), file.path().as_ref(), 0))?;
            contents.push(bytes);
        }
        for (symbol, header, line) in &macros {
            let name = self.world.symbols.text(*symbol);
            let options = &self.command.preprocessor.macros;
            let in_options = options.iter().any(|option| match option {
                MacroOption::Define(operand) => words(operand.as_bytes(), name).next().is_some(),
                MacroOption::Undefine(_) => false,
            });
            let definitions = contents.iter().map(|bytes| definitions_of(bytes, name)).sum::<usize>();
            for bytes in &contents {
                for found in words(bytes, name).filter(|found| !is_defined_at(bytes, *found)) {
                    // Under the macros of its end alone, a use in a directive or of a name with several definitions can't be
                    // told.
                    let arguments = assembler::arguments(&bytes[found + name.len()..]);
                    if in_options || definitions != 1 || in_directive(bytes, found) {
                        return Err(self.unclear_use(header, *line));
                    }
                    self.use_of_input_macro(header, *line, *symbol, &arguments, &contents)?;
                }
            }
            if in_options {
                return Err(self.unclear_use(header, *line));
            }
        }
        Ok(())
    }

    fn unclear_use(&self, header: &crate::scan::lookup::Header, line: u32) -> Fallback {
        let path = crate::files::as_path(self.world.symbols.text(header.spelled)).to_path_buf();
        Fallback::at(Reason::Unscannable, UNCLEAR, path, line)
    }

    fn use_of_input_macro(
        &mut self,
        header: &Arc<crate::scan::lookup::Header>,
        line: u32,
        symbol: Symbol,
        arguments: &[u8],
        contents: &[Vec<u8>],
    ) -> Result<(), Fallback> {
        let state = self.table.read(symbol);
        let Definition::Text { text: definition, .. } = self.world.definitions.get(state) else {
            return Err(self.unclear_use(header, line));
        };
        let name = self.world.symbols.text(symbol);
        let modes = self.setting.probe.token_modes;
        let mut named = Vec::new();
        tokenize(definition, modes, &self.world.symbols, &mut named);
        tokenize(arguments, modes, &self.world.symbols, &mut named);
        let is_other_macro = |token: &Token| {
            let text = self.world.symbols.text(token.symbol);
            token.kind == Kind::Identifier
                && token.symbol != symbol
                && (self.table.peek(token.symbol).is_some()
                    || contents.iter().any(|bytes| definitions_of(bytes, text) > 0))
        };
        if named.iter().any(is_other_macro) {
            return Err(self.unclear_use(header, line));
        }
        let text = [name, arguments].concat();
        let (program, _) = self.program(header)?;
        let at = (0..program.ops.len()).find(|at| program.line(*at) == line).unwrap_or(0);
        let place = Place { header, program: &program, line_shift: 0, presumed: None, is_system: header.is_system };
        let mut tokens = Vec::new();
        tokenize(&text, modes, &self.world.symbols, &mut tokens);
        self.expanded_input(&place, at, &tokens)
    }

    fn expanded_input(&mut self, place: &Place<'_>, at: usize, tokens: &[Token]) -> Result<(), Fallback> {
        let refuse = |replay: &Self| replay.refuse_at(place, at, Reason::Unscannable, UNCLEAR);
        let Ok((expanded, None)) = self.expand_operand(place, at, tokens)? else { return Err(refuse(self)) };
        let is_numeric = |token: &Token| {
            token.kind == Kind::Text && assembler::has_numeric_escape(self.world.symbols.text(token.symbol))
        };
        if expanded.iter().any(is_numeric) {
            return Err(refuse(self));
        }
        let mut text = Vec::new();
        for token in &expanded {
            let spelled = self.world.symbols.text(token.symbol);
            match token.kind {
                Kind::Text => text.extend(assembler::unescape(spelled)),
                _ if self.setting.probe.lex_modes.assembler => {
                    text.push(b' ');
                    text.extend_from_slice(spelled);
                }
                _ => {}
            }
        }
        if self.setting.probe.lex_modes.assembler {
            // There a string keeps its quotes.
            text.clear();
            for token in &expanded {
                text.push(b' ');
                text.extend_from_slice(self.world.symbols.text(token.symbol));
            }
        }
        let inputs = assembler::inputs(&text).filter(|inputs| !inputs.is_empty());
        for (is_include, name) in inputs.ok_or_else(|| refuse(self))? {
            self.read_assembler_input(place, at, &name, is_include, 0)?;
        }
        Ok(())
    }

    /// Adds the file that the assembler reads, and those that it reads in turn.
    fn read_assembler_input(
        &mut self,
        place: &Place<'_>,
        at: usize,
        name: &[u8],
        is_include: bool,
        depth: u32,
    ) -> Result<(), Fallback> {
        if depth > MAX_ASSEMBLER_DEPTH {
            return Err(self.refuse_at(place, at, Reason::ScanLimit, "too many nested .include"));
        }
        let (store, view) = (self.searcher.store, self.searcher.view);
        let mut directories: Vec<Arc<Directory>> = vec![Arc::clone(&self.setting.start)];
        for directory in assembler::search_directories(self.command) {
            if let Target::Directory(found) =
                store.resolve(&self.setting.start, &directory, view, &mut self.record.trail)?
            {
                directories.push(found);
            }
        }
        // clang searches other directories than the assembler, in another order.
        let options = &self.command.preprocessor;
        let told = options.assembler_path.as_ref().map_or(options.assembler_directories.len(), Vec::len);
        let is_ambiguous = self.setting.family == Family::Clang && options.directories.len() + told > 1;
        for (number, directory) in directories.into_iter().enumerate() {
            match store.resolve(&directory, name, view, &mut self.record.trail)? {
                Target::File(_) if number > 0 && is_ambiguous => {
                    return Err(self.refuse_at(place, at, Reason::Unscannable, UNCLEAR));
                }
                Target::File(file) => {
                    if name.starts_with(b"/") {
                        self.record.add_absolute(&file);
                    }
                    self.record.inputs.push(Arc::clone(&file));
                    if is_include {
                        let bytes = std::fs::read(file.path()).map_err(|error| {
                            Fallback::at(Reason::Unreadable, error.to_string(), file.path().as_ref(), 0)
                        })?;
                        let unclear = || Fallback::at(Reason::Unscannable, UNCLEAR, file.path().as_ref(), 0);
                        for (is_include, name) in assembler::inputs(&bytes).ok_or_else(unclear)? {
                            self.read_assembler_input(place, at, &name, is_include, depth + 1)?;
                        }
                    }
                    return Ok(());
                }
                Target::Absent | Target::Directory(_) => {
                    self.record.absent.push(crate::scan::lookup::lexical(directory.path(), name));
                }
                Target::Special(path) => {
                    return Err(Fallback::at(Reason::Unreadable, "not a regular file", path.as_ref(), 0));
                }
            }
        }
        if is_ambiguous {
            return Err(self.refuse_at(place, at, Reason::Unscannable, UNCLEAR));
        }
        // The assembler complains, as it would here.
        Ok(())
    }

    /// A source for the assembler alone: what `.include` and `.incbin` name in it.
    ///
    /// # Errors
    /// A [`Fallback`] as for any other source.
    pub(crate) fn run_assembler(
        mut self,
        header: &Arc<crate::scan::lookup::Header>,
    ) -> Result<super::Record, Fallback> {
        let (program, generation) = self.program(header)?;
        let clock = self.clock();
        self.record.add_file(&header.file, generation, clock);
        let bytes = std::fs::read(header.file.path())
            .map_err(|error| Fallback::at(Reason::Unreadable, error.to_string(), header.file.path().as_ref(), 0))?;
        let place = Place { header, program: &program, line_shift: 0, presumed: None, is_system: header.is_system };
        let unclear = || Fallback::at(Reason::Unscannable, UNCLEAR, header.file.path().as_ref(), 0);
        for (is_include, name) in assembler::inputs(&bytes).ok_or_else(unclear)? {
            self.read_assembler_input(&place, 0, &name, is_include, 0)?;
        }
        Ok(self.record)
    }

    /// A source that is preprocessed already: what its inline assembly names.
    ///
    /// # Errors
    /// A [`Fallback`] as for any other source.
    pub(crate) fn run_preprocessed(
        mut self,
        header: &Arc<crate::scan::lookup::Header>,
    ) -> Result<super::Record, Fallback> {
        let (program, generation) = self.program(header)?;
        let clock = self.clock();
        self.record.add_file(&header.file, generation, clock);
        let mut place = Place { header, program: &program, line_shift: 0, presumed: None, is_system: header.is_system };
        for at in 0..program.ops.len() {
            match program.ops[at] {
                Op::TextInput { operand } => self.text_input(&place, at, operand)?,
                Op::Line { operand, is_marker } => self.set_line(&mut place, at, operand, is_marker)?,
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
            Target::File(file) if self.record.has_file(&file) => {}
            Target::File(file) => {
                if name.starts_with(b"/") {
                    self.record.add_absolute(&file);
                }
                self.record.inputs.push(file);
            }
            Target::Absent => self.record.absent.push(crate::scan::lookup::lexical(self.setting.start.path(), name)),
            // It can't be quoted.
            Target::Directory(_) | Target::Special(_) => {}
        }
        Ok(())
    }

    /// `#embed`.
    pub(super) fn embed(&mut self, place: &Place<'_>, at: usize, operand: u32) -> Result<(), Fallback> {
        self.record.spoil();
        let Some(name) = place.program.header(operand) else {
            return Err(self.refuse_at(place, at, Reason::Unscannable, "the name of the embedded file is computed"));
        };
        let (store, view) = (self.searcher.store, self.searcher.view);
        let spelled = self.world.symbols.text(name.name);
        let mut directories = Vec::new();
        if name.quoting == Quoting::Quotes {
            directories.push(self.world.symbols.text(place.header.beside).to_vec());
        }
        let embed_directories = &self.command.preprocessor.embed_directories;
        directories.extend(embed_directories.iter().map(|directory| directory.as_os_str().as_bytes().to_vec()));
        for directory in directories {
            let path =
                if directory.is_empty() { spelled.to_vec() } else { [&directory, b"/".as_slice(), spelled].concat() };
            match store.resolve(&self.setting.start, &path, view, &mut self.record.trail)? {
                Target::File(file) => {
                    if spelled.starts_with(b"/") {
                        self.record.add_absolute(&file);
                    }
                    self.record.inputs.push(file);
                    return Ok(());
                }
                Target::Special(path) => {
                    return Err(Fallback::at(Reason::Unreadable, "not a regular file", path.as_ref(), 0));
                }
                _ => self.record.absent.push(crate::scan::lookup::lexical(self.setting.start.path(), &path)),
            }
        }
        let lookup = self.setting.look_up(name, Inclusion::Plain, place.includer(), &self.searcher);
        let clock = self.clock();
        self.record.add_lookup(&lookup, clock);
        self.record.add_probed(&lookup);
        Ok(())
    }

    /// `#pragma GCC dependency "file"`: the compiler compares times, which do not travel.
    pub(super) fn dependency(&mut self, place: &Place<'_>, at: usize, operand: u32) -> Result<(), Fallback> {
        let Some(name) = place.program.header(operand) else { return Ok(()) };
        self.record.spoil();
        let lookup = self.setting.look_up(name, Inclusion::Plain, place.includer(), &self.searcher);
        let clock = self.clock();
        self.record.add_lookup(&lookup, clock);
        self.record.add_probed(&lookup);
        if let Some(header) = found_header(&lookup.found) {
            let modified = |file: &crate::files::file::SourceFile| {
                let content = file.content(self.searcher.view, crate::files::file::Want::Bytes)?;
                Ok::<_, Fallback>(content.stamp.modified_ns())
            };
            if modified(&header.file)? > modified(&place.header.file)? {
                return Err(self.refuse_at(
                    place,
                    at,
                    Reason::TimeDependent,
                    "#pragma GCC dependency names a newer file",
                ));
            }
        }
        Ok(())
    }
}
