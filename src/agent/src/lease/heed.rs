//! What leaders say of a life, and whether it is obeyed (R2c).
//!
//! Asks the life's authority and hands on what is to be obeyed; what is not, is told. Decides nothing else.

use super::{Lease, told_of};
use crate::kernel::clock::boot_now;
use crate::order::Notice;
use haft_engine::ids::Incarnation;
use haft_engine::keeper::{Assignment, Input};
use haft_engine::session::authority::{Heed, Origin};

impl Lease {
    /// Obeys the greatest leader (R2c); what any other says is dropped and told.
    pub(super) fn assigned(&mut self, origin: Origin, assignment: Assignment) {
        if self.heeds(origin, assignment.incarnation, "an assignment")
            && let Some(life) = &mut self.life
        {
            life.retiming
                .on_told(&mut life.holder, assignment.timing.filter(told_of));
            self.executor
                .learn(&assignment.items, &life.keeper.holdings());
            self.drive(Input::Assigned(assignment));
        }
    }

    /// A session ends by a leader's word like everything else that it says: a coordinator that was restored by itself
    /// knows nothing of this life, and must not end it while others acknowledge it.
    pub(super) fn over(&mut self, incarnation: Incarnation, origin: Origin) {
        let heeds = self.heeds(origin, incarnation, "the end of the session");
        // A lease that has ended protects nothing, and a life that nobody acknowledges must not stand for ever.
        let lapsed = self.life.as_ref().is_some_and(|life| {
            let end = life.holder.end();
            life.incarnation == incarnation && end.is_none_or(|end| end <= boot_now())
        });
        if heeds || lapsed {
            tracing::warn!(%incarnation, "the session is over");
            self.drive(Input::SessionOver);
        } else if let Some(life) = &self.life {
            let stands = Notice::Stands(life.incarnation);
            self.notify(stands);
        }
    }

    /// Whether what a leader says of this life is to be obeyed.
    fn heeds(&mut self, origin: Origin, of: Incarnation, what: &'static str) -> bool {
        let Some(life) = &mut self.life else {
            return false;
        };
        if of != life.incarnation {
            return false;
        }
        let obeyed = life.authority.told();
        match life.authority.hear(origin) {
            Heed::Obey => return true,
            Heed::Older => tracing::debug!(?origin, %obeyed, what, "dropped: it is older"),
            Heed::WentBack => tracing::error!(
                ?origin,
                %obeyed,
                what,
                "a leader's log went back behind what was obeyed; nothing is taken up and nothing dropped for it"
            ),
            Heed::EarlierEpoch => {
                tracing::error!(?origin, %obeyed, what, "dropped: it is of an earlier epoch");
            }
            Heed::LaterEpoch => tracing::error!(
                ?origin,
                %obeyed,
                what,
                "dropped: it is of a later epoch; this life ends with its lease"
            ),
        }
        false
    }
}
