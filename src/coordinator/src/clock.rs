//! The machine's suspend-counting clock and its wall clock, read here and nowhere else in haftd.
//!
//! Decisions use [`boot_now`]; [`wall_unix_ms`] is for history and token expiry only.

use haft_engine::clock::Moment;
use rustix::time::{ClockId, clock_gettime};

/// CLOCK_BOOTTIME as a moment.
pub fn boot_now() -> Moment {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    Moment(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Milliseconds since 1970 on the wall clock.
pub fn wall_unix_ms() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let millis = u64::try_from(now.tv_nsec / 1_000_000).unwrap_or(0);
    seconds.saturating_mul(1_000).saturating_add(millis)
}
