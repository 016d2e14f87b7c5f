//! The fence executor: runs the agents of one committed try and reports what it proved.
//!
//! Which device comes next, whether it may still be called and what all of them prove is decided by
//! `haft_engine::attempt`, asked just before every irreversible call, of a state that a majority
//! has confirmed at that moment; the agents die at the try's deadline, which counts suspends (R5,
//! R15). What a verdict opens is decided by `haft_engine::apply`.

use crate::context::Context;
use crate::secret_file::read_secret;
use crate::witness::Round;

use haft_engine::attempt::{Attempt, Target};
use haft_engine::clock::Moment;
use haft_engine::command::{FenceAction, Verdict};
use haft_engine::ids::DeviceName;
use haft_engine::leader::{FenceRun, Input, StatusFirst};
use haft_engine::spec::{FenceDeviceSpec, HostArgument, Observes};
use haft_fence_protocol::caller::{
    AgentPath, Call, Deadline, OffOrder, OffProof, OffVerdict, Outcome, Parameter, Parameters,
    Standing, adopt_off, confirm_off, confirm_off_with, run,
};
use haft_fence_protocol::{Action, Secret};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

mod confirm;
mod foreseen;
mod lane;

pub use foreseen::get_ready;
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
    let began = Instant::now();
    let deadline = deadline_of(order.deadline);
    let mut attempt = Attempt::new(order);
    let mut words = Vec::new();
    let early = Early::default();
    while let Some(device) = attempt.device().cloned() {
        let finding = one_device(&context, &attempt, &device, (deadline, &early)).await;
        words.push(format!("{device}: {}", finding.words));
        attempt.found(finding.verdict, finding.observes);
    }
    let round = ask_machine(&context, &mut attempt, early).await;
    let verdict = attempt.verdict().unwrap_or_else(|why| {
        words.push(why.to_string());
        Verdict::Unknown
    });
    let detail = words.join("; ");
    let order = attempt.run();
    let took = began.elapsed();
    tracing::info!(order = %order.order, attempt = order.attempt, ?verdict, ?took, detail, "fence try is over");
    let input = Input::FenceAnswered {
        order: order.order,
        attempt: order.attempt,
        verdict,
        detail,
        lie: attempt.lie(),
    };
    context.tell_leader(input).await;
    if let Some(round) = round {
        round
            .listen_on(Arc::clone(&context), attempt.run().boot)
            .await;
    }
}

/// The round of questions that the newest first off reading of the level's last device has begun.
#[derive(Default)]
struct Early(Mutex<Option<Round>>);

impl Early {
    /// The machine reads off for the first time: it is asked while the device reads again.
    fn begin(&self, context: &Arc<Context>, attempt: &Attempt) {
        if attempt.ends_with_this_device() {
            let (node, life) = (attempt.run().node, attempt.run().incarnation);
            *self.0.lock().expect(crate::POISON) = Round::begin(context, node, life);
        }
    }

    fn end(self) -> Option<Round> {
        self.0.into_inner().expect(crate::POISON)
    }
}

/// When the devices say that the machine is off, it is asked itself (R3a): since the first reading of a device that
/// tells it, after the last answer of all others.
async fn ask_machine(context: &Arc<Context>, attempt: &mut Attempt, early: Early) -> Option<Round> {
    if !attempt.to_challenge() {
        return None;
    }
    let (node, life) = (attempt.run().node, attempt.run().incarnation);
    let begun = early.end();
    // Without one the try proves nothing.
    let mut round = match begun {
        Some(round) => round,
        None => Round::begin(context, node, life)?,
    };
    round.testify(attempt).await;
    Some(round)
}

/// The same moment, as the caller of agents counts: both are CLOCK_BOOTTIME.
pub(crate) fn deadline_of(moment: Moment) -> Deadline {
    Deadline::at(Duration::from_nanos(moment.0))
}

/// What proves this device's off: the agent's own word for it, unless the device observes no power at all.
pub(crate) fn off_proof(observes: Observes, agent: &AgentPath) -> OffProof {
    match observes {
        Observes::Power | Observes::Storage => OffProof::for_agent(agent),
        Observes::Poison => OffProof::AgentWaits,
    }
}

async fn one_device(
    context: &Arc<Context>,
    attempt: &Attempt,
    device: &DeviceName,
    (deadline, early): (Deadline, &Early),
) -> Finding {
    let delay = attempt.delay(&context.replica.state());
    if !delay.is_zero() {
        deadline.or(sleep(delay)).await;
    }
    let Ok(mut turn) = context.devices.of(device).for_order(deadline).await else {
        return Finding::unknown("the device was busy until the deadline");
    };
    // Only now: whatever was true before the waits may have changed in them.
    let call = called_with(context, attempt);
    let (target, agent, parameters) = match call {
        Ok(call) => call,
        Err(why) => {
            turn.dismiss().await;
            return Finding::unknown(why);
        }
    };
    let spec = &target.spec;
    let stands = || -> Standing<'_> { Box::pin(stands(context, attempt, &target, deadline)) };
    match attempt.run().action {
        FenceAction::Off => {
            let off = OffOrder {
                agent: &agent,
                parameters: &parameters,
                proof: off_proof(spec.observes, &agent),
                deadline,
                stands: &stands,
                first_off_read: &|| early.begin(context, attempt),
            };
            let answer = match attempt.run().status {
                StatusFirst::Yes => {
                    turn.dismiss().await;
                    adopt_off(&mut turn.turn, &off).await
                }
                StatusFirst::No => match turn.prepared_for(&target).await {
                    Some(prepared) => confirm_off_with(&mut turn.turn, &off, prepared).await,
                    None => confirm_off(&mut turn.turn, &off).await,
                },
            };
            off_finding(answer, spec.observes)
        }
        FenceAction::On => {
            turn.dismiss().await;
            if let Err(why) = stands().await {
                return Finding::unknown(why);
            }
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

/// What is called, how and with what, as of this moment.
fn called_with(
    context: &Context,
    attempt: &Attempt,
) -> Result<(Target, AgentPath, Parameters), String> {
    let target = attempt.target(&context.replica.state(), context.own);
    let target = target.map_err(|why| why.to_string())?;
    let agent = context.agents.find(&target.spec.agent);
    let agent = agent.map_err(|error| error.to_string())?;
    let parameters = parameters_for(&target)?;
    Ok((target, agent, parameters))
}

/// What the device's agent is called with for this machine.
fn parameters_for(target: &Target) -> Result<Parameters, String> {
    let mut of_call = vec![("nodename", target.node.as_str())];
    of_call.extend(host_argument(&target.spec).map(|name| (name, target.plug.as_str())));
    secret_parameters(&target.spec, &of_call)
}

/// The last question before a call that cannot be undone (R15): a linearizable read, the order in
/// that state, and then the clock, because the read may have taken long.
async fn stands(
    context: &Context,
    attempt: &Attempt,
    target: &Target,
    deadline: Deadline,
) -> Result<(), String> {
    confirm::state(context, deadline).await?;
    let stands = attempt.stands(&context.replica.state(), context.own, target);
    stands.map_err(|why| why.to_string())?;
    if deadline.has_passed() {
        return Err("the deadline of the try has passed".to_owned());
    }
    Ok(())
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
