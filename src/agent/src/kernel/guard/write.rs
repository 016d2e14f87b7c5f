//! Prepared writes: what was decided at one moment, encoded, to be sent now or never.
//!
//! A write knows the turn at which it was decided. The clock must be read after the turn was
//! taken; then the lease arithmetic holds however late the write is delivered:
//!
//! - *renew* takes the living element out and puts a new one in, in one transaction. It succeeds
//!   only within W of the element's last write, which lies before the clock reading, so the new
//!   element ends before the reading + 2W.
//! - *install* takes the `armed` element, written before the clock reading with life W, out, and
//!   puts `held` ones in. It, too, ends before the reading + 2W.
//!
//! A plain addition would revive what has lapsed; none is ever encoded for a held address.

use super::batch::{Batch, Family, Sealed};
use super::ruleset::{self, ElementChange};
use std::net::IpAddr;
use std::time::Duration;

/// The most addresses in one write: one transaction stays below the socket's default send room
/// (212,992 bytes; 444 bytes an IPv4 address).
pub const MAX_BATCH: usize = 256;

/// Life of a guard element after its last write, W of the design: 10 ms to 60 s.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Life(Duration);

/// A life outside 10 ms to 60 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a guard life of {0:?} is outside 10 ms to 60 s")]
pub struct LifeError(pub Duration);

impl Life {
    /// Checks a life. The kernel takes zero for eternity, and counts in ticks of up to 10 ms.
    ///
    /// # Errors
    /// Outside 10 ms to 60 s.
    pub fn of(span: Duration) -> Result<Life, LifeError> {
        if span < Duration::from_millis(10) || span > Duration::from_secs(60) {
            return Err(LifeError(span));
        }
        Ok(Life(span))
    }

    /// The life as a span.
    pub fn span(self) -> Duration {
        self.0
    }
}

/// A point in the guard's history of writes. Take it before the clock is read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Turn(pub(super) u64);

/// One encoded transaction that was decided at a turn.
#[derive(Debug)]
pub struct PreparedWrite {
    pub(super) turn: Turn,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) sealed: Sealed,
    /// For each message, from sequence 1: the address's place, if the message takes an element.
    pub(super) takes: Vec<Option<usize>>,
}

impl PreparedWrite {
    /// The addresses it is about.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The same write, decided anew at a later turn; saves the encoding.
    pub fn decided_at(&mut self, turn: Turn) {
        self.turn = turn;
    }
}

/// What a prepared write does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    Install,
    Renew,
}

/// Encodes a write for at most [`MAX_BATCH`] addresses.
pub(super) fn prepare(
    purpose: Purpose,
    turn: Turn,
    addresses: &[IpAddr],
    life: Life,
) -> PreparedWrite {
    let mut batch = Batch::new();
    let mut takes = Vec::new();
    for (place, address) in addresses.iter().enumerate() {
        let key = ruleset::key(*address);
        let places = ruleset::places(*address);
        if let Purpose::Install = purpose {
            let take = ElementChange::Take;
            ruleset::element(&mut batch, Family::Inet, places.armed, &key, take);
            takes.push(Some(place));
        }
        for family in places.families {
            if let Purpose::Renew = purpose {
                ruleset::element(&mut batch, *family, places.held, &key, ElementChange::Take);
                takes.push(Some(place));
            }
            let put = ElementChange::Time(life.span());
            ruleset::element(&mut batch, *family, places.held, &key, put);
            takes.push(None);
        }
    }
    PreparedWrite {
        turn,
        addresses: addresses.to_vec(),
        sealed: batch.seal(),
        takes,
    }
}
