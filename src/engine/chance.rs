//! Chance as an argument: a small generator whose whole state is its seed.
//!
//! The same seed gives the same numbers on every machine and in every release, so a
//! failure found by the simulator can be replayed. Never used for secrets.

/// SplitMix64: one addition and three mixing steps a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to but without `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of a 128-bit product: even enough for schedules and tests,
        // and free of the loop that exact evenness needs.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from 0 up to but without 1.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// One of `items`, which must not be empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        assert!(!items.is_empty(), "BUG: nothing to pick from");
        &items[self.below(items.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_never_change() {
        // The published test vector of SplitMix64 for this seed.
        let mut chance = Chance::new(1_234_567);
        let numbers: Vec<u64> = (0..5).map(|_| chance.next_u64()).collect();
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821
            ]
        );
    }

    #[test]
    fn numbers_stay_within_their_bounds_and_reach_all_of_them() {
        let mut chance = Chance::new(7);
        let mut seen = [0; 6];
        for _ in 0..6_000 {
            seen[chance.below(6) as usize] += 1;
            let unit = chance.unit();
            assert!((0.0..1.0).contains(&unit), "{unit}");
        }
        assert!(seen.iter().all(|count| (800..1_200).contains(count)), "{seen:?}");
        assert_eq!(chance.below(0), 0);
        assert_eq!(chance.below(1), 0);
        assert!((1..=3).contains(chance.pick(&[1, 2, 3])));
    }
}
