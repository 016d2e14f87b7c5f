//! What an administrator does in a story. Nothing here steps the clock or the network.

use super::*;
use haft_engine::witness::{Lie, Speaker, Witness};

impl World {
    fn put(&mut self, object: ObjectSpec) -> Result<(), String> {
        let request = self.request();
        self.ask(Command::Put {
            object,
            expected: None,
            request,
        })
    }

    /// `after-fence power-on`: of nodes applied from now on.
    pub(crate) fn power_on_after_fence(&mut self) {
        self.after_fence = AfterFence::PowerOn;
    }

    /// `feed NAME`: the power domain of what is applied from now on.
    pub(crate) fn set_feed(&mut self, name: &str) {
        self.feed = Some(name.to_owned());
    }

    fn domains(&self) -> Domains {
        Domains {
            power: self.feed.clone(),
            network: None,
        }
    }

    pub(crate) fn device(
        &mut self,
        name: &str,
        targets: &str,
        level: u8,
        observes: Observes,
    ) -> Result<(), String> {
        let spec = FenceDeviceSpec {
            host_argument: haft_engine::spec::HostArgument::default(),
            agent: "fence_haft_ipmi".to_owned(),
            observes,
            delay: Duration::ZERO,
            targets: targets
                .split(',')
                .map(|target| (NodeName::from(target), String::new()))
                .collect(),
            parameters: BTreeMap::new(),
            secret_files: BTreeMap::new(),
            deadline: Duration::from_secs(10),
            level,
            domains: self.domains(),
        };
        self.put(ObjectSpec::Device(DeviceName::from(name), spec))
    }

    /// `topology NAME of A,B level X,Y [timeout T] [delay T] level Z ...`
    pub(crate) fn topology(
        &mut self,
        name: &str,
        nodes: &str,
        rest: &[&str],
    ) -> Result<(), String> {
        let mut levels: Vec<FenceLevel> = Vec::new();
        for pair in rest.chunks(2) {
            let [word, value] = pair else {
                return Err("a word without a value".to_owned());
            };
            if *word == "level" {
                levels.push(FenceLevel {
                    devices: value.split(',').map(DeviceName::from).collect(),
                    timeout: None,
                    delay: Duration::ZERO,
                });
                continue;
            }
            let level = levels.last_mut().ok_or("no level yet")?;
            let span = crate::script::span_of(value)?;
            match *word {
                "timeout" => level.timeout = Some(span),
                "delay" => level.delay = span,
                other => return Err(format!("levels have no {other}")),
            }
        }
        let spec = FenceTopologySpec {
            nodes: nodes.split(',').map(NodeName::from).collect(),
            levels,
        };
        self.put(ObjectSpec::Topology(TopologyName::from(name), spec))
    }

    /// What the newest attempt calls, and for how long.
    pub(crate) fn calls(&self) -> String {
        self.runs.back().map_or("nothing".to_owned(), |run| {
            let devices: Vec<&str> = run.devices.iter().map(DeviceName::as_str).collect();
            format!(
                "calls {} within {} ms after {} ms",
                devices.join(","),
                run.deadline.since(self.handed_out).as_millis(),
                run.delay.as_millis()
            )
        })
    }

    /// `path DEVICE answers` or `path DEVICE fails WORDS`
    pub(crate) fn set_path(&mut self, device: &str, words: Option<String>) {
        let device = DeviceName::from(device);
        match words {
            Some(words) => self.broken.insert(device, words),
            None => self.broken.remove(&device),
        };
    }

    pub(super) fn path(&self, device: &DeviceName) -> PathHealth {
        match self.broken.get(device) {
            None => PathHealth::Healthy,
            Some(words) => PathHealth::Failing {
                fault: PathFault::Failed,
                why: words.clone(),
            },
        }
    }

    /// `vip NAME ISOLATION [prefer A,B] [address A.B.C.D] [failback] [unfenced]`
    pub(crate) fn vip(
        &mut self,
        name: &str,
        isolation: Isolation,
        rest: &[&str],
    ) -> Result<(), String> {
        self.addresses += 1;
        let mut spec = VirtualIpSpec {
            address: IpAddr::V4(Ipv4Addr::new(198, 51, 100, self.addresses)),
            interface: "eth0".to_owned(),
            isolation,
            unfenced: Unfenced::Refused,
            preference: Vec::new(),
            failback: Failback::Never,
        };
        let mut rest = rest.iter();
        while let Some(word) = rest.next() {
            match *word {
                "prefer" => {
                    let names = rest.next().copied().unwrap_or_default();
                    spec.preference = names.split(',').map(NodeName::from).collect();
                }
                "address" => {
                    let text = rest.next().copied().unwrap_or_default();
                    spec.address = text.parse().map_err(|_| format!("{text}: no address"))?;
                }
                "failback" => spec.failback = Failback::Auto,
                "unfenced" => spec.unfenced = Unfenced::Allowed,
                other => return Err(format!("vips have no {other}")),
            }
        }
        let id = ResourceId::vip(name);
        self.put(ObjectSpec::Resource(id, ResourceSpec::VirtualIp(spec)))
    }

    pub(crate) fn schedule(&mut self, name: &str, scheduling: Scheduling) -> Result<(), String> {
        let spec = NodeSpec {
            scheduling,
            after_fence: self.after_fence,
            domains: self.domains(),
            labels: BTreeMap::new(),
        };
        self.put(ObjectSpec::Node(NodeName::from(name), spec))
    }

    pub(crate) fn delete(&mut self, id: &str) -> Result<(), String> {
        let (kind, name) = id.split_once('/').ok_or("delete what?")?;
        let object = match kind {
            "vip" => ObjectRef::Resource(ResourceId::vip(name)),
            "node" => ObjectRef::Node(NodeName::from(name)),
            "fencetopology" => ObjectRef::Topology(TopologyName::from(name)),
            _ => ObjectRef::Device(DeviceName::from(name)),
        };
        let request = self.request();
        self.ask(Command::Delete {
            object,
            expected: None,
            request,
        })
    }

    pub(crate) fn move_to(&mut self, id: &str, to: &str) -> Result<(), String> {
        let resource = self.resource(id)?.id.clone();
        let request = self.request();
        self.ask(Command::Move {
            resource,
            to: NodeName::from(to),
            request,
        })
    }

    fn newest(&self, name: &str) -> Result<(NodeId, Incarnation), String> {
        let node = self.node(name)?;
        Ok((node.id, node.newest()))
    }

    pub(crate) fn order_fence(&mut self, name: &str, action: FenceAction) -> Result<(), String> {
        let (node, incarnation) = self.newest(name)?;
        let request = self.request();
        self.ask(Command::FenceIntent {
            node,
            incarnation,
            action,
            cause: FenceCause::Administrator {
                by: "alice".to_owned(),
                reason: "maintenance".to_owned(),
            },
            request,
            first: None,
        })
    }

    pub(crate) fn confirm_off(&mut self, name: &str) -> Result<(), String> {
        let (node, incarnation) = self.newest(name)?;
        let boot = Some(self.state.nodes[&node].boot);
        let request = self.request();
        self.ask(Command::ConfirmOff {
            node,
            incarnation,
            boot,
            by: "alice".to_owned(),
            reason: "I pulled both plugs".to_owned(),
            witnesses: Vec::new(),
            overruled: Vec::new(),
            request,
        })
    }

    /// `executor answers confirmed against n1`: the devices have said so, and the machine has answered that coordinator.
    pub(crate) fn answer_against(&mut self, by: &str) -> Result<(), String> {
        let run = self.runs.pop_front().ok_or("nothing is being executed")?;
        let witness = Witness {
            by: self.node(by)?.id,
            speaker: Speaker::Coordinator,
            boot: run.boot,
        };
        self.step_leader(Input::FenceAnswered {
            order: run.order,
            attempt: run.attempt,
            verdict: Verdict::Confirmed,
            detail: "as the story says".to_owned(),
            lie: Some(Lie {
                witness,
                devices: run.devices,
            }),
        });
        Ok(())
    }

    /// `answers n2 to n1`: long after, the agent of a machine answers a challenge of that coordinator.
    pub(crate) fn testify(&mut self, name: &str, by: &str) -> Result<(), String> {
        let (node, incarnation) = self.newest(name)?;
        let witness = Witness {
            by: self.node(by)?.id,
            speaker: Speaker::Agent,
            boot: BootId([self.machines[&node].boot; 16]),
        };
        self.step_leader(Input::Witnessed {
            node,
            incarnation,
            witness,
        });
        Ok(())
    }
}
