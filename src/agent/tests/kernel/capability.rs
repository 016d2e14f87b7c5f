//! What the agent's binary does without the capabilities that it needs.

use crate::fixture::{BOTH, own_link};
use crate::netns::Wire;
use haft_agent::kernel::address::Addresses;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

const CONFIG: &str = "cluster: { name: test }\ntiming: { failover: normal }\n\
     nodes:\n  - { name: n1, addresses: [10.9.0.1], coordinator: true }\n";

/// A directory of one test, with a config whose data lie in it; gone with it.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Place {
        let name = format!("haft-capability-{test}-{}", std::process::id());
        let place = Place(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&place.0).expect("a temporary directory can be made");
        let config = format!("{CONFIG}data_dir: {}\n", place.0.display());
        std::fs::write(place.config(), config).expect("a temporary file can be written");
        place
    }

    fn config(&self) -> PathBuf {
        self.0.join("haft.yaml")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Left behind it harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn agent_without(lacks: &str, config: &Path, act: &[&str]) -> Output {
    Command::new("setpriv")
        .args(["--bounding-set", &format!("-{lacks}")])
        .arg(env!("CARGO_BIN_EXE_haft-agent"))
        .args(["--node", "n1", "--config"])
        .arg(config)
        .args(act)
        .output()
        .expect("setpriv of util-linux is there")
}

#[test]
fn a_start_without_a_capability_is_refused_by_its_name() {
    let place = Place::new("start");
    for (lacks, name) in [("net_raw", "CAP_NET_RAW"), ("net_admin", "CAP_NET_ADMIN")] {
        let output = agent_without(lacks, &place.config(), &[]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(&format!("lacks {name}")), "{told}");
    }
}

#[test]
fn taking_haft_off_a_machine_opens_no_raw_socket_and_needs_no_right_to() {
    let place = Place::new("dismantle");
    let wire = Wire::new();
    wire.owner.run(|| {
        let mut addresses = Addresses::open().unwrap();
        let link = own_link(&mut addresses);
        for vip in BOTH {
            let hour = Duration::from_secs(3_600);
            addresses.put(vip, link.index, hour).unwrap();
        }
        let output = agent_without("net_raw", &place.config(), &["dismantle"]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert_eq!(addresses.ours().unwrap(), []);
    });
}
