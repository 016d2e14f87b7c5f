//! What an agent's kernel has is in what people are told, and in what is granted: one real haft-agent, in a network
//! of its own, beside three coordinators. Needs root.

use crate::stderr;
use crate::unfencing::{Agent, apply, until};
use haft_tests::coordinators::{Coordinators, succeeded};
use haft_tests::jail::in_private_network;
use std::process::Command;

const VIP: &str = "apiVersion: haft/v1\nkind: VirtualIP\nmetadata: { name: db }\nspec: { address: 10.9.9.9, interface: eth0 }\n";

fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).status();
    assert!(done.unwrap().success(), "ip {words}");
}

fn why(cluster: &Coordinators) -> String {
    let told = cluster.ctl(&["why", "vip/db"]);
    String::from_utf8_lossy(&told.stdout).into_owned()
}

fn state_is(wanted: &'static str) -> impl Fn(&serde_json::Value) -> bool {
    move |vip| vip["status"]["state"] == wanted
}

fn says(vip: &serde_json::Value, text: &str) -> bool {
    let message = vip["status"]["message"].as_str();
    message.is_some_and(|message| message.contains(text))
}

#[test]
fn a_copy_that_somebody_else_made_and_a_link_without_carrier_are_told_and_granted_nothing() {
    in_private_network(|| {
        for words in [
            "link add eth0 type veth peer name eth1",
            "link set eth0 up",
            "link set eth1 up",
            "addr add 10.9.9.9/24 dev eth1",
        ] {
            ip(words);
        }
        story();
    });
}

fn story() {
    let mut cluster = Coordinators::prepare();
    cluster.form();
    let _agent = Agent::start(&cluster, "n2");
    until(&cluster, &["get", "node/n2"], |node| {
        node["status"]["state"] == "Online"
    });
    let refused = stderr(&apply(&cluster, VIP));
    assert!(
        refused.contains("AddressIsNode") && refused.contains("n2 has 10.9.9.9/24 on its eth1"),
        "{refused}"
    );
    // A dry run is answered by the leader, whoever is asked.
    let file = cluster.folder.path().join("objects.yaml");
    for node in ["n1", "n2", "n3"] {
        let endpoint = format!("{}:7400", cluster.host(node));
        let arguments = ["apply", "--dry-run", "--endpoint", &endpoint, "-f"];
        let file = file.to_str().unwrap();
        let refused = stderr(&cluster.ctl(&[&arguments[..], &[file]].concat()));
        assert!(refused.contains("AddressIsNode"), "{node}: {refused}");
    }
    ip("addr del 10.9.9.9/24 dev eth1");
    let vip = VIP.replace("10.9.9.9", "10.9.9.8");
    succeeded(&apply(&cluster, &vip));
    until(&cluster, &["get", "vip/db"], state_is("Active"));

    // Beside the owner's.
    ip("addr add 10.9.9.8/24 dev eth1");
    until(&cluster, &["get", "vip/db"], |vip| {
        state_is("Active")(vip) && says(vip, "n2: somebody else has put 10.9.9.8/24 on its eth1")
    });
    let told = why(&cluster);
    assert!(told.contains("ip addr del 10.9.9.8/24 dev eth1"), "{told}");
    ip("addr del 10.9.9.8/24 dev eth1");
    until(&cluster, &["get", "vip/db"], |vip| !says(vip, "10.9.9.8"));

    ip("link set eth1 down");
    until(&cluster, &["get", "vip/db"], |vip| {
        state_is("Unowned")(vip) && says(vip, "n2: its eth0 has no carrier")
    });
    let moved = stderr(&cluster.ctl(&["move", "vip/db", "--to", "n2"]));
    assert!(moved.contains("NodeCannotCarry"), "{moved}");
    ip("link set eth1 up");
    until(&cluster, &["get", "vip/db"], state_is("Active"));
}
