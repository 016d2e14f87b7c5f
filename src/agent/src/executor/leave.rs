//! Letting go: what an earlier life left, what is to be released, and what stays silent after that because
//! somebody else's copy of it is there (R13), or sockets that would speak from it (`kernel::sockets`).
//!
//! Proves by the kernel's list that nothing of ours is left. Takes away nothing that it did not put there, but for
//! connections from an IPv6 address that has gone.

use super::silence::{Came, Elsewhere};
use super::{Executor, OpenExecutorError};
use crate::chain;
use crate::kernel::address::{Assigned, Origin};
use crate::kernel::link::Link;
use haft_engine::command::Probe;
use haft_engine::ids::{ResourceId, Token};
use haft_engine::keeper::OperationResult;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long the end of an agent is delayed for what may still be let go of.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

impl Executor {
    /// What carries our mark goes. Addresses that an earlier life had behind its gate or guard are let go of, but for
    /// those of which somebody else has a copy: these may have been silent since before the restart, and stay so.
    pub(super) fn remove_leftovers(&mut self) -> Result<(), OpenExecutorError> {
        for leftover in self.addresses.addresses().remove_leftovers()? {
            tracing::info!(address = %leftover.address, "removed an address of an earlier life");
        }
        let inherited = self.inherited();
        // Reads what the removals have reported.
        self.tend();
        for address in inherited {
            let foreign: Vec<Assigned> =
                self.addresses.census().foreign(address).cloned().collect();
            self.leave(address, &foreign);
        }
        Ok(())
    }

    /// Looks whether anything of ours is still installed. What cannot be told from ours counts.
    pub fn probe(&mut self) -> Probe {
        let marks = self.addresses.census().marks();
        match self.addresses.addresses().all() {
            Ok(found) => {
                let foreign = found
                    .iter()
                    .all(|found| found.origin(marks) == Origin::Foreign);
                if foreign {
                    Probe::Clean
                } else {
                    Probe::Unclean
                }
            }
            Err(_) => Probe::Unclean,
        }
    }

    /// Silence first, then the address: the guard closes within microseconds, whatever the rest takes.
    pub(super) fn remove(&mut self, resource: &ResourceId, token: Token) -> OperationResult {
        let address = match self.spec(resource, token) {
            Ok(spec) => spec.address,
            Err(why) => return OperationResult::Failed(why),
        };
        let stood = self.stands(address);
        self.turns.remove(&address);
        self.voice.stop(address);
        let silenced = match &mut self.guard {
            Some(_) if self.gate.is_some() => self.gate_silence(address),
            Some(guard) => guard.release(&[address]).map_err(|error| chain(&error)),
            None => Ok(()),
        };
        let forgotten = match self.addresses.forget(address) {
            Ok(forgotten) => forgotten,
            Err(error) => return OperationResult::Failed(chain(&error)),
        };
        self.places.remove(&address);
        // What was refused before anything was closed has changed nothing, and changes nothing now: somebody else's
        // copy that answered before goes on answering.
        match (stood, forgotten.foreign.is_empty()) {
            (true, _) => self.leave(address, &forgotten.foreign),
            // Nothing was ever ours, and nothing is closed to it.
            (false, true) => self.let_go(address),
            (false, false) => {}
        }
        if let Err(why) = silenced {
            tracing::warn!(%address, err = why, "the guard did not close at once");
        }
        OperationResult::Done
    }

    /// Whether gate or guard stands before the address, for whatever reason.
    fn stands(&self, address: IpAddr) -> bool {
        let gated = self.gate.as_ref().is_some_and(|gate| gate.stands(address));
        let guarded = self.guard.as_ref();
        gated || guarded.is_some_and(|guard| guard.manages(address))
    }

    /// Ours is gone. Gate and guard let go of the address once nothing else would speak from it: somebody else's copy,
    /// or sockets.
    fn leave(&mut self, address: IpAddr, foreign: &[Assigned]) {
        if foreign.is_empty() && address.is_ipv4() {
            self.let_go(address);
            return;
        }
        let elsewhere = match foreign.is_empty() {
            true => Elsewhere::No,
            false => Elsewhere::Yes,
        };
        self.silenced.begin(address, elsewhere);
        self.gate_keep_silent(address);
        let links = self.addresses.addresses().links().unwrap_or_default();
        let on = |found: &Assigned| links.iter().find(|link| link.index == found.link);
        for (found, link) in foreign.iter().filter_map(|found| Some((found, on(found)?))) {
            tracing::warn!(
                %address,
                prefix = found.prefix,
                link = link.name,
                "released, and kept silent: somebody else has put it on this machine"
            );
            self.keep_silent(address, link);
        }
    }

    /// Also on the interface of the copy, which need not be the one that ours was on.
    fn keep_silent(&mut self, address: IpAddr, link: &Link) {
        if let Some(guard) = &mut self.guard
            && let Err(error) = guard.manage(address, link)
        {
            tracing::warn!(%address, err = chain(&error), "cannot silence a copy that somebody else made");
        }
    }

    fn let_go(&mut self, address: IpAddr) {
        self.silenced.end(address);
        self.gate_forget(address);
        // The address is gone; a guard that stays closed harms nobody.
        if let Some(guard) = &mut self.guard
            && let Err(error) = guard.unmanage(address)
        {
            tracing::warn!(%address, err = chain(&error), "cannot let go of a guarded address");
        }
    }

    /// Lets go of what was kept silent and from which nothing would speak any more.
    pub(super) fn lift_silences(&mut self) {
        if self.silenced.is_empty() {
            return;
        }
        let census = self.addresses.census();
        let over = self.silenced.over(|address| {
            let granted = self.places.contains_key(&address);
            match granted || census.foreign(address).next().is_some() {
                true => Elsewhere::Yes,
                false => Elsewhere::No,
            }
        });
        for address in over {
            tracing::debug!(%address, "nothing of this machine would speak from it");
            self.let_go(address);
        }
    }

    /// The agent ends: what is still asked about is let go of if the answer comes soon.
    pub fn settle(&mut self) {
        let deadline = Instant::now() + LAST_ANSWERS;
        self.lift_silences();
        while self.silenced.await_answer(deadline) == Came::One {
            // Asks what there was no room for.
            self.lift_silences();
        }
    }
}
