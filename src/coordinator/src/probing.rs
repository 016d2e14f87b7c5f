//! Probes of fence devices: one run of an agent's `monitor`, for the leader's schedule.
//!
//! An order never waits for a probe: it kills the one that holds its device. What a finding means is
//! decided by `haft_engine`.

use crate::context::Context;
use crate::fencing::{deadline_of, secret_parameters};
use haft_engine::clock::Moment;
use haft_engine::command::{PathFault, PathHealth};
use haft_engine::ids::{DeviceName, Generation};
use haft_engine::leader::Input;
use haft_engine::spec::FenceDeviceSpec;
use haft_fence_protocol::Action;
use haft_fence_protocol::caller::{AgentPath, Call, Deadline, Outcome, Parameters, run};
use std::sync::Arc;

/// Probes one device and tells the leader task.
pub async fn execute(
    context: Arc<Context>,
    device: DeviceName,
    generation: Generation,
    deadline: Moment,
) {
    let deadline = deadline_of(deadline);
    let health = probe(&context, &device, generation, deadline).await;
    if let Some(PathHealth::Failing { why, .. }) = &health {
        tracing::warn!(%device, why, "a fence device fails its probe");
    }
    let input = Input::Probed {
        device,
        generation,
        health,
    };
    context.tell_leader(input).await;
}

/// What the device's `monitor` says; `None` if an order needs the device or it has changed.
async fn probe(
    context: &Context,
    device: &DeviceName,
    generation: Generation,
    deadline: Deadline,
) -> Option<PathHealth> {
    let spec = {
        let state = context.replica.state();
        let configured = state.devices.get(device)?;
        (configured.generation == generation).then(|| configured.spec.clone())?
    };
    let (agent, parameters) = match prepared(context, &spec) {
        Ok(prepared) => prepared,
        Err(why) => return Some(failing(PathFault::NotRunnable, why)),
    };
    let asked = async |mut turn| {
        let call = Call {
            agent: &agent,
            action: Action::Monitor,
            parameters: &parameters,
            deadline,
        };
        run(&mut turn, &call).await
    };
    let lane = context.devices.of(device);
    let report = lane.unless_ordered(deadline, asked).await?;
    Some(health_of(report.outcome))
}

fn prepared(context: &Context, spec: &FenceDeviceSpec) -> Result<(AgentPath, Parameters), String> {
    let agent = context.agents.find(&spec.agent);
    let agent = agent.map_err(|error| error.to_string())?;
    // As Pacemaker's monitor: the device itself is asked, so no node and no plug are named.
    let parameters = secret_parameters(spec, &[])?;
    Ok((agent, parameters))
}

fn failing(fault: PathFault, why: impl Into<String>) -> PathHealth {
    PathHealth::Failing {
        fault,
        why: why.into(),
    }
}

fn health_of(outcome: Outcome) -> PathHealth {
    match outcome {
        // An agent may answer with the power's state: it has reached its device.
        Outcome::Done | Outcome::On | Outcome::Off => PathHealth::Healthy,
        Outcome::Failed { reason, .. } => failing(PathFault::Failed, reason),
        Outcome::TimedOut => failing(PathFault::NoAnswer, "no answer before the deadline"),
        Outcome::NotRunnable { why } => failing(PathFault::NotRunnable, why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use haft_fence_protocol::caller::Exit;

    #[test]
    fn only_an_agent_that_ends_well_makes_a_path_healthy() {
        let fault = |outcome| match health_of(outcome) {
            PathHealth::Healthy => None,
            PathHealth::Failing { fault, .. } => Some(fault),
        };
        assert_eq!(fault(Outcome::Done), None);
        let refused = Outcome::Failed {
            exit: Exit::Code(1),
            reason: "connection refused".to_owned(),
        };
        assert_eq!(fault(refused), Some(PathFault::Failed));
        assert_eq!(fault(Outcome::TimedOut), Some(PathFault::NoAnswer));
        let gone = Outcome::NotRunnable {
            why: "no such file".to_owned(),
        };
        assert_eq!(fault(gone), Some(PathFault::NotRunnable));
    }
}
