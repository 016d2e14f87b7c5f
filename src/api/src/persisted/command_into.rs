//! Engine commands to their persisted forms.

use super::field::{
    action_into, cause_into, difficulty_into, guard_into, health_into, hold_into, nanos,
    request_into, token_into, verdict_into, voters_into,
};
use super::machine;
use super::place::place_into;
use super::spec::{
    age_into, fence_cause_into, key_into, object_into, reference_into, registration_into,
};
use super::timing;
use super::witness::{lie_into, witness_into};
use crate::pb::log as pb;
use haft_engine::command::{Command, FenceAttemptPlan};
use pb::command::Command as Form;

pub(super) fn command(command: &Command) -> pb::Command {
    pb::Command {
        command: Some(form(command)),
    }
}

fn form(command: &Command) -> Form {
    match command {
        Command::Bootstrap { .. }
        | Command::MintJoinToken { .. }
        | Command::RegisterNode { .. }
        | Command::Membership(_) => joining(command),
        Command::Admit { .. }
        | Command::Closing { .. }
        | Command::Reopened { .. }
        | Command::Expired { .. }
        | Command::LifetimeLapsed { .. }
        | Command::WatchdogLapsed { .. } => session(command),
        Command::WatchdogArmed { .. }
        | Command::Begun { .. }
        | Command::Withdraw { .. }
        | Command::Troubled { .. } => owner(command),
        Command::Grant { .. }
        | Command::Activated { .. }
        | Command::Relinquish { .. }
        | Command::Released { .. }
        | Command::Move { .. } => ownership(command),
        Command::FenceIntent { .. }
        | Command::FenceAttempt { .. }
        | Command::FenceVerdict { .. }
        | Command::FenceHeld { .. }
        | Command::FenceCancelled { .. } => fencing(command),
        Command::FenceTryOver { .. } | Command::Witnessed { .. } | Command::ConfirmOff { .. } => {
            testimony(command)
        }
        Command::Obstructed { .. } | Command::RivalHeard { .. } => machine::command_into(command),
        Command::DeviceProbed {
            device,
            generation,
            health,
        } => Form::DeviceProbed(pb::DeviceProbed {
            device: device.0.clone(),
            generation: generation.0,
            health: Some(health_into(health)),
        }),
        Command::SetTiming { .. } | Command::Retimed { .. } => timing::command_into(command),
        Command::Put {
            object,
            expected,
            request,
        } => Form::Put(pb::Put {
            object: Some(object_into(object)),
            expected: expected.map(|generation| generation.0),
            request: request_into(*request),
        }),
        Command::Delete {
            object,
            expected,
            request,
        } => Form::Delete(pb::Delete {
            object: Some(reference_into(object)),
            expected: expected.map(|generation| generation.0),
            request: request_into(*request),
        }),
    }
}

fn joining(command: &Command) -> Form {
    match command {
        Command::Bootstrap {
            cluster,
            epoch,
            first,
            heartbeat_key,
            timing,
        } => Form::Bootstrap(pb::Bootstrap {
            cluster: cluster.0.to_vec(),
            epoch: epoch.0,
            first: Some(registration_into(first)),
            heartbeat_key: Some(key_into(heartbeat_key)),
            timing: timing.as_ref().map(timing::timing_into),
        }),
        Command::MintJoinToken {
            sha256,
            node,
            expires_unix_ms,
            request,
        } => Form::MintJoinToken(pb::MintJoinToken {
            sha256: sha256.to_vec(),
            node: node.0.clone(),
            expires_unix_ms: *expires_unix_ms,
            request: request_into(*request),
        }),
        Command::RegisterNode { node, token_sha256 } => Form::RegisterNode(pb::RegisterNode {
            node: Some(registration_into(node)),
            token_sha256: token_sha256.to_vec(),
        }),
        Command::Membership(sets) => Form::Membership(voters_into(sets)),
        other => unreachable_group(other),
    }
}

fn session(command: &Command) -> Form {
    match command {
        Command::Admit {
            node,
            boot,
            previous,
            probe,
            place,
        } => Form::Admit(pb::Admit {
            node: node.0,
            boot: boot.0.to_vec(),
            previous: previous.0,
            probe_clean: *probe == haft_engine::command::Probe::Clean,
            place: Some(place_into(place)),
        }),
        Command::Closing { node, incarnation } => Form::Closing(pb::Closing {
            node: node.0,
            incarnation: incarnation.0,
        }),
        Command::Reopened {
            node,
            incarnation,
            closing,
        } => Form::Reopened(pb::Reopened {
            node: node.0,
            incarnation: incarnation.0,
            closing: closing.0,
        }),
        Command::Expired {
            node,
            incarnation,
            closing,
            ages,
        } => Form::Expired(pb::Expired {
            node: node.0,
            incarnation: incarnation.0,
            closing: closing.0,
            ages: ages.iter().map(age_into).collect(),
        }),
        Command::LifetimeLapsed {
            resource,
            token,
            waited,
        } => Form::LifetimeLapsed(pb::LifetimeLapsed {
            resource: resource.to_string(),
            token: token_into(*token),
            waited_ns: nanos(*waited),
        }),
        Command::WatchdogLapsed {
            resource,
            token,
            waited,
        } => Form::WatchdogLapsed(pb::WatchdogLapsed {
            resource: resource.to_string(),
            token: token_into(*token),
            waited_ns: nanos(*waited),
        }),
        other => unreachable_group(other),
    }
}

fn owner(command: &Command) -> Form {
    match command {
        Command::WatchdogArmed {
            resource,
            token,
            incarnation,
            period,
        } => Form::WatchdogArmed(pb::WatchdogArmed {
            resource: resource.to_string(),
            token: token_into(*token),
            incarnation: incarnation.0,
            period_ns: nanos(*period),
        }),
        Command::Begun {
            resource,
            token,
            incarnation,
        } => Form::Begun(pb::Begun {
            resource: resource.to_string(),
            token: token_into(*token),
            incarnation: incarnation.0,
        }),
        Command::Withdraw { resource, token } => Form::Withdraw(pb::Withdraw {
            resource: resource.to_string(),
            token: token_into(*token),
        }),
        Command::Troubled {
            resource,
            token,
            incarnation,
            difficulty,
            why,
        } => Form::Troubled(pb::Troubled {
            resource: resource.to_string(),
            token: token_into(*token),
            incarnation: incarnation.0,
            difficulty: difficulty_into(*difficulty),
            why: why.clone(),
        }),
        other => unreachable_group(other),
    }
}

fn ownership(command: &Command) -> Form {
    match command {
        Command::Grant {
            resource,
            node,
            incarnation,
            previous,
            generation,
        } => Form::Grant(pb::Grant {
            resource: resource.to_string(),
            node: node.0,
            incarnation: incarnation.0,
            previous: token_into(*previous),
            generation: generation.0,
        }),
        Command::Activated {
            resource,
            token,
            incarnation,
            guard,
            address_life,
        } => Form::Activated(pb::Activated {
            resource: resource.to_string(),
            token: token_into(*token),
            incarnation: incarnation.0,
            guard: guard_into(*guard),
            address_life_ns: nanos(*address_life),
        }),
        Command::Relinquish {
            resource,
            token,
            cause,
        } => Form::Relinquish(pb::Relinquish {
            resource: resource.to_string(),
            token: token_into(*token),
            cause: cause_into(*cause),
        }),
        Command::Released {
            resource,
            token,
            incarnation,
        } => Form::Released(pb::Released {
            resource: resource.to_string(),
            token: token_into(*token),
            incarnation: incarnation.0,
        }),
        Command::Move {
            resource,
            to,
            request,
        } => Form::Move(pb::Move {
            resource: resource.to_string(),
            to: to.0.clone(),
            request: request_into(*request),
        }),
        other => unreachable_group(other),
    }
}

fn fencing(command: &Command) -> Form {
    match command {
        Command::FenceIntent {
            node,
            incarnation,
            action,
            cause,
            request,
            first,
        } => Form::FenceIntent(pb::FenceIntent {
            node: node.0,
            incarnation: incarnation.0,
            action: action_into(*action),
            cause: Some(fence_cause_into(cause)),
            request: request_into(*request),
            first: first.as_ref().map(plan),
        }),
        Command::FenceAttempt {
            order,
            attempt,
            executor,
            level,
            deadline,
        } => Form::FenceAttempt(pb::FenceAttempt {
            order: order.0,
            attempt: *attempt,
            executor: executor.0,
            level: u32::from(*level),
            deadline_ns: nanos(*deadline),
        }),
        Command::FenceVerdict {
            order,
            attempt,
            verdict,
            detail,
            lie,
        } => Form::FenceVerdict(pb::FenceVerdict {
            order: order.0,
            attempt: *attempt,
            verdict: verdict_into(*verdict),
            detail: detail.clone(),
            lie: lie.as_ref().map(lie_into),
        }),
        Command::FenceHeld { order, reason } => Form::FenceHeld(pb::FenceHeld {
            order: order.0,
            reason: hold_into(*reason),
        }),
        Command::FenceCancelled { order, reason } => Form::FenceCancelled(pb::FenceCancelled {
            order: order.0,
            reason: reason.clone(),
        }),
        other => unreachable_group(other),
    }
}

/// What machines, people and the passing of time say of an order.
fn testimony(command: &Command) -> Form {
    match command {
        Command::Witnessed {
            node,
            incarnation,
            witness,
        } => Form::Witnessed(pb::Witnessed {
            node: node.0,
            incarnation: incarnation.0,
            witness: Some(witness_into(witness)),
        }),
        Command::FenceTryOver {
            order,
            attempt,
            waited,
        } => Form::FenceTryOver(pb::FenceTryOver {
            order: order.0,
            attempt: *attempt,
            waited_ns: nanos(*waited),
        }),
        Command::ConfirmOff {
            node,
            incarnation,
            boot,
            by,
            reason,
            witnesses,
            overruled,
            request,
        } => Form::ConfirmOff(pb::ConfirmOff {
            node: node.0,
            incarnation: incarnation.0,
            boot: boot.map_or_else(Vec::new, |boot| boot.0.to_vec()),
            by: by.clone(),
            reason: reason.clone(),
            witnesses: witnesses.iter().map(witness_into).collect(),
            overruled: overruled.iter().map(|node| node.0).collect(),
            request: request_into(*request),
        }),
        other => unreachable_group(other),
    }
}

fn plan(plan: &FenceAttemptPlan) -> pb::FenceAttemptPlan {
    pb::FenceAttemptPlan {
        executor: plan.executor.0,
        level: u32::from(plan.level),
        deadline_ns: nanos(plan.deadline),
    }
}

/// `form` sends each command to its own group; a command in the wrong group is a bug in `form`.
pub(super) fn unreachable_group(command: &Command) -> Form {
    unreachable!("command sent to the wrong group: {command:?}")
}
