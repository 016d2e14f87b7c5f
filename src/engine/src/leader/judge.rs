//! The judge of sessions (R2): closes what is silent, asks for ages, and lets the majority decide.
//!
//! Its own silence only makes it ask: `Expired` rests on the statements of a majority, so a leader that
//! is deaf by itself ends nobody's session. It asks again at the moment at which a majority can have
//! reached `ttl·(1+ρ)`, and sooner while a majority may still hear beats, so that a session closed only because
//! this coordinator is deaf is reopened before its lease has run out. A node whose agent stands at the door with another life is closed at once, since
//! nobody beats for the old one; so is one that does not let go of what it was asked for (`deadlines`), and neither is
//! reopened because it beats; a probe that is clean on the same boot needs no closing at all (R10).
//!
//! Each session is judged by its own timing as the log holds it, never by this coordinator's file (R2a).
//!
//! A new leader that has led for less than a ttl closes only on a silence of a whole ttl: that much was
//! heard without a gap, as follower or as leader, whenever listening began.

use super::draft::Draft;
use super::fencing::Fencing;
use super::{Output, View, Wake};
use crate::apply::Outcome;
use crate::clock::{Moment, Timing, lengthened};
use crate::command::{Command, Probe, StatedAge};
use crate::evidence;
use crate::ids::{BootId, Incarnation, LogIndex, NodeId};
use crate::place::Place;
use crate::state::{ClusterState, Node, Session};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long an agent's request is kept; it repeats it much more often.
const ATTACH_PATIENCE: Duration = Duration::from_secs(5);

/// For how long a stated age shows that the coordinator which stated it is up.
const STATEMENT_SHOWS_LIFE: Duration = Duration::from_secs(60);

/// Reopenings in a row after which the pause before the next closing grows no more.
const REOPENINGS_MAX: u32 = 7;

/// The pause grows up to 8 ttl, or to this if that is longer: a node that dies while this coordinator is deaf to it is
/// noticed so much later, while a shorter pause would fill log and events.
const HOLD_MAX: Duration = Duration::from_secs(5);

/// What one closing has brought to light.
#[derive(Clone, Debug)]
struct Inquiry {
    node: NodeId,
    incarnation: Incarnation,
    statements: BTreeMap<NodeId, (Moment, StatedAge)>,
    /// When this machine first saw the closing applied.
    since: Moment,
    asked: Option<Moment>,
}

/// An agent that asks to be admitted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attach {
    boot: BootId,
    place: Place,
    probe: Probe,
    /// The newest life when it first asked: it is served once another stands.
    replaces: Incarnation,
    asked: Moment,
}

impl Attach {
    /// As its agent said at this moment.
    pub(super) fn new(
        asked: Moment,
        (boot, place): (BootId, Place),
        probe: Probe,
        replaces: Incarnation,
    ) -> Attach {
        Attach {
            boot,
            place,
            probe,
            replaces,
            asked,
        }
    }
}

/// A node that a majority hears and this coordinator does not.
#[derive(Clone, Copy, Debug)]
struct Reopening {
    count: u32,
    at: Moment,
}

/// The judge's memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Judge {
    inquiries: BTreeMap<LogIndex, Inquiry>,
    attaches: BTreeMap<NodeId, Attach>,
    reopenings: BTreeMap<NodeId, Reopening>,
    /// When each coordinator last stated an age.
    heard_from: BTreeMap<NodeId, Moment>,
}

impl Judge {
    /// The voters changed: every statement names the old membership, so ask again.
    pub(super) fn on_membership(&mut self, _now: Moment) {
        for inquiry in self.inquiries.values_mut() {
            inquiry.statements.clear();
            inquiry.asked = None;
        }
    }

    /// A coordinator stated an age.
    pub(super) fn on_age(&mut self, now: Moment, closing: LogIndex, age: StatedAge) {
        self.heard_from.insert(age.by, now);
        if let Some(inquiry) = self.inquiries.get_mut(&closing) {
            inquiry.statements.insert(age.by, (now, age));
        }
    }

    /// An agent asks to be admitted.
    pub(super) fn on_attach(&mut self, state: &ClusterState, id: NodeId, attach: Attach) {
        let stands = state.nodes.get(&id);
        if stands.is_some_and(|node| node.newest() == attach.replaces) {
            self.attaches.insert(id, attach);
        }
    }

    /// Coordinators that have lately stated an age.
    pub(super) fn heard_from(&self, now: Moment) -> BTreeSet<NodeId> {
        self.heard_from
            .iter()
            .filter(|(_, at)| now.since(**at) < STATEMENT_SHOWS_LIFE)
            .map(|(id, _)| *id)
            .collect()
    }

    /// Opens an inquiry for every committed closing, and asks when an answer can be new.
    pub(super) fn ask(&mut self, view: &View<'_>, outputs: &mut Vec<Output>, wake: &mut Wake) {
        let mut in_force = BTreeSet::new();
        for (id, node) in &view.state.nodes {
            let Session::Closing {
                incarnation,
                closing,
            } = node.session
            else {
                continue;
            };
            in_force.insert(closing);
            let inquiry = self.inquiries.entry(closing).or_insert_with(|| Inquiry {
                node: *id,
                incarnation,
                statements: BTreeMap::new(),
                since: view.now,
                asked: None,
            });
            let due = inquiry.due(view);
            if due > view.now {
                wake.at(due);
                continue;
            }
            inquiry.asked = Some(view.now);
            outputs.push(Output::AskAges {
                node: inquiry.node,
                incarnation: inquiry.incarnation,
                closing,
            });
            wake.at(view.now + retry(&view.judged(inquiry.node)));
        }
        self.inquiries
            .retain(|closing, _| in_force.contains(closing));
    }

    /// Proposes closings, reopenings, expiries and admissions.
    pub(super) fn plan(
        &mut self,
        view: &View<'_>,
        draft: &mut Draft<'_>,
        fencing: &Fencing,
        mute: &BTreeSet<NodeId>,
        wake: &mut Wake,
    ) {
        self.forget_served(view);
        self.decide(view, draft, mute);
        self.admit(view, draft, fencing, wake);
        self.close_silent(view, draft, mute, wake);
    }

    fn forget_served(&mut self, view: &View<'_>) {
        self.attaches.retain(|id, attach| {
            let stands = view.state.nodes.get(id).map(Node::newest);
            stands == Some(attach.replaces) && view.now.since(attach.asked) < ATTACH_PATIENCE
        });
        self.reopenings.retain(|id, reopening| {
            let judged = view.judged(*id);
            let heard = view.silence(*id) < judged.closing_after;
            let quiet = view.now.since(reopening.at) >= hold(&judged, reopening.count);
            view.state.nodes.contains_key(id) && !(heard && quiet)
        });
    }

    /// Lets the statements decide each committed closing.
    fn decide(&mut self, view: &View<'_>, draft: &mut Draft<'_>, mute: &BTreeSet<NodeId>) {
        let membership = &view.state.membership;
        for (closing, inquiry) in &self.inquiries {
            let ages: Vec<StatedAge> = inquiry
                .statements
                .values()
                .map(|(_, age)| *age)
                .filter(|age| age.membership == membership.at)
                .collect();
            let (node, incarnation) = (inquiry.node, inquiry.incarnation);
            // Its beats then say nothing: another life stands at the door, or it does not let go of what it holds.
            let to_end = self.attaches.contains_key(&node) || mute.contains(&node);
            if inquiry.still_beats(view) && !to_end {
                let reopened = draft.propose(Command::Reopened {
                    node,
                    incarnation,
                    closing: *closing,
                });
                if reopened == Outcome::Done {
                    let count = self
                        .reopenings
                        .get(&node)
                        .map_or(0, |earlier| earlier.count);
                    let count = (count + 1).min(REOPENINGS_MAX);
                    let at = view.now;
                    self.reopenings.insert(node, Reopening { count, at });
                }
            } else if evidence::majority_silent(&ages, membership, &view.judged(node)) {
                draft.propose(Command::Expired {
                    node,
                    incarnation,
                    closing: *closing,
                    ages,
                });
            }
        }
    }

    fn admit(
        &mut self,
        view: &View<'_>,
        draft: &mut Draft<'_>,
        fencing: &Fencing,
        wake: &mut Wake,
    ) {
        for (id, attach) in &self.attaches {
            // An executor of an earlier leader may still hold an `off` for this machine in its hands.
            if let Some(until) = fencing.stray_until(*id).filter(|until| *until > view.now) {
                wake.at(until);
                continue;
            }
            draft.propose(Command::Admit {
                node: *id,
                boot: attach.boot,
                previous: attach.replaces,
                probe: attach.probe,
                place: attach.place,
            });
        }
    }

    fn close_silent(
        &mut self,
        view: &View<'_>,
        draft: &mut Draft<'_>,
        mute: &BTreeSet<NodeId>,
        wake: &mut Wake,
    ) {
        let open: Vec<(NodeId, Incarnation)> = draft
            .state()
            .nodes
            .values()
            .filter_map(|node| match node.session {
                Session::Open { incarnation } if view.knows(incarnation.0) => {
                    Some((node.id, incarnation))
                }
                Session::Never
                | Session::Open { .. }
                | Session::Closing { .. }
                | Session::Ended { .. } => None,
            })
            .collect();
        for (node, incarnation) in open {
            let judged = view.judged(node);
            let seasoned = view.now.since(view.started) >= judged.ttl;
            let threshold = if seasoned {
                judged.closing_after
            } else {
                judged.ttl
            };
            let to_end = self.attaches.contains_key(&node) || mute.contains(&node);
            let held_off = self
                .reopenings
                .get(&node)
                .map(|reopening| reopening.at + hold(&judged, reopening.count))
                .filter(|until| *until > view.now && !to_end);
            let silent = view.silence(node);
            if let Some(until) = held_off {
                wake.at(until);
            } else if silent >= threshold || to_end {
                // One closing an entry; the others follow in the next.
                if draft.propose(Command::Closing { node, incarnation }) != Outcome::Done {
                    wake.at(view.now);
                }
            } else {
                wake.at(view.now + (threshold - silent));
            }
        }
    }
}

impl Inquiry {
    /// Whether a majority has heard a beat since the closing. A beat from before it proves nothing: a leader
    /// that lost the node's last beats on the way would reopen a session that nobody holds any more.
    fn still_beats(&self, view: &View<'_>) -> bool {
        let later: Vec<StatedAge> = self
            .statements
            .values()
            .filter(|(at, age)| at.since(self.since) > age.heard)
            .map(|(_, age)| *age)
            .collect();
        let within = view.judged(self.node).closing_after;
        evidence::majority_fresh(&later, &view.state.membership, within)
    }

    /// Whether a majority heard the node so lately that another beat may be on its way.
    fn may_beat(&self, view: &View<'_>) -> bool {
        let all: Vec<StatedAge> = self.statements.values().map(|(_, age)| *age).collect();
        let within = view.judged(self.node).closing_after;
        evidence::majority_fresh(&all, &view.state.membership, within)
    }

    /// When asking (again) can bring something new.
    fn due(&self, view: &View<'_>) -> Moment {
        let Some(asked) = self.asked else {
            return view.now;
        };
        let judged = view.judged(self.node);
        let Some(reach) = self.majority_reach(view) else {
            return asked + retry(&judged);
        };
        if self.may_beat(view) {
            return asked + retry(&judged);
        }
        // A millisecond more than the arithmetic says, so that the answer is not short by rounding.
        (reach + Duration::from_millis(1)).max(asked + retry(&judged) / 4)
    }

    /// The first moment at which the coordinators that have answered and have reached `ttl·(1+ρ)` are a
    /// majority; their clocks may run slow against this one.
    fn majority_reach(&self, view: &View<'_>) -> Option<Moment> {
        let needed = view.judged(self.node).silence();
        let membership = &view.state.membership;
        let mut reaches: Vec<(Moment, NodeId)> = self
            .statements
            .values()
            .filter(|(_, age)| age.membership == membership.at)
            .map(|(at, age)| {
                let left = needed.saturating_sub(age.age);
                (*at + lengthened(left), age.by)
            })
            .collect();
        reaches.sort();
        let mut reached = BTreeSet::new();
        for (moment, by) in reaches {
            reached.insert(by);
            if membership.majority(&reached) {
                return Some(moment);
            }
        }
        None
    }
}

/// Pause before asking again when statements are missing.
fn retry(timing: &Timing) -> Duration {
    (timing.beat / 2).max(Duration::from_millis(5))
}

/// For how long a node that a majority hears is not closed again.
fn hold(timing: &Timing, count: u32) -> Duration {
    let most = (timing.ttl * 8).max(HOLD_MAX);
    (timing.ttl * (1 << count.min(REOPENINGS_MAX))).min(most)
}
