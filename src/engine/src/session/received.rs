//! When a beat was received (R2b), as a type that only the receiving itself makes.
//!
//! The proof (docs/session-proof.md) needs that a receipt is not dated before its beat was sent. A moment that a
//! driver passes on could be any: one read before a drain of the socket, or before a wait for a lock, makes a
//! coordinator state an age that a live lease contradicts. So a [`Received`] is made of a receive call and the
//! clock, in this order, and of nothing else. Reads no clock itself and opens no socket.

use crate::clock::Moment;

/// The moment at which a receive call has returned, and with it whatever it brought.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Received(Moment);

impl Received {
    /// Receives, then reads the clock: once for the call, also if it brought many datagrams, and before anything
    /// else is done with them. What was sent before `receive` returned is dated no earlier than it was sent.
    pub fn after<T>(receive: impl FnOnce() -> T, clock: impl FnOnce() -> Moment) -> (T, Received) {
        let brought = receive();
        let at = clock();
        (brought, Received(at))
    }

    /// The moment.
    pub fn moment(self) -> Moment {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn the_clock_is_read_once_and_after_the_receive_call_returned() {
        let clock = Cell::new(1_u64);
        let readings = Cell::new(0);
        let (brought, received) = Received::after(
            || clock.replace(9),
            || {
                readings.set(readings.get() + 1);
                Moment(clock.get())
            },
        );
        assert_eq!((brought, received.moment()), (1, Moment(9)));
        assert_eq!(readings.get(), 1);
    }
}
