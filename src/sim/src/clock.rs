//! Clocks of simulated machines against true time.
//!
//! True time is nanoseconds since the run began. A machine's suspend-counting clock starts at zero
//! with each boot, runs fast or slow by at most rho, and stands still while the machine is frozen
//! (VM pause). The wall clock is the same clock under an offset that jumps.

use haft_engine::clock::Moment;

/// True time, nanoseconds since the run began.
pub(crate) type TrueTime = u64;

/// One millisecond of true time.
pub(crate) const MS: TrueTime = 1_000_000;
/// One second of true time.
pub(crate) const SECOND: TrueTime = 1_000 * MS;

/// Unix milliseconds shown by an unjumped wall clock when the run begins.
const WALL_EPOCH_MS: i64 = 1_700_000_000_000;

/// One machine's clock.
#[derive(Clone, Debug)]
pub(crate) struct MachineClock {
    anchor_true: TrueTime,
    anchor_local: u64,
    ppm: i64,
    frozen: bool,
    wall_offset_ms: i64,
}

impl MachineClock {
    /// A clock that is `ppm` parts per million fast and shows zero now.
    pub(crate) fn booted(now: TrueTime, ppm: i64) -> MachineClock {
        MachineClock {
            anchor_true: now,
            anchor_local: 0,
            ppm,
            frozen: false,
            wall_offset_ms: 0,
        }
    }

    /// What the clock shows.
    pub(crate) fn local(&self, now: TrueTime) -> Moment {
        if self.frozen {
            return Moment(self.anchor_local);
        }
        let passed = i128::from(now.saturating_sub(self.anchor_true));
        let scaled = passed + passed * i128::from(self.ppm) / 1_000_000;
        Moment(self.anchor_local + u64::try_from(scaled).expect("a run lasts minutes"))
    }

    /// When it will show `moment`, if it is not frozen; never before the last anchor.
    pub(crate) fn when(&self, moment: Moment) -> Option<TrueTime> {
        if self.frozen {
            return None;
        }
        let ahead = i128::from(moment.0.saturating_sub(self.anchor_local));
        let scaled = ahead * 1_000_000 / (1_000_000 + i128::from(self.ppm)) + 1;
        let span = u64::try_from(scaled).unwrap_or(u64::MAX);
        Some(self.anchor_true.saturating_add(span))
    }

    /// Stops the clock.
    pub(crate) fn freeze(&mut self, now: TrueTime) {
        self.anchor_local = self.local(now).0;
        self.anchor_true = now;
        self.frozen = true;
    }

    /// Lets it run again from where it stood.
    pub(crate) fn thaw(&mut self, now: TrueTime) {
        self.anchor_true = now;
        self.frozen = false;
    }

    /// A new boot: zero again, at the same rate.
    pub(crate) fn reboot(&mut self, now: TrueTime) {
        self.anchor_true = now;
        self.anchor_local = 0;
        self.frozen = false;
    }

    /// Steps the wall clock (NTP, an administrator, a bad battery).
    pub(crate) fn jump_wall(&mut self, by_ms: i64) {
        self.wall_offset_ms += by_ms;
    }

    /// What the wall clock shows, milliseconds since 1970.
    pub(crate) fn wall_ms(&self, now: TrueTime) -> u64 {
        let true_ms = i64::try_from(now / MS).unwrap_or(i64::MAX);
        u64::try_from(WALL_EPOCH_MS + true_ms + self.wall_offset_ms).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::{MachineClock, SECOND};

    #[test]
    fn a_wake_comes_no_earlier_than_its_moment() {
        for ppm in [-1_000, -3, 0, 7, 1_000] {
            let clock = MachineClock::booted(5 * SECOND, ppm);
            for ahead in [1, 999, 12_345_678, 3 * SECOND] {
                let moment = haft_engine::clock::Moment(ahead);
                let when = clock.when(moment).expect("the clock runs");
                assert!(clock.local(when) >= moment, "{ppm} {ahead}");
                assert!(clock.local(when).0 - ahead < 10, "{ppm} {ahead}");
            }
        }
    }

    #[test]
    fn a_frozen_clock_stands_still_and_goes_on_from_there() {
        let mut clock = MachineClock::booted(0, 0);
        clock.freeze(SECOND);
        assert_eq!(clock.local(9 * SECOND).0, SECOND);
        assert_eq!(clock.when(haft_engine::clock::Moment(2 * SECOND)), None);
        clock.thaw(9 * SECOND);
        assert_eq!(clock.local(10 * SECOND).0, 2 * SECOND);
    }
}
