//! What is done for an order that is likely to come: the agent of the device that it will call first is started, logs
//! in, and waits for the word. A login costs more than all that is left to do then.
//!
//! Orders nothing and changes nothing: the word is given by the executor, after all of its questions.

use super::{deadline_of, off_proof, parameters_for};
use crate::context::Context;
use haft_engine::attempt::Target;
use haft_engine::leader::Foreseen;
use haft_fence_protocol::caller::{AgentPath, OffProof, Parameters, Prepared};
use std::sync::Arc;

/// Prepares the foreseen device's agent, and ends it if no order has come when it is of no use any more.
pub async fn get_ready(context: Arc<Context>, foreseen: Foreseen) {
    let until = deadline_of(foreseen.until);
    let lane = context.devices.of(&foreseen.device);
    let target = Target::of(&context.replica.state(), foreseen.node, &foreseen.device);
    // Why it cannot be called is told by the order, if it comes.
    let Ok(target) = target else { return };
    let Some((agent, parameters)) = call_of(&context, &target) else {
        return;
    };
    lane.get_ready(target, || Prepared::start(&agent, &parameters, until));
    until.or(no_longer(&context, &foreseen)).await;
    lane.dismiss_ready(until).await;
}

fn call_of(context: &Context, target: &Target) -> Option<(AgentPath, Parameters)> {
    let spec = &target.spec;
    let agent = context.agents.find(&spec.agent).ok()?;
    let proof = off_proof(spec.observes, &agent);
    // A pause of the agent's own counts from its order.
    let pauses = spec.parameters.contains_key("delay");
    if !Prepared::suits(&agent) || proof != OffProof::AgentReadsTwice || pauses {
        return None;
    }
    Some((agent, parameters_for(target).ok()?))
}

/// Returns when the closing was taken back, or somebody else leads, whose agent must not meet this one at the device.
async fn no_longer(context: &Context, foreseen: &Foreseen) {
    let mut applied = context.replica.applied();
    loop {
        let may_come =
            context.leader() == Some(context.own) && foreseen.may_come(&context.replica.state());
        if !may_come || applied.changed().await.is_err() {
            return;
        }
    }
}
