//! White space that expansion moves, loses or makes: it stands in strings, and so in the names of computed headers. gcc and
//! clang do it differently, and gcc in includes otherwise than in conditions and in text.

use crate::case::Case;
use std::collections::BTreeSet;
use std::process::Command;

/// What all uses have: an empty macro, macros that put their arguments between blanks or beside empty macros, strings.
const MACROS: &[&str] = &[
    "E",
    "EE E E",
    "NAME a b",
    "BEHIND a E",
    "BEFORE E a",
    "X(x) f(x E)",
    "B(x) f( x )",
    "Y(x) [ x] E x+",
    "Z(x) E x E",
    "CALLS(x) X( x )",
    "NONE(x) E",
    "TWO(x, y) x y x",
    "P(x, y) [ x ## y ]",
    "Q(x, y) x##y +",
    "R(x, y) w ## x ## y",
    "GNU(x, rest...) f(x, ## rest)",
    "REST(...) f( , ## __VA_ARGS__)",
    "O(x, ...) f(x __VA_OPT__(,) __VA_ARGS__)",
    "OB(x, ...) [ __VA_OPT__( x ) +]",
    "OP(x, ...) w ## __VA_OPT__( x ) x",
    "OR(x, ...) [__VA_OPT__(w ## x) ]",
    "S(x) #x",
    "T(x) S(x)",
];

/// Uses of these macros that the compilers accept.
const USES: &[&str] = &[
    "X(a)",
    "X( a )",
    "X()",
    "X(E)",
    "X(E a)",
    "X(a E)",
    "X(NAME)",
    "X(BEHIND)",
    "X(BEFORE)",
    "X(X(a))",
    "B(a)",
    "B(E)",
    "B()",
    "B(EE a)",
    "B(BEFORE)",
    "Y(a)",
    "Y(E)",
    "Y(BEHIND)",
    "Z(a)",
    "Z()",
    "Z(E)a",
    "CALLS(a)",
    "CALLS(E)",
    "NONE(a)b",
    "NONE(a) b",
    "[E]",
    "[ E]",
    "[E ]",
    "[EE]",
    "[ EE ]",
    "TWO(E, a)",
    "TWO(a,)",
    "TWO(,E)",
    "TWO( X(E) ,b)",
    "P(a, b)",
    "P(, b)",
    "P(a,)",
    "P(,)",
    "P( a ,E )",
    "Q(, b)",
    "Q( a,)",
    "Q(,)c",
    "R(a, b)",
    "R(,b)",
    "R(,)",
    "R( ,) c",
    "GNU(a)",
    "GNU(a,)",
    "GNU(a, b)",
    "GNU(a,E)",
    "GNU(a, E b)",
    "REST()",
    "REST(a)",
    "REST( E )",
    "O(a)",
    "O(a,)",
    "O(a, b)",
    "O(a,E)",
    "O(,b)",
    "OB(a)",
    "OB(a, b)",
    "OB(E, b)",
    "OP(a)",
    "OP(a, b)",
    "OR(a)",
    "OR(a, b)",
    "OR(, b)",
    "X B(a)",
    "X E B(a)",
    "B(X)(a)",
    "B(X E)(a)",
    "[__LINE__]",
    "[ __LINE__ ]",
    "B(__LINE__)",
    "X(__LINE__)b",
    "TWO(Z,X)(a)",
];

/// The macros, and lines of which each has one use as a string with its number before it.
fn source(line: impl Fn(usize, &str) -> String) -> String {
    let mut source = String::new();
    for text in MACROS {
        source += &format!("#define {text}\n");
    }
    for (number, text) in USES.iter().enumerate() {
        source += &line(number, &format!("T(n{number}+{text})"));
    }
    source
}

/// The strings that `compiler` makes of the uses where they stand in text.
fn in_text(compiler: &str) -> Vec<String> {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a.cc");
    std::fs::write(&path, source(|_, text| format!("@ {text}\n"))).unwrap();
    let output = Command::new(compiler).args(["-E", "-P", "-w", "-std=c++20"]).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let strings = text.split('@').skip(1).map(|part| part.trim().trim_matches('"').to_owned());
    strings.collect()
}

/// The names that `compiler` makes of the uses where they are included.
fn in_includes(compiler: &str) -> Vec<String> {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a.cc");
    std::fs::write(&path, source(|_, text| format!("#include {text}\n"))).unwrap();
    let output = Command::new(compiler).args(["-M", "-MG", "-MT", "a", "-w", "-std=c++20"]).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rule = String::from_utf8(output.stdout).unwrap().replace("\\\n", "\n").replace("\\ ", "\0");
    let names = rule.split_ascii_whitespace().map(|name| name.replace('\0', " "));
    names.map(|name| name.trim_start_matches("./").to_owned()).filter(|name| name.starts_with('n')).collect()
}

const COMPILERS: [&str; 2] = ["g++", "clang++"];

/// All names that either compiler makes anywhere of each use.
fn names() -> Vec<BTreeSet<String>> {
    let all: Vec<_> = COMPILERS.iter().flat_map(|compiler| [in_text(compiler), in_includes(compiler)]).collect();
    for names in &all {
        assert_eq!(names.len(), USES.len(), "{names:?}");
    }
    (0..USES.len()).map(|at| all.iter().map(|names| names[at].clone()).collect()).collect()
}

#[test]
fn a_computed_name_has_the_blanks_that_the_compiler_leaves() {
    let names = names();
    for compiler in COMPILERS {
        let mut case = Case::new().file("a.cc", source(|_, text| format!("#include {text}\n")));
        for name in names.iter().flatten() {
            case = case.file(name, "");
        }
        case.needs(&format!("{compiler} -std=c++20 -w a.cc"), &["n0+f(a )"][usize::from(compiler == "g++")..]);
    }
}

#[test]
fn a_computed_name_has_fewer_blanks_in_a_condition() {
    // One name of each use in each case, so that the compiler's branch tells which one it looks for.
    let names = names();
    let most = names.iter().map(BTreeSet::len).max().unwrap();
    assert!(most > 1, "nothing differs");
    let text = source(|number, text| {
        format!("#if __has_include({text})\n#include \"yes{number}.h\"\n#else\n#include \"no{number}.h\"\n#endif\n")
    });
    for compiler in COMPILERS {
        for place in 0..most {
            let mut case = Case::new().file("a.cc", text.as_str());
            for (number, names) in names.iter().enumerate() {
                case = case.file(format!("yes{number}.h"), "").file(format!("no{number}.h"), "");
                if let Some(name) = names.iter().nth(place) {
                    case = case.file(name, "");
                }
            }
            case.check(&format!("{compiler} -std=c++20 -w a.cc"));
        }
    }
}

#[test]
fn a_file_that_assembly_includes_has_the_blanks_of_text() {
    for compiler in COMPILERS {
        let mut case = Case::new().file("a.cc", source(|_, text| format!("asm(\".incbin \\\"\" {text} \"\\\"\");\n")));
        let names: BTreeSet<String> = names().into_iter().flatten().collect();
        for name in &names {
            case = case.file(name, name);
        }
        let seen = in_text(compiler);
        let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
        assert!(seen.contains(&"n0+f(a )"), "both have a blank there");
        case.needs(&format!("{compiler} -std=c++20 -w a.cc"), &seen);
    }
}

#[test]
fn a_comma_before_missing_arguments_goes_as_the_language_has_it() {
    let text = "#define S(x) #x\n#define T(x) S(x)\n#define R(...) f( , ## __VA_ARGS__)\n#define G(x, ...) f(x, ## __VA_ARGS__)\n\
                #include T(n0+R())\n#include T(n1+R(a))\n#include T(n2+G(a))\n#include T(n3+G(a,))\n#include T(n4+G())\n";
    for (compiler, source) in [("gcc", "a.c"), ("clang", "a.c"), ("g++", "a.cc"), ("clang++", "a.cc")] {
        let languages: &[&str] =
            if source == "a.c" { &["c99", "gnu99", "c17", "gnu17"] } else { &["c++17", "gnu++17"] };
        for standard in languages {
            let mut case = Case::new().file(source, text);
            for (number, names) in [
                &["f( )", "f( ,)", "f()", "f(,)"][..],
                &["f( ,a)", "f(,a)"],
                &["f(a)", "f(a,)"],
                &["f(a,)", "f(a, )", "f(a)"],
                &["f()", "f( )", "f(,)"],
            ]
            .into_iter()
            .enumerate()
            {
                for name in names {
                    case = case.file(format!("n{number}+{name}"), "");
                }
            }
            case.check(&format!("{compiler} -w -std={standard} {source}"));
        }
    }
}
