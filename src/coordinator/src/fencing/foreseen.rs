//! What is done for an order that is likely to come: the agent of the device that it will call first is started, logs
//! in, and waits for the word. A login costs more than all that is left to do then.
//!
//! Orders nothing and changes nothing: the word is given by the executor, after all of its questions.

use super::{deadline_of, off_proof, parameters_for};
use crate::context::Context;
use haft_engine::attempt::Target;
use haft_engine::leader::Foreseen;
use haft_fence_protocol::caller::{OffProof, Prepared};
use std::sync::Arc;

/// Prepares the foreseen device's agent, and ends it if no order has come when it is of no use any more.
pub async fn get_ready(context: Arc<Context>, foreseen: Foreseen) {
    let deadline = deadline_of(foreseen.deadline);
    let lane = context.devices.of(&foreseen.device);
    let target = Target::of(&context.replica.state(), foreseen.node, &foreseen.device);
    // Why it cannot be called is told by the order, if it comes.
    let Ok(target) = target else { return };
    let Ok(agent) = context.agents.find(&target.spec.agent) else {
        return;
    };
    let proof = off_proof(target.spec.observes, &agent);
    if !Prepared::suits(&agent) || proof != OffProof::AgentReadsTwice {
        return;
    }
    let Ok(parameters) = parameters_for(&target) else {
        return;
    };
    lane.get_ready(target, || Prepared::start(&agent, &parameters, deadline));
    deadline_of(foreseen.of_use_until).passed().await;
    lane.dismiss_ready(deadline).await;
}
