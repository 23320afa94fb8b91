//! Where the files that compiles read really are: `--path_observation_re`.
//!
//! **Source:** `include_server(1)`.

use fancy_regex::Regex;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

/// How many paths are remembered, so that each is observed once.
const MAX_OBSERVED: usize = 1 << 20;

/// A regular expression, and the paths that it has matched.
#[derive(Debug, Clone)]
pub(super) struct Observation {
    expression: Regex,
    observed: Arc<Mutex<HashSet<Arc<Path>>>>,
}

impl Observation {
    /// Understands `expression`, which is in Python's syntax as far as the two agree: look-around and references to
    /// groups are there.
    ///
    /// # Errors
    /// What is wrong with the expression.
    pub(super) fn parse(expression: &str) -> Result<Self, String> {
        let expression = Regex::new(expression).map_err(|error| error.to_string())?;
        Ok(Self { expression, observed: Arc::default() })
    }

    /// Those of `paths` (free of symbolic links) that match and were not observed before.
    pub(super) fn new_matches<'a>(&self, paths: impl Iterator<Item = &'a Arc<Path>>) -> Vec<&'a Arc<Path>> {
        let mut observed = self.observed.lock();
        let mut matches = Vec::new();
        for path in paths {
            if observed.contains(path) || observed.len() >= MAX_OBSERVED {
                continue;
            }
            // An expression that takes too many steps is taken to match: the user asked to be told.
            if self.expression.is_match(&*path.to_string_lossy()).unwrap_or(true) {
                observed.insert(Arc::clone(path));
                matches.push(path);
            }
        }
        matches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_match_once() {
        let check = |expression: &str, expect: &[&str]| {
            let paths: Vec<Arc<Path>> = ["/usr/include/a.h", "/src/b.h"].map(|path| Path::new(path).into()).into();
            let observation = Observation::parse(expression).expect("understood");
            let found = observation.new_matches(paths.iter());
            let found: Vec<_> = found.into_iter().map(|path| path.to_str().expect("UTF-8")).collect();
            assert_eq!(found, expect, "{expression}");
            assert!(observation.new_matches(paths.iter()).is_empty(), "{expression}");
        };
        check("", &["/usr/include/a.h", "/src/b.h"]);
        check("^/usr", &["/usr/include/a.h"]);
        check("(?!/usr)^/", &["/src/b.h"]);
        check(r"(?P<x>b)\.h", &["/src/b.h"]);
        check("nothing", &[]);
        assert!(Observation::parse("(").is_err());
    }
}
