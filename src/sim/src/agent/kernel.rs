//! What an agent asks of its kernel, and what it tells the leader of it. Sends nothing.

use super::Agent;
use crate::kernel::Request;
use haft_engine::ids::{ResourceId, Token};
use haft_engine::keeper::Operation;
use haft_engine::machine::{Carries, Foreign, Link, Machine};

impl Agent {
    /// What its kernel has; of two reports, of whichever life, the later counts.
    pub(super) fn machine(&self) -> Option<Machine> {
        let taken = (self.life.0 << 32) + u64::from(self.looks);
        let link = Link {
            names: vec!["eth0".to_owned()],
            carrier: self.carrier,
            carries: Carries::Any,
        };
        let foreign = self.foreign.iter().map(|address| {
            let link = "eth1".to_owned();
            (*address, Foreign { link, prefix: 24 })
        });
        Machine::new(taken, vec![link], foreign.collect()).ok()
    }

    /// What a decided operation asks of the kernel; none if its address is unknown.
    pub(super) fn request(&self, operation: &Operation) -> Option<Request> {
        let address = |resource: &ResourceId, token: &Token| {
            self.addresses.get(&(resource.clone(), *token)).copied()
        };
        Some(match operation {
            Operation::Arm(resource, token) => Request::Arm(address(resource, token)?),
            Operation::Install(resource, token) => {
                Request::Install(address(resource, token)?, *token)
            }
            Operation::AddAddress(resource, token) | Operation::RefreshAddress(resource, token) => {
                Request::PutAddress(address(resource, token)?, *token)
            }
            Operation::Renew(items) => {
                let known = items.iter().map(|(resource, token)| {
                    let address = address(resource, token)?;
                    Some((address, *token))
                });
                Request::Renew(known.collect::<Option<Vec<_>>>()?)
            }
            Operation::Remove(resource, token) => Request::Remove(address(resource, token)?),
            Operation::Announce(..) => Request::Announce,
            Operation::ArmWatchdog(wanted) => Request::ArmDog(*wanted),
            Operation::PetWatchdog => Request::PetDog,
            Operation::DisarmWatchdog => Request::DisarmDog,
        })
    }
}
