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

/// Case 03 again: what the agent would hand back at once is not granted, and nothing flaps.
#[test]
fn an_interface_or_an_address_that_the_gate_would_not_see_is_told_and_granted_nothing() {
    in_private_network(|| {
        for words in [
            "link add eth0 type veth peer name eth1",
            "link set eth0 up",
            "link set eth1 up",
        ] {
            ip(words);
        }
        tc("qdisc add dev eth0 root tbf rate 1mbit burst 10k latency 50ms");
        gated_story();
    });
}

fn gated_story() {
    let mut cluster = Coordinators::prepare();
    cluster.form();
    let _agent = Agent::start_gated(&cluster, "n2");
    until(&cluster, &["get", "node/n2"], |node| {
        node["status"]["state"] == "Online"
    });
    let vip = VIP.replace(
        "interface: eth0",
        "interface: eth0, failback: auto, preference: [n2]",
    );
    succeeded(&apply(&cluster, &vip));
    let shaped = "n2: eth0 cannot be guarded: its queue (tbf) may hold packets";
    until(&cluster, &["get", "vip/db"], |vip| {
        state_is("Unowned")(vip) && says(vip, shaped)
    });
    let told = why(&cluster);
    assert!(told.contains("tc qdisc show dev eth0"), "{told}");
    let moved = stderr(&cluster.ctl(&["move", "vip/db", "--to", "n2"]));
    assert!(moved.contains("NodeCannotCarry"), "{moved}");
    tc("qdisc del dev eth0 root");
    let first = until(&cluster, &["get", "vip/db"], state_is("Active"));

    // An address at a time, while it stands.
    let tunnel = "src 10.9.9.0/24 dst 0.0.0.0/0 dir out tmpl src 192.0.2.1 dst 192.0.2.2 proto esp mode tunnel";
    ip(&format!("xfrm policy add {tunnel}"));
    until(&cluster, &["get", "vip/db"], |vip| {
        state_is("Unowned")(vip) && says(vip, "n2: eth0 cannot be guarded: an IPsec policy")
    });
    ip("xfrm policy flush");
    let last = until(&cluster, &["get", "vip/db"], state_is("Active"));
    // One grant for each time that it could stand: handed back for ever it would be many.
    let grants = |vip: &serde_json::Value| vip["status"]["token"].clone();
    assert_ne!(grants(&first), grants(&last));
    let events = cluster.ctl(&["events", "vip/db"]);
    let events = String::from_utf8_lossy(&events.stdout).into_owned();
    assert_eq!(events.matches("Granted").count(), 2, "{events}");
}

fn tc(words: &str) {
    let done = Command::new("tc").args(words.split(' ')).status();
    assert!(done.unwrap().success(), "tc {words}");
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
