//! A seeded source of choices: the same seed gives the same choices on every machine. For simulations and fuzzers alone.
//!
//! **Source:** Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (`SplitMix64`).

#![forbid(unsafe_code)]

/// The generator's state.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The choices of one seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The choices of one case among those of a seed.
    pub fn of_case(seed: u64, case: u64) -> Self {
        let mut random = Self(seed ^ case.wrapping_mul(0xd134_2543_de82_ef95));
        random.number();
        random
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn number_below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// As [`Self::number_below`], for positions and counts.
    pub fn below(&mut self, end: usize) -> usize {
        self.number_below(end as u64) as usize
    }

    /// Whether something that happens once in `chance` cases happens now.
    pub fn one_in(&mut self, chance: u64) -> bool {
        self.number_below(chance) == 0
    }

    /// Whether something that happens in `percent` of the cases happens now.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `choices`, which are not empty.
    pub fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }

    /// One of `choices`, if there are any.
    pub fn pick_from<T>(&mut self, choices: impl Iterator<Item = T>) -> Option<T> {
        let mut all: Vec<T> = choices.collect();
        if all.is_empty() { None } else { Some(all.swap_remove(self.below(all.len()))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_published_numbers() {
        let mut random = Random::new(1_234_567);
        let numbers = [random.number(), random.number(), random.number()];
        assert_eq!(numbers, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
        let (mut one, mut other) = (Random::of_case(7, 1), Random::of_case(7, 2));
        assert_ne!(one.number(), other.number());
    }
}
