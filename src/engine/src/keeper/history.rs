//! What outlives one holding of a resource: the tokens given up for good, and how its link fares.
//!
//! One row per resource name, at most [`HISTORY_MAX`] of them. Decides nothing.

use crate::clock::{Moment, Timing};
use crate::ids::Token;
use std::time::Duration;

/// Most resources remembered. Beyond it, rows that the assignment does not name are dropped, oldest
/// token first; that is safe because assignments only go forward, and one that has dropped a released
/// token never names it again.
pub(super) const HISTORY_MAX: usize = 4_096;

/// Most doublings of the patience with a resource that cannot work here.
const DOUBLINGS_MAX: u32 = 6;

/// Memory of one resource.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct History {
    /// The highest token given up; final.
    pub(super) released: Option<Token>,
    /// The release said last, and when.
    pub(super) said: Option<(Token, Moment)>,
    pub(super) link: Link,
    /// Times it was handed back in a row because it could not work here.
    pub(super) patience: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Link {
    #[default]
    Up,
    Down(Moment),
}

impl Link {
    /// Down since `now`, or since earlier if it was.
    pub(super) fn down(self, now: Moment) -> Link {
        match self {
            Link::Up => Link::Down(now),
            Link::Down(since) => Link::Down(since),
        }
    }
}

impl History {
    /// Whether `token` may never be acted under again.
    pub(super) fn has_released(&self, token: Token) -> bool {
        self.released.is_some_and(|released| token <= released)
    }

    /// How long a resource that cannot work here is kept before it is handed back.
    pub(super) fn patience(&self, timing: &Timing) -> Duration {
        timing.ttl * (1 << self.patience.min(DOUBLINGS_MAX))
    }

    /// When the release of `token` is to be said (again): at once if it was never said.
    pub(super) fn say_at(&self, token: Token, timing: &Timing) -> Moment {
        match self.said {
            Some((said, at)) if said == token => at + timing.ttl,
            Some(_) | None => Moment(0),
        }
    }
}
