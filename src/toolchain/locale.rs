//! The files that make programs speak the user's language: locales, message catalogues, character set conversions.
//!
//! `C`, `POSIX` and a UTF-8 variant of them need nothing but what a directory of the C library may hold; all others need their
//! locale and, where they are installed, the compiler's translations.
//!
//! **Source:** locale(7), gettext's manual, iconv's gconv directories.

use crate::command::Characters;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Where the C library keeps locales.
const LOCALES: &str = "/usr/lib/locale";
/// Where message catalogues are.
const CATALOGUES: &str = "/usr/share/locale";
/// The domains that compilers and assemblers speak in, by the beginning of their names.
const DOMAINS: [&str; 7] = ["gcc", "cpplib", "gas", "bfd", "opcodes", "binutils", "libc"];

/// Every file that a compile under `environment` may look at, as far as it is there. `libraries` are the
/// paths of the programs' libraries: conversions lie beside the C library.
pub(super) fn files(
    environment: &[(OsString, OsString)],
    characters: Characters,
    libraries: &BTreeSet<PathBuf>,
) -> Vec<PathBuf> {
    let names = names(environment);
    let mut files = Vec::new();
    for name in &names {
        locale_files(name, &mut files);
    }
    let is_foreign = names.iter().any(|name| !is_plain(name));
    if is_foreign {
        files.extend([PathBuf::from(LOCALES).join("locale-archive"), PathBuf::from(CATALOGUES).join("locale.alias")]);
    }
    let is_eight_bit = |name: &String| !is_plain(name) && !is_utf8(name);
    if characters == Characters::Converted || names.iter().any(is_eight_bit) {
        for library in libraries.iter().filter(|library| library.ends_with("libc.so.6")) {
            files.extend(entries(&library.with_file_name("gconv")));
        }
    }
    files.retain(|file| file.is_file());
    files
}

/// The locales that the environment names for messages and characters, languages last.
fn names(environment: &[(OsString, OsString)]) -> BTreeSet<String> {
    let get = |name: &str| {
        let value = &environment.iter().find(|(key, _)| key == name)?.1;
        value.to_str().filter(|value| !value.is_empty()).map(str::to_owned)
    };
    let category = |name: &str| get("LC_ALL").or_else(|| get(name)).or_else(|| get("LANG"));
    let mut names: BTreeSet<String> = [category("LC_MESSAGES"), category("LC_CTYPE")].into_iter().flatten().collect();
    // Languages count only where the locale is not plain.
    if names.iter().any(|name| !is_plain(name)) {
        let languages = get("LANGUAGE").unwrap_or_default();
        names.extend(languages.split(':').filter(|name| !name.is_empty()).map(str::to_owned));
    }
    names.retain(|name| !name.contains('/'));
    names
}

fn is_plain(name: &str) -> bool {
    matches!(name.split('.').next(), Some("C" | "POSIX"))
}

fn is_utf8(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains("utf-8") || name.contains("utf8")
}

fn locale_files(name: &str, files: &mut Vec<PathBuf>) {
    let language = name.split(['_', '.', '@']).next().unwrap_or(name);
    let is_relative = |entry: &Path| {
        let entry = entry.file_name().unwrap_or_default().to_string_lossy();
        entry.strip_prefix(language).is_some_and(|rest| rest.is_empty() || rest.starts_with(['_', '.', '@']))
    };
    for directory in entries(Path::new(LOCALES)).into_iter().filter(|entry| is_relative(entry)) {
        for category in ["LC_CTYPE", "LC_IDENTIFICATION", "LC_MESSAGES/SYS_LC_MESSAGES"] {
            files.push(directory.join(category));
        }
    }
    if is_plain(name) {
        return;
    }
    for directory in entries(Path::new(CATALOGUES)).into_iter().filter(|entry| is_relative(entry)) {
        files.extend(entries(&directory.join("LC_MESSAGES")).into_iter().filter(|file| is_catalogue(file)));
    }
}

fn is_catalogue(file: &Path) -> bool {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    file.extension() == Some(OsStr::new("mo")) && DOMAINS.iter().any(|domain| name.starts_with(domain))
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_precedence() {
        let check = |variables: &[(&str, &str)], expect: &[&str]| {
            let environment: Vec<(OsString, OsString)> =
                variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
            let expect: BTreeSet<String> = expect.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(names(&environment), expect, "{variables:?}");
        };
        check(&[], &[]);
        check(&[("LANG", "C.UTF-8")], &["C.UTF-8"]);
        check(&[("LANG", "de_DE"), ("LC_ALL", "C")], &["C"]);
        check(&[("LANG", "de_DE"), ("LC_CTYPE", "C.UTF-8")], &["C.UTF-8", "de_DE"]);
        check(&[("LANG", "de_DE"), ("LANGUAGE", "fr:en")], &["de_DE", "en", "fr"]);
        check(&[("LANG", "C"), ("LANGUAGE", "fr")], &["C"]);
        check(&[("LANG", "../../etc")], &[]);
    }

    #[test]
    fn conversions_travel_only_where_they_are_used() {
        let libraries = BTreeSet::from([PathBuf::from("/usr/lib/x86_64-linux-gnu/libc.so.6")]);
        assert!(files(&[], Characters::AsTheyAre, &libraries).is_empty());
        let converted = files(&[], Characters::Converted, &libraries);
        assert!(converted.iter().any(|file| file.ends_with("gconv/ISO8859-1.so")));
    }
}
