//! The rack: switches, three guests with their disks and BMCs, a client beside them, and the judge's place. All of it
//! is in the lab's container, see [`haft_lab::jail`]; images lie in a folder of the checkout, for O_DIRECT.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use anyhow::Context;
use haft_judge::protocol::Setup;
use haft_lab::bmc::{self, Bmc, Power, Switchboard};
use haft_lab::jail::LAB;
use haft_lab::judge::Judge;
use haft_lab::machine::{Identity, Machine};
use haft_lab::shell;
use haft_lab::sys::{self, Link};

use crate::guest::{Disks, Guest, Plan, Switch};
use crate::stamp::Region;

/// Guests that run haft.
pub const NODES: u8 = 3;
/// Last byte of the plain guest's addresses: it runs no haft and shows the watchdog alone.
const PLAIN: u8 = 7;
/// Last byte of the client's address.
const CLIENT: u8 = 4;
/// Last byte of the address that the judge asks from, which nobody owns.
const ARP_SENDER: u8 = 250;
/// Bytes of a guest's own disk.
const OWN_DISK: u64 = 256 << 20;

/// Bytes of the disk with everybody's poison pill slot.
const POISON_DISK: u64 = 1 << 20;

/// The whole rack.
#[derive(Debug)]
pub struct Rack {
    /// The guests that run haft, in order.
    pub guests: Vec<Arc<Guest>>,
    /// The guest without haft.
    pub plain: Arc<Guest>,
    /// Where the user and the judge stand.
    pub client: Arc<Machine>,
    /// The shared disk's image.
    pub shared: PathBuf,
    /// The image of the shared disk for pills.
    pub poison: PathBuf,
    _bmcs: Vec<Bmc>,
}

impl Rack {
    /// Lays everything out, with fresh disks; nothing is switched on but the client.
    ///
    /// # Errors
    /// `ip`, `nft`, `mkfs.ext4` or `ipmi_sim` that fail.
    pub fn build(
        folder: &Path,
        kernel: &Path,
        image: &Path,
        switch: Switch,
    ) -> anyhow::Result<Self> {
        switches()?;
        let shared = folder.join("shared.img");
        let file = File::create(&shared)?;
        // Allocated beforehand: a write must not wait for the host to find room.
        rustix::fs::fallocate(
            &file,
            rustix::fs::FallocateFlags::empty(),
            0,
            Region::disk_size(),
        )?;
        let poison = folder.join("poison.img");
        File::create(&poison)?.set_len(POISON_DISK)?;
        let plan = |name: String, index: u8, disks: Option<Disks>| Plan {
            folder: folder.join(&name),
            name,
            index,
            kernel: kernel.to_owned(),
            image: image.to_owned(),
            disks,
        };
        let board: Switchboard = Arc::new(Mutex::new(BTreeMap::new()));
        let mut guests = Vec::new();
        for index in 1..=NODES {
            let name = format!("n{index}");
            let own = folder.join(format!("{name}.img"));
            File::create(&own)?.set_len(OWN_DISK)?;
            shell::run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&own))?;
            let disks = Disks {
                own,
                shared: shared.clone(),
                poison: poison.clone(),
            };
            guests.push(Arc::new(Guest::new(plan(name, index, Some(disks)), switch)));
        }
        let plain = Arc::new(Guest::new(
            plan("w1".to_owned(), PLAIN, None),
            Switch::Honest,
        ));
        let mut bmcs = Vec::new();
        for guest in &guests {
            taps(guest)?;
            let name = guest.name().to_owned();
            let switch: Arc<dyn Power> = guest.clone();
            board
                .lock()
                .expect("nobody panics holding the board")
                .insert(name, switch);
        }
        taps(&plain)?;
        bmc::serve_power(board)?;
        for guest in &guests {
            let address = bmc_address(guest);
            shell::ip(&format!("addr add {address}/24 dev mg-v\n"))?;
            bmcs.push(Bmc::start(guest.name(), address)?);
        }
        let client = Arc::new(Machine::new(client_identity()));
        client.power_on()?;
        Ok(Self {
            guests,
            plain,
            client,
            shared,
            poison,
            _bmcs: bmcs,
        })
    }

    /// The guest of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn guest(&self, name: &str) -> anyhow::Result<&Arc<Guest>> {
        self.guests
            .iter()
            .find(|guest| guest.name() == name)
            .with_context(|| format!("no guest {name}"))
    }

    /// Connects or cuts every guest's management port: nobody then reaches a BMC, and the lab no guest's shell.
    ///
    /// # Errors
    /// The link cannot be set.
    pub fn set_management(&self, link: Link) -> anyhow::Result<()> {
        for guest in &self.guests {
            sys::set_link(&guest.tap(1), link)?;
        }
        Ok(())
    }

    /// Pauses a guest so that its port keeps nothing for it: otherwise it answers, after its resume, what was asked in
    /// the meantime, and the judge would count that for the time of asking.
    ///
    /// # Errors
    /// It is off, or the link cannot be set.
    pub fn pause_unheard(&self, guest: &Guest) -> anyhow::Result<()> {
        guest.pause()?;
        self.set_port(guest, Link::Down)
    }

    /// Lets a guest go on that was paused unheard.
    ///
    /// # Errors
    /// As [`Rack::pause_unheard`].
    pub fn resume_heard(&self, guest: &Guest) -> anyhow::Result<()> {
        self.set_port(guest, Link::Up)?;
        guest.resume()
    }

    /// Connects or cuts one guest's port on the common network.
    ///
    /// # Errors
    /// The link cannot be set.
    pub fn set_port(&self, guest: &Guest, link: Link) -> anyhow::Result<()> {
        Ok(sys::set_link(&guest.tap(0), link)?)
    }

    /// Starts a judge at the client, watching these addresses.
    ///
    /// # Errors
    /// It does not start.
    pub fn judge(&self, targets: BTreeMap<String, IpAddr>) -> anyhow::Result<Judge> {
        let nodes = self
            .guests
            .iter()
            .map(|guest| (guest.name().to_owned(), guest.mac(0)));
        let setup = Setup {
            interface: "eth0".to_owned(),
            mac: self.client.identity.mac.clone(),
            address: address(CLIENT),
            address6: None,
            arp_sender: address(ARP_SENDER),
            nodes: nodes.collect(),
            targets,
            // Emulated guests answer slowly: more questions would only keep them from their work.
            tick_us: 20_000,
            stall_ms: 100.0,
        };
        Judge::start(&self.client, &setup)
    }
}

/// Address of a guest's BMC.
#[must_use]
pub fn bmc_address(guest: &Guest) -> Ipv4Addr {
    Ipv4Addr::new(10, 78, 9, 10 + guest.plan.index)
}

/// An address of the common network.
#[must_use]
pub fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 9, last)
}

/// Fixed hardware addresses: a bridge takes one of its ports' otherwise, and changes it when a guest goes.
fn switches() -> anyhow::Result<()> {
    shell::ip(
        "link set lo up\n\
         link add br-v address 02:4c:09:00:01:01 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
         link set br-v up\n\
         link add mg-v address 02:4c:09:00:02:02 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
         link set mg-v up\n",
    )
}

fn taps(guest: &Guest) -> anyhow::Result<()> {
    let (common, management) = (guest.tap(0), guest.tap(1));
    shell::ip(&format!(
        "tuntap add {common} mode tap\nlink set {common} master br-v up\n\
         tuntap add {management} mode tap\nlink set {management} master mg-v up\n"
    ))
}

fn client_identity() -> Identity {
    Identity {
        name: "client-v".to_owned(),
        site: "v".to_owned(),
        mac: format!("02:4c:09:00:03:{CLIENT:02x}"),
        ipv4: format!("{}/24", address(CLIENT)),
        ipv6: format!("2001:db8:77:9::{CLIENT:x}/64"),
        management: None,
    }
}

/// Where the lab keeps its programs, which the client sees too.
#[must_use]
pub fn programs() -> PathBuf {
    PathBuf::from(format!("{LAB}/bin"))
}
