//! What is printed.

use super::suite::Outcome;

/// How.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

/// What was printed so far, counted.
pub(crate) struct Report {
    format: Format,
    right: usize,
    wrong: usize,
    absent: usize,
}

impl Report {
    pub(crate) const fn new(format: Format) -> Self {
        Self { format, right: 0, wrong: 0, absent: 0 }
    }

    /// Prints what came of a case.
    pub(crate) fn add(&mut self, name: &str, fact: &str, outcome: &Outcome) {
        let (word, detail) = match outcome {
            Outcome::Right => ("right", ""),
            Outcome::Wrong(detail) => ("wrong", detail.as_str()),
            Outcome::Absent(detail) => ("absent", detail.as_str()),
        };
        match outcome {
            Outcome::Right => self.right += 1,
            Outcome::Wrong(_) => self.wrong += 1,
            Outcome::Absent(_) => self.absent += 1,
        }
        match self.format {
            Format::Json => {
                println!("{}", serde_json::json!({"case": name, "fact": fact, "outcome": word, "detail": detail}));
            }
            Format::Text if detail.is_empty() => println!("{word:<7} {name}"),
            Format::Text => println!("{word:<7} {name}: {detail} [{fact}]"),
        }
    }

    /// Prints the sum; gives whether all is right.
    pub(crate) fn end(self) -> bool {
        let Self { format, right, wrong, absent } = self;
        match format {
            Format::Json => println!("{}", serde_json::json!({"right": right, "wrong": wrong, "absent": absent})),
            Format::Text => {
                println!("\n{} cases: {right} right, {wrong} wrong, {absent} absent", right + wrong + absent);
            }
        }
        wrong == 0
    }
}
