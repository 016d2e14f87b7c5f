//! How a device that switches power answers: a machine's management controller, or the outlets of a PDU.
//!
//! A mood is one fault. Only [`Mood::LiesOff`] reports off for good while the machine is on. Against that helps another
//! device of the same level that is honest and proves the machine off by itself ([`crate::park::Park::has_witness`]), or
//! the machine's own answer to a challenge (R3a); a controller that lies where there is neither acts after all
//! ([`World::challenge`](crate::world::World)). [`Mood::Flaps`] says off between two
//! words of on, within one conversation: a device that said off twice in a row would be that liar.

use crate::clock::{MS, TrueTime};

/// How it behaves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Mood {
    /// Does what it is told and says what is so.
    Honest,
    /// Answers that it will not, as to wrong credentials.
    Refuses,
    /// Does not answer.
    Silent,
    /// Answers garbage: the executor does not know the state.
    Ignorant,
    /// Goes on reporting on for a while after the machine is off.
    ReportsOffLate(TrueTime),
    /// Acknowledges at once and acts much later.
    ActsLate(TrueTime),
    /// Acts, and reports on for ever.
    ReportsOnForEver,
    /// Acts, and never acknowledges an order; answers questions.
    NeverAcknowledges,
    /// Acknowledges and does nothing; says what is so.
    Stuck,
    /// Does what it is told; while the machine is on it says on and off in turn.
    Flaps,
    /// Does what it is told; when all is off it says off and on in turn.
    Wavers,
    /// Every answer comes so late that the try is over.
    Slow(TrueTime),
    /// Acts a moment later than it acknowledges, and calls that moment off already. Together with the supplies'
    /// hold-up it stays below the pause between two reads.
    PendingAsOff(TrueTime),
    /// Does nothing and says off.
    LiesOff,
}

/// What an executor asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ask {
    /// Power off.
    Off,
    /// Power on.
    On,
    /// Which is it?
    Status,
    /// Write a pill into the target's slot of every disk.
    Pill,
    /// On how many disks does one lie?
    Slot,
}

/// What it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    /// The order is taken.
    Taken,
    /// No.
    Refused,
    /// On.
    On,
    /// Off.
    Off,
    /// Not known.
    Unknown,
    /// A pill was read on so many disks.
    Pills(usize),
}

/// What it does to the power, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Switch {
    /// After this span.
    pub(crate) after: TrueTime,
    /// On or off.
    pub(crate) to: Power,
}

/// The machine's power.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Power {
    /// Runs.
    On,
    /// Does not.
    Off,
}

/// What it makes of a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    /// Its words, if any.
    pub(crate) said: Option<Said>,
    /// How much later than usual they come.
    pub(crate) late: TrueTime,
    /// What it will do.
    pub(crate) switch: Option<Switch>,
}

/// What it knows when it is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Now.
    pub(crate) now: TrueTime,
    /// The truth.
    pub(crate) power: Power,
    /// Since when it is off.
    pub(crate) off_since: Option<TrueTime>,
    /// Which question of this conversation it is.
    pub(crate) turn: u64,
}

/// One controller.
#[derive(Clone, Debug)]
pub(crate) struct Bmc {
    /// How it behaves now.
    pub(crate) mood: Mood,
    /// When the power last went off.
    pub(crate) off_since: Option<TrueTime>,
}

/// How long a real power-off takes from the command.
const OFF_TAKES: TrueTime = 8 * MS;

impl Bmc {
    /// An honest one.
    pub(crate) fn honest() -> Bmc {
        Bmc {
            mood: Mood::Honest,
            off_since: None,
        }
    }
}

impl Mood {
    /// Whether `monitor` finds nothing wrong.
    pub(crate) fn answers_probes(self) -> bool {
        match self {
            Mood::Refuses | Mood::Silent | Mood::Ignorant | Mood::Slow(_) => false,
            Mood::Honest
            | Mood::ReportsOffLate(_)
            | Mood::ActsLate(_)
            | Mood::ReportsOnForEver
            | Mood::NeverAcknowledges
            | Mood::Stuck
            | Mood::Flaps
            | Mood::Wavers
            | Mood::PendingAsOff(_)
            | Mood::LiesOff => true,
        }
    }

    /// Answers `ask`, or not; and what it will do.
    pub(crate) fn hear(self, seen: &Seen, ask: Ask) -> Answer {
        let says = |said, after: Option<TrueTime>| Answer {
            said: Some(said),
            late: 0,
            switch: after.and_then(|after| switch(ask, after)),
        };
        let so = truth(seen.power, ask);
        match self {
            Mood::Refuses => says(Said::Refused, None),
            Mood::Silent => Answer {
                said: None,
                late: 0,
                switch: None,
            },
            Mood::Ignorant => says(Said::Unknown, None),
            Mood::Honest => says(so, Some(OFF_TAKES)),
            Mood::ReportsOffLate(late) => {
                let hidden = seen.off_since.is_some_and(|since| seen.now < since + late);
                match (so, hidden) {
                    (Said::Off, true) => says(Said::On, Some(OFF_TAKES)),
                    (said, _) => says(said, Some(OFF_TAKES)),
                }
            }
            Mood::ActsLate(late) => says(so, Some(late)),
            Mood::ReportsOnForEver => match ask {
                Ask::Status => says(Said::On, None),
                Ask::Off | Ask::On | Ask::Pill | Ask::Slot => says(Said::Taken, Some(OFF_TAKES)),
            },
            Mood::NeverAcknowledges => match ask {
                Ask::Status => says(so, None),
                Ask::Off | Ask::On | Ask::Pill | Ask::Slot => Answer {
                    said: None,
                    late: 0,
                    switch: switch(ask, OFF_TAKES),
                },
            },
            Mood::Stuck => says(so, None),
            Mood::Flaps => match (so, seen.turn.is_multiple_of(2)) {
                (Said::On, true) => says(Said::Off, None),
                (said, _) => says(said, Some(OFF_TAKES)),
            },
            Mood::Wavers => match (so, seen.turn.is_multiple_of(2)) {
                (Said::Off, true) => says(Said::On, None),
                (said, _) => says(said, Some(OFF_TAKES)),
            },
            Mood::Slow(late) => Answer {
                late,
                ..says(so, Some(OFF_TAKES))
            },
            Mood::PendingAsOff(late) => says(so, Some(late)),
            Mood::LiesOff => match ask {
                Ask::Status => says(Said::Off, None),
                Ask::Off | Ask::On | Ask::Pill | Ask::Slot => says(Said::Taken, None),
            },
        }
    }
}

fn truth(power: Power, ask: Ask) -> Said {
    match (ask, power) {
        (Ask::Off | Ask::On, _) => Said::Taken,
        (Ask::Status, Power::On) => Said::On,
        (Ask::Status, Power::Off) => Said::Off,
        (Ask::Pill | Ask::Slot, _) => Said::Refused,
    }
}

fn switch(ask: Ask, after: TrueTime) -> Option<Switch> {
    let to = match ask {
        Ask::Off => Power::Off,
        Ask::On => Power::On,
        Ask::Status | Ask::Pill | Ask::Slot => return None,
    };
    Some(Switch { after, to })
}
