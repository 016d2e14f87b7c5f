//! A machine's management controller, which may refuse, stay silent, know nothing, or tell the truth late.
//!
//! It never reports off while the machine is on: against that no single device helps (hazards R21).

use crate::clock::{MS, TrueTime};

/// How it behaves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Mood {
    /// Does what it is told and says what is so.
    Honest,
    /// Answers that it will not.
    Refuses,
    /// Does not answer.
    Silent,
    /// Answers that it does not know the state.
    Ignorant,
    /// Goes on reporting on for a while after the machine is off.
    ReportsOffLate(TrueTime),
    /// Acknowledges at once and acts much later.
    ActsLate(TrueTime),
    /// Acts, and reports on for ever.
    ReportsOnForEver,
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

    /// Answers `ask`, or not; and what it will do.
    pub(crate) fn hear(
        &self,
        now: TrueTime,
        power: Power,
        ask: Ask,
    ) -> (Option<Said>, Option<Switch>) {
        match self.mood {
            Mood::Refuses => (Some(Said::Refused), None),
            Mood::Silent => (None, None),
            Mood::Ignorant => (Some(Said::Unknown), None),
            Mood::Honest => (Some(truth(power, ask)), switch(ask, OFF_TAKES)),
            Mood::ReportsOffLate(late) => {
                let hidden = self.off_since.is_some_and(|since| now < since + late);
                let said = match (truth(power, ask), hidden) {
                    (Said::Off, true) => Said::On,
                    (said, _) => said,
                };
                (Some(said), switch(ask, OFF_TAKES))
            }
            Mood::ActsLate(late) => (Some(truth(power, ask)), switch(ask, late)),
            Mood::ReportsOnForEver => {
                let said = match ask {
                    Ask::Off | Ask::On => Said::Taken,
                    Ask::Status => Said::On,
                };
                (Some(said), switch(ask, OFF_TAKES))
            }
        }
    }
}

fn truth(power: Power, ask: Ask) -> Said {
    match (ask, power) {
        (Ask::Off | Ask::On, _) => Said::Taken,
        (Ask::Status, Power::On) => Said::On,
        (Ask::Status, Power::Off) => Said::Off,
    }
}

fn switch(ask: Ask, after: TrueTime) -> Option<Switch> {
    let to = match ask {
        Ask::Off => Power::Off,
        Ask::On => Power::On,
        Ask::Status => return None,
    };
    Some(Switch { after, to })
}
