//! The agent's stream: assignments, reports and membership.

use super::timing::{versioned_from, versioned_into};
use super::{FieldError, resource_from, token_of, vip_spec_from, vip_spec_into, wrong};
use crate::pb::v1;
use haft_engine::command::{Attestation, Command, Difficulty, StatedAge, VoterSets};
use haft_engine::gate::GateKind;
use haft_engine::ids::{EntryId, Epoch, Incarnation, LogIndex, NodeId, ResourceId, Term, Token};
use haft_engine::keeper::{AssignedItem, Assignment, Want};
use haft_engine::session::authority::Origin;
use haft_engine::spec::ResourceSpec;
use haft_engine::state::{ClusterState, Progress};
use haft_engine::text::{WHY_MAX, bounded};
use std::time::Duration;

/// The whole assignment of an incarnation, handed out by a leader that stood at `origin`.
pub fn assignment_into(assignment: &Assignment, origin: Origin) -> v1::Assignment {
    let item = |item: &AssignedItem| {
        let ResourceSpec::VirtualIp(vip) = &item.spec;
        let want = match item.want {
            Want::Hold => v1::Want::Hold,
            Want::Release => v1::Want::Release,
        };
        v1::AssignedItem {
            resource: item.resource.to_string(),
            epoch: item.token.epoch.0,
            token_index: item.token.index.0,
            virtual_ip: Some(vip_spec_into(vip)),
            want: want.into(),
            watchdog_ms: item.watchdog.map_or(0, millis),
            begun: item.progress == Progress::Begun,
        }
    };
    v1::Assignment {
        revision: assignment.revision.0,
        incarnation: assignment.incarnation.0,
        items: assignment.items.iter().map(item).collect(),
        timing: assignment.timing.as_ref().map(versioned_into),
        epoch: origin.epoch.0,
        term: origin.term.0,
    }
}

/// The whole assignment of an incarnation of an agent with this gate.
pub fn assignment_from(form: v1::Assignment, gate: GateKind) -> Result<Assignment, FieldError> {
    let timing = form.timing.as_ref();
    let timing = timing.map(|told| versioned_from(told, gate)).transpose()?;
    let item = |item: v1::AssignedItem| {
        let want = match item.want() {
            v1::Want::Hold => Want::Hold,
            v1::Want::Release => Want::Release,
            v1::Want::Unspecified => return Err(wrong("items.want", "unspecified", "upgrade")),
        };
        let spec = item
            .virtual_ip
            .ok_or_else(|| wrong("items.virtual_ip", "missing", "upgrade"))?;
        Ok(AssignedItem {
            resource: resource_from(&item.resource)?,
            token: token_of(item.epoch, item.token_index),
            spec: ResourceSpec::VirtualIp(vip_spec_from(spec)?),
            want,
            // Whole milliseconds are enough: that the log holds one is what matters to the owner.
            watchdog: (item.watchdog_ms > 0).then(|| Duration::from_millis(item.watchdog_ms)),
            progress: if item.begun {
                Progress::Begun
            } else {
                Progress::NotBegun
            },
        })
    };
    Ok(Assignment {
        revision: LogIndex(form.revision),
        incarnation: Incarnation(form.incarnation),
        items: form.items.into_iter().map(item).collect::<Result<_, _>>()?,
        timing,
    })
}

/// Where the leader stood that handed out this assignment.
pub fn assigned_by(form: &v1::Assignment) -> Origin {
    Origin {
        epoch: Epoch(form.epoch),
        term: Term(form.term),
        index: LogIndex(form.revision),
    }
}

/// Where the leader stood that said so.
pub fn admitted_by(form: &v1::Admitted) -> Origin {
    Origin {
        epoch: Epoch(form.epoch),
        term: Term(form.term),
        index: LogIndex(form.index),
    }
}

/// Where the leader stood that says that a session has ended.
pub fn ended_by(form: &v1::NotAdmitted) -> Origin {
    Origin {
        epoch: Epoch(form.epoch),
        term: Term(form.term),
        index: LogIndex(form.index),
    }
}

/// Voters with the hosts of their beat ports, for the agent.
pub fn membership_into(state: &ClusterState, effective: &VoterSets) -> v1::Membership {
    let set = |set: &std::collections::BTreeSet<NodeId>| v1::VoterSet {
        node_ids: set.iter().map(|node| node.0).collect(),
    };
    let voter = |id: NodeId| {
        let node = state.nodes.get(&id)?;
        Some(v1::Voter {
            node_id: id.0,
            name: node.name.0.clone(),
            host: node.host.clone(),
        })
    };
    v1::Membership {
        index: effective.at.index.0,
        term: effective.at.term.0,
        sets: effective.sets.iter().map(set).collect(),
        voters: effective.all().into_iter().filter_map(voter).collect(),
    }
}

/// The voters' sets in a membership message.
pub fn membership_from(form: &v1::Membership) -> VoterSets {
    let set = |set: &v1::VoterSet| set.node_ids.iter().copied().map(NodeId).collect();
    VoterSets {
        at: EntryId::new(form.term, form.index),
        sets: form.sets.iter().map(set).collect(),
    }
}

/// The report that an owner acts.
pub fn report_active(
    resource: &ResourceId,
    token: Token,
    incarnation: Incarnation,
    guard: Attestation,
    address_life: Duration,
) -> v1::ActiveReport {
    v1::ActiveReport {
        resource: resource.to_string(),
        epoch: token.epoch.0,
        token_index: token.index.0,
        incarnation: incarnation.0,
        guard_intact: guard == Attestation::Intact,
        guard: guards_into(guard),
        address_life_ms: millis(address_life),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The report that an owner's watchdog is armed.
pub fn report_armed(
    resource: &ResourceId,
    token: Token,
    incarnation: Incarnation,
    period: Duration,
) -> v1::ArmedReport {
    v1::ArmedReport {
        resource: resource.to_string(),
        epoch: token.epoch.0,
        token_index: token.index.0,
        incarnation: incarnation.0,
        period_ms: millis(period),
    }
}

/// The report that an owner is ready to begin.
pub fn report_begun(
    resource: &ResourceId,
    token: Token,
    incarnation: Incarnation,
) -> v1::BegunReport {
    v1::BegunReport {
        resource: resource.to_string(),
        epoch: token.epoch.0,
        token_index: token.index.0,
        incarnation: incarnation.0,
    }
}

/// The command of that report.
pub fn begun_from(form: &v1::BegunReport) -> Result<Command, FieldError> {
    Ok(Command::Begun {
        resource: resource_from(&form.resource)?,
        token: token_of(form.epoch, form.token_index),
        incarnation: Incarnation(form.incarnation),
    })
}

/// The report of what an owner cannot do.
pub fn report_failed(
    resource: &ResourceId,
    token: Token,
    incarnation: Incarnation,
    difficulty: Difficulty,
    why: &str,
) -> v1::FailedReport {
    let difficulty = match difficulty {
        Difficulty::Start => v1::Difficulty::Start,
        Difficulty::Stop => v1::Difficulty::Stop,
    };
    v1::FailedReport {
        resource: resource.to_string(),
        epoch: token.epoch.0,
        token_index: token.index.0,
        incarnation: incarnation.0,
        why: why.to_owned(),
        difficulty: difficulty.into(),
    }
}

/// The command of an armed report.
pub fn armed_from(form: &v1::ArmedReport) -> Result<Command, FieldError> {
    Ok(Command::WatchdogArmed {
        resource: resource_from(&form.resource)?,
        token: token_of(form.epoch, form.token_index),
        incarnation: Incarnation(form.incarnation),
        period: Duration::from_millis(form.period_ms),
    })
}

/// The command of a failure report.
pub fn failed_from(form: &v1::FailedReport) -> Result<Command, FieldError> {
    let difficulty = match form.difficulty() {
        v1::Difficulty::Start => Difficulty::Start,
        v1::Difficulty::Stop => Difficulty::Stop,
        v1::Difficulty::Unspecified => {
            return Err(wrong("failed.difficulty", "unspecified", "upgrade"));
        }
    };
    Ok(Command::Troubled {
        resource: resource_from(&form.resource)?,
        token: token_of(form.epoch, form.token_index),
        incarnation: Incarnation(form.incarnation),
        difficulty,
        why: bounded(&form.why, WHY_MAX),
    })
}

/// The report that an owner has stopped, finally.
pub fn report_released(
    resource: &ResourceId,
    token: Token,
    incarnation: Incarnation,
) -> v1::ReleasedReport {
    v1::ReleasedReport {
        resource: resource.to_string(),
        epoch: token.epoch.0,
        token_index: token.index.0,
        incarnation: incarnation.0,
    }
}

/// A coordinator's statement.
pub fn age_into(age: &StatedAge) -> v1::StateAgeResponse {
    let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    v1::StateAgeResponse {
        by: age.by.0,
        membership: age.membership.index.0,
        membership_term: age.membership.term.0,
        sequence: age.sequence,
        age_ns: nanos(age.age),
        heard_ns: nanos(age.heard),
        guards: guards_into(age.guards),
    }
}

fn guards_into(guards: Attestation) -> u32 {
    match guards {
        Attestation::Unknown => 0,
        Attestation::Broken => 1,
        Attestation::Intact => 2,
        Attestation::Watched => 3,
    }
}

/// An unknown number is `Unknown`, which opens nothing.
fn guards_from(number: u32) -> Attestation {
    match number {
        1 => Attestation::Broken,
        2 => Attestation::Intact,
        3 => Attestation::Watched,
        _ => Attestation::Unknown,
    }
}

/// A coordinator's statement. An unknown attestation number is `Unknown`, which opens nothing.
pub fn age_from(form: &v1::StateAgeResponse) -> StatedAge {
    StatedAge {
        by: NodeId(form.by),
        membership: EntryId::new(form.membership_term, form.membership),
        sequence: form.sequence,
        age: Duration::from_nanos(form.age_ns),
        heard: Duration::from_nanos(form.heard_ns),
        guards: guards_from(form.guards),
    }
}

/// The command of an active report.
pub fn active_from(form: &v1::ActiveReport) -> Result<Command, FieldError> {
    Ok(Command::Activated {
        resource: resource_from(&form.resource)?,
        token: token_of(form.epoch, form.token_index),
        incarnation: Incarnation(form.incarnation),
        // A report without the number is an older agent's, which cannot say what its bit is worth.
        guard: guards_from(form.guard),
        address_life: Duration::from_millis(form.address_life_ms),
    })
}

/// The command of a release.
pub fn released_from(form: &v1::ReleasedReport) -> Result<Command, FieldError> {
    Ok(Command::Released {
        resource: resource_from(&form.resource)?,
        token: token_of(form.epoch, form.token_index),
        incarnation: Incarnation(form.incarnation),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_a_megabyte_is_cut_before_anything_keeps_it() {
        let form = v1::FailedReport {
            resource: "vip/web".to_owned(),
            epoch: 1,
            token_index: 30,
            incarnation: 20,
            difficulty: v1::Difficulty::Start.into(),
            why: "x".repeat(1 << 20),
        };
        let Ok(Command::Troubled { why, .. }) = failed_from(&form) else {
            panic!("a failure is taken");
        };
        assert!(why.len() <= WHY_MAX, "{}", why.len());
        assert!(why.ends_with("[cut: 1048576 bytes]"), "{why}");
    }
}
