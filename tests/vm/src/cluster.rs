//! A haft cluster in the guests, formed as a user would form it: one configuration file, `init`, one-time tokens,
//! `join`, `apply`; and the stories' questions to it.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use haft_lab::bmc::{self, Power};
use haft_lab::ctl::{Ctl, VipStatus};
use haft_lab::shell;

use crate::guest::Guest;
use crate::rack::{self, NODES, Rack};

/// Programs of haft that the suite needs, as Cargo names them.
pub const PROGRAMS: [&str; 5] = [
    "haftd",
    "haft-agent",
    "haftctl",
    "fence_haft_ipmi",
    "fence_haft_sbd",
];

/// How long a guest may take to boot, and any single wait for a state of the cluster: emulated, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Where the guests have their configuration.
pub const CONFIGURATION: &str = "/etc/haft/haft.yaml";
/// Where a story may put another one, which survives a reset.
pub const OTHER_CONFIGURATION: &str = "/data/haft.yaml";
/// Where the guests have the BMCs' password.
const SECRET: &str = "/etc/haft/bmc-password";

/// The addresses of the stories: name, last byte, isolation. The first two are applied when the cluster is formed.
const ADDRESSES: [(&str, u8, &str); 3] = [
    ("web", 100, "lease"),
    ("db", 101, "stonith"),
    ("wd", 102, "watchdog"),
];

/// A formed cluster.
#[derive(Debug)]
pub struct Cluster {
    /// `haftctl` at the client.
    pub ctl: Ctl,
}

/// Files that every guest has: the one configuration and the BMCs' password.
#[must_use]
pub fn guest_files() -> Vec<(&'static str, u32, String)> {
    vec![
        (CONFIGURATION, 0o644, configuration()),
        (SECRET, 0o600, bmc::PASSWORD.to_owned()),
    ]
}

/// The preset for machines that may be slow: emulated guests are.
fn configuration() -> String {
    let mut text = String::from(
        "cluster: { name: vm }\ntiming: { failover: relaxed }\ndata_dir: /data/haft\nnodes:\n",
    );
    for index in 1..=NODES {
        text += &format!(
            "  - {{ name: n{index}, addresses: [{}], coordinator: true }}\n",
            rack::address(index)
        );
    }
    text
}

impl Cluster {
    /// Forms the cluster in guests that have booted, registers their BMCs and applies both addresses.
    ///
    /// # Errors
    /// Whatever step fails, with what the program said.
    pub fn form(rack: &Rack) -> anyhow::Result<Self> {
        let first = &rack.guests[0];
        first
            .sh(&format!(
                "haftctl cluster init --config {CONFIGURATION} --node n1 --context /data/context.yaml"
            ))
            .context("cluster init")?;
        let context = first.sh("cat /data/context.yaml")?;
        write_private(Path::new(&Ctl::context()), &context)?;
        let cluster = Self {
            ctl: Ctl::on(rack.client.clone()),
        };
        cluster.ctl.wait_online("n1", PATIENCE)?;
        for guest in &rack.guests[1..] {
            cluster.join(guest, &context)?;
        }
        cluster.wait_voters()?;
        cluster.ctl.act(&["apply", "-f", "-"], &devices(rack))?;
        cluster.apply_vip("web")?;
        cluster.apply_vip("db")?;
        Ok(cluster)
    }

    fn join(&self, guest: &Guest, context: &str) -> anyhow::Result<()> {
        let name = guest.name();
        let token = shell::wait_for("a join token", PATIENCE, || {
            let words = ["cluster", "token", "create", "--node", name];
            self.ctl.act(&words, "").map(Some)
        })?;
        // Through the connection's stdin, never an argument. Synced: a guest may be reset within its first half minute.
        guest
            .sh(&format!(
                "umask 077\ncat >/data/context.yaml <<'END'\n{context}\nEND\nsync\n\
                 haftctl cluster join --config {CONFIGURATION} --node {name} --token-file - <<'END'\n{token}\nEND"
            ))
            .with_context(|| format!("cluster join of {name}"))?;
        self.ctl.wait_online(name, PATIENCE)
    }

    /// A coordinator that joined votes a moment later: until then the loss of one guest may be the loss of quorum.
    ///
    /// # Errors
    /// Not in time.
    pub fn wait_voters(&self) -> anyhow::Result<()> {
        shell::wait_for("all three coordinators to vote", PATIENCE, || {
            let status = self.ctl.json(&["cluster", "status"])?;
            let voters = status["voters"].as_array().map_or(0, Vec::len);
            Ok((voters == usize::from(NODES)).then_some(()))
        })
    }

    /// Applies the address of that name.
    ///
    /// # Errors
    /// Refused.
    pub fn apply_vip(&self, name: &str) -> anyhow::Result<()> {
        let (_, _, isolation) = ADDRESSES
            .iter()
            .find(|(known, _, _)| *known == name)
            .context("no such address")?;
        let address = self.address(name);
        let manifest = format!(
            "apiVersion: haft/v1\nkind: VirtualIP\nmetadata: {{ name: {name} }}\nspec:\n  address: {address}\n  \
             interface: eth0\n  isolation: {isolation}\n  preference: [n1, n2, n3]\n"
        );
        self.ctl.act(&["apply", "-f", "-"], &manifest).map(drop)
    }

    /// The address of that name.
    ///
    /// # Panics
    /// There is none: stories name those of [`ADDRESSES`].
    #[must_use]
    pub fn address(&self, name: &str) -> IpAddr {
        let known = ADDRESSES.iter().find(|(known, _, _)| *known == name);
        let (_, last, _) = known.expect("stories name addresses that exist");
        IpAddr::V4(rack::address(*last))
    }

    /// What a judge watches here.
    #[must_use]
    pub fn targets(&self) -> BTreeMap<String, IpAddr> {
        let target = |(name, _, _): (&str, u8, &str)| (name.to_owned(), self.address(name));
        ADDRESSES.map(target).into()
    }

    /// Waits until the address is active, whoever has it.
    ///
    /// # Errors
    /// Not in time.
    pub fn wait_active(&self, vip: &str) -> anyhow::Result<VipStatus> {
        shell::wait_for(&format!("{vip} to be active"), PATIENCE, || {
            let status = self.ctl.vip(vip)?;
            Ok((status.state == "Active").then_some(status))
        })
    }

    /// Waits until the address is active on another node than `from`.
    ///
    /// # Errors
    /// Not in time.
    pub fn wait_taken_over(&self, vip: &str, from: &str) -> anyhow::Result<VipStatus> {
        shell::wait_for(&format!("{vip} to leave {from}"), PATIENCE, || {
            let status = self.ctl.vip(vip)?;
            let elsewhere = status.state == "Active" && status.owner != from;
            Ok(elsewhere.then_some(status))
        })
    }

    /// Brings an address to a node, if it is elsewhere.
    ///
    /// # Errors
    /// Refused, or not in time.
    pub fn place(&self, vip: &str, node: &str) -> anyhow::Result<()> {
        let status = self.wait_active(vip)?;
        if status.owner == node {
            return Ok(());
        }
        let subject = format!("vip/{vip}");
        let words = ["move", &subject, "--to", node, "--wait", "--timeout", "60s"];
        self.ctl.act(&words, "").map(drop)
    }

    /// Switches every guest on, waits until all are online, and lifts the quarantine of those that stories had fenced
    /// too often for haft's liking.
    ///
    /// # Errors
    /// A guest that does not come back.
    pub fn wait_whole(&self, guests: &[Arc<Guest>]) -> anyhow::Result<()> {
        for guest in guests {
            guest.power_on()?;
        }
        for guest in guests {
            let name = guest.name();
            shell::wait_for(&format!("{name} to be online"), PATIENCE, || {
                Ok((self.ctl.node_state(name)? == "Online").then_some(()))
            })?;
            let object = self.ctl.json(&["get", &format!("node/{name}")])?;
            if object["status"]["quarantined"] == true {
                let open = format!(
                    "apiVersion: haft/v1\nkind: Node\nmetadata: {{ name: {name} }}\nspec: {{ scheduling: open }}\n"
                );
                self.ctl.act(&["apply", "-f", "-"], &open)?;
            }
        }
        self.wait_voters()
    }
}

/// Manifests of all BMCs.
#[must_use]
pub fn devices(rack: &Rack) -> String {
    let device = |guest: &Arc<Guest>| {
        let name = guest.name();
        format!(
            "apiVersion: haft/v1\nkind: FenceDevice\nmetadata: {{ name: bmc-{name} }}\nspec:\n  \
             agent: /lab/bin/fence_haft_ipmi\n  targets: {{ {name}: \"\" }}\n  \
             parameters: {{ ip: \"{}\", username: \"{}\" }}\n  secretFiles: {{ password: {SECRET} }}\n",
            rack::bmc_address(guest),
            bmc::USER
        )
    };
    rack.guests
        .iter()
        .map(device)
        .collect::<Vec<_>>()
        .join("---\n")
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text)?;
    Ok(std::fs::set_permissions(
        path,
        Permissions::from_mode(0o600),
    )?)
}

/// The programs that guests get, from the folder of this executable.
///
/// # Errors
/// The executable's own path cannot be read.
pub fn built_programs() -> anyhow::Result<Vec<PathBuf>> {
    let own = std::env::current_exe()?;
    let folder = own.parent().context("an executable lies in a folder")?;
    let mut programs: Vec<PathBuf> = PROGRAMS.iter().map(|name| folder.join(name)).collect();
    programs.push(folder.join("haft-vm"));
    Ok(programs)
}
