//! Watches what openraft does not act upon: a lost quorum, a stuck disk, a refusal by the peers.
//!
//! A leader that has lost its quorum stays leader in openraft's eyes for ever; it only refuses. So
//! leadership is published here under conditions of our own: the quorum's last acknowledgement is
//! younger than the lease, less a margin, and no sync hangs. It is computed afresh at each question,
//! because this task itself can be late.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use haft_store::{LogStore, PeerId};
use openraft::Instant as _;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::config::Timings;
use super::gate::{Gate, RefusedBy};
use super::mark::DurableMark;
use super::members::{MembershipView, Memberships};
use super::mute::Mute;
use super::transfer::HandingOver;
use super::types::{Raft, RaftStoredMembership, store_stored_membership};
use super::wire::pb::Refusal;

/// Who leads, as far as this node may act upon it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leadership {
    /// This node leads `term`, with a fresh quorum and a working disk.
    Leader {
        /// The term it leads.
        term: u64,
        /// Since when it does, without a gap.
        since: Instant,
    },
    /// Another node leads.
    Follower {
        /// That node.
        leader: PeerId,
    },
    /// Nobody leads, as far as this node knows; or it leads and may not act upon it.
    None,
}

/// Why consensus ended on this node. The process should end too.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StopReason {
    /// It was asked to.
    Shutdown,
    /// A transfer of leadership did not end; openraft would refuse proposals for ever.
    TransferStuck,
    /// A peer proved that this directory must not take part.
    Refused {
        /// The peer.
        by: PeerId,
        /// What it said.
        reason: String,
    },
    /// Raft called this node the leader, its quorum and its disk answered, and it held itself for
    /// none: nobody would ever decide anything.
    Mute,
    /// The peer port ended: this node hears no leader and no candidate any more.
    PeerPort {
        /// What it said.
        reason: String,
    },
    /// openraft stopped by itself.
    Fatal {
        /// What it said.
        reason: String,
    },
}

impl StopReason {
    /// What an administrator can do, as an instruction.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Shutdown | Self::TransferStuck | Self::Mute | Self::PeerPort { .. } => {
                "start haftd again; it catches up from the others"
            }
            Self::Refused { .. } => REFUSED,
            Self::Fatal { .. } => {
                "start haftd again; if it ends the same way, keep it stopped: the others go on without it, and \
                 a voter cannot be joined anew yet"
            }
        }
    }
}

/// What is left to do with a directory that a peer refuses.
pub(super) const REFUSED: &str = "run only one copy of a data directory and never an older one: \
     keep this one stopped; the others go on without it, and a voter cannot be joined anew yet";

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shutdown => f.write_str("it was asked to"),
            Self::TransferStuck => f.write_str("a transfer of leadership did not end"),
            Self::Mute => f.write_str("this node led and could not act upon it"),
            Self::Refused { by, reason } => write!(f, "node {by} refuses this node: {reason}"),
            Self::PeerPort { reason } => write!(f, "the peer port failed: {reason}"),
            Self::Fatal { reason } => write!(f, "raft stopped: {reason}"),
        }
    }
}

/// What the watchdog looks at.
pub(super) struct Sight {
    pub(super) raft: Raft,
    pub(super) store: Arc<dyn LogStore>,
    pub(super) durable: DurableMark,
    pub(super) gate: Arc<Gate>,
    pub(super) timings: Timings,
    pub(super) disk_abort_after: Duration,
    /// The leadership that is being handed over, if one is.
    pub(super) handing_over: HandingOver,
}

/// Where it tells.
pub(super) struct Signals {
    pub(super) leadership: watch::Sender<Leadership>,
    pub(super) memberships: watch::Sender<Memberships>,
    pub(super) stopped: watch::Sender<Option<StopReason>>,
}

impl Sight {
    /// The term that this node leads at this moment and may act upon.
    pub(super) fn leads(&self) -> Option<u64> {
        self.could_lead()
            .filter(|term| !self.handing_over.concerns(*term))
    }

    /// The term that openraft leads here with a fresh quorum and a working disk.
    fn could_lead(&self) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let fresh = self.is_alone(&metrics.membership_config)
            || metrics.last_quorum_acked.is_some_and(|acked| {
                acked.elapsed() + self.timings.lease_margin() < self.timings.lease()
            });
        let leads = metrics.state == ServerState::Leader && fresh && self.disk_works();
        leads.then_some(metrics.current_term)
    }

    /// Whether everything is as a leader needs it, and this node yet holds itself for none.
    fn is_mute(&self) -> bool {
        self.could_lead().is_some() && self.leads().is_none()
    }

    /// A majority of one is this node: nobody else acknowledges, so openraft notes no acknowledgement.
    pub(super) fn is_alone(&self, membership: &RaftStoredMembership) -> bool {
        let mut configs = membership.membership().get_joint_config().iter();
        let own = self.gate.own_id().0;
        configs.all(|voters| voters.len() == 1 && voters.contains(&own))
    }

    fn disk_works(&self) -> bool {
        self.store
            .last_sync_age()
            .is_none_or(|age| age < self.timings.disk_patience())
    }

    fn leadership(&self, before: Leadership) -> Leadership {
        if let Some(term) = self.leads() {
            return match before {
                Leadership::Leader { term: led, since } if led == term => {
                    Leadership::Leader { term, since }
                }
                Leadership::Leader { .. } | Leadership::Follower { .. } | Leadership::None => {
                    Leadership::Leader {
                        term,
                        since: Instant::now(),
                    }
                }
            };
        }
        let metrics = self.raft.metrics();
        let leader = metrics.borrow_watched().current_leader;
        match leader.map(PeerId) {
            Some(leader) if leader != self.gate.own_id() => Leadership::Follower { leader },
            Some(_) | None => Leadership::None,
        }
    }

    fn memberships(&self) -> Memberships {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let view = |stored| MembershipView::of(&store_stored_membership(stored));
        Memberships {
            effective: view(&metrics.membership_config),
            committed: view(&metrics.committed_membership_config),
        }
    }

    fn fatal(&self) -> Option<StopReason> {
        let metrics = self.raft.metrics();
        let state = metrics.borrow_watched().running_state.clone();
        state.err().map(|error| StopReason::Fatal {
            reason: error.to_string(),
        })
    }

    fn refused(&self, by: Option<RefusedBy>) -> Option<StopReason> {
        let by = by?;
        match by.kind {
            Refusal::ClonedDirectory | Refusal::RolledBack => Some(StopReason::Refused {
                by: by.peer,
                reason: by.reason,
            }),
            // A wrong address or certificate concerns one connection, not this directory.
            Refusal::Unspecified
            | Refusal::ForeignCluster
            | Refusal::WrongAddress
            | Refusal::WrongCertificate => None,
        }
    }
}

/// Runs until consensus ends.
pub(super) async fn watch_over(sight: Arc<Sight>, signals: Signals) {
    let mut metrics = sight.raft.metrics();
    let mut refused = sight.gate.refused_by();
    let mut tick = interval(sight.timings.heartbeat / 2);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stood_aside = false;
    let mut probe_at = Instant::now();
    let mut mute = Mute::new(sight.timings);
    loop {
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() {
                // openraft is gone; without a reason of its own nobody would notice.
                let reason = "raft has ended".to_owned();
                stop(&sight, &signals, StopReason::Fatal { reason }).await;
                return;
            },
            _ = refused.changed() => {}
            _ = tick.tick() => {}
        }
        signals.leadership.send_if_modified(|now| {
            let before = *now;
            *now = sight.leadership(before);
            *now != before
        });
        let memberships = sight.memberships();
        signals.memberships.send_if_modified(|now| {
            let changed = *now != memberships;
            *now = memberships.clone();
            changed
        });
        sight.gate.save_notes();
        if Instant::now() >= probe_at {
            probe_disk(&sight);
            probe_at = Instant::now() + sight.timings.heartbeat;
        }
        let hangs = !sight.disk_works();
        if hangs != stood_aside {
            // Without heartbeats the followers elect a leader whose disk works.
            sight.raft.runtime_config().heartbeat(!hangs);
            stood_aside = hangs;
        }
        if signals.stopped.borrow().is_some() {
            break;
        }
        let refusal = refused.borrow().clone();
        let reason = sight
            .refused(refusal)
            .or_else(|| sight.fatal())
            .or_else(|| mute.look(Instant::now(), sight.is_mute()));
        if let Some(reason) = reason {
            stop(&sight, &signals, reason).await;
            return;
        }
    }
    signals.leadership.send_replace(Leadership::None);
}

/// Keeps one sync under way at all times, so that a disk that hangs shows even when nothing is
/// written, and ends the process when one has hung too long: a leader that wakes up in an old sync
/// must not go on as if no time had passed.
fn probe_disk(sight: &Sight) {
    match sight.store.last_sync_age() {
        None => sight.store.after_sync(Box::new(|| {})),
        Some(age) if age > sight.disk_abort_after => {
            tracing::error!(?age, "a sync hangs; haftd aborts");
            std::process::abort();
        }
        Some(_) => {}
    }
}

async fn stop(sight: &Sight, signals: &Signals, reason: StopReason) {
    tracing::error!(?reason, "consensus stops");
    signals.leadership.send_replace(Leadership::None);
    signals.stopped.send_if_modified(|stopped| {
        let first = stopped.is_none();
        if first {
            *stopped = Some(reason);
        }
        first
    });
    // An error here means that it has already stopped.
    drop(sight.raft.shutdown().await);
}
