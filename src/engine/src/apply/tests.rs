//! `apply`, stepped by hand: one rule a test. Long stories are in `tests/scenarios`, random ones in
//! `tests/properties.rs`.

mod evidence;
mod fencing;
mod identity;
mod kinds;
mod objects;
#[cfg(feature = "planted-bugs")]
mod planted;
mod probes;
mod superseded;
mod timing;
mod topologies;
mod trouble;
mod witness;
mod word;

use super::{Outcome, RefusalKind, apply};
use crate::clock::{Timing, lengthened};
use crate::command::{
    Attestation, Command, Entry, FenceAction, FenceAttemptPlan, FenceCause, HeartbeatKey, NodeRole,
    Probe, Registration, StatedAge, Verdict, VoterSets,
};
use crate::ids::{
    BootId, ClusterId, DeviceName, EntryId, Epoch, Generation, Incarnation, LogIndex, NodeId,
    NodeName, OrderId, RequestId, ResourceId, Token, TopologyName,
};
use crate::place::Place;
use crate::spec::{
    AfterFence, Domains, Failback, FenceDeviceSpec, FenceLevel, FenceTopologySpec, Isolation,
    NodeSpec, ObjectRef, ObjectSpec, Observes, ResourceSpec, Unfenced, VirtualIpSpec,
};
use crate::state::{ClusterState, EVENTS_MAX, Ownership, Proof, REQUESTS_MAX, Session};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const TTL: Duration = Timing::FAST.ttl;

/// A cluster of `n1`, `n2`, `n3`, all admitted, under membership 10.
struct Cluster {
    state: ClusterState,
    index: u64,
    stamp: u64,
    ids: Vec<NodeId>,
}

fn registration(place: u8) -> Registration {
    Registration {
        name: NodeName(format!("n{place}")),
        role: NodeRole::Coordinator,
        host: format!("192.0.2.{place}"),
        key_sha256: [place; 32],
    }
}

impl Cluster {
    fn new() -> Cluster {
        Cluster::with(Timing::FAST)
    }

    fn with(timing: Timing) -> Cluster {
        let mut cluster = Cluster {
            state: ClusterState::default(),
            index: 0,
            stamp: 1_000,
            ids: Vec::new(),
        };
        let first = Command::Bootstrap {
            cluster: ClusterId([1; 16]),
            epoch: Epoch(1),
            first: registration(1),
            heartbeat_key: HeartbeatKey {
                generation: 1,
                secret: [3; 32],
            },
            timing: Some(timing),
        };
        assert_eq!(cluster.apply(first), Outcome::Registered(NodeId(1)));
        for place in [2, 3] {
            cluster.join(place);
        }
        cluster.ids = cluster.state.nodes.keys().copied().collect();
        cluster.vote(&[&[0, 1, 2]]);
        for place in 0..3 {
            cluster.admit(place, 1, Probe::Clean);
        }
        cluster
    }

    fn apply(&mut self, command: Command) -> Outcome {
        self.apply_all(vec![command])
            .pop()
            .expect("one outcome for each command")
    }

    fn apply_all(&mut self, commands: Vec<Command>) -> Vec<Outcome> {
        self.index += 1;
        let entry = Entry {
            stamp_unix_ms: self.stamp,
            commands,
        };
        apply(&mut self.state, LogIndex(self.index), &entry)
    }

    #[track_caller]
    fn refused(&mut self, command: Command, reason: &str) -> RefusalKind {
        let before = self.state.clone();
        match self.apply(command) {
            Outcome::Refused(refusal) => {
                assert_eq!(refusal.reason, reason, "{}", refusal.message);
                let mut unchanged = before;
                unchanged.applied = self.state.applied;
                assert_eq!(unchanged, self.state, "a refused command changed something");
                refusal.kind
            }
            accepted => panic!("expected {reason}, got {accepted:?}"),
        }
    }

    fn join(&mut self, place: u8) -> Outcome {
        self.apply(Command::MintJoinToken {
            sha256: [place; 32],
            node: registration(place).name,
            expires_unix_ms: 10_000,
            request: RequestId::default(),
        });
        self.apply(Command::RegisterNode {
            node: registration(place),
            token_sha256: [place; 32],
        })
    }

    fn vote(&mut self, sets: &[&[usize]]) {
        let sets = sets
            .iter()
            .map(|set| set.iter().map(|place| self.ids[*place]).collect())
            .collect();
        let at = EntryId::new(1, self.index + 1);
        self.apply(Command::Membership(VoterSets { at, sets }));
    }

    fn newest(&self, place: usize) -> Incarnation {
        super::session::newest_incarnation(&self.state.nodes[&self.ids[place]])
    }

    fn admission(&self, place: usize, boot: u8, probe: Probe) -> Command {
        Command::Admit {
            node: self.ids[place],
            boot: BootId([boot; 16]),
            previous: self.newest(place),
            probe,
            place: Place::default(),
        }
    }

    fn admit(&mut self, place: usize, boot: u8, probe: Probe) -> Outcome {
        self.apply(self.admission(place, boot, probe))
    }

    fn put(&mut self, name: &str, isolation: Isolation) -> ResourceId {
        let outcome = self.apply(wanted(name, isolation, "198.51.100.1"));
        assert!(matches!(outcome, Outcome::Written(_)), "{outcome:?}");
        ResourceId::vip(name)
    }

    fn granting(&self, id: &ResourceId, place: usize) -> Command {
        let resource = &self.state.resources[id];
        Command::Grant {
            resource: id.clone(),
            node: self.ids[place],
            incarnation: self.newest(place),
            previous: resource.last_token,
            generation: resource.generation,
        }
    }

    /// Grants to the node and lets it attest this guard.
    fn active(&mut self, id: &ResourceId, place: usize, guard: Attestation) -> Token {
        let Outcome::Granted(token) = self.apply(self.granting(id, place)) else {
            panic!("not granted");
        };
        let incarnation = self.newest(place);
        let activated = self.apply(Command::Activated {
            resource: id.clone(),
            token,
            incarnation,
            guard,
            address_life: Duration::from_secs(2),
        });
        assert_eq!(activated, Outcome::Done);
        token
    }

    fn close(&mut self, place: usize) -> LogIndex {
        let command = Command::Closing {
            node: self.ids[place],
            incarnation: self.newest(place),
        };
        assert_eq!(self.apply(command), Outcome::Done);
        LogIndex(self.index)
    }

    fn age(&self, by: usize, age: Duration) -> StatedAge {
        StatedAge {
            by: self.ids[by],
            membership: self.state.membership.at,
            sequence: 1,
            age,
            heard: age,
            guards: Attestation::Intact,
        }
    }

    fn expiry(&self, place: usize, closing: LogIndex, ages: Vec<StatedAge>) -> Command {
        Command::Expired {
            node: self.ids[place],
            incarnation: self.newest(place),
            closing,
            ages,
        }
    }

    fn expire(&mut self, place: usize) {
        let closing = self.close(place);
        let silence = self.state.nodes[&self.ids[place]].judged().silence();
        let others: Vec<StatedAge> = (0..3)
            .filter(|by| *by != place)
            .map(|by| self.age(by, silence))
            .collect();
        let command = self.expiry(place, closing, others);
        assert_eq!(self.apply(command), Outcome::Done);
    }

    fn intent(&self, place: usize, cause: FenceCause) -> Command {
        Command::FenceIntent {
            node: self.ids[place],
            incarnation: self.newest(place),
            action: FenceAction::Off,
            cause,
            request: RequestId::default(),
            first: Some(FenceAttemptPlan {
                executor: self.ids[0],
                level: 1,
                deadline: Duration::from_secs(5),
            }),
        }
    }

    fn fence(&mut self, place: usize, cause: FenceCause) -> OrderId {
        match self.apply(self.intent(place, cause)) {
            Outcome::Ordered(order) => order,
            other => panic!("no order: {other:?}"),
        }
    }

    fn verdict(&mut self, order: OrderId, attempt: u32, verdict: Verdict) -> Outcome {
        self.apply(Command::FenceVerdict {
            order,
            attempt,
            verdict,
            detail: "two off reads".to_owned(),
            lie: None,
        })
    }

    fn proof(&self, id: &ResourceId) -> Option<&Proof> {
        Some(&self.state.resources[id].evidence.as_ref()?.proof)
    }
}

fn vip(isolation: Isolation, address: &str) -> VirtualIpSpec {
    VirtualIpSpec {
        address: address.parse().expect("an address"),
        interface: "eth0".to_owned(),
        isolation,
        unfenced: Unfenced::Allowed,
        preference: Vec::new(),
        failback: Failback::Never,
    }
}

fn put(name: &str, spec: VirtualIpSpec) -> Command {
    Command::Put {
        object: ObjectSpec::Resource(ResourceId::vip(name), ResourceSpec::VirtualIp(spec)),
        expected: None,
        request: RequestId::default(),
    }
}

fn wanted(name: &str, isolation: Isolation, address: &str) -> Command {
    put(name, vip(isolation, address))
}

fn device(targets: &[&str]) -> FenceDeviceSpec {
    FenceDeviceSpec {
        host_argument: crate::spec::HostArgument::default(),
        agent: "fence_haft_ipmi".to_owned(),
        observes: Observes::Power,
        delay: Duration::ZERO,
        targets: targets
            .iter()
            .map(|name| (NodeName::from(*name), String::new()))
            .collect(),
        parameters: BTreeMap::from([("ip".to_owned(), "203.0.113.1".to_owned())]),
        secret_files: BTreeMap::new(),
        deadline: Duration::from_secs(5),
        level: 1,
        domains: Domains::default(),
    }
}

fn put_device(spec: FenceDeviceSpec) -> Command {
    Command::Put {
        object: ObjectSpec::Device(DeviceName::from("bmc"), spec),
        expected: None,
        request: RequestId::default(),
    }
}
