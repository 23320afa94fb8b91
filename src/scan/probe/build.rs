//! From a compiler's answer to what a replay needs: macros, directories, and how files are read.

use crate::command::{CompileCommand, Family, Language};
use crate::compiler::process::Request;
use crate::compiler::trace::sights::Validity;
use crate::fallback::Fallback;
use crate::files::resolve::{Resolution, Trail};
use crate::files::{FileStore, View};
use crate::scan::lex::directives::LexModes;
use crate::scan::preprocess::definitions::{Builtin, DefinitionId, Definitions};
use crate::scan::preprocess::symbols::{Symbol, Symbols, known};
use crate::scan::preprocess::tokens::TokenModes;
use crate::scan::probe::Probe;
use crate::scan::probe::answer::Answer;
use crate::scan::probe::key::ProbeKey;
use dashmap::DashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What a scanner's probes are made with.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) store: &'a FileStore,
    pub(crate) view: View,
    pub(crate) symbols: &'a Symbols,
    pub(crate) definitions: &'a Definitions,
}

/// The probe that `answer` to `request` makes, with the number `id`.
///
/// # Errors
/// A [`Fallback`] where a directory can't be looked at.
pub(super) fn build(
    answer: Answer,
    key: ProbeKey,
    request: Request,
    command: &CompileCommand,
    context: Context<'_>,
    id: u32,
) -> Result<Probe, Fallback> {
    let Context { store, view, symbols, definitions } = context;
    let defines = |name: &[u8]| answer.value_of(name);
    let (family, traits) = (command.family, &answer.traits);
    let is_assembler = matches!(command.language, Language::Assembler | Language::AssemblerWithCpp);
    let lex_modes = LexModes {
        raw_strings: traits.raw_strings,
        lines_end_raw_strings: family == Family::Gcc,
        digit_separators: traits.digit_separators,
        trigraphs: traits.trigraphs,
        splices_start_tokens: family == Family::Clang,
        modules: defines(b"__cpp_modules").is_some(),
        no_digraphs: !traits.digraphs,
        no_line_comments: traits.no_line_comments && family == Family::Gcc,
        blocks_before_lines: traits.no_line_comments && family == Family::Clang,
        no_elifdef: !traits.elifdef,
        no_dollars: traits.no_dollars,
        assembler: is_assembler,
    };
    let token_modes = TokenModes {
        digit_separators: traits.digit_separators,
        cplusplus: command.language.is_cplusplus(),
        raw_strings: traits.raw_strings,
        no_dollars: traits.no_dollars,
    };
    let mut predefined = Vec::new();
    for (name, definition) in &answer.macros {
        let state = definition.as_deref().map_or(DefinitionId::NONE, |text| definitions.text(text, token_modes));
        predefined.push((symbols.intern(name), state));
    }
    for name in &answer.builtins {
        let symbol = symbols.intern(name);
        predefined.push((symbol, definitions.builtin(builtin(symbol))));
    }
    // Debug information decides, and whether the compiler only preprocesses; unless tables are asked for, or the machine has
    // them by itself.
    let has_tables = answer.macros.iter().any(|(name, _)| *name == *b"__GCC_HAVE_DWARF2_CFI_ASM");
    if command.preprocessor.names_unwind_tables || !has_tables {
        let with_debug = definitions.text(b"__GCC_HAVE_DWARF2_CFI_ASM 1", token_modes);
        let either = definitions.alternatives([DefinitionId::NONE, with_debug]);
        predefined.push((symbols.intern(b"__GCC_HAVE_DWARF2_CFI_ASM"), either));
    }
    // Where a system root has none, a directory of the command line may have one still.
    let looks_for_preinclude = family == Family::Gcc
        && !command.preprocessor.no_standard_includes
        && defines(b"__STDC_HOSTED__") == Some(b"1")
        && defines(b"__gnu_linux__").is_some();
    let mut trail = Trail::default();
    let start = store.working_directory(&command.working_directory, view, &mut Trail::default())?;
    for directory in answer.directories.iter().chain(&answer.missing) {
        store.resolve(&start, directory, view, &mut trail)?;
    }
    let mut resources = Vec::new();
    for resource in &answer.resources {
        if let Resolution::File(file) = store.resolve(&start, resource, view, &mut trail)? {
            resources.push(file);
        }
    }
    let features = DashMap::default();
    for (question, value) in answer.features {
        features.insert(question, value);
    }
    Ok(Probe {
        predefined,
        driver_directories: answer.driver_directories,
        standard_directories: answer.standard_directories,
        missing_directories: answer.missing,
        resources,
        preinclude: (answer.preinclude || looks_for_preinclude).then_some(b"stdc-predef.h".as_slice()),
        lex_modes,
        token_modes,
        has_va_opt: answer.has_va_opt,
        keeps_lone_comma: answer.traits.lone_comma,
        has_foreign_characters: !answer.traits.ascii,
        id,
        trail,
        key,
        is_configured: answer.is_configured,
        linked: Vec::new(),
        validity: Validity::default(),
        request,
        later_features: AtomicBool::new(false),
        features,
        asked: Arc::default(),
    })
}

fn builtin(name: Symbol) -> Builtin {
    match name {
        known::FILE => Builtin::File,
        known::FILE_NAME => Builtin::FileName,
        known::BASE_FILE => Builtin::BaseFile,
        known::LINE => Builtin::Line,
        known::COUNTER => Builtin::Counter,
        known::INCLUDE_LEVEL => Builtin::IncludeLevel,
        known::DATE | known::TIME | known::TIMESTAMP => Builtin::Time,
        _ => Builtin::Operator,
    }
}
