//! The world of the stories: one log that commits at once, coordinators that count beats, agents that obey.
//!
//! Not the simulator: no lost messages, no clocks that differ, no crash in the middle of anything. Each node
//! runs a coordinator and an agent; preset `fast`; time moves in steps of 5 ms.

use haft_engine::apply::{Outcome, apply};
use haft_engine::clock::{Moment, Timing};
use haft_engine::command::{
    Attestation, Command, Difficulty, Entry, FenceAction, FenceCause, HeartbeatKey, NodeRole,
    PathFault, PathHealth, Probe, Registration, StatedAge, Verdict, VoterSets,
};
use haft_engine::ids::{
    BootId, ClusterId, DeviceName, EntryId, Epoch, Incarnation, LogIndex, NodeId, NodeName,
    RequestId, ResourceId, TopologyName,
};
use haft_engine::leader::{Fate, FenceRun, Input, Leader, Output, Proposal, Report, Silence};
use haft_engine::spec::{
    AfterFence, Domains, Failback, FenceDeviceSpec, FenceLevel, FenceTopologySpec, Isolation,
    NodeSpec, ObjectRef, ObjectSpec, Observes, ResourceSpec, Scheduling, Unfenced, VirtualIpSpec,
};
use haft_engine::state::{ClusterState, Node, Ownership, Resource, Session};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

mod kernels;
mod obey;
mod verbs;

const STEP: Duration = Duration::from_millis(5);

/// What a machine's agent does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Agent {
    /// Beats and obeys.
    Obeys,
    /// Beats, and never acts or releases.
    Stubborn,
    /// Beats and acts; says that it cannot prove its stops.
    Stuck,
    /// Beats and acts; has no watchdog that can be armed.
    Dogless,
    /// Beats and acts; of what it reports only that it begins arrives.
    Unheard,
    /// Neither beats nor acts.
    Stopped,
}

#[derive(Debug)]
struct Machine {
    up: bool,
    boot: u8,
    agent: Agent,
    guards: Attestation,
    /// The life for which the agent beats.
    life: Incarnation,
}

/// The whole of it.
pub(crate) struct World {
    pub(crate) state: ClusterState,
    timing: Timing,
    now: Moment,
    index: u64,
    leader: Option<(NodeId, Leader)>,
    machines: BTreeMap<NodeId, Machine>,
    /// Last beat heard and last acknowledged, by (coordinator, node).
    heard: BTreeMap<(NodeId, NodeId), Moment>,
    acknowledged: BTreeMap<(NodeId, NodeId), Moment>,
    cut: BTreeSet<(NodeId, NodeId)>,
    runs: VecDeque<FenceRun>,
    /// When the newest of them was.
    handed_out: Moment,
    transfers: Vec<NodeId>,
    /// Devices that fail their probes, and their words.
    broken: BTreeMap<DeviceName, String>,
    /// The power domain of devices applied from now on.
    feed: Option<String>,
    /// What nodes applied from now on want after a fence.
    after_fence: AfterFence,
    entries: Vec<Entry>,
    commits: bool,
    addresses: u8,
    requests: u8,
    kernels: kernels::Kernels,
}

impl World {
    pub(crate) fn new() -> World {
        World {
            state: ClusterState::default(),
            timing: Timing::FAST,
            now: Moment(1_000_000_000),
            index: 0,
            leader: None,
            machines: BTreeMap::new(),
            heard: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            cut: BTreeSet::new(),
            runs: VecDeque::new(),
            handed_out: Moment::default(),
            transfers: Vec::new(),
            broken: BTreeMap::new(),
            feed: None,
            after_fence: AfterFence::StayOff,
            entries: Vec::new(),
            commits: true,
            addresses: 0,
            requests: 0,
            kernels: kernels::Kernels::default(),
        }
    }

    /// What the clusters formed from now on count by; preset `fast` without this.
    pub(crate) fn count_by(&mut self, timing: Timing) {
        self.timing = timing;
    }

    fn commit(&mut self, commands: Vec<Command>) -> Vec<Outcome> {
        self.index += 1;
        let entry = Entry {
            stamp_unix_ms: self.now.0 / 1_000_000,
            commands,
        };
        let outcomes = apply(&mut self.state, LogIndex(self.index), &entry);
        self.entries.push(entry);
        outcomes
    }

    /// Commits an administrator's command and tells the leader's machine that the state moved.
    fn ask(&mut self, command: Command) -> Result<(), String> {
        let outcome = self.commit(vec![command]).pop();
        match outcome {
            Some(Outcome::Refused(refusal)) => {
                Err(format!("{}: {}", refusal.reason, refusal.message))
            }
            _ => {
                self.step_leader(Input::Tick);
                Ok(())
            }
        }
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId([self.requests; 16])
    }

    pub(crate) fn form(&mut self, names: &[&str]) -> Result<(), String> {
        for (place, name) in (1_u8..).zip(names) {
            let registration = Registration {
                name: NodeName::from(*name),
                role: NodeRole::Coordinator,
                host: format!("192.0.2.{place}"),
                key_sha256: [place; 32],
            };
            let joined = if place == 1 {
                self.commit(vec![Command::Bootstrap {
                    cluster: ClusterId([7; 16]),
                    epoch: Epoch(1),
                    first: registration,
                    heartbeat_key: HeartbeatKey {
                        generation: 1,
                        secret: [9; 32],
                    },
                    timing: Some(self.timing),
                }])
            } else {
                let request = self.request();
                self.commit(vec![Command::MintJoinToken {
                    sha256: [place; 32],
                    node: NodeName::from(*name),
                    expires_unix_ms: u64::MAX,
                    request,
                }]);
                self.commit(vec![Command::RegisterNode {
                    node: registration,
                    token_sha256: [place; 32],
                }])
            };
            let [Outcome::Registered(id)] = joined.as_slice() else {
                return Err(format!("{name} did not join: {joined:?}"));
            };
            let machine = Machine {
                up: true,
                boot: 1,
                agent: Agent::Obeys,
                guards: Attestation::Intact,
                life: Incarnation::default(),
            };
            self.machines.insert(*id, machine);
        }
        let sets = VoterSets {
            at: EntryId::new(1, self.index + 1),
            sets: vec![self.machines.keys().copied().collect()],
        };
        self.commit(vec![Command::Membership(sets)]);
        let first = NodeName::from(names[0]);
        self.lead(first.as_str())?;
        let ids: Vec<NodeId> = self.machines.keys().copied().collect();
        for id in ids {
            self.attach(id, Probe::Clean);
        }
        self.run(Duration::from_millis(50))
    }

    fn attach(&mut self, node: NodeId, probe: Probe) {
        let boot = BootId([self.machines[&node].boot; 16]);
        let replaces = self.state.nodes[&node].newest();
        self.step_leader(Input::AttachRequested {
            node,
            boot,
            probe,
            replaces,
            place: haft_engine::place::Place::default(),
        });
    }

    pub(crate) fn lead(&mut self, name: &str) -> Result<(), String> {
        let id = self.node(name)?.id;
        let leader = Leader::new(id, self.timing, self.now, &self.state);
        self.leader = Some((id, leader));
        self.step_leader(Input::Tick);
        self.report_machines();
        Ok(())
    }

    pub(crate) fn run(&mut self, span: Duration) -> Result<(), String> {
        let end = self.now + span;
        while self.now < end {
            self.now = self.now + STEP;
            self.beat();
            self.obey();
            let due = self
                .leader
                .as_ref()
                .is_some_and(|(_, leader)| leader.next_wake() <= self.now);
            if due {
                self.step_leader(Input::Tick);
            }
        }
        Ok(())
    }

    /// Every agent beats to every coordinator that it can reach.
    fn beat(&mut self) {
        let interval = u64::try_from(self.timing.beat.as_nanos()).expect("a beat is short");
        if !self.now.0.is_multiple_of(interval) {
            return;
        }
        let ids: Vec<NodeId> = self.machines.keys().copied().collect();
        for node in &ids {
            self.learn_life(*node);
            if !self.machines[node].up || self.machines[node].agent == Agent::Stopped {
                continue;
            }
            for coordinator in &ids {
                let reaches =
                    self.machines[coordinator].up && !self.cut.contains(&(*coordinator, *node));
                if !reaches {
                    continue;
                }
                self.heard.insert((*coordinator, *node), self.now);
                let life = self.machines[node].life;
                if self.state.nodes[node].session == (Session::Open { incarnation: life }) {
                    self.acknowledged.insert((*coordinator, *node), self.now);
                }
            }
        }
    }

    /// A running agent beats for the life that was admitted for its boot.
    fn learn_life(&mut self, node: NodeId) {
        let standing = self.state.live_incarnation(node).unwrap_or_default();
        let boot = self.state.nodes[&node].boot;
        if let Some(machine) = self.machines.get_mut(&node)
            && boot == BootId([machine.boot; 16])
        {
            machine.life = standing;
        }
    }

    fn silences(&self, leader: NodeId) -> Vec<Silence> {
        self.state
            .nodes
            .keys()
            .filter(|id| self.state.live_incarnation(**id).is_some())
            .map(|id| Silence {
                node: *id,
                silent: self
                    .now
                    .since(self.heard.get(&(leader, *id)).copied().unwrap_or_default()),
            })
            .collect()
    }

    fn step_leader(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let Some((id, mut leader)) = self.leader.take() else {
                return;
            };
            let silences = self.silences(id);
            let stamp = self.now.0 / 1_000_000;
            let outputs = leader.step(self.now, stamp, &self.state, &silences, input);
            self.leader = Some((id, leader));
            for output in outputs {
                match output {
                    Output::Propose(Proposal { number, entry }) => {
                        let fate = if self.commits {
                            self.commit(entry.commands);
                            Fate::Committed(LogIndex(self.index))
                        } else {
                            Fate::Unknown
                        };
                        inputs.push_back(Input::Proposed { number, fate });
                    }
                    Output::AskAges { node, closing, .. } => {
                        for age in self.ages(node) {
                            inputs.push_back(Input::AgeStated { closing, age });
                        }
                    }
                    // An order comes later, or none.
                    Output::Foresee(_) => {}
                    Output::Fence(run) => {
                        self.handed_out = self.now;
                        self.runs.push_back(run);
                    }
                    Output::Probe {
                        device, generation, ..
                    } => {
                        let health = Some(self.path(&device));
                        inputs.push_back(Input::Probed {
                            device,
                            generation,
                            health,
                        });
                    }
                    Output::TransferTo(target) => self.transfers.push(target),
                }
            }
        }
    }

    fn ages(&self, node: NodeId) -> Vec<StatedAge> {
        let up = self.machines.iter().filter(|(_, machine)| machine.up);
        up.map(|(by, _)| {
            let at = |map: &BTreeMap<(NodeId, NodeId), Moment>| {
                self.now
                    .since(map.get(&(*by, node)).copied().unwrap_or_default())
            };
            StatedAge {
                by: *by,
                membership: self.state.membership.at,
                age: at(&self.acknowledged),
                heard: at(&self.heard),
                sequence: 1,
                guards: self.machines[&node].guards,
            }
        })
        .collect()
    }

    pub(crate) fn lose(&mut self, name: &str) -> Result<(), String> {
        let id = self.node(name)?.id;
        self.machine(id)?.up = false;
        if self
            .leader
            .as_ref()
            .is_some_and(|(leader, _)| *leader == id)
        {
            self.leader = None;
        }
        Ok(())
    }

    pub(crate) fn come_back(
        &mut self,
        name: &str,
        fresh_boot: bool,
        probe: Probe,
    ) -> Result<(), String> {
        let id = self.node(name)?.id;
        let machine = self.machine(id)?;
        machine.up = true;
        machine.agent = Agent::Obeys;
        machine.guards = Attestation::Intact;
        machine.life = Incarnation::default();
        if fresh_boot {
            machine.boot += 1;
        }
        self.attach(id, probe);
        Ok(())
    }

    fn machine(&mut self, id: NodeId) -> Result<&mut Machine, String> {
        self.machines
            .get_mut(&id)
            .ok_or("no such machine".to_owned())
    }

    pub(crate) fn agent(&mut self, name: &str, word: &str) -> Result<(), String> {
        let id = self.node(name)?.id;
        let machine = self.machine(id)?;
        match word {
            "stops" => machine.agent = Agent::Stopped,
            "obeys" => machine.agent = Agent::Obeys,
            "stubborn" => machine.agent = Agent::Stubborn,
            "stuck" => machine.agent = Agent::Stuck,
            "unheard" => machine.agent = Agent::Unheard,
            "dogless" => machine.agent = Agent::Dogless,
            "unguarded" => machine.guards = Attestation::Broken,
            other => return Err(format!("agents do not {other}")),
        }
        Ok(())
    }

    pub(crate) fn cut(&mut self, coordinator: &str, agent: &str) -> Result<(), String> {
        let pair = (self.node(coordinator)?.id, self.node(agent)?.id);
        self.cut.insert(pair);
        Ok(())
    }

    pub(crate) fn heal(&mut self, coordinator: &str, agent: &str) -> Result<(), String> {
        let pair = (self.node(coordinator)?.id, self.node(agent)?.id);
        self.cut.remove(&pair);
        Ok(())
    }

    pub(crate) fn log(&mut self, word: &str) -> Result<(), String> {
        self.commits = match word {
            "stops" => false,
            "commits" => true,
            other => return Err(format!("logs do not {other}")),
        };
        Ok(())
    }

    pub(crate) fn answer(&mut self, verdict: Verdict) -> Result<(), String> {
        let run = self.runs.pop_front().ok_or("nothing is being executed")?;
        if verdict == Verdict::Confirmed && run.action == FenceAction::Off {
            self.machine(run.node)?.up = false;
        }
        self.step_leader(Input::FenceAnswered {
            order: run.order,
            attempt: run.attempt,
            verdict,
            detail: "as the story says".to_owned(),
            lie: None,
        });
        Ok(())
    }

    pub(crate) fn executor(&self) -> String {
        match self.runs.back() {
            None => "idle".to_owned(),
            Some(run) => format!(
                "{} {} attempt {} status {:?}",
                match run.action {
                    FenceAction::Off => "fences",
                    FenceAction::On => "powers on",
                },
                self.name(run.node),
                run.attempt,
                run.status
            ),
        }
    }

    pub(crate) fn transfer(&self) -> String {
        if self.transfers.is_empty() {
            return "none".to_owned();
        }
        let names: Vec<String> = self.transfers.iter().map(|id| self.name(*id)).collect();
        format!("to {}", names.join(" "))
    }

    pub(crate) fn node(&self, name: &str) -> Result<&Node, String> {
        self.state
            .node_named(&NodeName::from(name))
            .ok_or(format!("no node is called {name}"))
    }

    pub(crate) fn name(&self, id: NodeId) -> String {
        self.state
            .nodes
            .get(&id)
            .map_or("?".to_owned(), |node| node.name.to_string())
    }

    pub(crate) fn resource(&self, id: &str) -> Result<&Resource, String> {
        let name = id.strip_prefix("vip/").ok_or("not a vip")?;
        self.state
            .resources
            .get(&ResourceId::vip(name))
            .ok_or(format!("{id} does not exist"))
    }

    pub(crate) fn expect_event(&self, reason: &str) -> Result<(), String> {
        let seen = self.state.events.iter().any(|event| event.reason == reason);
        if seen {
            Ok(())
        } else {
            Err("there is no such event".to_owned())
        }
    }

    /// Whether the newest entry that holds the first kind holds them all, in this order.
    pub(crate) fn expect_entry(&self, kinds: &[&str]) -> Result<(), String> {
        let kinds_of = |entry: &Entry| -> Vec<String> {
            let word = |command: &Command| {
                let text = format!("{command:?}");
                let end = text.find([' ', '(', '{']).unwrap_or(text.len());
                text[..end].to_owned()
            };
            entry.commands.iter().map(word).collect()
        };
        let newest = self.entries.iter().rev().map(kinds_of).find(|found| {
            kinds
                .first()
                .is_some_and(|kind| found.iter().any(|it| it == kind))
        });
        match newest {
            Some(found) if found == kinds => Ok(()),
            other => Err(format!("found: {other:?}")),
        }
    }

    /// The newest events, for failures.
    pub(crate) fn tail(&self) -> String {
        let newest = self.state.events.iter().rev().take(12);
        let lines: Vec<String> = newest
            .map(|event| {
                format!(
                    "      {} {} ms {} {}: {}",
                    event.index, event.stamp_unix_ms, event.reason, event.subject, event.message
                )
            })
            .collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}
