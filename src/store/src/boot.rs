//! Starts of a coordinator on its directory.
//!
//! The history does not protect by itself: peers compare it with what they remember, see
//! [`crate::PeerMemory`].

/// Starts kept in a directory. A directory that was started more often than this since a peer last
/// met it is judged by its counter alone.
pub const BOOTS_KEPT: usize = 64;

/// One start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Boot {
    /// Counts the starts on this directory, from 1.
    pub counter: u64,
    /// Drawn at random at that start: copies of a directory count alike but draw differently.
    pub nonce: u64,
}

/// The history after one more start.
pub(crate) fn after_start(mut history: Vec<Boot>, nonce: u64) -> Vec<Boot> {
    let counter = history.last().map_or(0, |boot| boot.counter) + 1;
    history.push(Boot { counter, nonce });
    let surplus = history.len().saturating_sub(BOOTS_KEPT);
    history.drain(..surplus);
    history
}
