//! The choices of fuzzers and benches.

pub use pumphouse_random::Random;
