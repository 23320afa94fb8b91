//! Every limit of the scanner, by name. Whatever the input, a scan ends within them; what exceeds one is a
//! [`Fallback`](crate::fallback::Fallback) with [`Reason::ScanLimit`](crate::fallback::Reason::ScanLimit).

/// How often a scan is begun anew because files changed under it.
pub(crate) const MAX_SCAN_ATTEMPTS: u32 = 3;

/// How deep includes nest: gcc's own `-fmax-include-depth`.
pub(crate) const MAX_INCLUDE_DEPTH: u32 = 200;
/// How many files, counted each time, one compile includes.
pub(crate) const MAX_INCLUDES: u32 = 400_000;
/// How many directives one compile replays.
pub(crate) const MAX_REPLAYED_DIRECTIVES: u64 = 60_000_000;
/// How many tokens the expansion of one directive may make.
pub(crate) const MAX_EXPANSION_TOKENS: usize = 2_000_000;
/// How many tokens all the expansions of one compile may make.
pub(crate) const MAX_COMPILE_TOKENS: u64 = 200_000_000;
/// How deep the contexts of macro expansions nest.
pub(crate) const MAX_EXPANSION_DEPTH: usize = 4_000;
/// How deep arguments are expanded within arguments.
pub(crate) const MAX_ARGUMENT_DEPTH: usize = 400;
/// How deep parentheses nest in a condition.
pub(crate) const MAX_CONDITION_DEPTH: u32 = 500;
/// How many definitions one macro may have at the same time, where conditions are unknown.
pub(crate) const MAX_ALTERNATIVES: usize = 16;
/// How often one condition is evaluated, where macros in it have several definitions.
pub(crate) const MAX_CONDITION_ALTERNATIVES: u32 = 256;
/// How many names one computed include may have, where macros have several definitions.
pub(crate) const MAX_COMPUTED_NAMES: usize = 64;
/// How many conditional branches of one compile are taken without knowing whether the compiler takes them.
pub(crate) const MAX_UNKNOWN_BRANCHES: u32 = 20_000;
/// How deep groups of unknown conditions nest.
pub(crate) const MAX_UNKNOWN_DEPTH: u32 = 400;
/// How many bytes of names, definitions and directives are kept before the scanner forgets everything and starts anew.
pub(crate) const MAX_REMEMBERED_BYTES: usize = 512 << 20;
/// How many alternatives of one header's effect are kept.
pub(crate) const MAX_EFFECTS_OF_A_HEADER: usize = 64;
/// How many macro states, reads and writes together, all effects may hold.
pub(crate) const MAX_EFFECT_ENTRIES: usize = 3_500_000;
/// How many bytes of programs that tell of macros' uses in text are kept.
pub(crate) const MAX_PROGRAM_WITH_USES_BYTES: usize = 64 << 20;
/// How many settings are kept, each with its searches and what headers did in it.
pub(crate) const MAX_SETTINGS: usize = 4_096;
/// How many compilers' answers are kept, each under some flags.
pub(crate) const MAX_PROBES: usize = 4_096;
/// How many compilers' looks are kept, to serve for questions that are alike.
pub(crate) const MAX_KNOWN_LOOKS: usize = 256;
/// How many files' words are kept.
pub(crate) const MAX_WORDS_FILES: usize = 8_192;
/// How many bytes of closures are kept.
pub(crate) const MAX_CLOSURE_BYTES: usize = 48 << 20;
/// How many files of options one driver reads.
pub(crate) const MAX_OPTION_FILES: usize = 64;
/// How many answers of drivers that read files of options are kept.
pub(crate) const MAX_DRIVER_ANSWERS: usize = 4_096;
/// How many questions about features a compiler is asked at once.
pub(crate) const MAX_FEATURES_AT_ONCE: usize = 512;
/// How many distinct questions about features one compiler is asked.
pub(crate) const MAX_FEATURE_QUESTIONS: usize = 20_000;

/// How often a compile is replayed to follow macros that make assembly or pragmas.
pub(crate) const MAX_TEXT_MACRO_REPLAYS: u32 = 16;
