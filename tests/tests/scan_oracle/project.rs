//! `pumphouse scan --compile-commands`: what it says of a project, and that an edit costs no more than it must.

use pumphouse_tests::process::{run, succeed};
use pumphouse_tests::program::program;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// How many sources there are; the odd ones include `odd.h` as well as `all.h`.
const UNITS: usize = 6;

/// What a header of the project has: enough for it to be worth remembering what it did.
fn header(name: &str) -> String {
    let macros: String = format!("#define {name}_ {name}\n").repeat(40);
    format!("#ifndef {name}\n#define {name}\n{macros}#endif\n")
}

fn write_project(root: &Path) {
    for name in ["all", "odd", "deep"] {
        fs::write(root.join(format!("{name}.h")), header(name)).unwrap();
    }
    fs::write(root.join("all.h"), format!("#include \"deep.h\"\n{}", header("all"))).unwrap();
    let units: Vec<Value> = (0..UNITS)
        .map(|number| {
            let file = format!("u{number}.c");
            let odd = if number % 2 == 1 { "#include \"odd.h\"\n" } else { "" };
            fs::write(root.join(&file), format!("#include \"all.h\"\n{odd}int u{number};\n")).unwrap();
            json!({ "directory": root, "file": file, "arguments": ["gcc", "-c", file] })
        })
        .collect();
    fs::write(root.join("compile_commands.json"), serde_json::to_vec(&units).unwrap()).unwrap();
}

fn scan(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program().unwrap());
    command.args(["scan", "--compile-commands"]).arg(root.join("compile_commands.json")).args(arguments);
    command.current_dir(root);
    command
}

/// The counts of a pass: units replayed, files replayed, files lexed.
fn work(pass: &Value) -> [u64; 3] {
    ["replayed_units", "replayed_files", "lexed_files"].map(|name| pass[name].as_u64().unwrap())
}

#[test]
fn an_edit_costs_what_depends_on_it() {
    let scratch = tempfile::tempdir().unwrap();
    write_project(scratch.path());
    let prepare = "case $PUMPHOUSE_PASS in
        3) echo '#define odd_more 1' >>odd.h ;;
        4) echo '#define all_more 1' >>all.h ;;
        5) touch deep.h ;;
        6) echo 'int more;' >>u0.c ;;
    esac";
    let arguments = ["--repeat", "6", "--verify", "--json", "--prepare", prepare];
    let report: Value = serde_json::from_str(&succeed(&mut scan(scratch.path(), &arguments)).unwrap()).unwrap();
    assert_eq!(report["translation_units"], UNITS);
    assert_eq!(report["refused"], json!([]));
    assert_eq!(report["verification"]["equal_units"], UNITS, "{report:#}");
    let passes: Vec<_> = report["passes"].as_array().unwrap().iter().map(work).collect();
    // gcc includes stdc-predef.h by itself.
    assert_eq!(passes[0][0], UNITS as u64);
    assert_eq!(passes[0][2], UNITS as u64 + 4, "each file once");
    assert_eq!(passes[1], [0, 0, 0], "nothing changed");
    assert_eq!(passes[2][0], 3, "odd.h: the units that include it");
    assert_eq!(passes[2][2], 1, "odd.h alone");
    assert_eq!(passes[3][0], UNITS as u64, "all.h: every unit");
    assert_eq!(passes[3][2], 1, "all.h alone");
    assert_eq!(passes[4], [0, 0, 0], "deep.h has its old content");
    assert_eq!(passes[5][0], 1, "u0.c");
    assert_eq!(passes[5][2], 1, "u0.c alone");
    // The headers of an edited source are known by what they did.
    assert!(passes[5][1] < 4, "{passes:?}");
}

#[test]
fn a_project_is_described_for_people() {
    let scratch = tempfile::tempdir().unwrap();
    write_project(scratch.path());
    fs::write(scratch.path().join("u0.c"), "#include \"absent.h\"\n").unwrap();
    let said = succeed(&mut scan(scratch.path(), &["--jobs", "2", "--repeat", "2", "--verify"])).unwrap();
    assert!(said.starts_with("6 translation units, 1 refused\n"), "{said}");
    assert!(said.contains("u0.c:1: ") && said.contains("header not found: absent.h"), "{said}");
    assert!(said.contains("\npass 1 (cold): ") && said.contains("\npass 2 (warm): "), "{said}");
    assert!(said.contains("verified 5 units: 5 equal to the compiler's list"), "{said}");
}

#[test]
fn a_bad_list_or_preparation_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    write_project(scratch.path());
    let output = run(&mut scan(scratch.path(), &["--prepare", "exit 7"])).unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("the preparation of pass 1 failed: exit status: 7"), "{error}");
    fs::write(scratch.path().join("compile_commands.json"), "[{]").unwrap();
    let output = run(&mut scan(scratch.path(), &[])).unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("compile_commands.json"), "{error}");
}
