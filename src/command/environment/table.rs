//! Every environment variable that drivers, compilers, assemblers and the dynamic linker ask for, and what comes of it.
//!
//! The one list of variables: the launcher sends what is not harmless, the parser passes on, interprets or refuses. It is not
//! written from memory: a suite records what the programs ask for, and fails with the name of one that is not here. What no
//! program asks for is not here, and does not reach a compile.
//!
//! **Source:** gcc's manual, "Environment Variables"; clang's `Driver.cpp` and tool chains (facts); ld.so(8); gettext's manual;
//! traces of gcc 12, clang 14 and binutils 2.40.

use super::Role::{Harmless, Interpreted, Key, Refuse, RefuseValue, Terminal, Tool};
use super::{Asked, Row};
use Asked::{Both, Clang, Gcc};

const fn row(name: &'static str, asked: Asked, role: super::Role) -> Row {
    Row { name, asked, role }
}

const AT_LINKING: &str = "it is read when programs are linked";
const AFTER_A_CRASH: &str = "it is read once a compile has failed, and failures aren't stored";
const SIZES: &str = "it moves memory from place to place, and no result hangs on addresses";
const OTHER_LIBRARY: &str =
    "a library that the programs are linked with reads it when it starts, and a compile uses nothing of it";

/// The variables whose whole names are known, sorted by name.
pub(super) const TABLE: &[Row] = &[
    row("BINUTILS_ROOT", Gcc, Key),
    row("CCC_ADD_ARGS", Clang, Refuse),
    row("CCC_OVERRIDE_OPTIONS", Clang, Refuse),
    row("CC_LOG_DIAGNOSTICS", Clang, Refuse),
    row("CC_PRINT_HEADERS", Clang, Refuse),
    row("CC_PRINT_INTERNAL_STAT", Clang, Refuse),
    row("CC_PRINT_OPTIONS", Clang, Refuse),
    row("CC_PRINT_PROC_STAT", Clang, Refuse),
    row("CL", Clang, Refuse),
    row("CLANG_CONFIG_FILE_SYSTEM_DIR", Clang, Refuse),
    row("CLANG_CONFIG_FILE_USER_DIR", Clang, Refuse),
    row("CLANG_NO_DEFAULT_CONFIG", Clang, Refuse),
    row("COLORTERM", Gcc, Terminal),
    row("COLUMNS", Both, Terminal),
    row("COMPILER_PATH", Both, Key),
    row("CPATH", Both, Key),
    row("CPLUS_INCLUDE_PATH", Both, Key),
    row("CXX_MODULE_MAPPER", Gcc, Refuse),
    row("C_INCLUDE_PATH", Both, Key),
    row("DEB_BUILD_OPTIONS", Gcc, Harmless(AFTER_A_CRASH)),
    row("DEPENDENCIES_OUTPUT", Both, Refuse),
    row("EXTERNAL_INCLUDE", Clang, Key),
    row("FORCE_CLANG_DIAGNOSTICS_CRASH", Clang, Refuse),
    row("G++_ROOT", Gcc, Key),
    row("GCC_COLORS", Gcc, Key),
    row("GCC_COMPARE_DEBUG", Gcc, Refuse),
    row("GCC_EXEC_PREFIX", Gcc, Key),
    row("GCC_EXTRA_DIAGNOSTIC_OUTPUT", Gcc, Key),
    row("GCC_ROOT", Gcc, Key),
    row("GCC_URLS", Gcc, Terminal),
    row("GCONV_PATH", Both, RefuseValue),
    row("GETCONF_DIR", Both, Harmless("getconf(1) reads it")),
    row("GLIBC_TUNABLES", Both, RefuseValue),
    row("GNUTARGET", Both, Refuse),
    row("HIP_DEVICE_LIB_PATH", Clang, Key),
    row("HOME", Both, Tool),
    row("HOSTALIASES", Both, Harmless("the resolver reads it, and a compile resolves no host")),
    row("INCLUDE", Clang, Key),
    row("JITDUMPDIR", Clang, Harmless("LLVM's just-in-time compiler reads it, and a compile executes nothing")),
    row("LANG", Both, Key),
    row("LANGUAGE", Both, Key),
    row("LC_ALL", Both, Key),
    row("LC_CTYPE", Both, Key),
    row("LC_MESSAGES", Both, Key),
    row("LD_BIND_NOT", Both, Harmless("symbols are bound to the same definitions, only more often")),
    row("LD_BIND_NOW", Both, Harmless("symbols are bound to the same definitions, only sooner")),
    row("LD_LIBRARY_PATH", Both, Tool),
    row("LD_RUN_PATH", Both, Harmless(AT_LINKING)),
    row("LD_WARN", Both, Harmless("the dynamic linker only warns with ldd(1)")),
    row("LIB", Clang, Key),
    row("LIBPATH", Clang, Harmless(AT_LINKING)),
    row("LIBRARY_PATH", Gcc, Key),
    row("LINES", Both, Harmless("messages are cut to a terminal's width, not to its height")),
    row("LLVM_DISABLE_CRASH_REPORT", Clang, Harmless(AFTER_A_CRASH)),
    row("LLVM_DISABLE_SYMBOLIZATION", Clang, Harmless(AFTER_A_CRASH)),
    row("LLVM_SYMBOLIZER_OPTS", Clang, Harmless(AFTER_A_CRASH)),
    row("LLVM_SYMBOLIZER_PATH", Clang, Harmless(AFTER_A_CRASH)),
    row("LOCALDOMAIN", Both, Harmless("the resolver reads it, and a compile resolves no host")),
    row("LOCPATH", Both, RefuseValue),
    row("LPATH", Gcc, Key),
    row("MAKEFLAGS", Gcc, Harmless("link-time optimisation takes make's job tokens by it")),
    row("MALLOC_ARENA_MAX", Both, Harmless(SIZES)),
    row("MALLOC_ARENA_TEST", Both, Harmless(SIZES)),
    row("MALLOC_MMAP_MAX_", Both, Harmless(SIZES)),
    row("MALLOC_MMAP_THRESHOLD_", Both, Harmless(SIZES)),
    row("MALLOC_TCACHE_COUNT", Both, Harmless(SIZES)),
    row("MALLOC_TCACHE_MAX", Both, Harmless(SIZES)),
    row("MALLOC_TCACHE_UNSORTED_LIMIT", Both, Harmless(SIZES)),
    row("MALLOC_TOP_PAD_", Both, Harmless(SIZES)),
    row("MALLOC_TRIM_THRESHOLD_", Both, Harmless(SIZES)),
    row("NIS_PATH", Both, Harmless("the resolver reads it, and a compile resolves no host")),
    row("NLSPATH", Both, RefuseValue),
    row("NO_COLOR", Clang, Interpreted),
    row("OBJCPLUS_INCLUDE_PATH", Both, Key),
    row("OBJC_INCLUDE_PATH", Both, Key),
    row("OBJECT_MODE", Both, Key),
    row("OUTPUT_CHARSET", Both, Key),
    row("PATH", Both, Tool),
    row("POSIXLY_CORRECT", Both, Key),
    row("PWD", Both, Interpreted),
    row("QA_OVERRIDE_GCC3_OPTIONS", Clang, Refuse),
    row("RC_DEBUG_OPTIONS", Clang, Refuse),
    row("RESOLV_HOST_CONF", Both, Harmless("the resolver reads it, and a compile resolves no host")),
    row("RES_OPTIONS", Both, Harmless("the resolver reads it, and a compile resolves no host")),
    row("ROCM_PATH", Clang, Key),
    row("SDKROOT", Both, Refuse),
    row("SOURCE_DATE_EPOCH", Both, Key),
    row("SUNPRO_DEPENDENCIES", Both, Refuse),
    row("TEMP", Both, Interpreted),
    row("TEMPDIR", Clang, Harmless("it says where temporary files are made, which no result of clang names")),
    row("TERM", Both, Terminal),
    row("TERMINFO", Clang, Terminal),
    row("TERMINFO_DIRS", Clang, Terminal),
    row("TERM_PROGRAM", Both, Terminal),
    row("TERM_URLS", Gcc, Terminal),
    row("TMP", Both, Interpreted),
    row("TMPDIR", Both, Interpreted),
    row(
        "TZ",
        Both,
        Harmless("what shows the local time isn't stored, unless SOURCE_DATE_EPOCH fixes it, which is shown as UTC"),
    ),
    row("TZDIR", Both, Harmless("as TZ")),
    row("VCINSTALLDIR", Clang, Refuse),
    row("VCToolsInstallDir", Clang, Refuse),
    row("VCToolsVersion", Clang, Refuse),
    row("VTE_VERSION", Both, Terminal),
    row("WindowsSdkDir", Clang, Refuse),
    row("XDG_CACHE_HOME", Both, Harmless("modules are cached below it, and they are refused")),
    row("_CL_", Clang, Refuse),
    row("bar", Clang, Harmless("LLVM asks for it to keep code from being dropped, and ignores the answer")),
];

/// Beginnings and ends of names, for variables that are not in [`TABLE`]: `PREFIX*` or `*SUFFIX`. The first that fits counts.
pub(super) const PATTERNS: &[Row] = &[
    // What the dynamic linker loads or looks at.
    row("LD_*", Both, RefuseValue),
    // The C library's checks fill memory; other allocators have settings of their own.
    row("MALLOC_*", Both, RefuseValue),
    // clang's editing of its command line, and its logs.
    row("CCC_*", Clang, Refuse),
    row("CC_LOG_*", Clang, Refuse),
    row("CC_PRINT_*", Clang, Refuse),
    // What gcc's driver tells the programs that it runs.
    row("COLLECT_*", Gcc, Refuse),
    // Apple's targets: versions of systems.
    row("*_DEPLOYMENT_TARGET", Both, Key),
    // Search paths of other targets: `NCC_C_INCLUDE_PATH`, `XCC_C_INCLUDE_PATH`.
    row("*_INCLUDE_PATH", Both, Refuse),
    // Consoles' kits: `SCE_ORBIS_SDK_DIR`, `SCE_PROSPERO_SDK_DIR`.
    row("SCE_*", Clang, Refuse),
    row("DEBUGINFOD_*", Both, Harmless(OTHER_LIBRARY)),
    row("GNUTLS_*", Both, Harmless(OTHER_LIBRARY)),
    row("NSPR_*", Both, Harmless(OTHER_LIBRARY)),
];
