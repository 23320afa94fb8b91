//! What a compile writes, and which profiles it reads: names that the drivers derive from the object's.
//!
//! Where several versions of a compiler differ, every name that one of them uses is given: an output that is not
//! written and an input that is not there are nothing wrong.
//!
//! **Source:** gcc's manual, "Overall Options" (`-dumpbase`, `-dumpdir`) and "Developer Options"; both compilers as
//! observed, which the tests do again.

use super::meant::{Meant, Phase};
use super::options::{Product, SaveTemps};
use super::{Family, Language, Outputs, SideWriting, Writing};
use crate::fallback::{Fallback, Reason};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Every output of a compile of `source`.
///
/// # Errors
/// [`Reason::StandardStream`] where one goes to a stream or a device; [`Reason::UnsupportedFlag`] where `-dumpbase` and
/// its relatives name what this doesn't follow.
pub(super) fn derive(meant: &Meant, source: &Path, language: Language, family: Family) -> Result<Outputs, Fallback> {
    let object = meant.output.clone().unwrap_or_else(|| replace_suffix(source.file_name(), object_suffix(meant)));
    if meant.names_dumps && (!meant.products.is_empty() || meant.output.is_none()) {
        return Err(Fallback::new(Reason::UnsupportedFlag, "-dumpbase with outputs named after it"));
    }
    if meant.names_dumps && !meant.profiles.is_empty() {
        return Err(Fallback::new(Reason::UnsupportedFlag, "-dumpbase with profiles named after it"));
    }
    let mut others = meant.named_outputs.clone();
    for &product in &meant.products {
        others.extend(product_names(product, &object, source, meant, family));
    }
    if let Some(place) = meant.save_temps {
        if meant.emits_llvm {
            return Err(Fallback::new(Reason::UnsupportedFlag, "-save-temps with -emit-llvm"));
        }
        let directory = object.parent().filter(|_| place == SaveTemps::BesideObject).unwrap_or(Path::new(""));
        let named = |suffix: &&str| match family {
            Family::Gcc => Path::new(object.file_name().unwrap_or_default()).with_extension(suffix),
            Family::Clang => replace_suffix(source.file_name(), suffix),
        };
        let temporary = temporary_suffixes(language, family).iter().map(|suffix| directory.join(named(suffix)));
        let is_kept = |name: &PathBuf| {
            *name != object && !(meant.phase == Some(Phase::Assembly) && name.extension() == Some(OsStr::new("s")))
        };
        others.extend(temporary.filter(is_kept));
    }
    let depfile = meant
        .writes_dependencies
        .then(|| meant.dependency_file.clone().unwrap_or_else(|| dependency_name(&object)))
        .filter(|_| language.is_preprocessed_by_compiler() || family == Family::Clang)
        .filter(|path| path != Path::new("/dev/null"));
    others.retain(|path| path != Path::new("/dev/null"));
    others.sort();
    others.dedup();
    let (object_writing, side_writing) = writing(meant, language, family);
    let outputs = Outputs { object, depfile, others, object_writing, side_writing };
    if let Some(stream) = outputs.all().find(|path| is_stream(path)) {
        return Err(Fallback::new(Reason::StandardStream, format!("output {}", stream.display())));
    }
    Ok(outputs)
}

/// How old objects, files between phases and split debug information are written over: clang renames what it has finished,
/// but the object of `-save-temps`; gcc leaves objects to `as`, and empties all others.
const fn writing(meant: &Meant, language: Language, family: Family) -> (Writing, SideWriting) {
    match family {
        Family::Gcc => {
            let object = match meant.phase {
                Some(Phase::Assembly) => Writing::InPlace,
                _ => Writing::AnewUnlessEmpty,
            };
            (object, SideWriting { phases: Writing::InPlace, split_debug: Writing::AnewUnlessEmpty })
        }
        Family::Clang => {
            let is_from_file = meant.save_temps.is_some() && !matches!(language, Language::Assembler);
            let object = match meant.phase {
                Some(Phase::Object) if is_from_file => Writing::InPlace,
                _ => Writing::Anew,
            };
            (object, SideWriting { phases: Writing::Anew, split_debug: Writing::InPlace })
        }
    }
}

/// The suffixes of the files that phases hand on: preprocessed, bitcode, assembly.
const fn temporary_suffixes(language: Language, family: Family) -> &'static [&'static str] {
    match (language, family) {
        (Language::Assembler, _) => &[],
        (Language::AssemblerWithCpp, _) | (Language::CppOutput | Language::CxxCppOutput, Family::Gcc) => &["s"],
        (Language::CppOutput | Language::CxxCppOutput, Family::Clang) => &["bc", "s"],
        (Language::C, Family::Gcc) => &["i", "s"],
        (Language::Cxx, Family::Gcc) => &["ii", "s"],
        (Language::ObjectiveC, Family::Gcc) => &["mi", "s"],
        (Language::ObjectiveCxx, Family::Gcc) => &["mii", "s"],
        (Language::C, Family::Clang) => &["i", "bc", "s"],
        (Language::Cxx, Family::Clang) => &["ii", "bc", "s"],
        (Language::ObjectiveC, Family::Clang) => &["mi", "bc", "s"],
        (Language::ObjectiveCxx, Family::Clang) => &["mii", "bc", "s"],
    }
}

fn is_stream(path: &Path) -> bool {
    path.as_os_str() == "-" || path.as_os_str().is_empty() || path.starts_with("/dev")
}

const fn object_suffix(meant: &Meant) -> &'static str {
    match (meant.phase, meant.emits_llvm) {
        (Some(Phase::Assembly), true) => "ll",
        (Some(Phase::Assembly), false) => "s",
        (_, true) => "bc",
        (_, false) => "o",
    }
}

/// `name` with the last suffix replaced by `.suffix`, or with it appended where there is none.
fn replace_suffix(name: Option<&OsStr>, suffix: &str) -> PathBuf {
    let name = name.unwrap_or_default().as_bytes();
    let stem = name.iter().rposition(|&byte| byte == b'.').map_or(name, |dot| &name[..dot]);
    OsString::from_vec([stem, b".", suffix.as_bytes()].concat()).into()
}

/// The depfile of an object: even `.o` has one, `.d`.
fn dependency_name(object: &Path) -> PathBuf {
    object.with_file_name(replace_suffix(object.file_name(), "d"))
}

/// The names that a product may have.
fn product_names(product: Product, object: &Path, source: &Path, meant: &Meant, family: Family) -> Vec<PathBuf> {
    let beside = |suffix: &str| object.with_file_name(replace_suffix(object.file_name(), suffix));
    // gcc takes a name that starts with its only dot for a stem; so does the standard library.
    let named = |suffix: &str| match family {
        Family::Clang => beside(suffix),
        Family::Gcc => object.with_extension(suffix),
    };
    match product {
        Product::SplitDwarf if meant.phase == Some(Phase::Assembly) => Vec::new(),
        Product::SplitDwarf => vec![named("dwo")],
        Product::Notes => vec![named("gcno")],
        Product::StackUsage => vec![named("su")],
        Product::CallGraph => vec![named("ci")],
        Product::TimeTrace => vec![beside("json")],
        Product::OptimizationRecord => match family {
            // Without `-o`, clang cuts one more suffix off the source's name.
            Family::Clang if meant.output.is_none() => {
                let inner = replace_suffix(source.file_name(), "o");
                vec![beside("opt.yaml"), replace_suffix(inner.file_stem(), "opt.yaml")]
            }
            Family::Clang => vec![beside("opt.yaml")],
            Family::Gcc => {
                let suffix = source.extension().unwrap_or_default().to_string_lossy().into_owned();
                vec![
                    named(&format!("{suffix}.opt-record.json.gz")),
                    object.with_file_name(
                        source.with_extension(format!("{suffix}.opt-record.json.gz")).file_name().unwrap_or_default(),
                    ),
                ]
            }
        },
    }
}

/// The profiles that a compile may read: each name that a version of the compiler looks for.
pub(super) fn profile_inputs(meant: &Meant, object: &Path, directory: &Path, family: Family) -> Vec<PathBuf> {
    let mut inputs = Vec::new();
    for profile in &meant.profiles {
        match (family, profile) {
            (Family::Clang, None) => inputs.push("default.profdata".into()),
            (Family::Clang, Some(path)) => inputs.extend([path.join("default.profdata"), path.clone()]),
            (Family::Gcc, profile) => {
                let place = profile.as_deref().or(meant.profile_directory.as_deref());
                inputs.extend(gcc_profiles(place, meant.profile_prefix.as_deref(), object, directory));
            }
        }
    }
    inputs
}

/// gcc's data file: beside the object, or in a directory, under its own name or with its whole path in its name.
fn gcc_profiles(place: Option<&Path>, prefix: Option<&Path>, object: &Path, directory: &Path) -> Vec<PathBuf> {
    let data = object.with_extension("gcda");
    let Some(place) = place else { return vec![data] };
    let absolute = directory.join(&data);
    let named = prefix.and_then(|prefix| absolute.strip_prefix(prefix).ok()).unwrap_or(&absolute);
    let mangled: Vec<u8> =
        named.as_os_str().as_bytes().iter().map(|&byte| if byte == b'/' { b'#' } else { byte }).collect();
    vec![
        place.to_owned(),
        place.join(&data),
        place.join(data.file_name().unwrap_or_default()),
        place.join(OsStr::from_bytes(&mangled)),
    ]
}
