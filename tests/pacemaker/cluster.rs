//! `make test-pacemaker`: a whole Pacemaker and Corosync cluster that fences with our agent.
//!
//! Three nodes in jails on one bridge, a BMC each (`ipmi_sim` on the bridge's own address, whose power-off
//! kills the node's process tree), one address as resource. Two stories: the owner's process tree is
//! killed; the owner's cable is cut, so that only the BMC can stop it. Each time Pacemaker must fence with
//! `fence_haft_ipmi` before the address runs elsewhere. Run by scripts/test-pacemaker inside namespaces of
//! its own; it measures nothing that is compared.

#![expect(clippy::unwrap_used, reason = "a test program fails by panicking")]
#![expect(clippy::print_stdout, reason = "the story is told on stdout")]

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use haft_tests::ipmi_sim::{IpmiSim, PASSWORD, Power, USER};
use haft_tests::jail::{Jail, Network};

const NODES: usize = 3;
/// The bridge's address, where the BMCs are.
const BMCS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 254);
/// The resource.
const ADDRESS: &str = "10.99.0.100";
/// Where a node's init is written down for its BMC.
const PIDS: &str = "/run/haft-test";

struct Cluster {
    agent: PathBuf,
    nodes: Vec<Option<Jail>>,
    bmcs: Vec<IpmiSim>,
}

fn main() {
    assert_eq!(
        std::process::id(),
        1,
        "this program is started by scripts/test-pacemaker as the first of its own namespaces"
    );
    let agent = std::env::args().nth(1).expect("the agent's path is given");
    let mut cluster = Cluster::start(PathBuf::from(agent));
    cluster.configure();
    let first = cluster.owner();
    println!("three nodes online, {ADDRESS} runs on {}", name(first));

    let began = Instant::now();
    cluster.nodes[first].as_mut().unwrap().kill();
    let second = cluster.moved_from(first);
    println!(
        "story 1: {}'s process tree killed; fenced by fence_haft_ipmi, {ADDRESS} on {} after {:.1} s",
        name(first),
        name(second),
        began.elapsed().as_secs_f64()
    );

    cluster.boot(first);
    cluster.await_online(second);
    let began = Instant::now();
    ip(&format!("link set {} down", port(second)));
    let third = cluster.moved_from(second);
    let node = cluster.nodes[second].as_ref().unwrap();
    let alive = std::path::Path::new(&format!("/proc/{}", node.init())).exists();
    assert!(!alive, "the cut-off node was killed by its BMC");
    println!(
        "story 2: {}'s cable cut; its BMC powered it off, {ADDRESS} on {} after {:.1} s",
        name(second),
        name(third),
        began.elapsed().as_secs_f64()
    );
    println!("test-pacemaker: 2 stories passed");
}

fn name(node: usize) -> String {
    format!("n{}", node + 1)
}

fn port(node: usize) -> String {
    format!("p-{}", name(node))
}

/// Runs `ip ARGUMENTS` in this program's own network namespace.
fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split_whitespace())
        .status()
        .unwrap();
    assert!(status.success(), "ip {arguments}");
}

impl Cluster {
    fn start(agent: PathBuf) -> Self {
        ip("link set lo up");
        // Of its own accord a bridge takes the hardware address of a port, and a new one when that port goes:
        // for half a minute nobody would find the BMCs.
        ip("link add br0 address 02:00:00:00:99:fe type bridge forward_delay 0 mcast_snooping 0");
        ip(&format!("addr add {BMCS}/24 dev br0"));
        ip("link set br0 up");
        std::fs::create_dir_all(PIDS).unwrap();
        let bmcs = (0..NODES).map(|node| {
            // Off is only told once no process of the machine is left.
            let pid = format!("\"$(cat {PIDS}/{})\"", name(node));
            let hook = format!(
                "if [ \"$3\" = 0 ]; then kill -9 {pid}; while kill -0 {pid} 2>/dev/null; do :; done; fi"
            );
            IpmiSim::start_on(BMCS.into(), &hook)
        });
        let bmcs = bmcs.collect();
        let mut cluster = Self {
            agent,
            nodes: (0..NODES).map(|_| None).collect(),
            bmcs,
        };
        for node in 0..NODES {
            cluster.boot(node);
        }
        cluster.await_online(0);
        cluster
    }

    /// Starts a node's machine and its cluster software.
    fn boot(&mut self, node: usize) {
        // The old machine first: its end takes the cable with it.
        self.nodes[node] = None;
        self.bmcs[node].set_power(Power::On);
        let mut jail = Jail::start(&name(node), Network::Own, std::slice::from_ref(&self.agent));
        std::fs::write(format!("{PIDS}/{}", name(node)), jail.init().to_string()).unwrap();
        let (wire, init) = (port(node), jail.init());
        ip(&format!(
            "link add {wire} type veth peer name eth0 netns {init}"
        ));
        ip(&format!("link set {wire} master br0 up"));
        let own = node + 1;
        jail.sh(&format!(
            "ip addr add 10.99.0.{own}/24 brd + dev eth0 && ip link set eth0 up"
        ))
        .ok();
        jail.sh(&format!(
            "cat > /etc/corosync/corosync.conf <<'END'\n{}END\n\
             umask 077; echo {PASSWORD} > /run/password; umask 022",
            corosync_conf()
        ))
        .ok();
        jail.sh("corosync -f >/var/log/corosync.out 2>&1 &");
        jail.until("corosync-quorumtool -s 2>&1", |text| {
            text.contains("Nodes:")
        });
        jail.sh("pacemakerd >/var/log/pacemakerd.out 2>&1 &");
        self.nodes[node] = Some(jail);
    }

    fn on(&mut self, node: usize) -> &mut Jail {
        self.nodes[node].as_mut().expect("the node was booted")
    }

    /// Waits until `node` sees all three online.
    fn await_online(&mut self, node: usize) {
        let all = format!(
            "Online: [ {} ]",
            (0..NODES).map(name).collect::<Vec<_>>().join(" ")
        );
        self.on(node)
            .until("crm_mon -1 2>&1", |text| text.contains(&all));
    }

    fn configure(&mut self) {
        let ports: Vec<u16> = self.bmcs.iter().map(IpmiSim::port).collect();
        let jail = self.on(0);
        for (key, value) in [
            ("stonith-enabled", "true"),
            ("stonith-timeout", "30s"),
            ("no-quorum-policy", "stop"),
        ] {
            jail.sh(&format!(
                "crm_attribute --type crm_config --name {key} --update {value}"
            ))
            .ok();
        }
        for (node, port) in ports.into_iter().enumerate() {
            jail.sh(&format!(
                "cibadmin -C -o resources -X '{}'",
                stonith(node, port)
            ))
            .ok();
        }
        jail.sh(&format!("cibadmin -C -o resources -X '{}'", address()))
            .ok();
        jail.until("crm_mon -1 -r 2>&1", |text| {
            text.matches("Started").count() == NODES + 1
        });
    }

    /// The node on which the address runs and is there.
    fn owner(&mut self) -> usize {
        let text = self
            .on(0)
            .until("crm_resource --locate -r vip 2>&1", |text| {
                text.contains("is running on")
            });
        let owner =
            (0..NODES).find(|node| text.contains(&format!("is running on: {}", name(*node))));
        owner.expect("one of the nodes")
    }

    /// Waits until the address has moved from a lost node, and checks that the node was fenced first.
    fn moved_from(&mut self, lost: usize) -> usize {
        let witness = (0..NODES).find(|node| *node != lost).unwrap();
        let elsewhere = |node: &usize, text: &str| {
            *node != lost && text.contains(&format!("is running on: {}", name(*node)))
        };
        let text = self
            .on(witness)
            .until("crm_resource --locate -r vip 2>&1", |text| {
                (0..NODES).any(|node| elsewhere(&node, text))
            });
        let now = (0..NODES).find(|node| elsewhere(node, &text)).unwrap();
        let calls = self.bmcs[lost].calls();
        assert!(
            calls.contains(&"set power 0".to_owned()),
            "the BMC was told to power off: {calls:?}"
        );
        let history = format!("stonith_admin --history {} --verbose", name(lost));
        let history = self.on(witness).until(&history, |text| {
            text.contains("was able to") || text.contains("successful")
        });
        println!("  {}", history.trim().replace('\n', "\n  "));
        self.on(now)
            .until("ip -o addr show dev eth0", |text| text.contains(ADDRESS));
        now
    }
}

fn corosync_conf() -> String {
    let nodes: String = (1..=NODES)
        .map(|id| {
            format!(
                "  node {{\n    name: n{id}\n    nodeid: {id}\n    ring0_addr: 10.99.0.{id}\n  }}\n"
            )
        })
        .collect();
    format!(
        "totem {{\n  version: 2\n  cluster_name: haft-test\n  transport: udpu\n  token: 1000\n}}\n\
         nodelist {{\n{nodes}}}\n\
         quorum {{\n  provider: corosync_votequorum\n}}\n\
         system {{\n  sched_rr: no\n}}\n\
         logging {{\n  to_stderr: yes\n  to_syslog: no\n}}\n"
    )
}

/// A fence device for one node, as an administrator writes it.
fn stonith(node: usize, port: u16) -> String {
    let name = name(node);
    let pairs = [
        ("ip", BMCS.to_string()),
        ("ipport", port.to_string()),
        ("username", USER.to_owned()),
        ("password_file", "/run/password".to_owned()),
        ("pcmk_host_list", name.clone()),
    ];
    let pairs: String = pairs
        .iter()
        .map(|(key, value)| {
            format!("<nvpair id=\"bmc-{name}-{key}\" name=\"{key}\" value=\"{value}\"/>")
        })
        .collect();
    format!(
        "<primitive id=\"bmc-{name}\" class=\"stonith\" type=\"fence_haft_ipmi\">\
         <instance_attributes id=\"bmc-{name}-ia\">{pairs}</instance_attributes>\
         <operations><op id=\"bmc-{name}-monitor\" name=\"monitor\" interval=\"20s\" timeout=\"20s\"/></operations>\
         </primitive>"
    )
}

fn address() -> String {
    format!(
        "<primitive id=\"vip\" class=\"ocf\" provider=\"heartbeat\" type=\"IPaddr2\">\
         <instance_attributes id=\"vip-ia\"><nvpair id=\"vip-ip\" name=\"ip\" value=\"{ADDRESS}\"/>\
         <nvpair id=\"vip-mask\" name=\"cidr_netmask\" value=\"24\"/></instance_attributes>\
         <operations><op id=\"vip-monitor\" name=\"monitor\" interval=\"10s\" timeout=\"20s\"/></operations>\
         </primitive>"
    )
}
