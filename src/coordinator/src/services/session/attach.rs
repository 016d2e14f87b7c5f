//! One agent's stream on the leader: admission first, then assignments down and reports up.
//!
//! Level-triggered: whatever changed in the state, the whole assignment is sent again when it differs. The
//! stream ends when this coordinator stops leading or the incarnation is over; neither ends a session by
//! itself, beats do not come this way.

use super::concerns;
use crate::context::Context;
use haft_api::beat::BeatKey;
use haft_api::convert::{
    FieldError, active_from, armed_from, assignment_into, begun_from, failed_from, machine_from,
    membership_into, released_from, rival_from, timing_from, versioned_into,
};
use haft_api::pb::v1;
use haft_api::pb::v1::attach_request::Message as Up;
use haft_api::pb::v1::attach_response::Message as Down;
use haft_api::status::not_leader;
use haft_engine::assignment::assignment;
use haft_engine::command::{Command, Probe, VoterSets};
use haft_engine::gate::GateKind;
use haft_engine::ids::{BootId, Generation, Incarnation, LogIndex, NodeId};
use haft_engine::keeper::AssignedItem;
use haft_engine::leader::{Input, Report, Stream};
use haft_engine::place::{Namespace, Place};
use haft_engine::state::Session;
use haft_engine::text::{DETAIL_MAX, bounded};
use haft_engine::timing::ClusterTiming;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Messages that wait for a slow agent; a full queue ends the stream and the agent attaches anew.
const DOWN_QUEUE: usize = 64;
/// An agent says hello within this.
const HELLO_WITHIN: Duration = Duration::from_secs(2);

/// What an agent was last assigned, and the timing that it was told of.
type Sent = (Vec<AssignedItem>, Option<ClusterTiming>);
type Answer = Result<v1::AttachResponse, Status>;

/// What one agent is told over one stream.
pub(super) fn serve(
    context: Arc<Context>,
    node: NodeId,
    up: Streaming<v1::AttachRequest>,
) -> ReceiverStream<Answer> {
    let (sender, receiver) = mpsc::channel(DOWN_QUEUE);
    tokio::spawn(async move {
        let _attached = context.streams.enter(node);
        if let Err(status) = attend(&context, node, up, &sender).await {
            let _ = sender.send(Err(status)).await;
        }
    });
    ReceiverStream::new(receiver)
}

fn down(message: Down) -> Answer {
    Ok(v1::AttachResponse {
        message: Some(message),
    })
}

async fn attend(
    context: &Arc<Context>,
    node: NodeId,
    mut up: Streaming<v1::AttachRequest>,
    sender: &mpsc::Sender<Answer>,
) -> Result<(), Status> {
    let first = tokio::time::timeout(HELLO_WITHIN, up.message());
    let first = first
        .await
        .map_err(|_| Status::deadline_exceeded("no hello"))??;
    let Some(Up::Hello(mut hello)) = first.and_then(|request| request.message) else {
        return Err(Status::invalid_argument("the first message must be hello"));
    };
    if let Some(file) = &hello.file {
        context.files.note(node, timing_from(file));
    }
    if !hello.counts_by_log {
        let refusal = v1::NotAdmitted {
            reason: "TimingNotUnderstood".to_owned(),
            message: "this agent does not count by the timing that the log holds; upgrade it"
                .to_owned(),
            retry_after_ms: 1_000,
            ..v1::NotAdmitted::default()
        };
        let _ = sender.send(down(Down::NotAdmitted(refusal))).await;
        return Ok(());
    }
    // Before it may be granted anything.
    if let Some(machine) = hello.sight.take() {
        see(context, node, machine, Stream::Begins).await?;
    }
    let Some(incarnation) = admitted(context, node, &hello, &mut up, sender).await? else {
        let again = u64::try_from(context.timing.ttl.as_millis()).unwrap_or(u64::MAX);
        let refusal = v1::NotAdmitted {
            reason: "SessionEnding".to_owned(),
            message: "an earlier incarnation of this node is not over yet".to_owned(),
            retry_after_ms: again / 4,
            ..v1::NotAdmitted::default()
        };
        let _ = sender.send(down(Down::NotAdmitted(refusal))).await;
        return Ok(());
    };
    let admitted = welcomed(context, node, incarnation).await?;
    let _ = sender.send(down(Down::Admitted(admitted))).await;
    relay(context, node, incarnation, up, sender).await
}

/// The incarnation to serve: the one that the agent lives under, or a new one. `None`: not yet.
async fn admitted(
    context: &Arc<Context>,
    node: NodeId,
    hello: &v1::Hello,
    up: &mut Streaming<v1::AttachRequest>,
    sender: &mpsc::Sender<Answer>,
) -> Result<Option<Incarnation>, Status> {
    let boot = <[u8; 16]>::try_from(hello.boot_id.as_slice())
        .map(BootId)
        .map_err(|_| Status::invalid_argument("boot_id is not 16 bytes"))?;
    if hello.incarnation != 0 {
        // A life that asks for its stream is not at the door with another one, also while it is closing:
        // asking the leader to admit it would end it. Whether it is over, a current state says.
        let deadline = std::time::Instant::now() + context.timing.election_max;
        if context.consensus.read_index(deadline).await.is_err() {
            return Err(not_leader(context.leader_api().as_deref()));
        }
        return Ok(Some(Incarnation(hello.incarnation)));
    }
    let current = |after: LogIndex| {
        let state = context.replica.state();
        let found = state.nodes.get(&node)?;
        let Session::Open { incarnation } = found.session else {
            return None;
        };
        (incarnation.0 > after.0 && found.boot == boot).then_some(incarnation)
    };
    let asked_at = context.replica.state().applied;
    let (replaces, probe) = settled(context, node, up, sender).await?;
    let mut applied = context.replica.applied();
    let input = Input::AttachRequested {
        node,
        boot,
        probe,
        replaces,
        place: place_of(hello),
    };
    context.tell_leader(input).await;
    // Long enough for an earlier life's session to run out and a few commits.
    let patience = context.timing.ttl * 2 + context.timing.election_max;
    let waited = tokio::time::timeout(patience, async {
        loop {
            if let Some(incarnation) = current(asked_at) {
                return Some(incarnation);
            }
            if applied.changed().await.is_err() {
                return None;
            }
        }
    });
    Ok(waited.await.ok().flatten())
}

/// Where the agent says that it runs.
fn place_of(hello: &v1::Hello) -> Place {
    let namespace = |form: &v1::Namespace| Namespace {
        device: form.device,
        inode: form.inode,
    };
    Place {
        machine: hello.machine.as_slice().try_into().ok(),
        network: hello.network.as_ref().map(namespace),
        mounts: hello.mounts.as_ref().map(namespace),
        gate: match hello.gate() {
            v1::Gate::Unspecified => GateKind::Timed,
            v1::Gate::Kernel => GateKind::Kernel,
        },
    }
}

/// Tells the agent its newest life and hears what it says of it. The agent answers on the stream that asked,
/// so a delayed request can never speak for a life that began after it.
async fn settled(
    context: &Context,
    node: NodeId,
    up: &mut Streaming<v1::AttachRequest>,
    sender: &mpsc::Sender<Answer>,
) -> Result<(Incarnation, Probe), Status> {
    let newest = {
        let state = context.replica.state();
        state
            .nodes
            .get(&node)
            .map_or(Incarnation::default(), |node| node.newest())
    };
    let told = Down::Newest(v1::Newest {
        incarnation: newest.0,
    });
    sender
        .try_send(down(told))
        .map_err(|_| Status::resource_exhausted("the agent is slow"))?;
    let answer = tokio::time::timeout(HELLO_WITHIN, up.message());
    let answer = answer
        .await
        .map_err(|_| Status::deadline_exceeded("no answer to newest"))??;
    let Some(Up::Settled(settled)) = answer.and_then(|request| request.message) else {
        return Err(Status::invalid_argument("newest is answered by settled"));
    };
    let probe = match settled.probe() {
        v1::Probe::Clean => Probe::Clean,
        v1::Probe::Unclean | v1::Probe::Unspecified => Probe::Unclean,
    };
    Ok((Incarnation(settled.incarnation), probe))
}

/// The admission, once this leader has applied the first entry of its own term.
async fn welcomed(
    context: &Context,
    node: NodeId,
    incarnation: Incarnation,
) -> Result<v1::Admitted, Status> {
    let mut applied = context.replica.applied();
    let told = tokio::time::timeout(context.timing.election_max, async {
        loop {
            applied.borrow_and_update();
            if let Some(admitted) = welcome(context, node, incarnation) {
                return Some(admitted);
            }
            applied.changed().await.ok()?;
        }
    });
    let told = told.await.ok().flatten();
    told.ok_or_else(|| not_leader(context.leader_api().as_deref()))
}

fn welcome(context: &Context, node: NodeId, incarnation: Incarnation) -> Option<v1::Admitted> {
    let effective = context.effective_membership();
    let state = context.replica.state();
    let origin = context.origin(&state)?;
    let keys = state.heartbeat_keys.iter().map(|heartbeat| {
        let key = BeatKey::derive(heartbeat, node, incarnation);
        v1::BeatKey {
            generation: u32::from(key.generation),
            secret: key.secret().to_vec(),
        }
    });
    let terms = state.nodes.get(&node).and_then(|row| row.terms);
    let timing = terms.map(|terms| ClusterTiming {
        generation: terms.generation,
        timing: terms.timing,
    });
    Some(v1::Admitted {
        timing: timing.as_ref().map(versioned_into),
        node_id: node.0,
        incarnation: incarnation.0,
        membership: Some(membership_into(&state, &effective)),
        keys: keys.collect(),
        epoch: origin.epoch.0,
        term: origin.term.0,
        index: origin.index.0,
    })
}

async fn relay(
    context: &Arc<Context>,
    node: NodeId,
    incarnation: Incarnation,
    mut up: Streaming<v1::AttachRequest>,
    sender: &mpsc::Sender<Answer>,
) -> Result<(), Status> {
    let mut applied = context.replica.applied();
    let mut leadership = context.consensus.leadership();
    let mut sent: Option<Sent> = None;
    let mut told: Option<VoterSets> = None;
    loop {
        if context.leader() != Some(context.own) {
            return Err(not_leader(context.leader_api().as_deref()));
        }
        applied.borrow_and_update();
        for message in news(context, node, incarnation, &mut sent, &mut told) {
            let last = matches!(message, Down::NotAdmitted(_));
            if sender.try_send(down(message)).is_err() || last {
                return Ok(());
            }
        }
        tokio::select! {
            changed = applied.changed() => if changed.is_err() { return Ok(()) },
            changed = leadership.changed() => if changed.is_err() { return Ok(()) },
            message = up.message() => match message? {
                Some(message) => heard(context, node, message, sender).await?,
                None => return Ok(()),
            },
        }
    }
}

/// What the agent does not know yet.
fn news(
    context: &Context,
    node: NodeId,
    incarnation: Incarnation,
    sent: &mut Option<Sent>,
    told: &mut Option<VoterSets>,
) -> Vec<Down> {
    let effective = context.effective_membership();
    let state = context.replica.state();
    // A state that lacks entries of earlier leaders would hand out what has been withdrawn (R2c).
    let Some(origin) = context.origin(&state) else {
        return Vec::new();
    };
    if state.live_incarnation(node) != Some(incarnation) {
        return vec![Down::NotAdmitted(v1::NotAdmitted {
            reason: "SessionEnded".to_owned(),
            message: format!("incarnation {incarnation} is over"),
            retry_after_ms: 0,
            epoch: origin.epoch.0,
            term: origin.term.0,
            index: origin.index.0,
        })];
    }
    let mut messages = Vec::new();
    let current = assignment(&state, node, incarnation);
    let form = assignment_into(&current, origin);
    let now = (current.items, current.timing);
    if sent.as_ref() != Some(&now) {
        messages.push(Down::Assignment(form));
        *sent = Some(now);
    }
    if told.as_ref() != Some(&effective) {
        messages.push(Down::Membership(membership_into(&state, &effective)));
        *told = Some(effective);
    }
    messages
}

fn refusal(error: FieldError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// What the agent's kernel has; refused beyond its bounds.
async fn see(
    context: &Context,
    node: NodeId,
    form: v1::Machine,
    stream: Stream,
) -> Result<(), Status> {
    let machine = Box::new(machine_from(form).map_err(refusal)?);
    let seen = (*machine).clone();
    context.sights.note(&context.replica.state(), node, seen);
    let input = Input::MachineSeen {
        node,
        machine,
        stream,
    };
    context.tell_leader(input).await;
    Ok(())
}

/// Another machine claims an address; of a resource that this node does not own it is not asked.
async fn hear(context: &Context, node: NodeId, form: v1::RivalReport) -> Result<(), Status> {
    let (resource, rival) = rival_from(form).map_err(refusal)?;
    let owns = {
        let state = context.replica.state();
        let found = state.resources.get(&resource);
        found
            .and_then(|found| found.ownership.holding())
            .is_some_and(|holding| holding.node == node)
    };
    if owns {
        let input = Input::RivalReported {
            node,
            resource,
            rival,
        };
        context.tell_leader(input).await;
    }
    Ok(())
}

async fn heard(
    context: &Arc<Context>,
    node: NodeId,
    message: v1::AttachRequest,
    sender: &mpsc::Sender<Answer>,
) -> Result<(), Status> {
    let refuse = refusal;
    let report = match message.message {
        Some(Up::Active(active)) => Report::Activated(active_from(&active).map_err(refuse)?),
        Some(Up::Released(released)) => Report::Released(released_from(&released).map_err(refuse)?),
        Some(Up::Begun(begun)) => Report::Begun(begun_from(&begun).map_err(refuse)?),
        Some(Up::Armed(armed)) => Report::Armed(armed_from(&armed).map_err(refuse)?),
        Some(Up::Failed(failed)) => {
            // As much of it as goes into the log of the cluster: an agent may say a megabyte.
            let (resource, why) = (
                bounded(&failed.resource, DETAIL_MAX),
                bounded(&failed.why, DETAIL_MAX),
            );
            tracing::warn!(%node, resource, why, "an owner has trouble");
            Report::Troubled(failed_from(&failed).map_err(refuse)?)
        }
        Some(Up::Retimed(retimed)) => {
            let command = Command::Retimed {
                node,
                incarnation: Incarnation(retimed.incarnation),
                generation: Generation(retimed.generation),
            };
            let report = Input::Reported(Box::new(Report::Retimed(command)));
            context.tell_leader(report).await;
            return Ok(());
        }
        Some(Up::Machine(machine)) => return see(context, node, machine, Stream::Goes).await,
        Some(Up::Rival(rival)) => return hear(context, node, rival).await,
        Some(Up::Ping(ping)) => {
            let _ = sender.try_send(down(Down::Pong(ping)));
            return Ok(());
        }
        Some(Up::Hello(_) | Up::Settled(_)) | None => {
            return Err(Status::invalid_argument("unexpected message"));
        }
    };
    let (Report::Activated(command)
    | Report::Released(command)
    | Report::Armed(command)
    | Report::Begun(command)
    | Report::Troubled(command)
    | Report::Retimed(command)) = &report;
    if !concerns(context, command, node) {
        return Err(Status::permission_denied(
            "a node reports only on its own grants",
        ));
    }
    context.tell_leader(Input::Reported(Box::new(report))).await;
    Ok(())
}
