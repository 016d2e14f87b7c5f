//! What the machines' kernels have in a story: the state of eth0, and addresses that somebody else made.
//!
//! A machine of which nothing was told does not report, as one with an older agent.

use super::*;
use haft_engine::keeper::Carrier;
use haft_engine::leader::Stream;
use haft_engine::machine::{Carries, Claim, Foreign, Link, Machine as Report};

/// One kernel.
#[derive(Clone, Debug)]
struct Kernel {
    /// `None`: there is no such interface.
    eth0: Option<Carrier>,
    foreign: BTreeSet<IpAddr>,
}

/// Those of which something was told.
#[derive(Debug, Default)]
pub(super) struct Kernels {
    told: BTreeMap<NodeId, Kernel>,
    taken: u64,
}

impl Kernels {
    /// Whether an address on eth0 works there, as far as is told.
    pub(super) fn carries(&self, node: NodeId) -> bool {
        self.told
            .get(&node)
            .is_none_or(|kernel| kernel.eth0 == Some(Carrier::Up))
    }

    fn report(&mut self, node: NodeId) -> Option<Box<Report>> {
        self.taken += 1;
        let kernel = self.told.get(&node)?;
        let link = kernel.eth0.map(|carrier| Link {
            names: vec!["eth0".to_owned()],
            carrier,
            carries: Carries::Any,
        });
        let foreign = kernel.foreign.iter().map(|address| {
            let link = "eth1".to_owned();
            (*address, Foreign { link, prefix: 24 })
        });
        let links = link.into_iter().collect();
        Report::new(self.taken, links, foreign.collect())
            .ok()
            .map(Box::new)
    }
}

impl World {
    /// `kernel n1 eth0 up|down|gone`, `kernel n1 has|lacks ADDRESS`
    pub(crate) fn kernel(&mut self, name: &str, what: &str, word: &str) -> Result<(), String> {
        let node = self.node(name)?.id;
        let kernel = self.kernels.told.entry(node).or_insert(Kernel {
            eth0: Some(Carrier::Up),
            foreign: BTreeSet::new(),
        });
        let address = || word.parse().map_err(|_| format!("{word} is no address"));
        match (what, word) {
            ("eth0", "up") => kernel.eth0 = Some(Carrier::Up),
            ("eth0", "down") => kernel.eth0 = Some(Carrier::Down),
            ("eth0", "gone") => kernel.eth0 = None,
            ("has", _) => {
                kernel.foreign.insert(address()?);
            }
            ("lacks", _) => {
                kernel.foreign.remove(&address()?);
            }
            _ => return Err(format!("kernels have no {what}")),
        }
        self.report_machine(node, Stream::Goes);
        Ok(())
    }

    fn report_machine(&mut self, node: NodeId, stream: Stream) {
        if let Some(machine) = self.kernels.report(node) {
            self.step_leader(Input::MachineSeen {
                node,
                machine,
                stream,
            });
        }
    }

    /// Every agent attaches to a new leader.
    pub(super) fn report_machines(&mut self) {
        let nodes: Vec<NodeId> = self.kernels.told.keys().copied().collect();
        for node in nodes {
            self.report_machine(node, Stream::Begins);
        }
    }

    /// `rival n1 vip/web heard|silent`
    pub(crate) fn rival(&mut self, name: &str, id: &str, word: &str) -> Result<(), String> {
        let node = self.node(name)?.id;
        let resource = self.resource(id)?.id.clone();
        let rival = (word == "heard").then(|| Claim {
            mac: [2, 0, 0, 0, 0, 0x66],
            link: "eth0".to_owned(),
        });
        self.step_leader(Input::RivalReported {
            node,
            resource,
            rival,
        });
        Ok(())
    }

    pub(crate) fn expect_told(&self, reason: &str, text: &str) -> Result<(), String> {
        let mut of_reason = self.state.events.iter().filter(|it| it.reason == reason);
        if of_reason.any(|event| event.message.contains(text)) {
            return Ok(());
        }
        Err(format!("no {reason} says {text}"))
    }

    pub(crate) fn expect_once(&self, reason: &str) -> Result<(), String> {
        let of_reason = self.state.events.iter().filter(|it| it.reason == reason);
        match of_reason.count() {
            1 => Ok(()),
            other => Err(format!("there are {other} events of {reason}")),
        }
    }
}
