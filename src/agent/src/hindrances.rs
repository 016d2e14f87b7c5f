//! What the gate says of interfaces and addresses, as the lease thread tells it, put into the report of this machine.
//!
//! The gate belongs to the lease thread, the report to another: a leader that knew nothing of it would grant what is
//! handed back at once, again and again. Judges nothing.

use haft_api::convert::tunnel_into;
use haft_api::pb::v1;
use haft_engine::machine::{Prefix, TUNNELS_MAX, WHY_MAX};
use haft_engine::text::bounded;
use std::collections::BTreeMap;

/// Before what is wrong with it.
const BROKEN: &str = "what closes it cannot be attested: ";

/// Why addresses would not be behind the gate. Empty where there is none: timed elements stand on every link.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hindrances {
    /// By the interface's own name.
    pub links: BTreeMap<String, String>,
    /// Sources that leave in a tunnel.
    pub tunnels: Vec<Prefix>,
    /// Why gate or guard cannot be attested at all, if that lasts.
    pub broken: Option<String>,
}

impl Hindrances {
    /// The same report with what hinders. More tunnels than a report may hold are cut: the gate minds them all.
    pub fn put_into(&self, mut report: v1::Machine) -> v1::Machine {
        for link in &mut report.links {
            let own = link.names.first();
            let broken = self.broken.as_deref().map(|what| format!("{BROKEN}{what}"));
            let hindered = own.and_then(|name| self.links.get(name)).cloned();
            if let Some(why) = broken.or(hindered) {
                link.nothing = bounded(&why, WHY_MAX);
                link.no_ipv6.clear();
            }
        }
        let told = self.tunnels.iter().take(TUNNELS_MAX);
        report.tunnels = told.copied().map(tunnel_into).collect();
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(names: &[&str], no_ipv6: &str) -> v1::MachineLink {
        v1::MachineLink {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            carrier: true,
            no_ipv6: no_ipv6.to_owned(),
            nothing: String::new(),
        }
    }

    #[test]
    fn what_hinders_is_in_the_report_and_goes_out_of_it() {
        let report = v1::Machine {
            links: vec![link(&["eth0", "web"], "its MTU"), link(&["eth1"], "")],
            ..v1::Machine::default()
        };
        let shaped = ("eth0".to_owned(), "é".repeat(WHY_MAX));
        let hindered = Hindrances {
            links: [shaped].into(),
            tunnels: vec![
                Prefix {
                    address: [10, 0, 0, 0].into(),
                    bits: 8
                };
                TUNNELS_MAX + 1
            ],
            broken: None,
        };
        let told = hindered.put_into(report.clone());
        assert!(!told.links[0].nothing.is_empty() && told.links[0].no_ipv6.is_empty());
        assert!(told.links[1].nothing.is_empty());
        assert!(haft_api::convert::machine_from(told).is_ok(), "bounded");
        assert_eq!(Hindrances::default().put_into(report.clone()), report);
        let broken = Hindrances {
            broken: Some("no room".to_owned()),
            ..hindered
        };
        let told = broken.put_into(report);
        assert!(
            told.links
                .iter()
                .all(|link| link.nothing.contains("no room"))
        );
    }
}
