//! A witness beats a verdict (R3a): what a machine that is said to be off says itself.
//!
//! A challenge is drawn after the device's first off reading (or the human's word) and sent to the machine by every
//! coordinator; what of haft lives there answers at once, with its boot. Only what answers that very challenge, from the
//! very boot that is to have ended, is a witness: whatever merely arrives late was caused by no challenge and changes
//! nothing, and another boot is a reboot and no lie. Who challenges, over which wires, is the drivers' business.

use crate::ids::{BootId, DeviceName, NodeId};
use crate::plant::{self, Bug};
use std::fmt;
use std::time::Duration;

/// Shortest time to listen for an answer (R3a).
pub const LISTEN_MIN: Duration = Duration::from_millis(10);
/// Longest: an answer that takes longer counts as one that comes after the verdict.
pub const LISTEN_MAX: Duration = Duration::from_secs(1);

/// A number that nobody could know before: drawn for one claim, never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Challenge(pub u64);

/// Which process of the machine has answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Speaker {
    /// haft-agent.
    Agent,
    /// haftd.
    Coordinator,
}

impl fmt::Display for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Speaker::Agent => "haft-agent",
            Speaker::Coordinator => "haftd",
        })
    }
}

/// Something of a machine has answered a challenge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Witness {
    /// The coordinator that sent the challenge and heard the answer.
    pub by: NodeId,
    /// What answered.
    pub speaker: Speaker,
    /// The boot that it runs in, as it says.
    pub boot: BootId,
}

/// An authentic answer, as a coordinator heard it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// What it answers.
    pub challenge: Challenge,
    /// What it says.
    pub witness: Witness,
}

/// A claim that a machine is off, and what contradicts it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lie {
    /// Who answered.
    pub witness: Witness,
    /// The devices that said that the machine had stopped.
    pub devices: Vec<DeviceName>,
}

/// Whether an answer is a witness against the claim that `boot` has ended.
pub fn counts(heard: &Heard, challenge: Challenge, boot: BootId) -> bool {
    let caused = heard.challenge == challenge || plant::is(Bug::LateWitness);
    caused && heard.witness.boot == boot
}

/// How long an answer is waited for: the spacing of the two readings, and twice the longest round trip that was heard of
/// the machine.
pub fn listen_for(spacing: Duration, longest_round_trip: Duration) -> Duration {
    let asked = spacing.max(longest_round_trip.saturating_mul(2));
    asked.clamp(LISTEN_MIN, LISTEN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_to_the_very_challenge_from_the_very_boot_is_a_witness() {
        let boot = BootId([1; 16]);
        let heard = |challenge, boot| Heard {
            challenge: Challenge(challenge),
            witness: Witness {
                by: NodeId(3),
                speaker: Speaker::Coordinator,
                boot,
            },
        };
        let asked = Challenge(7);
        assert!(counts(&heard(7, boot), asked, boot));
        assert!(!counts(&heard(6, boot), asked, boot), "came late");
        assert!(!counts(&heard(7, BootId([2; 16])), asked, boot), "rebooted");
    }

    #[test]
    fn an_answer_is_waited_for_no_longer_than_the_readings_and_the_wire_take() {
        let ms = Duration::from_millis;
        assert_eq!(listen_for(ms(0), ms(0)), ms(10));
        assert_eq!(listen_for(ms(50), ms(3)), ms(50));
        assert_eq!(listen_for(ms(50), ms(40)), ms(80));
        assert_eq!(listen_for(ms(50), Duration::MAX), LISTEN_MAX);
    }
}
