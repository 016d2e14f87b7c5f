//! One challenge by every coordinator at once: what answers within the time that the rule gives, and what comes later.

use super::{Late, draw};
use crate::context::Context;
use haft_engine::attempt::Attempt;
use haft_engine::ids::{BootId, Incarnation, NodeId};
use haft_engine::leader::Input;
use haft_engine::witness::{Challenge, Heard, LISTEN_MAX, Witness, counts, listen_for};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// Answers of one round that may wait: one of each coordinator is enough.
const ANSWERS_MAX: usize = 32;

/// A round under way. Dropping it stops nobody from answering.
pub struct Round {
    node: NodeId,
    incarnation: Incarnation,
    /// What the answers have to echo.
    pub challenge: Challenge,
    began: Instant,
    answers: mpsc::Receiver<Heard>,
    longest_round_trip: Duration,
}

impl Round {
    /// Has every coordinator challenge this life of the node. `None` where no challenge can be drawn.
    pub fn begin(context: &Arc<Context>, node: NodeId, incarnation: Incarnation) -> Option<Round> {
        let challenge = draw()?;
        let (told, answers) = mpsc::channel(ANSWERS_MAX);
        let mut own = context.challenger.challenge(node, incarnation, challenge);
        let to_own = told.clone();
        tokio::spawn(async move {
            let until = Instant::now() + LISTEN_MAX;
            while let Ok(Some(heard)) = timeout_at(until, own.recv()).await {
                let _ = to_own.try_send(heard);
            }
        });
        let voters = context.effective_membership().all();
        for peer in voters {
            if peer == context.own || peer == node {
                continue;
            }
            let (context, told) = (Arc::clone(context), told.clone());
            tokio::spawn(async move {
                let until = Instant::now() + LISTEN_MAX;
                let asked = context
                    .peers
                    .challenge(&context, peer, (node, incarnation), challenge);
                if let Ok(Ok(Some(witness))) = timeout_at(until, asked).await {
                    let _ = told.try_send(Heard { challenge, witness });
                }
            });
        }
        Some(Round {
            node,
            incarnation,
            challenge,
            began: Instant::now(),
            answers,
            longest_round_trip: context.challenger.longest_round_trip(node),
        })
    }

    /// Hears what comes within the time: counted from when it began, so that the readings that go on meanwhile cost
    /// nothing. The first that `counts` ends it.
    async fn listen(
        &mut self,
        spacing: Duration,
        counts: impl Fn(&Heard) -> bool,
    ) -> Option<Heard> {
        let until = self.began + listen_for(spacing, self.longest_round_trip);
        while let Ok(Some(heard)) = timeout_at(until, self.answers.recv()).await {
            if counts(&heard) {
                return Some(heard);
            }
        }
        None
    }

    /// Tells the try what has answered.
    pub async fn testify(&mut self, attempt: &mut Attempt) {
        attempt.challenged(self.challenge);
        let (challenge, boot) = (self.challenge, attempt.run().boot);
        let heard = self.listen(Duration::ZERO, |heard| counts(heard, challenge, boot));
        if let Some(heard) = heard.await {
            attempt.heard(heard);
        }
    }

    /// What comes when the verdict is given: the leader hears it as it comes.
    pub async fn listen_on(mut self, context: Arc<Context>, boot: BootId) {
        let until = self.began + LISTEN_MAX;
        while let Ok(Some(heard)) = timeout_at(until, self.answers.recv()).await {
            if counts(&heard, self.challenge, boot) {
                let input = Input::Witnessed {
                    node: self.node,
                    incarnation: self.incarnation,
                    witness: heard.witness,
                };
                context.tell_leader(input).await;
                return;
            }
        }
    }
}

/// What of the machine answers before a human's word is taken.
pub async fn listen_for_human(
    context: &Arc<Context>,
    node: NodeId,
    incarnation: Incarnation,
    boot: BootId,
) -> Option<Vec<Witness>> {
    let mut round = Round::begin(context, node, incarnation)?;
    let challenge = round.challenge;
    let mut witnesses: Vec<Witness> = Vec::new();
    // One of each coordinator, so that a human learns of all that they overrule.
    while let Some(heard) = round
        .listen(Duration::ZERO, |heard| counts(heard, challenge, boot))
        .await
    {
        if witnesses.iter().all(|known| known.by != heard.witness.by) {
            witnesses.push(heard.witness);
        }
    }
    Some(witnesses)
}

/// Hands answers of lives that the log has ended to the leader, until the process ends.
pub async fn late_witnesses(context: Arc<Context>, mut late: mpsc::Receiver<Late>) {
    while let Some(late) = late.recv().await {
        let Late {
            node,
            incarnation,
            witness,
        } = late;
        match context.leader() {
            Some(leader) if leader != context.own => {
                let told = context
                    .peers
                    .testify(&context, leader, (node, incarnation), &witness);
                let until = Instant::now() + LISTEN_MAX;
                if let Ok(Err(error)) = timeout_at(until, told).await {
                    tracing::debug!(%node, %error, "a witness was not told to the leader");
                }
            }
            Some(_) | None => {
                let input = Input::Witnessed {
                    node,
                    incarnation,
                    witness,
                };
                context.tell_leader(input).await;
            }
        }
    }
}
