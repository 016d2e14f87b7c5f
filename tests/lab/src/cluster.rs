//! A haft cluster on a site, formed as a user would form it: one configuration file, `init`, one-time tokens, `join`,
//! `apply`. TLS is on, since there is no way to have it off.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::Context;

use crate::bmc;
use crate::ctl::Ctl;
use crate::jail::LAB;
use crate::machine::Daemon;
use crate::shell;
use crate::site::{NODES, Site};

/// Programs of haft that the lab needs, as Cargo names them.
pub const PROGRAMS: [&str; 4] = ["haftd", "haft-agent", "haftctl", "fence_haft_ipmi"];

/// How long forming may take, and any single wait for a state of the cluster.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The address that a kernel-enforced lease isolates.
pub const LEASE: &str = "web";
/// The address whose owner must be seen powered off.
pub const STONITH: &str = "db";

/// A formed cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Its machines.
    pub site: Site,
    /// `haftctl` at the client.
    pub ctl: Ctl,
}

impl Cluster {
    /// Starts the machines, forms the cluster and registers the BMCs; no address is applied yet.
    ///
    /// # Errors
    /// Whatever step fails, with what the program said.
    pub fn form(site: Site, plant: Option<&str>) -> anyhow::Result<Self> {
        // The subject of the demo and of the benchmark beside Keepalived is this preset.
        Self::form_at(site, Preset::Fast, plant)
    }

    /// The same with another preset in every node's file.
    ///
    /// # Errors
    /// As [`Cluster::form`].
    pub fn form_at(mut site: Site, preset: Preset, plant: Option<&str>) -> anyhow::Result<Self> {
        site.start_bmcs()?;
        write_private(&format!("{LAB}/bmc-password"), bmc::PASSWORD)?;
        for node in &site.nodes {
            write_configuration(&site, &node.identity.name, preset)?;
            node.install(daemons(&node.identity.name, plant));
            node.power_on()?;
        }
        let ctl = Ctl::on(site.client.clone());
        let cluster = Self { site, ctl };
        cluster.join_all()?;
        cluster.wait_whole()?;
        cluster.wait_voters()?;
        cluster.ctl.act(&["apply", "-f", "-"], &cluster.devices())?;
        Ok(cluster)
    }

    fn join_all(&self) -> anyhow::Result<()> {
        let haftctl = format!("{LAB}/bin/haftctl");
        let context = Ctl::context();
        let first = &self.site.nodes[0];
        let mut init = first.command(&haftctl)?;
        init.args([
            "cluster",
            "init",
            "--config",
            &configuration_path(&first.identity.name),
            "--node",
            &first.identity.name,
            "--context",
            &context,
        ]);
        shell::run(&mut init).context("cluster init")?;
        self.ctl.wait_online(&first.identity.name, PATIENCE)?;
        for node in &self.site.nodes[1..] {
            let name = &node.identity.name;
            let token = shell::wait_for("a join token", PATIENCE, || {
                self.ctl
                    .act(&["cluster", "token", "create", "--node", name], "")
                    .map(Some)
            })?;
            let mut join = node.command(&haftctl)?;
            join.args([
                "cluster",
                "join",
                "--config",
                &configuration_path(name),
                "--node",
                name,
                "--token-file",
                "-",
            ]);
            shell::feed(&mut join, &token).with_context(|| format!("cluster join of {name}"))?;
            self.ctl.wait_online(name, PATIENCE)?;
        }
        Ok(())
    }

    fn devices(&self) -> String {
        let device = |(index, node): (u8, &std::sync::Arc<crate::machine::Machine>)| {
            let name = &node.identity.name;
            format!(
                "apiVersion: haft/v1\nkind: FenceDevice\nmetadata: {{ name: bmc-{name} }}\nspec:\n  agent: {LAB}/bin/fence_haft_ipmi\n  \
                 targets: {{ {name}: \"\" }}\n  parameters: {{ ip: \"{}\", username: \"{}\" }}\n  \
                 secretFiles: {{ password: {LAB}/bmc-password }}\n",
                self.site.bmc_address(index),
                bmc::USER
            )
        };
        (1..=NODES)
            .zip(&self.site.nodes)
            .map(device)
            .collect::<Vec<_>>()
            .join("---\n")
    }

    /// A coordinator that joined votes a moment later: until then the loss of one machine may be the loss of quorum.
    fn wait_voters(&self) -> anyhow::Result<()> {
        shell::wait_for("all three coordinators to vote", PATIENCE, || {
            let status = self.ctl.json(&["cluster", "status"])?;
            let voters = status["voters"].as_array().map_or(0, Vec::len);
            Ok((voters == self.site.nodes.len()).then_some(()))
        })
    }

    /// Applies the `lease` address or the `stonith` address, preferring the nodes in their order.
    ///
    /// # Errors
    /// Refused.
    pub fn apply_vip(&self, name: &str) -> anyhow::Result<()> {
        let isolation = if name == LEASE { "lease" } else { "stonith" };
        let preference: Vec<&str> = self
            .site
            .nodes
            .iter()
            .map(|n| n.identity.name.as_str())
            .collect();
        let manifest = format!(
            "apiVersion: haft/v1\nkind: VirtualIP\nmetadata: {{ name: {name} }}\nspec:\n  address: {}\n  interface: eth0\n  \
             isolation: {isolation}\n  preference: [{}]\n",
            self.address(name),
            preference.join(", ")
        );
        self.ctl.act(&["apply", "-f", "-"], &manifest).map(drop)
    }

    /// Switches every machine on, waits until all are online, and lifts the quarantine of those that the lab had fenced
    /// too often for haft's liking.
    ///
    /// # Errors
    /// A machine that does not come back.
    pub fn wait_whole(&self) -> anyhow::Result<()> {
        for node in &self.site.nodes {
            node.power_on()?;
        }
        for node in &self.site.nodes {
            let name = &node.identity.name;
            self.ctl.wait_online(name, PATIENCE)?;
            let object = self.ctl.json(&["get", &format!("node/{name}")])?;
            if object["status"]["quarantined"] == true {
                let open = format!(
                    "apiVersion: haft/v1\nkind: Node\nmetadata: {{ name: {name} }}\nspec: {{ scheduling: open }}\n"
                );
                self.ctl.act(&["apply", "-f", "-"], &open)?;
            }
        }
        Ok(())
    }

    /// The address of that name.
    #[must_use]
    pub fn address(&self, name: &str) -> IpAddr {
        IpAddr::V4(self.site.address(if name == LEASE { 100 } else { 101 }))
    }

    /// What a judge watches here.
    #[must_use]
    pub fn targets(&self) -> BTreeMap<String, IpAddr> {
        [LEASE, STONITH]
            .map(|name| (name.to_owned(), self.address(name)))
            .into()
    }
}

/// A preset of `timing.failover`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Preset {
    /// The quickest.
    Fast,
    /// What a file without the key means.
    Normal,
    /// The slowest.
    Relaxed,
}

impl Preset {
    /// As the file has it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Normal => "normal",
            Self::Relaxed => "relaxed",
        }
    }
}

fn configuration_path(node: &str) -> String {
    format!("{LAB}/haft-{node}.yaml")
}

/// Writes one node's file; its daemons read it at their next start.
///
/// # Errors
/// It cannot be written.
pub fn write_configuration(site: &Site, node: &str, preset: Preset) -> anyhow::Result<()> {
    let path = configuration_path(node);
    Ok(std::fs::write(path, configuration(site, preset))?)
}

/// A machine of the lab has a PID namespace of its own, as a container has; its bpf file system stays for as long as
/// it is powered, so that it is named. Where the kernel has none, no gate stands.
fn gate() -> &'static str {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    match known.split_whitespace().any(|word| word == "bpf") {
        true => "gate: { bpf_fs: /sys/fs/bpf }\n",
        false => "",
    }
}

fn configuration(site: &Site, preset: Preset) -> String {
    let mut text = format!(
        "cluster: {{ name: demo }}\ntiming: {{ failover: {} }}\ndata_dir: /run/disk/haft\n{}nodes:\n",
        preset.word(),
        gate()
    );
    for (index, node) in (1..=NODES).zip(&site.nodes) {
        text += &format!(
            "  - {{ name: {}, addresses: [{}], coordinator: true }}\n",
            node.identity.name,
            site.address(index)
        );
    }
    text
}

fn daemons(node: &str, plant: Option<&str>) -> Vec<Daemon> {
    let environment: BTreeMap<String, String> = plant
        .map(|plant| ("HAFT_PLANT".to_owned(), plant.to_owned()))
        .into_iter()
        .collect();
    let daemon = |name: &str| Daemon {
        name: name.to_owned(),
        argv: vec![
            format!("{LAB}/bin/{name}"),
            "--config".into(),
            configuration_path(node),
            "--node".into(),
            node.into(),
        ],
        environment: environment.clone(),
        // What a unit file with Restart=always and RestartSec=1 does.
        respawn_ms: Some(1000),
    };
    vec![daemon("haftd"), daemon("haft-agent")]
}

fn write_private(path: &str, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text)?;
    Ok(std::fs::set_permissions(
        path,
        Permissions::from_mode(0o600),
    )?)
}
