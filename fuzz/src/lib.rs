//! What fuzz targets share: inputs as hostile as the outside, how many of them there are, and what one may cost.
//!
//! A target stands beside its parser, in a module of tests named `fuzz`, for most parsers are private. It says what holds whatever comes: no
//! panic, memory and time in proportion to the input, and what else the parser promises. The cases are the same in every run, some
//! hundred a target; `PUMPHOUSE_CASES` asks for more, and `PUMPHOUSE_SEED` for others. A case that fails is made smaller before
//! it is shown.
//!
//! This crate knows no parser. It is a dependency of tests alone, whose allocator it replaces by one that counts.
//!
//! **Source:** AFL's technical notes, on what is worth changing in a good input.

mod edits;

pub use edits::{Input, Text, like, text_like};
pub use proptest::collection::vec;
pub use proptest::prelude::{Just, any};
pub use proptest::strategy::Strategy;
pub use proptest::{option, prop_oneof, sample, string};

use proptest::test_runner::{Config, RngSeed, TestRunner};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

/// How many cases a target has where nothing else is said.
const CASES: u32 = 250;

/// How often a case that fails is made smaller.
const SHRINKS: u32 = 20_000;

/// How long that may go on.
const SHRINK_TIME_MS: u32 = 20_000;

/// What every input may cost, however short it is.
const BASE_BYTES: u64 = 1 << 20;

/// How much memory a byte of an input may take: a node of a tree for each.
const BYTES_PER_BYTE: u64 = 512;

/// What every input may take of a processor. Tests are compiled without optimisation.
const BASE_TIME: Duration = Duration::from_secs(1);

/// How much time a byte of an input may take.
const TIME_PER_BYTE: Duration = Duration::from_micros(50);

/// Has `test` judge the values of `strategy`: it panics where one is treated wrongly.
///
/// # Panics
/// With the smallest value that was found for which `test` panics.
pub fn check<S: Strategy>(strategy: &S, test: impl Fn(S::Value)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("PUMPHOUSE_SEED").unwrap_or(0);
    let config = Config {
        cases: number("PUMPHOUSE_CASES").map_or(CASES, |cases| u32::try_from(cases).unwrap_or(u32::MAX)),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: SHRINKS,
        max_shrink_time: SHRINK_TIME_MS,
        ..Config::default()
    };
    let judged = TestRunner::new(config).run(strategy, |value| {
        test(value);
        Ok(())
    });
    if let Err(error) = judged {
        panic!("with PUMPHOUSE_SEED={seed}: {error}");
    }
}

/// Runs `parse` on an input of `length` bytes, and gives what it gives.
///
/// # Panics
/// Where it has taken more memory or more of the processor than an input of that length is worth. Neither hangs on what else
/// the machine does.
pub fn bounded<T>(length: usize, parse: impl FnOnce() -> T) -> T {
    let mut parsed = None;
    let begun = processor_time();
    // The counter has to end with the call, in whichever way that ends.
    let used = allocation_counter::measure(|| parsed = Some(catch_unwind(AssertUnwindSafe(parse))));
    let took = processor_time().saturating_sub(begun);
    let parsed = parsed.expect("it was called").unwrap_or_else(|panic| resume_unwind(panic));
    let length = length as u64;
    let memory = BASE_BYTES + BYTES_PER_BYTE * length;
    assert!(used.bytes_max <= memory, "{length} bytes took {} of memory", used.bytes_max);
    let time = BASE_TIME + TIME_PER_BYTE * u32::try_from(length).unwrap_or(u32::MAX);
    assert!(took <= time, "{length} bytes took {took:?}");
    parsed
}

/// What this thread has had of a processor.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(test: impl FnOnce()) -> String {
        let panic = catch_unwind(AssertUnwindSafe(test)).expect_err("it fails");
        panic.downcast_ref::<String>().cloned().unwrap_or_default()
    }

    #[test]
    fn what_fails_is_shown_at_its_smallest() {
        let message = fails(|| check(&like(&["good text"]), |input| assert!(!input.contains(&b'x'), "an x")));
        assert!(message.contains("an x") && message.contains("minimal failing input"), "{message}");
    }

    #[test]
    fn memory_and_time_have_bounds() {
        assert_eq!(bounded(3, || vec![0_u8; 1000].len()), 1000);
        assert!(fails(|| drop(bounded(3, || vec![0_u8; 3 << 20]))).contains("of memory"));
        let spin = || {
            let begun = processor_time();
            while processor_time().saturating_sub(begun) < BASE_TIME + BASE_TIME / 4 {}
        };
        assert!(fails(|| bounded(3, spin)).contains("bytes took"));
    }

    #[test]
    fn cases_are_the_same_each_time_and_reach_far_from_the_examples() {
        let all = || {
            let seen = std::cell::RefCell::new(Vec::new());
            check(&like(&["good", "better"]), |input| seen.borrow_mut().push(input.to_vec()));
            seen.into_inner()
        };
        let first = all();
        assert_eq!(first, all());
        assert!(first.iter().any(|input| input == b"good") && first.iter().any(|input| input.len() > 1000));
    }
}
