//! Files, directories and links of all kinds.

use crate::case::Case;
use pumphouse::fallback::Reason;

#[test]
fn a_directory_named_like_a_header_is_skipped() {
    for compiler in ["gcc", "clang"] {
        let mut case = Case::new().file("a.c", "#include <m.h>\n").directory("x/m.h").file("y/m.h", "int m;\n");
        case.needs(&format!("{compiler} -Ix -Iy a.c"), &["y/m.h"]);
        let mut case = Case::new()
            .file("a.c", "#include \"m.h\"\n#if __has_include(\"n.h\")\nint n;\n#endif\n#if __has_include(<x>)\nint x;\n#endif\n")
            .directory("m.h")
            .directory("n.h")
            .file("y/m.h", "int m;\n")
            .directory("y/x");
        case.needs(&format!("{compiler} -Iy a.c"), &["y/m.h"]);
    }
}

#[test]
fn a_directory_that_is_only_passed_through_has_to_be_there() {
    for compiler in ["gcc", "clang"] {
        let mut case = Case::new().file("a.c", "#include \"emp/../x.h\"\n").directory("emp").file("x.h", "int x;\n");
        case.needs(&format!("{compiler} a.c"), &["x.h"]);
        let mut case = Case::new()
            .file("a.c", "#if __has_include(\"emp/../x.h\")\nint with;\n#endif\n#include <e2/../../y.h>\n")
            .directory("emp")
            .directory("i/e2")
            .file("x.h", "")
            .file("y.h", "int y;\n");
        case.needs(&format!("{compiler} -Ii a.c"), &["x.h", "y.h"]);
        let mut case = Case::new()
            .file("a.c", "#if __has_include(\"none/../x.h\")\nint with;\n#endif\n#include \"x.h/../y.h\"\n")
            .file("x.h", "")
            .file("y.h", "int y;\n");
        case.check_rejected(&format!("{compiler} a.c"));
    }
}

#[test]
fn links_travel_as_links() {
    for compiler in ["gcc", "clang"] {
        let mut case = Case::new()
            .file(
                "a.c",
                "#include \"one.h\"\n#include \"dir/b.h\"\n#if __has_include(\"dangling.h\")\nint dangling;\n#endif\n",
            )
            .symlink("one.h", "two.h")
            .symlink("two.h", "real/three.h")
            .file("real/three.h", "int three;\n")
            .symlink("dir", "mid")
            .symlink("mid", "real/sub")
            .file("real/sub/b.h", "#include \"../c.h\"\n")
            .file("real/c.h", "int c;\n")
            .file("c.h", "#error not this one\n")
            .symlink("dangling.h", "nowhere.h");
        let closure = case.needs(&format!("{compiler} a.c"), &["real/three.h", "real/sub/b.h", "real/c.h"]);
        for link in ["one.h", "two.h", "dir", "mid"] {
            let path = case.root().join(link);
            assert!(closure.symlinks.iter().any(|(other, _)| **other == *path), "{link}");
        }
    }
}

#[test]
fn links_in_circles_are_absent() {
    for compiler in ["gcc", "clang"] {
        let mut case = Case::new()
            .file("a.c", "#if __has_include(\"one.h\")\nint one;\n#endif\n#include <m.h>\n")
            .symlink("one.h", "two.h")
            .symlink("two.h", "one.h")
            .symlink("x/m.h", "m.h")
            .file("y/m.h", "int m;\n");
        case.check_unless(&format!("{compiler} -Ix -Iy a.c"), Reason::Unreadable);
    }
}

#[test]
fn absolute_links_and_links_out_of_the_tree() {
    for compiler in ["gcc", "clang"] {
        let mut case = Case::new()
            .file("a.c", "#include \"abs.h\"\n#include \"dir/b.h\"\n")
            .file("x/b.h", "int b;\n")
            .file("x/c.h", "int c;\n");
        let root = case.root();
        case.tree.symlink("abs.h", root.join("x/c.h"));
        case.tree.symlink("dir", root.join("x"));
        case.needs(&format!("{compiler} a.c"), &["x/b.h", "x/c.h"]);
    }
}

#[test]
fn absolute_includes() {
    for compiler in ["gcc", "clang"] {
        let mut case = Case::new()
            .rooted("a.c", "#include \"@/x/b.h\"\n#include <@/x/c.h>\n#if 0\n#include \"@/none.h\"\n#endif\n#if __has_include(\"@/x/d.h\")\nint d;\n#endif\n")
            .file("x/b.h", "#include \"s.h\"\n")
            .file("x/s.h", "int s;\n")
            .file("x/c.h", "int c;\n")
            .file("x/d.h", "");
        case.needs(&format!("{compiler} a.c"), &["x/b.h", "x/s.h", "x/c.h", "x/d.h"]);
    }
}

#[test]
fn the_predefining_header_is_implicit() {
    let mut case = Case::new().file("a.c", "int a;\n");
    let closure = case.check("gcc a.c");
    assert!(closure.files.iter().any(|file| file.path.ends_with("stdc-predef.h")));
    // A nearer one is taken instead: it is looked for in the bracket chain.
    let mut case = Case::new()
        .file("a.c", "#ifdef MINE\n#include \"b.h\"\n#endif\n")
        .file("x/stdc-predef.h", "#define MINE\n")
        .file("b.h", "int b;\n");
    case.needs("gcc -Ix a.c", &["x/stdc-predef.h", "b.h"]);
    case.check("gcc -ffreestanding -Ix a.c");
    case.check("gcc -nostdinc -Ix a.c");
    case.check("gcc -nostdinc a.c");
    case.check("clang -Ix a.c");
}

#[test]
fn a_precompiled_header_beside_is_a_matter_of_its_own() {
    // Not a valid one: gcc looks at it and goes on. Clang only takes one where it is told to.
    let mut case = Case::new()
        .file("a.c", "#include \"b.h\"\nint a;\n")
        .file("b.h", "int b;\n")
        .file("b.h.gch", "not precompiled\n");
    match case.scan("gcc a.c") {
        Ok(_) => {
            case.needs("gcc a.c", &["b.h", "b.h.gch"]);
        }
        Err(fallback) => assert_eq!(fallback.reason, pumphouse::fallback::Reason::PrecompiledHeader),
    }
    case.needs("clang a.c", &["b.h"]);
    let mut case = Case::new()
        .file("a.c", "#include \"b.h\"\nint a;\n")
        .file("b.h", "int b;\n")
        .file("b.h.gch/x.gch", "not precompiled\n");
    if let Err(fallback) = case.scan("gcc a.c") {
        assert_eq!(fallback.reason, pumphouse::fallback::Reason::PrecompiledHeader);
    } else {
        case.check("gcc a.c");
    }
}

#[test]
fn executable_headers_keep_their_mode() {
    use std::os::unix::fs::PermissionsExt;
    let mut case = Case::new().file("a.c", "#include \"b.h\"\n").file("b.h", "int b;\n");
    case.write();
    std::fs::set_permissions(case.root().join("b.h"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let closure = case.check("gcc a.c");
    assert!(closure.files.iter().any(|file| file.path.ends_with("b.h") && file.is_executable));
}

#[test]
fn names_at_their_limits() {
    let long = "x".repeat(250) + ".h";
    let longer = "y".repeat(300);
    for compiler in ["gcc", "clang"] {
        let mut case = Case::new()
            .file("a.c", format!("#include \"{long}\"\n"))
            .file("b.c", format!("#if __has_include(\"{longer}\")\nint longer;\n#endif\n"))
            .file(&long, "int x;\n");
        case.needs(&format!("{compiler} a.c"), &[&long]);
        // gcc gives up at a name that no file can have.
        case.check_rejected(&format!("{compiler} b.c"));
        let mut case = Case::new().file("a.c", "#if __has_include(\"\")\n#endif\n#include \"b.h\"\n").file("b.h", "");
        case.check(&format!("{compiler} a.c"));
    }
}

#[test]
fn a_header_by_two_names_is_beside_the_first_one_for_clang() {
    for (probe, include) in [("x/l.h", "m.h"), ("m.h", "x/l.h"), ("m.h", "./m.h"), ("x/l.h", "x/l.h")] {
        let source = format!("#if __has_include(\"{probe}\")\n#include \"{include}\"\n#endif\n");
        for line in ["gcc a.c -Iy", "clang a.c -Iy"] {
            let mut case = Case::new()
                .file("a.c", source.as_str())
                .file("m.h", "#include \"n.h\"\n")
                .symlink("x/l.h", "../m.h")
                .file("n.h", "int beside_the_file;\n")
                .file("x/n.h", "int beside_the_link[2];\n")
                .file("y/n.h", "int n[3];\n");
            case.check_unless(line, Reason::Unscannable);
        }
    }
}
