//! What flags say. Meanings are nested by who takes them in, so that each reader's match names every one of them: a new
//! meaning is a compile error wherever it has to be thought of.

use crate::command::SearchChain;
use crate::fallback::Reason;

/// What a flag says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// No compile is wanted, or its product goes elsewhere.
    Refuse(Reason),
    /// Which phases run.
    Phase(Phases),
    /// `-x`
    Language,
    /// What the preprocessor is told.
    Preprocessor(Preprocessor),
    /// Where headers and the compiler's own files are looked for.
    Search(Search),
    /// Rules for make.
    Dependencies(Dependencies),
    /// Arguments for a program that the driver runs.
    HandOn(HandOn),
    /// What else is read.
    Input(Input),
    /// What is written.
    Output(Output),
    /// Random numbers in objects.
    Seed(Seed),
    /// How diagnostics look.
    Diagnostic(Diagnostic),
    /// What is passed on as it is.
    Plain(Plain),
}

/// Which phases run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phases {
    /// `-c`
    Compile,
    /// `-S`
    Assemble,
    /// `-emit-llvm`
    EmitLlvm,
    /// `-fsyntax-only`
    SyntaxOnly,
}

/// What the preprocessor is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preprocessor {
    /// `-D`
    Define,
    /// `-U`
    Undefine,
    /// `-include`
    Include,
    /// `-imacros`
    IncludeMacros,
    /// `-undef`
    Undef,
    /// `-fpreprocessed`, `-fdirectives-only`
    Preprocessed,
    /// `-finput-charset=`: of another set than UTF-8, sources are not what their bytes say.
    InputCharset,
    /// `-fexec-charset=` and its like.
    ExecutionCharset,
    /// `-ffile-prefix-map=`, `-fmacro-prefix-map=`
    PrefixMap(PrefixMap),
    /// `-fcanonical-system-headers`, and its opposite.
    CanonicalSystemHeaders(Switch),
    /// Flags by which it may hang on debug information whether `__GCC_HAVE_DWARF2_CFI_ASM` is defined.
    UnwindTables,
}

/// Which names a prefix map is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PrefixMap {
    /// All of them.
    File,
    /// Those in macros.
    Macro,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switch {
    On,
    Off,
}

/// Where headers and the compiler's own files are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Search {
    /// A directory of the search path.
    Directory(SearchChain),
    /// `-I-`
    Split,
    /// `-iprefix`
    Prefix,
    /// `-iwithprefix` and `-iwithprefixbefore`: the chain that the joined directory goes to.
    WithPrefix(SearchChain),
    /// `--embed-dir`
    EmbedDirectory,
    /// `--sysroot`
    Sysroot,
    /// `-isysroot`
    HeaderSysroot,
    /// `-nostdinc`
    NoStandardIncludes,
    /// `-B`: a directory that programs and headers are looked for in.
    ToolDirectory,
    /// What changes the compiler's own directories in a way that it tells of.
    Own,
}

/// Rules for make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dependencies {
    /// `-MD`, `-MMD`: in the driver's own arguments without an operand.
    Write,
    /// `-MF`
    File,
    /// `-MT`, `-MQ`: an operand without meaning here.
    Target,
    /// `-MP`, `-MG`: without meaning here.
    Detail,
}

/// Arguments for a program that the driver runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandOn {
    /// `-Wp,`: a list for the preprocessor.
    PreprocessorList,
    /// `-Xpreprocessor`: one argument for the preprocessor.
    PreprocessorArgument,
    /// `-Wa,`: a list for the assembler.
    AssemblerList,
    /// `-Xassembler`: one argument for the assembler.
    AssemblerArgument,
    /// `-Xclang`: one argument for clang's front end.
    FrontEndArgument,
    /// `-mllvm`: one argument for LLVM.
    LlvmArgument,
}

/// What else is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// The operand is a file that the compile reads.
    File,
    /// The operand is a file with options, or its name in the compiler's own directories: `-specs=`, `--config`.
    OptionFile,
    /// The operand, where it is joined, is a file or a directory with profiles.
    Profile,
    /// `-fprofile-dir=`: where profiles are.
    ProfileDirectory,
    /// `-fprofile-generate=`: the same, and profiles are written there.
    ProfileGenerate,
    /// `-fprofile-prefix-path=`: what profiles' names leave out.
    ProfilePrefix,
    /// `-fauto-profile` without an operand: `fbdata.afdo`.
    AutoProfile,
    /// The operand is one `=`-separated argument of a plugin, perhaps a file's name.
    PluginArgument,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// `-o`
    Object,
    /// An additional output, named after the object.
    Product(Product),
    /// The last one of these turns the product off.
    NoProduct(Product),
    /// An additional output, named by the operand.
    Named,
    /// `-save-temps`, `-save-temps=obj`, `-save-temps=cwd`
    SaveTemps(SaveTemps),
    /// `-dumpbase`, `-dumpdir`, `-dumpbase-ext`
    DumpName,
    /// `-fopt-info`: the operand may name a file to write.
    OptimizationReport,
}

/// An output besides the object and the depfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Product {
    /// `-gsplit-dwarf`: `.dwo`
    SplitDwarf,
    /// `-ftest-coverage`, `--coverage`: `.gcno`
    Notes,
    /// `-fstack-usage`: `.su`
    StackUsage,
    /// `-fcallgraph-info`: `.ci`
    CallGraph,
    /// `-ftime-trace`: `.json`
    TimeTrace,
    /// `-fsave-optimization-record`: `.opt.yaml`, or gcc's `.opt-record.json.gz`
    OptimizationRecord,
}

/// Where the files that the phases hand on stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SaveTemps {
    /// Beside the object.
    BesideObject,
    /// In the working directory.
    InWorkingDirectory,
}

/// Random numbers in objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seed {
    /// gcc draws one where none is given: `-flto`, `-fprofile-arcs`.
    Draw,
    /// gcc draws none for this reason: `-fno-lto`.
    DrawNone,
    /// `-frandom-seed=`
    Give,
}

/// How diagnostics look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Diagnostic {
    /// `-fdiagnostics-color` and its relatives: the operand, or the flag itself, says when.
    Color(Color),
    /// `-fdiagnostics-format=`: the operand may ask for a file.
    Format,
    /// The object holds the command line, to which therefore nothing may be added.
    RecordsCommandLine,
    /// The debug information names the flags under which it was made.
    RecordsInDebugInformation,
}

/// When diagnostics are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Color {
    /// The operand says it.
    Operand,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What is passed on as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plain {
    /// Known to need nothing but to be passed on.
    Pass,
    /// `-march=`, `-mcpu=`, `-mtune=`: `native` means the machine that compiles.
    Machine,
    /// Only the linker hears of it, or nothing that a compiler is asked for hangs on it.
    Irrelevant,
    /// What is warned of, and how: no answer hangs on it.
    Warning,
    /// Known by its first letters alone: `-f…`, `-m…`. A value that may be a path is taken for an input.
    Guess,
}
