//! A few hundred cases of the differential fuzzer; `scan_fuzz --cases N` runs as many as there is time for.

use std::process::Command;

#[test]
fn some_hundred_cases_show_no_difference() {
    let done = Command::new(env!("CARGO_BIN_EXE_scan_fuzz")).args(["--seed", "7", "--cases", "480"]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    assert!(said.contains(" 0 wrong"), "{said}");
}
