//! What the compiler is asked: a source that makes it tell.
//!
//! Each answer is a line of text that the preprocessor passes through.

use std::fmt::Write as _;

/// Macros that the compiler computes: `-dD` does not show them.
pub(super) const BUILTINS: &[&str] = &[
    "__FILE__",
    "__FILE_NAME__",
    "__BASE_FILE__",
    "__LINE__",
    "__COUNTER__",
    "__INCLUDE_LEVEL__",
    "__DATE__",
    "__TIME__",
    "__TIMESTAMP__",
    "__has_include",
    "__has_include_next",
    "__has_embed",
    "__has_attribute",
    "__has_cpp_attribute",
    "__has_c_attribute",
    "__has_builtin",
    "__has_constexpr_builtin",
    "__has_feature",
    "__has_extension",
    "__has_warning",
    "__has_declspec_attribute",
    "__is_identifier",
    "__identifier",
    "__building_module",
    "__is_target_arch",
    "__is_target_vendor",
    "__is_target_os",
    "__is_target_environment",
    "__is_target_variant_os",
    "__is_target_variant_environment",
];

/// Features that real headers ask for, so that the first run answers for most programs.
const COMMON_FEATURES: &str = include_str!("common_features.txt");

/// The questions about features that [`first`] asks.
pub(super) fn common_features() -> Vec<Vec<u8>> {
    COMMON_FEATURES.lines().map(|line| line.as_bytes().to_vec()).collect()
}

/// What a source shows of how it is read. Macros don't tell: `-undef` takes them away.
const TRAITS: &str = "\
#if 0
#elifndef PUMPHOUSE_VARIADIC
#elifdef PUMPHOUSE_VARIADIC
PUMPHOUSE_TRAIT elifdef
#endif
%:define PUMPHOUSE_DIGRAPH
#ifdef PUMPHOUSE_DIGRAPH
PUMPHOUSE_TRAIT digraphs
#endif
PUMPHOUSE_TRAIT //**/ no-line-comments
#if 1'0 == 10
PUMPHOUSE_TRAIT digit-separators
#endif
R\"(
#define PUMPHOUSE_NOT_RAW
)\"
#ifndef PUMPHOUSE_NOT_RAW
PUMPHOUSE_TRAIT raw-strings
#endif
??=define PUMPHOUSE_TRIGRAPH
#ifdef PUMPHOUSE_TRIGRAPH
PUMPHOUSE_TRAIT trigraphs
#endif
#if 'A' == 65 && 'z' == 122 && '0' == 48 && '~' == 126 && '\\\\' == 92 && '\\n' == 10
PUMPHOUSE_TRAIT ascii
#endif
#define PUMPHOUSE_DOLLARS no-dollars
PUMPHOUSE_TRAIT PUMPHOUSE_DOLLARS$
#define PUMPHOUSE_LONE(...) lone-comma , ## __VA_ARGS__
PUMPHOUSE_TRAIT PUMPHOUSE_LONE()
";

/// The first source: computed macros, `__VA_OPT__`, traits, common features.
pub(super) fn first() -> String {
    let mut source = String::from("#define PUMPHOUSE_VARIADIC(first, ...) __VA_OPT__(supported)\n");
    source.push_str("PUMPHOUSE_VA_OPT PUMPHOUSE_VARIADIC(1, 2)\n");
    source.push_str(TRAITS);
    for (index, name) in BUILTINS.iter().enumerate() {
        let _ = write!(source, "#ifdef {name}\nPUMPHOUSE_BUILTIN {index}\n#endif\n");
    }
    source.push_str(&about(&common_features()));
    source
}

/// A source that asks for the values of `questions`: the operators are macros, which text shows as well.
pub(super) fn about(questions: &[Vec<u8>]) -> String {
    let mut source = String::new();
    let mut open = None;
    for (index, question) in questions.iter().enumerate() {
        let question = String::from_utf8_lossy(question);
        let operator = question.split('(').next().unwrap_or_default();
        if open.as_deref() != Some(operator) {
            let end = if open.is_some() { "#endif\n" } else { "" };
            let _ = writeln!(source, "{end}#ifdef {operator}");
            open = Some(operator.to_owned());
        }
        let _ = writeln!(source, "PUMPHOUSE_FEATURE {index} {question}");
    }
    source.push_str(if open.is_some() { "#endif\nPUMPHOUSE_END\n" } else { "PUMPHOUSE_END\n" });
    source
}
