//! What the name of a compiler driver says, without a look at the file.

use super::Family;

/// A driver, as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Driver {
    /// Whose flags it takes; none for the wrappers of old standards, `c89` and `c99`.
    pub(crate) family: Option<Family>,
    /// Whether it takes `.c` for C++.
    pub(crate) is_cxx: bool,
}

/// The driver that `name` (without directories) names: a whole name, or the last word after a target's prefix, with a version
/// or a variant behind it: `gcc`, `g++-12`, `aarch64-linux-gnu-gcc`, `clang++-14`, `x86_64-w64-mingw32-gcc-posix`.
pub(crate) fn driver(name: &[u8]) -> Option<Driver> {
    const GCC: Option<Family> = Some(Family::Gcc);
    const CLANG: Option<Family> = Some(Family::Clang);
    const NAMES: [(&[u8], Option<Family>, bool); 10] = [
        (b"clang++", CLANG, true),
        (b"clang", CLANG, false),
        (b"g++", GCC, true),
        (b"c++", GCC, true),
        (b"c89-gcc", None, false),
        (b"c99-gcc", None, false),
        (b"gcc", GCC, false),
        (b"cc", GCC, false),
        (b"c89", None, false),
        (b"c99", None, false),
    ];
    let name = stem(name);
    let is_prefix = |prefix: &[u8]| prefix.is_empty() || (prefix.len() > 1 && prefix.ends_with(b"-"));
    NAMES
        .iter()
        .find(|(base, ..)| name.strip_suffix(*base).is_some_and(is_prefix))
        .map(|&(_, family, is_cxx)| Driver { family, is_cxx })
}

/// A name without its version and its variant: those of `gcc-12`, `clang-14`, `gcc-4.8.5`, `gcc12`, `gcc-posix`.
pub(crate) fn stem(mut name: &[u8]) -> &[u8] {
    // mingw's two models of threads are two compilers.
    const VARIANTS: [&[u8]; 2] = [b"-posix", b"-win32"];
    loop {
        let shorter = VARIANTS.iter().find_map(|variant| name.strip_suffix(*variant)).or_else(|| unversioned(name));
        match shorter {
            Some(shorter) if !shorter.is_empty() => name = shorter,
            _ => return name,
        }
    }
}

fn unversioned(name: &[u8]) -> Option<&[u8]> {
    let last = name.iter().rposition(|&byte| !(byte.is_ascii_digit() || byte == b'.'))?;
    if last + 1 == name.len() {
        return None;
    }
    if name[last] == b'-' {
        return Some(&name[..last]);
    }
    let stem = &name[..=last];
    (stem.ends_with(b"gcc") || stem.ends_with(b"++")).then_some(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_drivers_are_told_from_others() {
        let check = |name: &str, expect: Option<(Option<Family>, bool)>| {
            let known = driver(name.as_bytes()).map(|driver| (driver.family, driver.is_cxx));
            assert_eq!(known, expect, "{name}");
        };
        for (name, is_cxx) in [
            ("gcc", false),
            ("cc", false),
            ("c++", true),
            ("g++-12", true),
            ("x86_64-linux-gnu-gcc-12", false),
            ("gcc-4.8.5", false),
            ("gcc12", false),
            ("arm-none-eabi-g++", true),
            ("x86_64-w64-mingw32-gcc-posix", false),
            ("x86_64-w64-mingw32-gcc-12-win32", false),
            ("i686-w64-mingw32-g++-win32", true),
            ("x86_64-w64-mingw32-g++-posix-12", true),
        ] {
            check(name, Some((Some(Family::Gcc), is_cxx)));
        }
        for (name, is_cxx) in [("clang", false), ("clang++-14", true), ("clang-14", false), ("arm-clang", false)] {
            check(name, Some((Some(Family::Clang), is_cxx)));
        }
        for name in ["c89", "c99", "c89-gcc", "c99-gcc"] {
            check(name, Some((None, false)));
        }
        for name in [
            "clang-tidy",
            "clang-scan-deps",
            "tcc",
            "gcc-ar",
            "gfortran",
            "toolchain-wrapper",
            "-gcc",
            "-posix",
            "",
            "x86_64-acme-gcc-wrapped",
            "12",
            "-12",
            "cpp",
            "mpicc",
            "nvcc",
            "gccgo",
        ] {
            check(name, None);
        }
    }
}
