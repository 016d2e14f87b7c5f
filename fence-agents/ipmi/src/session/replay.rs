//! The window of sequence numbers already seen from the BMC (section 6.12.13).
//!
//! A recorded "off" played back must not be read twice. The window is wider than the specification's
//! sixteen because codes have been checked before it is asked. It does not order datagrams.

/// How far behind the newest number an unseen one is still taken.
const WINDOW: u32 = 32;

/// Numbers seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Replay {
    newest: u32,
    /// Bit n: `newest - n` was seen.
    seen: u32,
}

/// Whether a number is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Not seen before; now it has been.
    Fresh,
    /// Seen before, too old, or zero, which no packet within a session bears.
    Stale,
}

impl Replay {
    /// Takes note of a number.
    pub(crate) fn admit(&mut self, sequence: u32) -> Admission {
        if sequence == 0 {
            return Admission::Stale;
        }
        if sequence > self.newest {
            let jump = sequence - self.newest;
            self.seen = if jump < WINDOW {
                self.seen << jump | 1
            } else {
                1
            };
            self.newest = sequence;
            return Admission::Fresh;
        }
        let age = self.newest - sequence;
        if age >= WINDOW || self.seen >> age & 1 == 1 {
            return Admission::Stale;
        }
        self.seen |= 1 << age;
        Admission::Fresh
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_number_is_taken_once_and_old_ones_not_at_all() {
        let mut replay = Replay::default();
        for (number, expected) in [
            (0, Admission::Stale),
            (1, Admission::Fresh),
            (1, Admission::Stale),
            (3, Admission::Fresh),
            (2, Admission::Fresh),
            (2, Admission::Stale),
            (100, Admission::Fresh),
            (69, Admission::Fresh),
            (68, Admission::Stale),
            (u32::MAX, Admission::Fresh),
            (100, Admission::Stale),
        ] {
            assert_eq!(replay.admit(number), expected, "{number}");
        }
    }

    proptest! {
        #[test]
        fn no_number_is_ever_taken_twice(numbers in proptest::collection::vec(0u32..200, 0..300)) {
            let mut replay = Replay::default();
            let mut taken = BTreeSet::new();
            for number in numbers {
                if replay.admit(number) == Admission::Fresh {
                    prop_assert!(taken.insert(number));
                }
            }
        }
    }
}
