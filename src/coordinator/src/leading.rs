//! The leader's driver: while this coordinator leads, steps the engine's leader machine and does what it says.
//!
//! A new term starts a new machine. Every proposal is conditional on the term; every question has a
//! deadline. Decides nothing: `haft_engine::leader` does.

use crate::clock::{boot_now, wall_unix_ms};
use crate::consensus::{Condition, Leadership, PAYLOAD_BYTES_MAX, ProposeError};
use crate::context::Context;
use crate::fencing;
use crate::probing;
use haft_api::persisted;
use haft_engine::clock::{Moment, Timing};
use haft_engine::ids::{Incarnation, LogIndex, NodeId};
use haft_engine::leader::{EntryLimit, Fate, Input, Leader, Output, Proposal, Silence};
use haft_engine::state::Node;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

/// Inputs that may wait for the leader task; a full queue refuses the sender.
pub const INPUTS_MAX: usize = 1_024;
/// A proposal that has not committed by then is "unknown"; the machine re-evaluates from the state.
const PROPOSAL_DEADLINE: Duration = Duration::from_secs(2);
/// The task shows at least this often that it goes on.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// Bytes of the commands of one entry: a quarter of what Raft takes, so that a frame never matters and no entry is
/// long on its way.
const ENTRY_BYTES: usize = PAYLOAD_BYTES_MAX / 4;

/// Runs until the process ends. Inputs that arrive while another coordinator leads are dropped.
pub async fn run(context: Arc<Context>, mut inputs: mpsc::Receiver<Input>) {
    let mut leadership = context.consensus.leadership();
    loop {
        context.pulse.beat();
        let current = *leadership.borrow_and_update();
        if let Leadership::Leader { term, .. } = current {
            lead(&context, term, &mut inputs).await;
            continue;
        }
        tokio::select! {
            changed = leadership.changed() => if changed.is_err() { return },
            dropped = inputs.recv() => if dropped.is_none() { return },
            () = tokio::time::sleep(BEAT_EVERY) => {}
        }
    }
}

/// One term of leadership.
async fn lead(context: &Arc<Context>, term: u64, inputs: &mut mpsc::Receiver<Input>) {
    // Decide only on a state that holds everything committed before this term.
    let deadline = Instant::now() + context.timing.election_max;
    if let Err(error) = context.consensus.read_index(deadline).await {
        tracing::debug!(%error, "not ready to lead yet");
        tokio::time::sleep(Duration::from_millis(2)).await;
        return;
    }
    let mut entries = context.replica.entries();
    let mut leadership = context.consensus.leadership();
    let mut memberships = context.consensus.membership();
    let mut machine = {
        let state = context.replica.state();
        Leader::new(context.own, context.timing, boot_now(), &state)
    };
    machine.set_probing(context.config.probe_every);
    machine.set_entry_limit(EntryLimit {
        bytes: ENTRY_BYTES,
        measure: persisted::command_bytes,
    });
    let mut streams = context.streams.changes();
    tracing::info!(term, "leading");
    let effective = context.effective_membership();
    step(context, term, &mut machine, Input::Membership(effective));
    loop {
        let wake = until(machine.next_wake());
        let input = tokio::select! {
            biased;
            changed = leadership.changed() => {
                let still = matches!(&*leadership.borrow_and_update(), Leadership::Leader { term: now, .. } if *now == term);
                if changed.is_err() || !still {
                    tracing::info!(term, "no longer leading");
                    return;
                }
                Input::Tick
            }
            applied = entries.recv() => match applied {
                Ok(entry) => Input::Applied { index: entry.index },
                Err(broadcast::error::RecvError::Lagged(_)) => Input::Tick,
                Err(broadcast::error::RecvError::Closed) => return,
            },
            changed = memberships.changed() => {
                if changed.is_err() { return; }
                memberships.borrow_and_update();
                Input::Membership(context.effective_membership())
            }
            changed = streams.changed() => {
                if changed.is_err() { return; }
                Input::Tick
            }
            input = inputs.recv() => match input {
                Some(input) => input,
                None => return,
            },
            () = tokio::time::sleep(wake) => Input::Tick,
        };
        step(context, term, &mut machine, input);
        context.pulse.beat();
    }
}

fn until(wake: Moment) -> Duration {
    // The floor keeps a machine that asks for "now" again and again from spinning.
    wake.since(boot_now())
        .clamp(Duration::from_micros(500), BEAT_EVERY)
}

/// A step may take long, and Raft's heartbeats share the runtime: its worker is given away
/// meanwhile.
fn step(context: &Arc<Context>, term: u64, machine: &mut Leader, input: Input) {
    tokio::task::block_in_place(|| step_here(context, term, machine, input));
}

fn step_here(context: &Arc<Context>, term: u64, machine: &mut Leader, input: Input) {
    crate::plant::panic_in("step");
    while crate::plant::is("hang-step") {
        std::thread::park();
    }
    machine.set_peers(context.live_peers());
    machine.set_streams(context.streams.attached());
    let now = boot_now();
    let outputs = {
        let state = context.replica.state();
        let silences: Vec<Silence> = context.responder.with(|responder| {
            let live = state
                .nodes
                .keys()
                .filter(|node| state.live_incarnation(**node).is_some());
            live.map(|node| Silence {
                node: *node,
                silent: responder.silence(now, *node),
            })
            .collect()
        });
        machine.step(now, wall_unix_ms(), &state, &silences, input)
    };
    let mut proposals = Vec::new();
    for output in outputs {
        match output {
            Output::Propose(proposal) => proposals.push(proposal),
            other => perform(context, other),
        }
    }
    if !proposals.is_empty() {
        let context = Arc::clone(context);
        // One task, polled in order: they are handed to Raft in the order in which they were planned.
        tokio::spawn(async move {
            let all = proposals
                .into_iter()
                .map(|proposal| propose(&context, term, proposal));
            futures::future::join_all(all).await;
        });
    }
}

fn perform(context: &Arc<Context>, output: Output) {
    let context = Arc::clone(context);
    match output {
        // Handed over together.
        Output::Propose(_) => {}
        Output::AskAges {
            node,
            incarnation,
            closing,
        } => {
            ask_ages(&context, node, incarnation, closing);
        }
        Output::Foresee(foreseen) => {
            drop(tokio::spawn(fencing::get_ready(context, foreseen)));
        }
        Output::Fence(run) => drop(tokio::spawn(fencing::execute(context, run))),
        Output::Probe {
            device,
            generation,
            deadline,
        } => {
            drop(tokio::spawn(probing::execute(
                context, device, generation, deadline,
            )));
        }
        Output::TransferTo(node) => drop(tokio::spawn(transfer(context, node))),
    }
}

/// Proposes, and says by its number what has become of it.
async fn propose(context: &Context, term: u64, proposal: Proposal) {
    let deadline = Instant::now() + PROPOSAL_DEADLINE;
    let payload = persisted::encode_entry(&proposal.entry);
    let proposed = context
        .consensus
        .propose(payload, Condition::LeaderTerm(term), deadline)
        .await;
    let fate = match proposed {
        Ok(applied) => Fate::Committed(LogIndex(applied.at.index)),
        Err(ProposeError::TooLarge { bytes }) => {
            tracing::warn!(
                bytes,
                "an entry is too large for the log; planning smaller ones"
            );
            Fate::TooLarge
        }
        Err(error) => {
            tracing::debug!(%error, "a proposal's outcome is not known");
            Fate::Unknown
        }
    };
    let number = proposal.number;
    context.tell_leader(Input::Proposed { number, fate }).await;
}

async fn transfer(context: Arc<Context>, node: NodeId) {
    let peer = haft_store::PeerId(node.0);
    let deadline = Instant::now() + context.timing.election_max;
    if let Err(error) = context.consensus.transfer_to(peer, deadline).await {
        tracing::warn!(%node, %error, "leadership was not handed over");
    }
}

/// Asks every voter at once; each statement arrives as an input. An answer that takes longer than half a
/// closing interval is worth less than asking again.
fn ask_ages(context: &Arc<Context>, node: NodeId, incarnation: Incarnation, closing: LogIndex) {
    let judged = context.replica.state().nodes.get(&node).map(Node::judged);
    let patience = judged.unwrap_or(Timing::LONGEST).closing_after / 2;
    for voter in context.effective_membership().all() {
        let context = Arc::clone(context);
        if voter == context.own {
            if let Ok(age) = context.state_age(node, incarnation, closing) {
                tokio::spawn(async move {
                    context.tell_leader(Input::AgeStated { closing, age }).await;
                });
            }
            continue;
        }
        tokio::spawn(async move {
            let asked = context
                .peers
                .state_age(&context, voter, node, incarnation, closing);
            if let Ok(Ok(age)) = tokio::time::timeout(patience, asked).await {
                context.tell_leader(Input::AgeStated { closing, age }).await;
            }
        });
    }
}
