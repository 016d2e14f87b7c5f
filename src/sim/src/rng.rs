//! The simulator's own random numbers: xoshiro256** seeded by splitmix64 (Blackman and Vigna, 2018).
//!
//! Not for secrets. The same seed gives the same run on every machine and toolchain, which a
//! dependency's generator would not promise.

/// A seeded generator.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    words: [u64; 4],
}

impl Rng {
    /// A generator whose stream depends on `seed` alone.
    pub(crate) fn new(seed: u64) -> Rng {
        let mut mix = seed;
        let mut word = || {
            mix = mix.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = mix;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        Rng {
            words: [word(), word(), word(), word()],
        }
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        let w = &mut self.words;
        let result = w[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = w[1] << 17;
        w[2] ^= w[0];
        w[3] ^= w[1];
        w[1] ^= w[2];
        w[0] ^= w[3];
        w[2] ^= shifted;
        w[3] = w[3].rotate_left(45);
        result
    }

    /// Below `bound`; 0 if `bound` is 0. The bias of the remainder does not matter here.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// In `low..high`; `low` if the range is empty.
    pub(crate) fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low))
    }

    /// True with probability `per_mille`/1000.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// An index below `len`.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    /// One of `items`; `None` if there are none.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() {
            None
        } else {
            let index = self.index(items.len());
            Some(&items[index])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn the_same_seed_gives_the_same_stream_and_another_seed_another() {
        let stream = |seed| {
            let mut rng = Rng::new(seed);
            (0..8).map(|_| rng.next()).collect::<Vec<_>>()
        };
        assert_eq!(stream(7), stream(7));
        assert_ne!(stream(7), stream(8));
    }
}
