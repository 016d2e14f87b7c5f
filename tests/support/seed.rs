//! Random bytes for suites, from a seed that is printed and can be given again by `HAFT_SEED`.
//!
//! SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): good enough for noise, and the same everywhere. No secrets.

use std::time::{SystemTime, UNIX_EPOCH};

/// The seed of a test.
#[derive(Clone, Copy, Debug)]
pub struct Seed(u64);

impl Seed {
    /// `HAFT_SEED` if it is set, else a new one; printed either way, so that a failure can be played again.
    ///
    /// # Panics
    /// When `HAFT_SEED` is not a number.
    #[expect(
        clippy::new_without_default,
        reason = "it reads the environment and the clock"
    )]
    #[expect(
        clippy::print_stderr,
        reason = "a test's own output, kept when it fails"
    )]
    pub fn new() -> Self {
        let seed = match std::env::var("HAFT_SEED") {
            Ok(text) => text.parse().unwrap(),
            Err(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .subsec_nanos()
                .into(),
        };
        eprintln!("replay with HAFT_SEED={seed}");
        Self(seed)
    }

    /// The stream of this seed, from its start.
    pub fn stream(self) -> Random {
        Random(self.0)
    }
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The next 64 bits.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is above zero.
    ///
    /// # Panics
    /// When `limit` is zero.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap();
        usize::try_from(self.number() % limit).unwrap()
    }

    /// That many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length)
            .map(|_| self.number().to_le_bytes()[0])
            .collect()
    }
}
