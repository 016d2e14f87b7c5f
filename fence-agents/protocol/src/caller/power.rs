//! The two questions of fencing: is it off, and make it off.
//!
//! "Off" is only ever said by two off reads (design rule R5): either the agent makes them itself, or
//! two `status` calls do. Everything that is not a clear answer is `Unknown`. The caller has committed its
//! intent; whether the order still stands is asked again just before each `off`, because the questions
//! before it may have taken long.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::sleep;

use super::deadline::Deadline;
use super::find::AgentPath;
use super::outcome::{Outcome, Report, says_made_off, says_off, says_still_on};
use super::parameters::Parameters;
use super::prepared::{Prepared, Went};
use super::run::{Call, run, run_and_tell};
use super::turn::DeviceTurn;
use crate::Action;

/// What one `status` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PowerReading {
    /// The power is on.
    On,
    /// The power is off, by one read.
    Off,
    /// Anything else.
    Unknown {
        /// For people.
        reason: String,
    },
}

/// Where the two off reads come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffProof {
    /// The agent's `off` makes two spaced reads by itself, as haft's own agents do.
    AgentReadsTwice,
    /// After `off`, `status` must say off twice in a row.
    StatusTwice {
        /// Pause between two reads.
        spacing: Duration,
    },
    /// After `off`, the agent itself has waited until the target must have read its pill. `status` tells
    /// what the slot holds, which is no power state, and is never asked.
    AgentWaits,
}

/// An order to power one machine off.
#[derive(Clone, Copy)]
pub struct OffOrder<'a> {
    /// The agent.
    pub agent: &'a AgentPath,
    /// The device's parameters.
    pub parameters: &'a Parameters,
    /// Where the off reads come from.
    pub proof: OffProof,
    /// When to give up; nothing of this order acts on the device afterwards.
    pub deadline: Deadline,
    /// Asked just before `off` is sent, which is left out with these words if it no longer stands.
    pub stands: &'a (dyn Fn() -> Standing<'a> + Sync),
    /// Told of every first of two off reads at once, by agents that say it ([`crate::agent::report::FIRST_OFF_READ`]).
    /// Of others nobody hears before both have been made: an outlet's supply feeds its machine for some ten
    /// milliseconds more, and a machine that is asked then answers although the device told the truth.
    pub first_off_read: &'a (dyn Fn() + Sync),
}

/// Whether an order still stands; the answer may have to be asked of others (R15).
pub type Standing<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// For whoever asks nobody between two reads, as in tests and by hand.
pub fn untold() {}

/// The answer for an order that nothing can end, as in tests and by hand.
pub fn always<'a>() -> Standing<'a> {
    Box::pin(std::future::ready(Ok(())))
}

/// The end of an [`OffOrder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OffVerdict {
    /// Off by two reads.
    Confirmed {
        /// For the log and for people.
        evidence: String,
    },
    /// The device itself says that the machine is still on.
    Refused {
        /// For people.
        reason: String,
    },
    /// Everything else. Opens nothing.
    Unknown {
        /// For people.
        reason: String,
    },
}

/// Spacing of `status` reads where the device names none, as our own agents' default.
pub const OFF_READ_SPACING: Duration = Duration::from_millis(50);

/// The agent that can be asked to say its first off read.
const SAYS_ITS_FIRST_READ: &str = "fence_haft_ipmi";

/// Readings of "on", or unreadable ones, after which more will not help.
const READS_MAX: u32 = 3;

impl OffProof {
    /// The proof that an agent offers: haft's own read twice, all others are asked twice.
    /// SBD agents report the slot's message as power: "off" there only means that a pill lies in it.
    pub fn for_agent(agent: &AgentPath) -> Self {
        match agent.name() {
            "fence_haft_ipmi" | "fence_haft_pdu" => Self::AgentReadsTwice,
            "fence_haft_sbd" | "fence_sbd" => Self::AgentWaits,
            _ => Self::StatusTwice {
                spacing: OFF_READ_SPACING,
            },
        }
    }
}

/// Asks once for the power state.
pub async fn read_power(
    turn: &mut DeviceTurn,
    agent: &AgentPath,
    parameters: &Parameters,
    deadline: Deadline,
) -> PowerReading {
    let report = run(
        turn,
        &Call {
            agent,
            action: Action::Status,
            parameters,
            deadline,
        },
    )
    .await;
    match report.outcome {
        Outcome::On => PowerReading::On,
        Outcome::Off => PowerReading::Off,
        Outcome::Done => PowerReading::Unknown {
            reason: "status gave no state".to_owned(),
        },
        Outcome::Failed { .. } | Outcome::TimedOut | Outcome::NotRunnable { .. } => {
            PowerReading::Unknown {
                reason: reason_of(&report, Action::Status),
            }
        }
    }
}

/// Sends `off` and proves it.
pub async fn confirm_off(turn: &mut DeviceTurn, order: &OffOrder<'_>) -> OffVerdict {
    if let Err(reason) = (order.stands)().await {
        return OffVerdict::Unknown { reason };
    }
    match order.proof {
        OffProof::AgentReadsTwice => {
            let report = send_off(turn, order, order.deadline).await;
            trust_agent(order, &report, "two off reads by the agent")
        }
        OffProof::AgentWaits => {
            let report = send_off(turn, order, order.deadline).await;
            trust_pill(order, &report)
        }
        OffProof::StatusTwice { spacing } => {
            // A hanging `off` leaves a quarter of the time for asking what it did (hazard R24: after a
            // timeout the question is status, not off again).
            let share = Deadline::within(order.deadline.left().mul_f64(0.75));
            let report = send_off(turn, order, share).await;
            ask_twice(turn, order, spacing, &report).await
        }
    }
}

/// The same with an agent that was prepared for it; the order's question and its proof are what they always are. One
/// that got nowhere has changed nothing, and `off` is sent as if there had been none; so it is where the agent was
/// prepared for something else, or does not make the two reads that this order asks for.
pub async fn confirm_off_with(
    turn: &mut DeviceTurn,
    order: &OffOrder<'_>,
    prepared: Prepared,
) -> OffVerdict {
    let is_for_it = prepared.is_for(order.agent, order.parameters);
    if !is_for_it || order.proof != OffProof::AgentReadsTwice {
        prepared.dismiss().await;
        return confirm_off(turn, order).await;
    }
    if let Err(reason) = (order.stands)().await {
        prepared.dismiss().await;
        return OffVerdict::Unknown { reason };
    }
    match prepared.go(order.deadline, order.first_off_read).await {
        Went::Through(report) => trust_agent(
            order,
            &report,
            "two off reads by the agent, which awaited the order",
        ),
        Went::Nowhere => confirm_off(turn, order).await,
    }
}

async fn send_off(turn: &mut DeviceTurn, order: &OffOrder<'_>, deadline: Deadline) -> Report {
    let call = Call {
        agent: order.agent,
        action: Action::Off,
        parameters: order.parameters,
        deadline,
    };
    match order.proof {
        OffProof::AgentReadsTwice if order.agent.name() == SAYS_ITS_FIRST_READ => {
            run_and_tell(turn, &call, order.first_off_read).await
        }
        OffProof::AgentReadsTwice | OffProof::StatusTwice { .. } | OffProof::AgentWaits => {
            run(turn, &call).await
        }
    }
}

/// The agent made the two reads itself.
fn trust_agent(order: &OffOrder<'_>, report: &Report, reads: &str) -> OffVerdict {
    match &report.outcome {
        Outcome::Done if says_off(&report.stdout) => OffVerdict::Confirmed {
            evidence: format!(
                "{}: {} ({reads})",
                order.agent.name(),
                report.stdout.lines().last().unwrap_or_default()
            ),
        },
        Outcome::Done | Outcome::On | Outcome::Off => OffVerdict::Unknown {
            reason: "the agent ended well but did not report off".to_owned(),
        },
        Outcome::Failed { reason, .. } if says_still_on(&report.stderr) => OffVerdict::Refused {
            reason: reason.clone(),
        },
        Outcome::Failed { .. } | Outcome::TimedOut | Outcome::NotRunnable { .. } => {
            OffVerdict::Unknown {
                reason: reason_of(report, Action::Off),
            }
        }
    }
}

/// Only a pill that this very run wrote, read back and waited out counts.
fn trust_pill(order: &OffOrder<'_>, report: &Report) -> OffVerdict {
    match &report.outcome {
        Outcome::Done if says_made_off(&report.stdout) => OffVerdict::Confirmed {
            evidence: format!(
                "{}: {} (the pill was written and waited out)",
                order.agent.name(),
                report.stdout.trim().replace('\n', "; ")
            ),
        },
        Outcome::Done | Outcome::On | Outcome::Off => OffVerdict::Unknown {
            reason: format!(
                "{} found a pill in the slot and did not wait; a pill is no proof until msgwait has passed \
                 (fence_haft_sbd waits)",
                order.agent.name()
            ),
        },
        Outcome::Failed { .. } | Outcome::TimedOut | Outcome::NotRunnable { .. } => {
            OffVerdict::Unknown {
                reason: reason_of(report, Action::Off),
            }
        }
    }
}

/// Whatever `off` said, `status` decides.
async fn ask_twice(
    turn: &mut DeviceTurn,
    order: &OffOrder<'_>,
    spacing: Duration,
    report: &Report,
) -> OffVerdict {
    match &report.outcome {
        Outcome::NotRunnable { why } => OffVerdict::Unknown {
            reason: why.clone(),
        },
        Outcome::Failed { reason: first, .. } => match read_off_twice(turn, order, spacing).await {
            OffVerdict::Unknown { reason } => OffVerdict::Unknown {
                reason: format!("off: {first}; then status: {reason}"),
            },
            verdict @ (OffVerdict::Confirmed { .. } | OffVerdict::Refused { .. }) => verdict,
        },
        Outcome::Done | Outcome::On | Outcome::Off | Outcome::TimedOut => {
            read_off_twice(turn, order, spacing).await
        }
    }
}

/// Takes over an order that another leader may have begun: asks first, and sends `off` only when the
/// device says that the machine is on. What a slot holds is no power state, so a pill is sent as if anew.
pub async fn adopt_off(turn: &mut DeviceTurn, order: &OffOrder<'_>) -> OffVerdict {
    let spacing = match order.proof {
        OffProof::AgentReadsTwice => OFF_READ_SPACING,
        OffProof::StatusTwice { spacing } => spacing,
        OffProof::AgentWaits => return confirm_off(turn, order).await,
    };
    match read_power(turn, order.agent, order.parameters, order.deadline).await {
        PowerReading::On => confirm_off(turn, order).await,
        PowerReading::Off => match read_off_twice(turn, order, spacing).await {
            // It came on between the reads: somebody powers it on, so the order is carried out.
            OffVerdict::Refused { .. } => confirm_off(turn, order).await,
            verdict @ (OffVerdict::Confirmed { .. } | OffVerdict::Unknown { .. }) => verdict,
        },
        PowerReading::Unknown { reason } => OffVerdict::Unknown { reason },
    }
}

/// Two consecutive off reads, spaced.
async fn read_off_twice(
    turn: &mut DeviceTurn,
    order: &OffOrder<'_>,
    spacing: Duration,
) -> OffVerdict {
    let (mut off_reads, mut on_reads, mut blind_reads) = (0, 0, 0);
    loop {
        match read_power(turn, order.agent, order.parameters, order.deadline).await {
            PowerReading::Off => {
                off_reads += 1;
                if off_reads == 2 {
                    let name = order.agent.name();
                    return OffVerdict::Confirmed {
                        evidence: format!("{name}: status says off twice, {spacing:?} apart"),
                    };
                }
            }
            PowerReading::On => {
                (off_reads, on_reads) = (0, on_reads + 1);
                if on_reads == READS_MAX {
                    return OffVerdict::Refused {
                        reason: "status still says on after off".to_owned(),
                    };
                }
            }
            PowerReading::Unknown { reason } => {
                (off_reads, blind_reads) = (0, blind_reads + 1);
                if blind_reads == READS_MAX {
                    return OffVerdict::Unknown { reason };
                }
            }
        }
        if spacing >= order.deadline.left() {
            return OffVerdict::Unknown {
                reason: "the deadline came before two off reads".to_owned(),
            };
        }
        sleep(spacing).await;
    }
}

fn reason_of(report: &Report, action: Action) -> String {
    match &report.outcome {
        Outcome::Failed { exit, reason } => format!("{action}: {reason} ({exit})"),
        Outcome::TimedOut => {
            format!("{action}: no answer before the deadline, the agent was killed")
        }
        Outcome::NotRunnable { why } => why.clone(),
        Outcome::On => format!("{action}: on"),
        Outcome::Off => format!("{action}: off"),
        Outcome::Done => format!("{action}: done"),
    }
}
