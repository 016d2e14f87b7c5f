//! Persisted forms to engine commands.

use super::field::{
    Decoded, action_from, array, cause_from, difficulty_from, guard_from, health_from, hold_from,
    missing, request_from, required, resource_from, token_from, verdict_from, voters_from,
};
use super::machine;
use super::place::place_from;
use super::spec::{
    ages_from, fence_cause_from, key_from, object_from, reference_from, registration_from,
};
use super::timing;
use super::witness::{lie_from, witness_from};
use crate::pb::log as pb;
use haft_engine::command::{Command, FenceAttemptPlan, Probe};
use haft_engine::ids::{
    BootId, ClusterId, DeviceName, Epoch, Generation, Incarnation, LogIndex, NodeId, NodeName,
    OrderId,
};
use pb::command::Command as Form;
use std::time::Duration;

pub(super) fn command(form: pb::Command) -> Decoded<Command> {
    match required(form.command, "command")? {
        form @ (Form::Bootstrap(_)
        | Form::MintJoinToken(_)
        | Form::RegisterNode(_)
        | Form::Membership(_)) => joining(form),
        form @ (Form::Admit(_)
        | Form::Closing(_)
        | Form::Reopened(_)
        | Form::Expired(_)
        | Form::LifetimeLapsed(_)
        | Form::WatchdogLapsed(_)) => session(form),
        form
        @ (Form::WatchdogArmed(_) | Form::Begun(_) | Form::Withdraw(_) | Form::Troubled(_)) => {
            owner(form)
        }
        form @ (Form::Grant(_)
        | Form::Activated(_)
        | Form::Relinquish(_)
        | Form::Released(_)
        | Form::Move(_)) => ownership(form),
        form @ (Form::FenceIntent(_)
        | Form::FenceAttempt(_)
        | Form::FenceVerdict(_)
        | Form::FenceHeld(_)
        | Form::FenceCancelled(_)
        | Form::FenceTryOver(_)
        | Form::Witnessed(_)
        | Form::ConfirmOff(_)) => fencing(form),
        form @ (Form::Obstructed(_) | Form::RivalHeard(_)) => machine::command_from(form),
        Form::DeviceProbed(form) => Ok(Command::DeviceProbed {
            device: DeviceName(form.device),
            generation: Generation(form.generation),
            health: health_from(required(form.health, "health")?)?,
        }),
        form @ (Form::SetTiming(_) | Form::Retimed(_)) => timing::command_from(form),
        Form::Put(put) => Ok(Command::Put {
            object: object_from(put.object)?,
            expected: put.expected.map(Generation),
            request: request_from(&put.request)?,
        }),
        Form::Delete(delete) => Ok(Command::Delete {
            object: reference_from(delete.object)?,
            expected: delete.expected.map(Generation),
            request: request_from(&delete.request)?,
        }),
    }
}

fn joining(form: Form) -> Decoded<Command> {
    match form {
        Form::Bootstrap(form) => Ok(Command::Bootstrap {
            cluster: ClusterId(array(&form.cluster, "cluster")?),
            epoch: Epoch(form.epoch),
            first: registration_from(form.first)?,
            heartbeat_key: key_from(required(form.heartbeat_key, "heartbeat key")?)?,
            timing: form.timing.map(timing::timing_from),
        }),
        Form::MintJoinToken(form) => Ok(Command::MintJoinToken {
            sha256: array(&form.sha256, "token hash")?,
            node: NodeName(form.node),
            expires_unix_ms: form.expires_unix_ms,
            request: request_from(&form.request)?,
        }),
        Form::RegisterNode(form) => Ok(Command::RegisterNode {
            node: registration_from(form.node)?,
            token_sha256: array(&form.token_sha256, "token hash")?,
        }),
        Form::Membership(form) => Ok(Command::Membership(voters_from(form))),
        _ => Err(missing("joining command")),
    }
}

fn session(form: Form) -> Decoded<Command> {
    match form {
        Form::Admit(form) => Ok(Command::Admit {
            node: NodeId(form.node),
            boot: BootId(array(&form.boot, "boot")?),
            previous: Incarnation(form.previous),
            probe: if form.probe_clean {
                Probe::Clean
            } else {
                Probe::Unclean
            },
            place: place_from(form.place)?,
        }),
        Form::Closing(form) => Ok(Command::Closing {
            node: NodeId(form.node),
            incarnation: Incarnation(form.incarnation),
        }),
        Form::Reopened(form) => Ok(Command::Reopened {
            node: NodeId(form.node),
            incarnation: Incarnation(form.incarnation),
            closing: LogIndex(form.closing),
        }),
        Form::Expired(form) => Ok(Command::Expired {
            node: NodeId(form.node),
            incarnation: Incarnation(form.incarnation),
            closing: LogIndex(form.closing),
            ages: ages_from(form.ages)?,
        }),
        Form::LifetimeLapsed(form) => Ok(Command::LifetimeLapsed {
            resource: resource_from(&form.resource)?,
            token: token_from(form.token)?,
            waited: Duration::from_nanos(form.waited_ns),
        }),
        Form::WatchdogLapsed(form) => Ok(Command::WatchdogLapsed {
            resource: resource_from(&form.resource)?,
            token: token_from(form.token)?,
            waited: Duration::from_nanos(form.waited_ns),
        }),
        _ => Err(missing("session command")),
    }
}

fn owner(form: Form) -> Decoded<Command> {
    match form {
        Form::WatchdogArmed(form) => Ok(Command::WatchdogArmed {
            resource: resource_from(&form.resource)?,
            token: token_from(form.token)?,
            incarnation: Incarnation(form.incarnation),
            period: Duration::from_nanos(form.period_ns),
        }),
        Form::Begun(form) => Ok(Command::Begun {
            resource: resource_from(&form.resource)?,
            token: token_from(form.token)?,
            incarnation: Incarnation(form.incarnation),
        }),
        Form::Withdraw(form) => Ok(Command::Withdraw {
            resource: resource_from(&form.resource)?,
            token: token_from(form.token)?,
        }),
        Form::Troubled(form) => Ok(Command::Troubled {
            resource: resource_from(&form.resource)?,
            token: token_from(form.token)?,
            incarnation: Incarnation(form.incarnation),
            difficulty: difficulty_from(form.difficulty)?,
            why: form.why,
        }),
        _ => Err(missing("owner's command")),
    }
}

fn ownership(form: Form) -> Decoded<Command> {
    match form {
        Form::Grant(form) => Ok(Command::Grant {
            resource: resource_from(&form.resource)?,
            node: NodeId(form.node),
            incarnation: Incarnation(form.incarnation),
            previous: token_from(form.previous)?,
            generation: Generation(form.generation),
        }),
        Form::Activated(form) => Ok(Command::Activated {
            resource: resource_from(&form.resource)?,
            token: token_from(form.token)?,
            incarnation: Incarnation(form.incarnation),
            guard: guard_from(form.guard)?,
            address_life: Duration::from_nanos(form.address_life_ns),
        }),
        Form::Relinquish(form) => Ok(Command::Relinquish {
            resource: resource_from(&form.resource)?,
            token: token_from(form.token)?,
            cause: cause_from(form.cause)?,
        }),
        Form::Released(form) => Ok(Command::Released {
            resource: resource_from(&form.resource)?,
            token: token_from(form.token)?,
            incarnation: Incarnation(form.incarnation),
        }),
        Form::Move(form) => Ok(Command::Move {
            resource: resource_from(&form.resource)?,
            to: NodeName(form.to),
            request: request_from(&form.request)?,
        }),
        _ => Err(missing("ownership command")),
    }
}

fn fencing(form: Form) -> Decoded<Command> {
    match form {
        Form::FenceIntent(form) => Ok(Command::FenceIntent {
            node: NodeId(form.node),
            incarnation: Incarnation(form.incarnation),
            action: action_from(form.action)?,
            cause: fence_cause_from(form.cause)?,
            request: request_from(&form.request)?,
            first: form.first.map(plan).transpose()?,
        }),
        Form::FenceAttempt(form) => Ok(Command::FenceAttempt {
            order: OrderId(form.order),
            attempt: form.attempt,
            executor: NodeId(form.executor),
            level: level(form.level)?,
            deadline: Duration::from_nanos(form.deadline_ns),
        }),
        Form::FenceVerdict(form) => Ok(Command::FenceVerdict {
            order: OrderId(form.order),
            attempt: form.attempt,
            verdict: verdict_from(form.verdict)?,
            detail: form.detail,
            lie: form.lie.map(lie_from).transpose()?,
        }),
        Form::Witnessed(form) => Ok(Command::Witnessed {
            node: NodeId(form.node),
            incarnation: Incarnation(form.incarnation),
            witness: witness_from(required(form.witness, "witness")?)?,
        }),
        Form::FenceHeld(form) => Ok(Command::FenceHeld {
            order: OrderId(form.order),
            reason: hold_from(form.reason)?,
        }),
        Form::FenceCancelled(form) => Ok(Command::FenceCancelled {
            order: OrderId(form.order),
            reason: form.reason,
        }),
        Form::FenceTryOver(form) => Ok(Command::FenceTryOver {
            order: OrderId(form.order),
            attempt: form.attempt,
            waited: Duration::from_nanos(form.waited_ns),
        }),
        Form::ConfirmOff(form) => Ok(Command::ConfirmOff {
            node: NodeId(form.node),
            incarnation: Incarnation(form.incarnation),
            boot: match form.boot.as_slice() {
                [] => None,
                bytes => Some(BootId(array(bytes, "boot")?)),
            },
            by: form.by,
            reason: form.reason,
            witnesses: form
                .witnesses
                .into_iter()
                .map(witness_from)
                .collect::<Decoded<_>>()?,
            overruled: form.overruled.into_iter().map(NodeId).collect(),
            request: request_from(&form.request)?,
        }),
        _ => Err(missing("fencing command")),
    }
}

fn plan(form: pb::FenceAttemptPlan) -> Decoded<FenceAttemptPlan> {
    Ok(FenceAttemptPlan {
        executor: NodeId(form.executor),
        level: level(form.level)?,
        deadline: Duration::from_nanos(form.deadline_ns),
    })
}

pub(super) fn level(number: u32) -> Decoded<u8> {
    u8::try_from(number).map_err(|_| missing("level"))
}
