//! Faults on purpose in what drives the engine, for tests with the real program. Without the
//! feature `planted-bugs` there are none, whatever the environment says.
//!
//! Bugs of the engine itself are planted in `haft_engine::plant`.

/// Whether `HAFT_PLANT` names this fault.
#[cfg(feature = "planted-bugs")]
pub fn is(fault: &str) -> bool {
    std::env::var_os("HAFT_PLANT").is_some_and(|named| named == fault)
}

/// Never.
#[cfg(not(feature = "planted-bugs"))]
#[inline]
pub fn is(_fault: &str) -> bool {
    false
}

/// Panics if `HAFT_PLANT` is `panic-` and this place.
#[cfg(feature = "planted-bugs")]
pub fn panic_in(place: &str) {
    assert!(
        !is(&format!("panic-{place}")),
        "planted: a panic in {place}"
    );
}

/// Does nothing.
#[cfg(not(feature = "planted-bugs"))]
#[inline]
pub fn panic_in(_place: &str) {}
