//! Cases: what is asked, and what has to come of it.

use super::target::Target;
use futures::future::BoxFuture;
use tonic::{Code, Status};

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is as it has to be.
    Right,
    /// It isn't, and how.
    Wrong(String),
    /// The server says that it doesn't do that.
    Absent(String),
}

/// Why a case isn't right.
pub(crate) type Verdict = Result<(), Outcome>;

/// One case.
pub(crate) struct Case {
    /// `area/what`
    pub(crate) name: String,
    /// What has to be so.
    pub(crate) fact: &'static str,
    pub(crate) run: Box<dyn FnOnce(Target) -> BoxFuture<'static, Outcome> + Send>,
}

/// All cases.
#[derive(Default)]
pub(crate) struct Suite {
    cases: Vec<Case>,
}

impl Suite {
    /// Adds a case.
    pub(crate) fn case<F>(
        &mut self,
        name: impl Into<String>,
        fact: &'static str,
        run: impl FnOnce(Target) -> F + Send + 'static,
    ) where
        F: Future<Output = Verdict> + Send + 'static,
    {
        let run = move |target| -> BoxFuture<'static, Outcome> {
            let run = run(target);
            Box::pin(async move { run.await.err().unwrap_or(Outcome::Right) })
        };
        self.cases.push(Case { name: name.into(), fact, run: Box::new(run) });
    }

    /// The cases whose names hold `only`.
    pub(crate) fn into_cases(self, only: &str) -> Vec<Case> {
        self.cases.into_iter().filter(|case| case.name.contains(only)).collect()
    }
}

impl From<Status> for Outcome {
    fn from(status: Status) -> Self {
        Self::Wrong(format!("{:?}: {}", status.code(), status.message()))
    }
}

/// Right where `holds`; else wrong, and says how.
pub(crate) fn check(holds: bool, message: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Outcome::Wrong(message())) }
}

/// Right where `actual` is `expected`.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, actual: &T, expected: &T) -> Verdict {
    check(actual == expected, || {
        let short = |text: String| text.chars().take(300).collect::<String>();
        format!("{what}: {}, not {}", short(format!("{actual:?}")), short(format!("{expected:?}")))
    })
}

/// Right where `result` is an error of one of these codes, in words.
pub(crate) fn fails<T>(result: Result<T, Status>, codes: &[Code]) -> Verdict {
    match result {
        Ok(_) => Err(Outcome::Wrong(format!("it succeeds, where {codes:?} is due"))),
        Err(status) if codes.contains(&status.code()) => {
            check(!status.message().is_empty(), || format!("{:?} without any words", status.code()))
        }
        Err(status) => Err(Outcome::Wrong(format!("{:?} ({}), not {codes:?}", status.code(), status.message()))),
    }
}
