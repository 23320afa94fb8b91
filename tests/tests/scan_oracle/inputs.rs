//! What a compile reads without including it.

use crate::case::Case;
use pumphouse::fallback::Reason;

#[test]
fn assembly_reads_files() {
    for compiler in ["gcc", "clang"] {
        let mut case = Case::new()
            .file("a.c", "__asm__(\".section .rodata\\nblob: .incbin \\\"data/b.bin\\\"\\n\");\n__asm__(\".incbin \\\"c.bin\\\", 1, 2\");\n")
            .file("data/b.bin", b"\0\x01\xff")
            .file("inc/c.bin", "12345");
        let closure = case.needs(
            &format!("{compiler} -Wa,-Iinc a.c").replace("clang -Wa,-Iinc", "clang -Iinc"),
            &["data/b.bin", "inc/c.bin"],
        );
        assert!(closure.probed.iter().any(|path| path.ends_with("b.bin")));
        let mut case = Case::new()
            .file("a.S", "#define NAME \"b.bin\"\n.include \"m.inc\"\n.incbin \"b.bin\"\n")
            .file("m.inc", ".include \"n.inc\"\n.macro m\n.endm\n")
            .file("n.inc", ".set n, 1\n")
            .file("b.bin", "b");
        case.needs(&format!("{compiler} a.S"), &["m.inc", "n.inc", "b.bin"]);
        let mut case = Case::new()
            .surplus()
            .file("a.s", ".include \"m.inc\"\n.incbin \"b.bin\"\n")
            .file("i/m.inc", ".set m, 1\n")
            .file("b.bin", "b");
        case.needs(&format!("{compiler} -Wa,-Ii a.s"), &["i/m.inc", "b.bin"]);
    }
}

#[test]
fn macros_make_assembly_that_reads() {
    let incbin = "#define STR(x) #x\n#define STRING(x) STR(x)\n#define DIRECTIVE \".incbin\"\n\
        #define COMMON(name, file, end) __asm__(\".section .rodata\\n\" STRING(name) \": \" DIRECTIVE \" \\\"\" file \"\\\"\\n\" end)\n\
        #define INCBIN(name, file) COMMON(name, file, \".byte 0\\n.text\\n\")\n";
    for (text, needed) in [
        (
            "#define INCBIN(n, f) __asm__(\".data\\n\" #n \": .incbin \\\"\" f \"\\\"\\n.text\")\nINCBIN(x, \"b.bin\");\n",
            &["b.bin"][..],
        ),
        ("INCBIN(x, \"b.bin\");\nINCBIN(y,\n  \"c.bin\");\n", &["b.bin", "c.bin"]),
        (
            "#define FILE_B \"b.bin\"\nINCBIN(x, FILE_B);\n#undef FILE_B\n#define FILE_B \"c.bin\"\nINCBIN(y, FILE_B);\n",
            &["b.bin", "c.bin"],
        ),
        ("#define BOTH(n) INCBIN(n, #n \".bin\")\nBOTH(b);\nBOTH(c);\n", &["b.bin", "c.bin"]),
        ("#define DATA INCBIN(x, \"b.bin\")\nDATA;\n#ifdef NOT\nINCBIN(y, \"none.bin\");\n#endif\n", &["b.bin"]),
        ("__asm__(\".data\\n\" DIRECTIVE \" \\\"b.bin\\\"\\n.text\");\n", &["b.bin"]),
        ("/* INCBIN(x, \"none.bin\") */ const char *s = \"INCBIN(x, none)\"; // INCBIN(x, \"none.bin\")\n", &[]),
        ("#ifdef INCBIN\n#define EMBED INCBIN\n#endif\nEMBED(x, \"b.bin\");\n", &["b.bin"]),
        (
            "#define INC_2(n, f) INCBIN(n, f)\n#define CAT_(a, b) a##b\n#define CAT(a, b) CAT_(a, b)\n#define COUNT(...) 2\n#define INC(...) CAT(INC_, COUNT(__VA_ARGS__))(__VA_ARGS__)\nINC(x, \"b.bin\");\n",
            &["b.bin"],
        ),
        ("#define RAW \".data\\n.incbin \\\"b.bin\\\"\\n.text\"\n__asm__(RAW);\n", &["b.bin"]),
        ("INCBIN /* c */ (x /* ) */, // (\n \"b\" /*)*/ \".bin\");\n", &["b.bin"]),
        ("#include \"use.h\"\n#define N \"c.bin\"\n#include \"use.h\"\n", &["b.bin", "c.bin"]),
        ("#ifndef N\n#define N \"b.bin\"\n#endif\nint z;\nINCBIN(x, N);\n", &["b.bin"]),
    ] {
        for compiler in ["gcc", "g++ -xc++", "clang"] {
            let mut case = Case::new()
                .file("incbin.h", incbin)
                .file(
                    "a.c",
                    if text.starts_with("#define INCBIN(") {
                        text.to_owned()
                    } else {
                        format!("#include \"incbin.h\"\n{text}")
                    },
                )
                .file("use.h", "#ifndef N\nINCBIN(x, \"b.bin\");\n#else\nINCBIN(y, N);\n#endif\n")
                .file("b.bin", "b")
                .file("c.bin", "c");
            case.needs(&format!("{compiler} a.c"), needed);
        }
    }
    for compiler in ["gcc", "clang"] {
        let mut case = Case::new()
            .file("a.S", "#define BIN \"b.bin\"\n#define READ(x) .incbin x\n.data\n.incbin BIN\nREAD(\"c.bin\")\n")
            .file("a.c", "EMBED(\"b.bin\");\n__asm__(\".data; .incbin \\\"\\143.bin\\\"; .text\");\n")
            .file("b.bin", "b")
            .file("c.bin", "c");
        case.needs(&format!("{compiler} a.S"), &["b.bin", "c.bin"]);
        let mut raw = Case::new()
            .file("a.cc", "#define RAW R\"(.data\n.incbin \"b.bin\"\n.text)\"\nasm(RAW);\n#define TWO(f) R\"(.incbin \")\" f R\"(\")\"\nasm(TWO(\"c.bin\"));\n")
            .file("b.bin", "b")
            .file("c.bin", "c");
        raw.needs(&format!("{compiler} -xc++ a.cc"), &["b.bin", "c.bin"]);
        let option = "'-DEMBED(f)=__asm__(\".data; .incbin \\\"\" f \"\\\"; .text\")'";
        case.needs(&format!("{compiler} {option} a.c"), &["b.bin", "c.bin"]);
    }
}

#[test]
fn a_string_that_is_no_assembly_reads_nothing() {
    // An assembler's own tables, messages, and what writes assembly.
    let text = "struct entry { const char *name; int kind; };\n\
        static const struct entry table[] = { { \".incbin\", 1 }, { \".include\", 2 } };\n\
        int say(const char *, ...);\nint same(const char *, const char *);\n\
        int f(const char *s) {\n  if (same(s, \".incbin\"))\n    say(\"; {( in '.incbin' directive: .incbin \\\"%s\\\"\", s);\n\
        #ifdef NOT\n  return say(\n#else\n  return (say(\n#endif\n  \".incbin \\\"none.bin\\\"\"));\n}\n\
        const char *g(void) { return \".include \\\"none.s\\\"\"; }\n";
    for compiler in ["gcc", "clang", "g++ -xc++"] {
        let closure = Case::new().file("a.c", text).check(&format!("{compiler} a.c"));
        assert!(!format!("{closure:?}").contains("/none."), "{closure:?}");
    }
    // The same words where a macro makes assembly of them, and where the statement is a long one.
    for text in [
        "#define ASM __asm__\nASM (\".data\\n.incbin \\\"b.bin\\\"\\n.text\");\n",
        "#define ASM(...) __asm__(__VA_ARGS__)\nASM(\".data; # {\\n\" /* ) */ \".incbin \\\"b.bin\\\"\\n.text\");\n",
        "#define BEGIN __asm__(\n#define END )\nBEGIN \".data\\n.incbin \\\"b.bin\\\"\\n.text\" END;\n",
        "int f(void) { __asm__ volatile (\".data # ;})\\n\"\n#ifdef NOT\n\"\"\n#endif\n\
            \".incbin \\\"b.bin\\\"\\n.text\" : : : \"memory\"); return 0; }\n",
    ] {
        for compiler in ["gcc", "clang", "g++ -xc++"] {
            Case::new().file("a.c", text).file("b.bin", "b").needs(&format!("{compiler} a.c"), &["b.bin"]);
        }
    }
}

#[test]
fn lists_that_a_driver_names_by_itself_are_read() {
    let list = "resources/share/asan_ignorelist.txt";
    let line = "clang -fsanitize=address -resource-dir=resources a.c";
    let mut case = Case::new().file("a.c", "int f(int x) { return x; }\n").directory("resources/share");
    let closure = case.scan(line).expect("scanned");
    assert!(!case.holds(&closure, list));
    let mut case = case.file(list, "fun:g\n");
    let closure = case.scan(line).expect("scanned");
    assert!(case.holds(&closure, list), "{:?}", case.names(&closure));
}

#[test]
fn profiles_lists_and_specs_are_read() {
    let mut case = Case::new()
        .file("a.c", "int f(int x) { return x ? 1 : 2; }\n")
        .file("own.specs", "*cpp:\n+ -DSPEC\n")
        .file("ignore.txt", "fun:f\n");
    case.needs("clang -fsanitize=address -fsanitize-ignorelist=ignore.txt a.c", &["ignore.txt"]);
    case.needs("gcc -specs=own.specs a.c", &["own.specs"]);
    for line in ["gcc -O2 -fprofile-use a.c", "gcc -O2 -fprofile-use=@/p a.c", "gcc -O2 -fprofile-use=prof.gcda a.c"] {
        case.check(line);
    }
}

#[test]
fn a_profile_is_found_under_gccs_name_for_it() {
    let source =
        "int main(int c, char **v) { int s = 0; for (int i = 0; i < c * 1000; i++) s += i & 3; return s == 7; }\n";
    let mut case = Case::new().file("a.c", source).directory("p");
    case.write();
    let make = |line: &str| {
        let status = std::process::Command::new("sh").arg("-c").arg(line).current_dir(case.root()).status().unwrap();
        assert!(status.success(), "{line}");
    };
    make("gcc -O2 -fprofile-generate a.c -o prog && ./prog; true");
    make("mkdir -p q && gcc -O2 -fprofile-generate -fprofile-dir=q -c a.c -o output 2>/dev/null; true");
    make("cp *.gcda output.gcda; cp *.gcda p/; ls");
    for line in ["gcc -O2 -fprofile-use=@/output.gcda a.c", "gcc -O2 -fprofile-use=output.gcda a.c"] {
        let closure = case.check(line);
        assert!(case.holds(&closure, "output.gcda"), "{line}: {:?}", case.names(&closure));
    }
}

#[test]
fn what_depends_on_this_machine_is_refused() {
    let mut case = Case::new().file("a.c", "int a;\n");
    case.refuses("gcc -march=native a.c", Reason::HostDependent);
    case.refuses("gcc -mtune=native a.c", Reason::HostDependent);
    case.refuses("clang -march=native a.c", Reason::HostDependent);
    case.refuses("clang -mcpu=native a.c", Reason::HostDependent);
}

#[test]
fn the_time_is_noticed() {
    let mut case = Case::new()
        .file("a.c", "const char *t = __TIME__;\n")
        .file("b.c", "#include \"t.h\"\nconst char *d = D;\n")
        .file("t.h", "#define D __DATE__\n")
        .file("c.c", "int c;\n");
    for compiler in ["gcc", "clang"] {
        for (source, expect) in [("a.c", true), ("b.c", true), ("c.c", false)] {
            let closure = case.scan(&format!("{compiler} {source}")).unwrap();
            assert_eq!(closure.time_dependent, expect, "{compiler} {source}");
        }
    }
}

#[test]
fn remapped_names_and_fixed_time_agree() {
    let names = "static const char *g(void) { return __FILE__; }\nconst void *h = g;\n";
    let mut case = Case::new()
        .file("a.c", "#include \"b.h\"\nconst char *f = __FILE__;\n")
        .file("t.c", "const char *t = __DATE__ __TIME__;\n")
        .file("b.h", names)
        .variable("SOURCE_DATE_EPOCH", "1000000000");
    for line in [
        "gcc -ffile-prefix-map=@=/x a.c",
        "gcc -fmacro-prefix-map=@=. -fdebug-prefix-map=@=. a.c",
        "clang -ffile-prefix-map=@=/x a.c",
        "gcc -g -I@ @/a.c",
        // Clang 14 does not know the variable.
        "gcc t.c",
    ] {
        case.check(line);
    }
}

#[test]
fn a_file_that_names_itself_by_a_mapped_name_includes_another() {
    let text = "#ifndef B\n#define B\n#include __FILE__\n#endif\nint x;\n";
    for flags in [
        "-ffile-prefix-map=a=b",
        "-fmacro-prefix-map=a.c=b.c",
        "-ffile-prefix-map=a=b -fmacro-prefix-map=a=c",
        "-fmacro-prefix-map=a=c -ffile-prefix-map=a=b",
        "-ffile-prefix-map=a.=b. -ffile-prefix-map=a=c",
        "-ffile-prefix-map=a=c -ffile-prefix-map=a.=b.",
        "-fdebug-prefix-map=a=b",
    ] {
        for compiler in ["gcc", "clang"] {
            let mut case = Case::new().file("a.c", text).file("b.c", "int b;\n").file("c.c", "int c;\n");
            case.check(&format!("{compiler} {flags} a.c"));
            // One scanner, other maps.
            case.check(&format!("{compiler} a.c"));
            case.check(&format!("{compiler} -ffile-prefix-map=a=c a.c"));
        }
    }
    let mut case = Case::new()
        .file("d/a.c", "#include \"../e/h.h\"\n")
        .file("e/h.h", "#ifndef H\n#define H\n#include __FILE__\n#else\nint h;\n#endif\n");
    case.check("gcc -I. -ffile-prefix-map=@=. @/d/a.c");
    case.check("clang -I. -ffile-prefix-map=@=. @/d/a.c");
}

#[test]
fn plugins_are_read() {
    let plugin = "#include \"gcc-plugin.h\"\nint plugin_is_GPL_compatible;\nint plugin_init(struct plugin_name_args *a, struct plugin_gcc_version *v) { return 0; }\n";
    let headers = std::process::Command::new("gcc").arg("-print-file-name=plugin").output().unwrap();
    let headers = std::path::PathBuf::from(String::from_utf8(headers.stdout).unwrap().trim()).join("include");
    if !headers.is_dir() {
        // Without the compiler's plugin headers only the absent one can be tried: the messages have to be the same.
        let mut case = Case::new().file("a.c", "int a;\n");
        if case.scan("gcc -fplugin=@/none.so a.c").is_ok() {
            case.check("gcc -fplugin=@/none.so a.c");
        }
        return;
    }
    let mut case = Case::new().file("a.c", "int a;\n").file("p.cc", plugin);
    case.write();
    let status = std::process::Command::new("g++")
        .args(["-shared", "-fPIC", "-fno-rtti", "p.cc", "-o", "p.so", "-I"])
        .arg(headers)
        .current_dir(case.root())
        .status();
    assert!(status.unwrap().success());
    case.needs("gcc -fplugin=@/p.so a.c", &["p.so"]);
}

#[test]
fn a_file_that_line_names_is_quoted_in_messages() {
    let source = "#line 1 \"grammar.y\"\nint f(void) { unsigned a; return a; }\n";
    for line in ["gcc -O2 -Wall a.c", "gcc -O2 -Wall b.i", "clang -Wall a.c"] {
        let mut case = Case::new()
            // That of a preprocessed source lists nothing.
            .surplus()
            .file("a.c", source)
            .file("b.i", source.replace("#line", "#"))
            .file("grammar.y", "int f(void) { /* as its author wrote it */ unsigned a; return a; }\n");
        case.check(line);
    }
    let mut case = Case::new().file("a.c", source).file("grammar.y", "int f(void)\n");
    case.needs("gcc a.c", &["grammar.y"]);
}

#[test]
fn precompiled_headers_are_refused_or_read() {
    let mut case = Case::new().file("a.c", "int a;\n").file("b.h", "int b;\n");
    for line in [
        "gcc -x c-header b.h",
        "clang -include-pch b.pch a.c",
        "clang -emit-pch b.h",
        "gcc -fpch-preprocess -include b.h a.c",
    ] {
        if let Err(fallback) = case.scan(line) {
            assert!(!fallback.reason.name().is_empty(), "{line}: {fallback}");
        }
    }
    case.refuses("clang -include-pch b.pch a.c", Reason::PrecompiledHeader);
    case.refuses("clang -ivfsoverlay v.yaml a.c", Reason::HeaderMap);
    case.refuses("clang -Ib.hmap a.c", Reason::HeaderMap);
}

#[test]
fn assembly_that_reads_a_file_of_an_unclear_name_is_refused_at_least() {
    let embed = "#define EMBED(s, f) __asm__(\".section .rodata\\n.incbin \\\"\" f \"\\\"\\n\")\n";
    let texts = [
        ("a.S", ".INCBIN \"b.bin\"\n".to_owned()),
        ("a.s", ".IncBin \"b.bin\"\n".to_owned()),
        ("a.S", ".macro read f\n.incbin \"\\f\"\n.endm\nread b.bin\n".to_owned()),
        ("a.s", ".irp f,b,c\n.incbin \"\\f\\().bin\"\n.endr\n".to_owned()),
        ("a.s", ".incbin /* c */ \"b.bin\"\n".to_owned()),
        ("a.s", ".include \"m.inc\"\n".to_owned()),
        ("a.S", ".incbin \"\\142.bin\"\n".to_owned()),
        ("a.c", "__asm__(\".INCBIN \\\"b.bin\\\"\");\n".to_owned()),
        ("a.c", "__asm__(\".inc\" \"bin \\\"b.bin\\\"\");\n".to_owned()),
        ("a.c", "__asm__(\".incbin \\\"\\x62.bin\\\"\");\n".to_owned()),
        ("a.c", format!("{embed}#define LIST(X) X(a, \"b.bin\"); X(b, \"c.bin\");\nLIST(EMBED)\n")),
        ("a.c", format!("{embed}EMBED(a,\n#ifdef ALT\n\"c.bin\"\n#else\n\"b.bin\"\n#endif\n);\n")),
        ("a.c", format!("{embed}#define S(x) #x\n#define T(x) S(x)\nEMBED(a, \"b\" T(__COUNTER__) \".bin\");\n")),
        ("a.c", "__asm__(\".incbin \\\"b%%c.bin\\\"\" :: \"r\"(0));\n".to_owned()),
        ("a.c", format!("{embed}#define BOTH(n) EMBED(n, #n \".bin\")\nBOTH(b);\nBOTH(c);\n")),
        ("a.c", format!("{embed}#define P \"b.bin\"\nEMBED(x, P);\n#undef P\n#define P \"c.bin\"\nEMBED(y, P);\n")),
        ("a.cc", "asm(R\"(.incbin \")\" \"b.bin\" R\"(\")\");\n".to_owned()),
    ];
    for (name, text) in texts {
        for compiler in ["gcc", "clang"] {
            let mut case = Case::new().file(name, &text).file("b.bin", "one").file("c.bin", "two");
            case = case.file("b0.bin", "three").file("b%c.bin", "four");
            case = case.file("m.inc", ".macro read f\n.incbin \"\\f\"\n.endm\nread b.bin\n");
            if name == "a.s" {
                // Compilers list nothing for it.
                case = case.surplus();
            }
            case.check_unless(&format!("{compiler} {name}"), Reason::Unscannable);
        }
    }
}

#[test]
fn what_changes_the_compilers_own_macros_is_unknown() {
    let mut case = Case::new()
        .surplus()
        .file("a.c", "#ifdef __GCC_HAVE_DWARF2_CFI_ASM\n#include \"b.h\"\n#endif\nint a;\n")
        .file("b.h", "");
    case.check("gcc -fno-asynchronous-unwind-tables -g a.c");
    case.check("gcc -fno-asynchronous-unwind-tables a.c");
}

#[test]
fn files_of_options_that_name_files_are_followed() {
    let mut case = Case::new().file("a.c", "int a;\n").file("b.h", "").file("o.specs", "*cc1:\n+ -include b.h\n\n");
    case.needs("gcc -specs=o.specs a.c", &["o.specs", "b.h"]);
    let mut case = Case::new().file("a.c", "int a;\n").file("b.h", "").file("o.cfg", "-include b.h\n");
    case.needs("clang --config ./o.cfg a.c", &["o.cfg", "b.h"]);
}
