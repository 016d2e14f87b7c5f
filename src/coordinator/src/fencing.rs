//! The fence executor: runs the agents of one committed try and reports what it proved.
//!
//! Re-checks the order and the target's life against the state just before every irreversible call, and
//! kills its agents at the try's deadline (R5). What a verdict opens is decided by `haft_engine::apply`.

use crate::clock::boot_now;
use crate::context::Context;
use crate::secret_file::read_secret;

use haft_engine::command::{FenceAction, Verdict};
use haft_engine::ids::DeviceName;
use haft_engine::leader::{FenceRun, Input, StatusFirst};
use haft_engine::levels::proves;
use haft_engine::spec::{FenceDeviceSpec, HostArgument, Observes};
use haft_engine::state::OrderPhase;
use haft_fence_protocol::caller::{
    AgentPath, Call, OffOrder, OffProof, OffVerdict, Outcome, Parameter, Parameters, adopt_off,
    confirm_off, run,
};
use haft_fence_protocol::{Action, Secret};
use std::path::Path;
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};

mod lane;

pub use lane::DeviceLocks;

/// What one device proved.
struct Finding {
    verdict: Verdict,
    words: String,
    /// What a `Confirmed` speaks of; absent where no device was asked.
    observes: Option<Observes>,
}

impl Finding {
    fn unknown(words: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Unknown,
            words: words.into(),
            observes: None,
        }
    }
}

/// Runs one try and hands its verdict to the leader task.
pub async fn execute(context: Arc<Context>, order: FenceRun) {
    let deadline = Instant::now() + order.deadline.since(boot_now());
    let mut verdict = Verdict::Confirmed;
    let mut words = Vec::new();
    let mut observed = Vec::new();
    if order.devices.is_empty() {
        verdict = Verdict::Unknown;
        words.push("no fence device covers the node".to_owned());
    }
    if !order.delay.is_zero() {
        sleep_until((Instant::now() + order.delay).min(deadline)).await;
    }
    for device in &order.devices {
        let finding = one_device(&context, &order, device, deadline).await;
        words.push(format!("{device}: {}", finding.words));
        observed.extend(finding.observes);
        verdict = weaker(verdict, finding.verdict);
        // A machine with one supply left dark still runs, so every device is switched on that can be.
        if verdict != Verdict::Confirmed && order.action == FenceAction::Off {
            break;
        }
    }
    if verdict == Verdict::Confirmed && !proves(order.action, &observed) {
        verdict = Verdict::Unknown;
        words.push("none of these devices stops the machine".to_owned());
    }
    let detail = words.join("; ");
    tracing::info!(order = %order.order, attempt = order.attempt, ?verdict, detail, "fence try is over");
    let input = Input::FenceAnswered {
        order: order.order,
        attempt: order.attempt,
        verdict,
        detail,
    };
    context.tell_leader(input).await;
}

/// Every device of a level must confirm; unknown is weaker than refused, because it must not be taken for an answer.
fn weaker(left: Verdict, right: Verdict) -> Verdict {
    match (left, right) {
        (Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unknown,
        (Verdict::Refused, _) | (_, Verdict::Refused) => Verdict::Refused,
        (Verdict::Confirmed, Verdict::Confirmed) => Verdict::Confirmed,
    }
}

/// What proves this device's off: the agent's own word for it, unless the device observes no power at all.
pub(crate) fn off_proof(observes: Observes, agent: &AgentPath) -> OffProof {
    match observes {
        Observes::Power | Observes::Storage => OffProof::for_agent(agent),
        Observes::Poison => OffProof::AgentWaits,
    }
}

/// Waits the device's delay before an off. The order is checked again afterwards, once the device is free.
async fn wait_delay(
    context: &Context,
    action: FenceAction,
    device: &DeviceName,
    deadline: Instant,
) {
    let delay = match action {
        FenceAction::On => return,
        FenceAction::Off => {
            let state = context.replica.state();
            state.devices.get(device).map(|device| device.spec.delay)
        }
    };
    if let Some(delay) = delay.filter(|delay| !delay.is_zero()) {
        sleep_until((Instant::now() + delay).min(deadline)).await;
    }
}

async fn one_device(
    context: &Context,
    order: &FenceRun,
    device: &DeviceName,
    deadline: Instant,
) -> Finding {
    wait_delay(context, order.action, device, deadline).await;
    let (spec, plug) = {
        let state = context.replica.state();
        let Some(configured) = state.devices.get(device) else {
            return Finding::unknown("the device is no longer configured");
        };
        let Some(node) = state.nodes.get(&order.node) else {
            return Finding::unknown("the node is no longer registered");
        };
        // An edit meanwhile may have given the device to another machine, which must not be switched off.
        let Some(plug) = configured.spec.targets.get(&node.name).cloned() else {
            return Finding::unknown("the device no longer targets the node");
        };
        let plug = if plug.is_empty() {
            node.name.0.clone()
        } else {
            plug
        };
        (configured.spec.clone(), (node.name.0.clone(), plug))
    };
    let agent = match context.agents.find(&spec.agent) {
        Ok(agent) => agent,
        Err(error) => return Finding::unknown(error.to_string()),
    };
    let mut of_call = vec![("nodename", plug.0.as_str())];
    of_call.extend(host_argument(&spec).map(|name| (name, plug.1.as_str())));
    let parameters = match secret_parameters(&spec, &of_call) {
        Ok(parameters) => parameters,
        Err(why) => return Finding::unknown(why),
    };
    let Ok(mut turn) = context.devices.of(device).for_order(deadline).await else {
        return Finding::unknown("the device was busy until the deadline");
    };
    if let Err(why) = still_ordered(context, order) {
        return Finding::unknown(why);
    }
    match order.action {
        FenceAction::Off => {
            let proof = off_proof(spec.observes, &agent);
            let off = OffOrder {
                agent: &agent,
                parameters: &parameters,
                proof,
                deadline,
            };
            let answer = match order.status {
                StatusFirst::Yes => adopt_off(&mut turn.turn, &off).await,
                StatusFirst::No => confirm_off(&mut turn.turn, &off).await,
            };
            off_finding(answer, spec.observes)
        }
        FenceAction::On => {
            let call = Call {
                agent: &agent,
                action: Action::On,
                parameters: &parameters,
                deadline,
            };
            on_finding(run(&mut turn.turn, &call).await.outcome, spec.observes)
        }
    }
}

/// The parameter that names the machine to this device's agent. What was applied before haft asked agents for
/// it gets the field's first choice.
fn host_argument(spec: &FenceDeviceSpec) -> Option<&str> {
    match &spec.host_argument {
        HostArgument::Named(name) => Some(name),
        HostArgument::Unsaid => Some("plug"),
        HostArgument::Without => None,
    }
}

fn off_finding(answer: OffVerdict, observes: Observes) -> Finding {
    let found = |verdict, words| Finding {
        verdict,
        words,
        observes: Some(observes),
    };
    match answer {
        OffVerdict::Confirmed { evidence } => found(Verdict::Confirmed, evidence),
        OffVerdict::Refused { reason } => found(Verdict::Refused, reason),
        OffVerdict::Unknown { reason } => Finding::unknown(reason),
    }
}

fn on_finding(outcome: Outcome, observes: Observes) -> Finding {
    let found = |verdict, words| Finding {
        verdict,
        words,
        observes: Some(observes),
    };
    match outcome {
        Outcome::Done => found(Verdict::Confirmed, opened(observes).to_owned()),
        Outcome::On | Outcome::Off => Finding::unknown("the agent answered a question instead"),
        Outcome::Failed { reason, .. } => found(Verdict::Refused, reason),
        Outcome::TimedOut => Finding::unknown("no answer before the deadline"),
        Outcome::NotRunnable { why } => Finding::unknown(why),
    }
}

fn opened(observes: Observes) -> &'static str {
    match observes {
        Observes::Power | Observes::Poison => "power on",
        Observes::Storage => "port open",
    }
}

/// The order must still stand, this try must be ours, and the target must not have begun another life.
fn still_ordered(context: &Context, run: &FenceRun) -> Result<(), String> {
    let state = context.replica.state();
    let order = state.orders.get(&run.order).ok_or("the order is gone")?;
    match &order.phase {
        OrderPhase::Running {
            attempt, executor, ..
        } if *attempt == run.attempt && *executor == context.own => {}
        OrderPhase::Running { .. }
        | OrderPhase::Intended
        | OrderPhase::Held(_)
        | OrderPhase::Waiting { .. }
        | OrderPhase::Confirmed
        | OrderPhase::Cancelled(_) => {
            return Err("the order no longer asks for this try".to_owned());
        }
    }
    let newer = state
        .live_incarnation(run.node)
        .filter(|life| *life > run.incarnation);
    match (run.action, newer) {
        (FenceAction::Off, Some(life)) => {
            Err(format!("the node lives again as incarnation {life}"))
        }
        (FenceAction::Off, None) | (FenceAction::On, _) => Ok(()),
    }
}

/// The device's parameters and those `of_call`; secrets are read from their files each time.
pub(crate) fn secret_parameters(
    spec: &FenceDeviceSpec,
    of_call: &[(&str, &str)],
) -> Result<Parameters, String> {
    let mut list = Vec::new();
    let plain =
        |name: &str, value: &str| Parameter::plain(name, value).map_err(|error| error.to_string());
    for (name, value) in &spec.parameters {
        list.push(plain(name, value)?);
    }
    for (name, value) in of_call {
        if !spec.parameters.contains_key(*name) {
            list.push(plain(name, value)?);
        }
    }
    for (name, path) in &spec.secret_files {
        let value = read_secret(Path::new(path)).map_err(|error| error.to_string())?;
        let secret = Parameter::secret(name, Secret::new(value));
        list.push(secret.map_err(|error| error.to_string())?);
    }
    Parameters::new(list).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use haft_fence_protocol::caller::AgentDirs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_device_that_observes_poison_is_never_proven_by_status_whatever_its_agent_is_called() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let agent = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, "#!/bin/true\n").expect("an agent");
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&path, mode).expect("its mode");
            AgentDirs::new(vec![folder.path().to_owned()])
                .find(name)
                .expect("an executable of our own")
        };
        let proven = |observes, name: &str| match off_proof(observes, &agent(name)) {
            OffProof::AgentWaits => "waits",
            OffProof::AgentReadsTwice => "reads twice",
            OffProof::StatusTwice { .. } => "status twice",
        };
        let rows = [
            ("fence_haft_sbd", Observes::Poison, "waits"),
            ("fence_disk_of_ours", Observes::Poison, "waits"),
            ("fence_haft_ipmi", Observes::Poison, "waits"),
            ("fence_haft_ipmi", Observes::Power, "reads twice"),
            ("fence_disk_of_ours", Observes::Power, "status twice"),
        ];
        for (name, observes, proof) in rows {
            assert_eq!(proven(observes, name), proof, "{name} {observes:?}");
        }
    }
}
