//! Faults on purpose in the agent's threads, for tests with the real program. Without the feature
//! `planted-bugs` there are none, whatever the environment says.
//!
//! The kernel guard's is in `daemon`, bugs of the engine are in `haft_engine::plant`.

/// Panics if `HAFT_PLANT` is `panic-` and this place.
#[cfg(feature = "planted-bugs")]
pub(crate) fn panic_in(place: &str) {
    let named = std::env::var("HAFT_PLANT").unwrap_or_default();
    assert!(
        named.strip_prefix("panic-") != Some(place),
        "planted: a panic in {place}"
    );
}

/// Does nothing.
#[cfg(not(feature = "planted-bugs"))]
#[inline]
pub(crate) fn panic_in(_place: &str) {}
