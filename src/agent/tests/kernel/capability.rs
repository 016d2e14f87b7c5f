//! The agent's start without the capabilities that it needs.

use std::path::PathBuf;
use std::process::Command;

const CONFIG: &str = "cluster: { name: test }\ntiming: { failover: normal }\ndata_dir: /nonexistent\n\
     nodes:\n  - { name: n1, addresses: [10.9.0.1], coordinator: true }\n";

/// A config file of this test process.
fn config() -> PathBuf {
    let path = std::env::temp_dir().join(format!("haft-capability-{}.yaml", std::process::id()));
    std::fs::write(&path, CONFIG).expect("a temporary file can be written");
    path
}

#[test]
fn a_start_without_a_capability_is_refused_by_its_name() {
    let path = config();
    for (lacks, name) in [("net_raw", "CAP_NET_RAW"), ("net_admin", "CAP_NET_ADMIN")] {
        let output = Command::new("setpriv")
            .args(["--bounding-set", &format!("-{lacks}")])
            .arg(env!("CARGO_BIN_EXE_haft-agent"))
            .args(["--node", "n1", "--config"])
            .arg(&path)
            .output()
            .expect("setpriv of util-linux is there");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(&format!("lacks {name}")), "{told}");
    }
    std::fs::remove_file(path).expect("it was written");
}
