//! The invariants, one a file, each judged against what is true in the simulated world.
//!
//! A run is judged throughout; the first violation ends it. Each file says what would break if it did
//! not hold and which planted bug it has been seen to catch.

use crate::clock::TrueTime;

pub(crate) mod begun;
pub(crate) mod calm;
pub(crate) mod equal_states;
pub(crate) mod evidence;
pub(crate) mod final_release;
pub(crate) mod judged_no_shorter;
pub(crate) mod liveness;
pub(crate) mod no_newer_life;
pub(crate) mod one_order;
pub(crate) mod one_owner;
pub(crate) mod one_worker;
pub(crate) mod order_stands;
pub(crate) mod quarantine_spares;
pub(crate) mod quorum_spared;
pub(crate) mod rising_tokens;
pub(crate) mod session_end;
pub(crate) mod unknown_opens_nothing;

/// A broken promise.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which invariant.
    pub invariant: &'static str,
    /// True time, nanoseconds since the run began.
    pub at: TrueTime,
    /// What was seen.
    pub seen: String,
}
