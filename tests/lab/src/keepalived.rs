//! Real Keepalived on a site's nodes: VRRPv3 at 0.1 s, the tuned form that haft is measured beside.
//!
//! The first node has priority 255 and the next 254: skew, and with it the time to take over, is the shortest that
//! VRRP can have. Three advertisements and a skew of 0.8 ms: two lost in a row are survived.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::Command;

use crate::jail::LAB;
use crate::machine::Daemon;
use crate::shell;
use crate::site::Site;

/// Priorities in node order.
const PRIORITIES: [u8; 3] = [255, 254, 100];

/// Last byte of the address that Keepalived holds.
pub const VIP: u8 = 100;

/// Installs Keepalived on every node of the site, to run from the next start on; returns the address it will hold.
///
/// # Errors
/// Its configuration cannot be written, or Keepalived itself refuses it.
pub fn install(site: &Site) -> anyhow::Result<Ipv4Addr> {
    let vip = site.address(VIP);
    for (node, priority) in site.nodes.iter().zip(PRIORITIES) {
        let name = &node.identity.name;
        let path = format!("{LAB}/node/{name}.keepalived.conf");
        std::fs::create_dir_all(format!("{LAB}/node"))?;
        std::fs::write(&path, configuration(name, priority, vip))?;
        let argv = [
            "keepalived",
            "-n",
            "-l",
            "-D",
            "-G",
            "-P",
            "-f",
            &path,
            "-p",
            "/run/ka.pid",
            "-r",
            "/run/vrrp.pid",
        ];
        node.install(vec![Daemon {
            name: "keepalived".to_owned(),
            argv: argv.map(str::to_owned).to_vec(),
            environment: BTreeMap::new(),
            respawn_ms: None,
        }]);
    }
    Ok(vip)
}

fn configuration(name: &str, priority: u8, vip: Ipv4Addr) -> String {
    let state = if priority == 255 { "MASTER" } else { "BACKUP" };
    format!(
        "global_defs {{\n    router_id {name}\n    vrrp_version 3\n}}\n\
         vrrp_instance V {{\n    state {state}\n    interface eth0\n    virtual_router_id 51\n    priority {priority}\n    \
         advert_int 0.1\n    virtual_ipaddress {{\n        {vip}/32 dev eth0\n    }}\n}}\n"
    )
}

/// The version that is installed, as it prints it.
///
/// # Errors
/// Keepalived is missing.
pub fn version() -> anyhow::Result<String> {
    let output = shell::run_any(Command::new("keepalived").arg("--version"), "")?;
    let text = shell::text(&output.stderr) + &shell::text(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
