//! A site: one switch, three machines, a client, and a management network with a BMC per machine.
//!
//! Several sites can share the lab (haft and Keepalived side by side); each has its own letter, addresses and bridges.
//! Faults that concern the network between machines live here; those of one machine in [`crate::machine`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::Arc;

use anyhow::Context;

use crate::bmc::{Bmc, Switchboard};
use crate::judge::Judge;
use crate::machine::{Identity, Machine};
use crate::shell;
use crate::sys::Link;
use haft_judge::protocol::Setup;

/// Number of machines that own things at a site.
pub const NODES: u8 = 3;
/// Last byte of the client's addresses.
const CLIENT: u8 = 4;
/// Last byte of the address that the judge asks from, which nobody owns.
const ARP_SENDER: u8 = 250;

/// One cluster's worth of machines.
#[derive(Debug)]
pub struct Site {
    /// Its letter.
    pub letter: String,
    number: u8,
    /// The machines that own things, in order.
    pub nodes: Vec<Arc<Machine>>,
    /// Where the judge and the user stand.
    pub client: Arc<Machine>,
    bmcs: Vec<Bmc>,
}

impl Site {
    /// Lays out site `number` (10.77.*number*.0/24) with nodes named *prefix*1 to *prefix*3; everything is off but the
    /// client.
    ///
    /// # Errors
    /// `ip` or `nft` that fail.
    pub fn lay_out(
        letter: &str,
        number: u8,
        prefix: &str,
        board: &Switchboard,
    ) -> anyhow::Result<Self> {
        // Fixed hardware addresses: a bridge that takes one of its ports' changes it when that machine restarts, and its
        // BMCs would be unreachable until every neighbour cache has noticed (seen: eight seconds).
        shell::ip(&format!(
            "link set lo up\n\
             link add br-{letter} address 02:4c:{number:02x}:00:01:01 type bridge stp_state 0 forward_delay 0 mcast_snooping 0 ageing_time 30000\n\
             link set br-{letter} up\n\
             link add mg-{letter} address 02:4c:{number:02x}:00:02:01 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
             link set mg-{letter} up\n"
        ))?;
        let mut nodes = Vec::new();
        for index in 1..=NODES {
            let name = format!("{prefix}{index}");
            let management = Some(format!("10.78.{number}.{index}/24"));
            let machine = Arc::new(Machine::new(identity(
                letter, number, &name, index, management,
            )));
            board
                .lock()
                .expect("nobody panics holding the board")
                .insert(name, machine.clone());
            nodes.push(machine);
        }
        let client = Arc::new(Machine::new(identity(
            letter,
            number,
            &format!("client-{letter}"),
            CLIENT,
            None,
        )));
        client.power_on()?;
        let site = Self {
            letter: letter.to_owned(),
            number,
            nodes,
            client,
            bmcs: Vec::new(),
        };
        site.nft(&format!(
            "table bridge part-{letter} {{\n set cut {{ type ifname . ifname; }}\n \
             chain f {{ type filter hook forward priority 0; policy accept;\n iifname . oifname @cut counter drop\n }}\n}}\n"
        ))?;
        Ok(site)
    }

    fn nft(&self, input: &str) -> anyhow::Result<()> {
        shell::feed(Command::new("nft").args(["-f", "-"]), input)
            .map(drop)
            .with_context(|| format!("cut set of site {}", self.letter))
    }

    /// Starts the BMCs.
    ///
    /// # Errors
    /// `ipmi_sim` that does not start.
    pub fn start_bmcs(&mut self) -> anyhow::Result<()> {
        for (index, node) in (1..=NODES).zip(&self.nodes) {
            let address = self.bmc_address(index);
            shell::ip(&format!("addr add {address}/24 dev mg-{}\n", self.letter))?;
            self.bmcs.push(Bmc::start(&node.identity.name, address)?);
        }
        Ok(())
    }

    /// Address of the BMC of the node with this number (from 1).
    #[must_use]
    pub fn bmc_address(&self, index: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 78, self.number, 10 + index)
    }

    /// IPv4 address of the site's network that ends in `last`.
    #[must_use]
    pub fn address(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, last)
    }

    /// IPv6 address of the site's network that ends in `last`.
    #[must_use]
    pub fn address6(&self, last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0x77, u16::from(self.number), 0, 0, 0, last)
    }

    /// The node of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn node(&self, name: &str) -> anyhow::Result<&Arc<Machine>> {
        self.nodes
            .iter()
            .find(|n| n.identity.name == name)
            .with_context(|| format!("no node {name}"))
    }

    /// Cuts one node from its peers, both ways; the client still reaches it.
    ///
    /// # Errors
    /// `nft` that fails.
    pub fn cut_from_peers(&self, node: &Machine) -> anyhow::Result<()> {
        let own = node.port();
        let peers = self.nodes.iter().map(|n| n.port()).filter(|p| *p != own);
        let pairs: Vec<String> = peers
            .map(|p| format!("\"{own}\" . \"{p}\", \"{p}\" . \"{own}\""))
            .collect();
        self.nft(&format!(
            "add element bridge part-{} cut {{ {} }}\n",
            self.letter,
            pairs.join(", ")
        ))
    }

    /// Takes back all cuts between nodes.
    ///
    /// # Errors
    /// `nft` that fails.
    pub fn heal(&self) -> anyhow::Result<()> {
        self.nft(&format!("flush set bridge part-{} cut\n", self.letter))
    }

    /// Cuts or restores the management network: no BMC is reachable from any node while it is down.
    ///
    /// # Errors
    /// A running node without its port.
    pub fn set_management(&self, link: Link) -> anyhow::Result<()> {
        for node in self.nodes.iter().filter(|n| n.init().is_some()) {
            node.set_management_port(link)?;
        }
        Ok(())
    }

    /// Starts a judge at the client, watching these addresses.
    ///
    /// # Errors
    /// The judge does not start.
    pub fn judge(&self, targets: BTreeMap<String, IpAddr>) -> anyhow::Result<Judge> {
        let nodes = self
            .nodes
            .iter()
            .map(|n| (n.identity.name.clone(), n.identity.mac.clone()));
        let setup = Setup {
            interface: "eth0".to_owned(),
            mac: self.client.identity.mac.clone(),
            address: self.address(CLIENT),
            address6: Some(self.address6(u16::from(CLIENT))),
            arp_sender: self.address(ARP_SENDER),
            nodes: nodes.collect(),
            targets,
            tick_us: 5_000,
            stall_ms: 20.0,
        };
        Judge::start(&self.client, &setup)
    }
}

fn identity(
    letter: &str,
    number: u8,
    name: &str,
    last: u8,
    management: Option<String>,
) -> Identity {
    Identity {
        name: name.to_owned(),
        site: letter.to_owned(),
        mac: format!("02:4c:{number:02x}:00:00:{last:02x}"),
        ipv4: format!("10.77.{number}.{last}/24"),
        ipv6: format!("2001:db8:77:{number:x}::{last:x}/64"),
        management,
    }
}
