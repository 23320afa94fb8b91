//! Which language a source is in: by `-x`, or by its suffix and the driver.
//!
//! **Source:** gcc's manual, "Overall Options"; clang's driver agrees but where a match arm says otherwise.

use super::{Family, Language};
use crate::fallback::{Fallback, Reason};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The language that `-x name` selects; `None` for `-x none`, after which suffixes decide again.
///
/// # Errors
/// Headers and modules have reasons of their own; any other language is an unsupported flag.
pub(super) fn by_name(name: &[u8]) -> Result<Option<Language>, Fallback> {
    Ok(Some(match name {
        b"none" => return Ok(None),
        b"c" => Language::C,
        b"c++" => Language::Cxx,
        b"objective-c" => Language::ObjectiveC,
        b"objective-c++" => Language::ObjectiveCxx,
        b"assembler-with-cpp" => Language::AssemblerWithCpp,
        b"assembler" => Language::Assembler,
        b"cpp-output" => Language::CppOutput,
        b"c++-cpp-output" => Language::CxxCppOutput,
        other => return Err(refuse(other)),
    }))
}

fn refuse(name: &[u8]) -> Fallback {
    let detail = format!("-x {}", String::from_utf8_lossy(name));
    let reason = match name {
        b"c++-system-header" | b"c++-user-header" | b"c++-header-unit" | b"c++-module" | b"pcm" => Reason::Modules,
        name if name.ends_with(b"-header") => Reason::PrecompiledHeader,
        _ => Reason::UnsupportedFlag,
    };
    Fallback::new(reason, detail)
}

/// The language that the suffix of `path` stands for, where that of `.c` is `of_c`; `None` where the driver would hand the
/// file to the linker.
///
/// # Errors
/// A header makes a precompiled header, a module interface a module; other languages are unsupported.
pub(super) fn by_suffix(path: &Path, family: Family, of_c: Language) -> Result<Option<Language>, Fallback> {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let Some(dot) = name.iter().rposition(|&byte| byte == b'.') else { return Ok(None) };
    let language = match &name[dot + 1..] {
        b"c" => of_c,
        b"cc" | b"cp" | b"cxx" | b"cpp" | b"CPP" | b"c++" | b"C" => Language::Cxx,
        b"CC" | b"CXX" | b"C++" if family == Family::Clang => Language::Cxx,
        b"i" if of_c == Language::Cxx => Language::CxxCppOutput,
        b"i" => Language::CppOutput,
        b"ii" => Language::CxxCppOutput,
        b"m" => Language::ObjectiveC,
        b"mm" | b"M" => Language::ObjectiveCxx,
        b"S" => Language::AssemblerWithCpp,
        b"sx" if family == Family::Gcc => Language::AssemblerWithCpp,
        b"s" => Language::Assembler,
        b"asm" if family == Family::Clang => Language::Assembler,
        b"h" | b"H" | b"hh" | b"hp" | b"hxx" | b"hpp" | b"HPP" | b"h++" | b"tcc" => {
            return Err(Fallback::at(Reason::PrecompiledHeader, "header as source", path, 0));
        }
        b"cppm" | b"ccm" | b"cxxm" | b"c++m" | b"ixx" | b"iim" | b"pcm" if family == Family::Clang => {
            return Err(Fallback::at(Reason::Modules, "module as source", path, 0));
        }
        b"mi" | b"mii" | b"f" | b"for" | b"ftn" | b"F" | b"FOR" | b"fpp" | b"FPP" | b"FTN" | b"f90" | b"f95"
        | b"f03" | b"f08" | b"F90" | b"F95" | b"F03" | b"F08" | b"go" | b"d" | b"di" | b"dd" | b"ads" | b"adb"
        | b"brig" | b"mod" | b"ll" | b"bc" | b"cl" | b"clcpp" | b"cu" | b"cui" | b"hip" | b"hipi" | b"rs" | b"ast" => {
            return Err(Fallback::at(Reason::UnsupportedFlag, "language of the source", path, 0));
        }
        _ => return Ok(None),
    };
    Ok(Some(language))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes() {
        let check = |path: &str, family, of_c, expect: Result<Option<Language>, Reason>| {
            assert_eq!(by_suffix(Path::new(path), family, of_c).map_err(|fallback| fallback.reason), expect, "{path}");
        };
        check("a.c", Family::Gcc, Language::C, Ok(Some(Language::C)));
        check("a.c", Family::Gcc, Language::Cxx, Ok(Some(Language::Cxx)));
        check("a.C", Family::Clang, Language::C, Ok(Some(Language::Cxx)));
        check("d.x/a.tar.cpp", Family::Gcc, Language::C, Ok(Some(Language::Cxx)));
        check("a.s", Family::Gcc, Language::C, Ok(Some(Language::Assembler)));
        check("a.S", Family::Gcc, Language::Cxx, Ok(Some(Language::AssemblerWithCpp)));
        check("a.i", Family::Clang, Language::Cxx, Ok(Some(Language::CxxCppOutput)));
        check("a.o", Family::Gcc, Language::C, Ok(None));
        check("dir.c/a", Family::Gcc, Language::C, Ok(None));
        check("a.hpp", Family::Gcc, Language::Cxx, Err(Reason::PrecompiledHeader));
        check("a.cppm", Family::Clang, Language::Cxx, Err(Reason::Modules));
        check("a.cu", Family::Clang, Language::Cxx, Err(Reason::UnsupportedFlag));
    }

    #[test]
    fn names() {
        for language in [Language::C, Language::ObjectiveCxx, Language::AssemblerWithCpp, Language::CxxCppOutput] {
            assert_eq!(by_name(language.name().as_bytes()), Ok(Some(language)));
        }
        assert_eq!(by_name(b"none"), Ok(None));
        assert_eq!(by_name(b"c-header").map_err(|fallback| fallback.reason), Err(Reason::PrecompiledHeader));
        assert_eq!(by_name(b"fortran").map_err(|fallback| fallback.reason), Err(Reason::UnsupportedFlag));
    }
}
