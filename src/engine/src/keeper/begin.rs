//! Rule R14 in the keeper: under isolation `stonith` nothing is done before the log says that this owner begins.
//!
//! Asked for once everything else permits to begin, and again each ttl until the assignment says it. What is given back
//! before that has touched nothing and is released. Under `watchdog` the armed period in the log is the same word.

use super::held::{Held, Phase};
use super::history::Link;
use super::{Keeper, Mode, Output};
use crate::clock::Moment;
use crate::ids::ResourceId;
use crate::plant::{self, Bug};
use crate::spec::Isolation;
use crate::state::Progress;

impl Keeper {
    /// Whether the log lets this holding begin, or go on.
    pub(super) fn may_begin(&self, resource: &ResourceId, held: &Held) -> bool {
        match held.spec.isolation() {
            Isolation::Lease | Isolation::Watchdog => true,
            Isolation::Stonith => {
                let said = self.assigned.get(resource).is_some_and(|item| {
                    item.token == held.token && item.progress == Progress::Begun
                });
                said || plant::is(Bug::ActBeforeBegun)
            }
        }
    }

    /// Whether this holding waits for nothing but the log's word.
    fn awaits_word(&self, now: Moment, resource: &ResourceId, held: &Held) -> bool {
        let due = match held.phase {
            Phase::Waiting(until) => now >= until,
            Phase::Arming
            | Phase::Installing
            | Phase::Adding
            | Phase::Acting
            | Phase::Stopping(_) => false,
        };
        let linked = self
            .history
            .get(resource)
            .is_none_or(|history| history.link == Link::Up);
        due && linked && self.mode == Mode::Keeping && !self.may_begin(resource, held)
    }

    /// Asks for the log's word.
    pub(super) fn ask_to_begin(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        if !self.permitted(now) {
            return;
        }
        let again = self.timing.ttl;
        let due: Vec<ResourceId> = self
            .held
            .iter()
            .filter(|(resource, held)| {
                self.awaits_word(now, resource, held)
                    && held.asked.is_none_or(|asked| now >= asked + again)
            })
            .map(|(resource, _)| resource.clone())
            .collect();
        for resource in due {
            if let Some(held) = self.held.get_mut(&resource) {
                held.asked = Some(now);
                let token = held.token;
                outputs.push(Output::ReportBegun { resource, token });
            }
        }
    }

    /// What has been asked for and is not in the log yet, for a stream that was attached anew.
    pub(super) fn begun_reports(&self) -> Vec<Output> {
        let asked = self.held.iter().filter(|(resource, held)| {
            held.asked.is_some() && !held.is_touched() && !self.may_begin(resource, held)
        });
        asked
            .map(|(resource, held)| Output::ReportBegun {
                resource: resource.clone(),
                token: held.token,
            })
            .collect()
    }

    /// When [`Keeper::ask_to_begin`] would next say something.
    pub(super) fn begin_wake(&self, now: Moment) -> Option<Moment> {
        let asks = self.held.iter().filter_map(|(resource, held)| {
            let Phase::Waiting(until) = held.phase else {
                return None;
            };
            let at = held
                .asked
                .map_or(until, |asked| until.max(asked + self.timing.ttl))
                .max(now);
            self.awaits_word(at, resource, held).then_some(at)
        });
        asks.min().and_then(|at| self.when_permitted(now, at))
    }
}
