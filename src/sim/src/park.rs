//! The fence devices of a run: which there are, at which level, and what they depend on.
//!
//! Every machine has a BMC; outlets and disks are there if the seed deals them. The specs that `apply` gets are made
//! here, too, so that names, levels and truth agree.

use crate::clock::TrueTime;
use crate::disks::{DiskTimes, Obeyed, SharedDisk, StartMode, majority};
use crate::nemesis::Bias;
use crate::net::Place;
use crate::pdu::Pdu;
use crate::rng::Rng;
use haft_engine::clock::Timing;
use haft_engine::ids::{DeviceName, NodeName};
use haft_engine::spec::{Domains, FenceDeviceSpec, FenceLevel, FenceTopologySpec, Observes};
use std::collections::BTreeMap;
use std::time::Duration;

/// A fence device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Tool {
    /// Every machine's own BMC.
    Bmc,
    /// A PDU.
    Pdu(usize),
    /// Poison pills on the shared disks.
    Disks,
}

impl Tool {
    /// What the cluster calls it.
    pub(crate) fn name(self) -> DeviceName {
        DeviceName::from(match self {
            Tool::Bmc => "bmc",
            Tool::Pdu(0) => "pdu-a",
            Tool::Pdu(_) => "pdu-b",
            Tool::Disks => "sbd",
        })
    }

    /// Which it is, by that name.
    pub(crate) fn named(name: &DeviceName) -> Option<Tool> {
        let all = [Tool::Bmc, Tool::Pdu(0), Tool::Pdu(1), Tool::Disks];
        all.into_iter().find(|tool| tool.name() == *name)
    }
}

/// Which devices cover every node, level by level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Topology {
    /// A BMC.
    Bmc,
    /// One PDU with both supplies, on the feed of the machines themselves.
    Pdu,
    /// A BMC, then one PDU with both supplies.
    BmcThenPdu,
    /// A BMC, then a pair of PDUs, then pills.
    ThreeLevels,
    /// Pills alone.
    Pills,
    /// A BMC and pills at one level: power and poison together.
    BmcWithPills,
    /// A BMC and one PDU with both supplies at one level: each proves the other right.
    BmcWithPdu,
    /// A pair of PDUs, then a BMC.
    PairThenBmc,
    /// Pills, then a pair of PDUs.
    PillsThenPair,
}

impl Topology {
    /// One of them; mostly a BMC and no more, unless the run is about fencing or everything.
    fn deal(rng: &mut Rng, bias: Bias) -> Topology {
        let rich = match bias {
            Bias::Fencing | Bias::Mixed => 800,
            Bias::Sessions | Bias::Guards | Bias::Voters => 150,
        };
        if !rng.chance(rich) {
            return Topology::Bmc;
        }
        match rng.below(14) {
            11 | 12 => Topology::Pdu,
            0 => Topology::BmcThenPdu,
            1 | 2 => Topology::ThreeLevels,
            3..=5 => Topology::Pills,
            6 => Topology::BmcWithPills,
            7 | 8 => Topology::BmcWithPdu,
            9 | 10 => Topology::PairThenBmc,
            _ => Topology::PillsThenPair,
        }
    }

    /// The devices of each level, the first level first.
    pub(crate) fn levels(self) -> Vec<Vec<Tool>> {
        let pair = vec![Tool::Pdu(0), Tool::Pdu(1)];
        match self {
            Topology::Bmc => vec![vec![Tool::Bmc]],
            Topology::Pdu => vec![vec![Tool::Pdu(0)]],
            Topology::BmcThenPdu => vec![vec![Tool::Bmc], vec![Tool::Pdu(0)]],
            Topology::ThreeLevels => vec![vec![Tool::Bmc], pair, vec![Tool::Disks]],
            Topology::Pills => vec![vec![Tool::Disks]],
            Topology::BmcWithPills => vec![vec![Tool::Bmc, Tool::Disks]],
            Topology::BmcWithPdu => vec![vec![Tool::Bmc, Tool::Pdu(0)]],
            Topology::PairThenBmc => vec![pair, vec![Tool::Bmc]],
            Topology::PillsThenPair => vec![vec![Tool::Disks], pair],
        }
    }
}

/// How the administrator has written the levels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Written {
    /// Each device says its own level and delay.
    ByDevices,
    /// A FenceTopology says them; the devices all say level 1.
    ByTopology,
}

/// What the seed deals beside the topology.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) topology: Topology,
    pub(crate) written: Written,
    /// Shared disks, if there are any: 1 or 3.
    pub(crate) disks: usize,
    pub(crate) start: StartMode,
    pub(crate) obeyed: Obeyed,
    /// Waited before the first device of a level is used.
    pub(crate) delay: Duration,
    /// Of a device that switches power.
    pub(crate) deadline: Duration,
    /// Nodes, per mille, that are ordered on again after a fence.
    pub(crate) power_on: u64,
}

impl Plan {
    /// Deals one.
    pub(crate) fn deal(rng: &mut Rng, timing: &Timing, bias: Bias) -> Plan {
        let usual = Duration::max(timing.ttl * 2, Duration::from_millis(1_000));
        Plan {
            topology: Topology::deal(rng, bias),
            written: match rng.below(3) {
                0 => Written::ByTopology,
                _ => Written::ByDevices,
            },
            disks: if rng.chance(650) { 3 } else { 1 },
            start: if rng.chance(500) {
                StartMode::Always
            } else {
                StartMode::Clean
            },
            obeyed: if rng.chance(700) {
                Obeyed::Reset
            } else {
                Obeyed::Off
            },
            delay: match rng.below(4) {
                0 => timing.ttl / 4,
                _ => Duration::ZERO,
            },
            deadline: match rng.below(5) {
                0 => Duration::from_millis(400),
                _ => usual,
            },
            power_on: [0, 500, 1_000][rng.index(3)],
        }
    }
}

/// The devices.
pub(crate) struct Park {
    pub(crate) plan: Plan,
    pub(crate) times: DiskTimes,
    pub(crate) pdus: Vec<Pdu>,
    pub(crate) disks: Vec<SharedDisk>,
    /// Orders that PDUs have heard.
    pub(crate) orders: u64,
}

impl Park {
    /// Builds what `plan` says for `places` machines.
    pub(crate) fn build(plan: Plan, timing: &Timing, places: usize, rng: &mut Rng) -> Park {
        let tools: Vec<Tool> = plan.topology.levels().into_iter().flatten().collect();
        let pdus = tools
            .iter()
            .filter(|tool| matches!(tool, Tool::Pdu(_)))
            .count();
        let each = if pdus == 1 { 2 } else { 1 };
        let disks = if tools.contains(&Tool::Disks) {
            plan.disks
        } else {
            0
        };
        Park {
            plan,
            times: DiskTimes::of(timing),
            pdus: (0..pdus).map(|_| Pdu::new(places, each, rng)).collect(),
            disks: (0..disks).map(|_| SharedDisk::new(places)).collect(),
            orders: 0,
        }
    }

    /// Whether this machine's supplies deliver power now. Without PDUs they always do.
    pub(crate) fn is_fed(&self, place: Place, now: TrueTime) -> bool {
        self.pdus.is_empty() || self.pdus.iter().any(|pdu| pdu.feeds(place, now))
    }

    /// Whether a verdict may rest on pills alone. A pill's proof is the target's own watchdog, which stands still with
    /// a virtual machine; so machines of such runs are not paused with their clocks (`docs/sbd.md`).
    pub(crate) fn rests_on_pills(&self) -> bool {
        !self.disks.is_empty()
    }

    /// Whether another device of the level of `tool` proves a machine off without it, so that `tool` may lie.
    pub(crate) fn has_witness(&self, tool: Tool) -> bool {
        let levels = self.plan.topology.levels();
        let others = levels.into_iter().find(|level| level.contains(&tool));
        let others: Vec<Tool> = others
            .into_iter()
            .flatten()
            .filter(|other| *other != tool)
            .collect();
        let feeds_alone = |pdu: usize| self.pdus.len() == 1 && others.contains(&Tool::Pdu(pdu));
        others.contains(&Tool::Bmc) || others.contains(&Tool::Disks) || feeds_alone(0)
    }

    /// Disks on which a pill must lie.
    pub(crate) fn quorum(&self) -> usize {
        majority(self.disks.len())
    }

    /// No fault any more.
    pub(crate) fn heal(&mut self) {
        for pdu in &mut self.pdus {
            pdu.heal();
        }
        for disk in &mut self.disks {
            disk.heal();
        }
    }

    /// Every device as the administrator applies it.
    pub(crate) fn specs(&self, nodes: &[NodeName]) -> Vec<(DeviceName, FenceDeviceSpec)> {
        let mut specs = Vec::new();
        for (level, tools) in (1..).zip(self.plan.topology.levels()) {
            for (at, tool) in tools.into_iter().enumerate() {
                let mut spec = self.spec(tool, nodes);
                match self.plan.written {
                    Written::ByTopology => {}
                    Written::ByDevices => {
                        spec.level = level;
                        if at == 0 {
                            spec.delay = self.plan.delay;
                        }
                    }
                }
                specs.push((tool.name(), spec));
            }
        }
        specs
    }

    /// The levels as one object for all nodes, if they are written so.
    pub(crate) fn topology(&self, nodes: &[NodeName]) -> Option<FenceTopologySpec> {
        let levels = self.plan.topology.levels().into_iter();
        let levels = levels.map(|tools| FenceLevel {
            devices: tools.into_iter().map(Tool::name).collect(),
            timeout: None,
            delay: self.plan.delay,
        });
        match self.plan.written {
            Written::ByDevices => None,
            Written::ByTopology => Some(FenceTopologySpec {
                nodes: nodes.iter().cloned().collect(),
                levels: levels.collect(),
            }),
        }
    }

    fn spec(&self, tool: Tool, nodes: &[NodeName]) -> FenceDeviceSpec {
        let (agent, observes, deadline, plug) = match tool {
            Tool::Bmc => ("ipmi", Observes::Power, self.plan.deadline, ""),
            Tool::Pdu(_) if self.pdus.len() == 1 => {
                ("pdu", Observes::Power, self.plan.deadline, "1,2")
            }
            Tool::Pdu(_) => ("pdu", Observes::Power, self.plan.deadline, "1"),
            Tool::Disks => {
                let wait = self.times.msgwait;
                let deadline = wait + wait / 5 + self.times.io * 3;
                let least = Duration::from_millis(200);
                ("sbd", Observes::Poison, deadline.max(least), "")
            }
        };
        FenceDeviceSpec {
            host_argument: haft_engine::spec::HostArgument::default(),
            agent: format!("/usr/lib/haft/fence-agents/fence_haft_{agent}"),
            observes,
            delay: Duration::ZERO,
            targets: nodes
                .iter()
                .map(|name| (name.clone(), plug.to_owned()))
                .collect(),
            parameters: BTreeMap::from([("ip".to_owned(), "10.9.0.1".to_owned())]),
            secret_files: BTreeMap::new(),
            deadline,
            level: 1,
            domains: self.domains(tool),
        }
    }

    /// What a device needs: each PDU stands on the feed that it switches.
    pub(crate) fn domains(&self, tool: Tool) -> Domains {
        let power = match tool {
            Tool::Pdu(pdu) => Some(feed(pdu)),
            Tool::Bmc if self.pdus.len() == 1 => Some(feed(0)),
            Tool::Bmc | Tool::Disks => None,
        };
        Domains {
            power,
            network: Some("switch-1".to_owned()),
        }
    }

    /// What every node needs: both supplies of one PDU share its feed.
    pub(crate) fn node_domains(&self) -> Domains {
        Domains {
            power: (self.pdus.len() == 1).then(|| feed(0)),
            network: Some("switch-0".to_owned()),
        }
    }
}

fn feed(pdu: usize) -> String {
    format!("feed-{pdu}")
}
