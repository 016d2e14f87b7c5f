//! What leaders say of a life, and whether it is obeyed (R2c).
//!
//! Asks the life's authority and hands on what is to be obeyed; what is not, is told. Decides nothing else.

use super::{Lease, Life, told_of};
use crate::kernel::clock::boot_now;
use crate::order::Notice;
use haft_engine::ids::{EntryId, Incarnation};
use haft_engine::keeper::{Assignment, Input};
use haft_engine::session::authority::{Heed, Origin};

impl Lease {
    /// Obeys the greatest leader (R2c); what any other says is dropped and told.
    pub(super) fn assigned(&mut self, origin: Origin, assignment: Assignment) {
        let Some(life) = self.named(assignment.incarnation) else {
            return;
        };
        let obeyed = life.authority.told();
        let heed = life.authority.hear(origin);
        if is_obeyed(heed, (origin, obeyed), "an assignment") {
            life.retiming
                .on_told(&mut life.holder, assignment.timing.filter(told_of));
            let holdings = life.keeper.holdings();
            self.executor.learn(&assignment.items, &holdings);
            self.drive(Input::Assigned(assignment));
        }
    }

    /// A session ends by a leader's word like everything else that it says: a coordinator that was restored by itself
    /// knows nothing of this life, and must not end it while others acknowledge it.
    pub(super) fn over(&mut self, incarnation: Incarnation, origin: Origin) {
        if let Some(life) = self.named(incarnation) {
            let obeyed = life.authority.told();
            let end = life.holder.end();
            let heed = life.authority.hear_end(origin, boot_now(), end);
            if is_obeyed(heed, (origin, obeyed), "the end of the session") {
                tracing::warn!(%incarnation, "the session is over");
                self.drive(Input::SessionOver);
                return;
            }
        }
        if let Some(life) = &self.life {
            let stands = Notice::Stands(life.incarnation);
            self.notify(stands);
        }
    }

    /// The life that is spoken of, if it is the present one.
    fn named(&mut self, incarnation: Incarnation) -> Option<&mut Life> {
        let life = self.life.as_mut();
        life.filter(|life| life.incarnation == incarnation)
    }
}

/// Tells of what is dropped.
fn is_obeyed(heed: Heed, (origin, obeyed): (Origin, EntryId), what: &'static str) -> bool {
    match heed {
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
