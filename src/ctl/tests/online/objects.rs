//! Verbs on objects.

use crate::stand_in::{StandIn, vip};
use serde_json::json;

const WEB: &str = "apiVersion: haft/v1\nkind: VirtualIP\nmetadata: { name: web, resourceVersion: \"7\" }\nspec: { address: 10.77.0.100, interface: eth0 }\n";

#[tokio::test]
async fn every_form_of_get_is_data_alone() {
    let (coordinator, lab) = StandIn::alone().await;
    coordinator.script().vips = vec![vip("web", "Active", "n1"), vip("db", "Orphaned", "n2")];
    let table = lab.haftctl(&["get", "vips"]).await;
    let first: Vec<&str> = table
        .stdout
        .lines()
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(first, ["NAME", "db", "web"]);
    let bare = lab.haftctl(&["get", "vips", "--no-headers"]).await;
    assert_eq!(bare.stdout.lines().count(), 2);
    let wide = lab.haftctl(&["get", "vips", "-o", "wide"]).await;
    assert!(
        wide.stdout.contains("INTERFACE") && wide.stdout.contains("eth0"),
        "{}",
        wide.stdout
    );
    let names = lab.haftctl(&["get", "vips", "-o", "name"]).await;
    assert_eq!(names.stdout, "vip/db\nvip/web\n");
    let list = lab.haftctl(&["get", "vips", "-o", "json"]).await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    coordinator.script().vips[1].spec.as_mut().unwrap().address = "10.77.0.101".to_owned();
    let yaml = lab.haftctl(&["get", "vips", "-o", "yaml"]).await;
    let again = lab
        .haftctl_with(&["apply", "-f", "-", "-o", "name"], &yaml.stdout)
        .await;
    assert_eq!(
        (again.code, again.stdout.as_str()),
        (Some(0), "vip/db\nvip/web\n"),
        "{}",
        again.stderr
    );
}

#[tokio::test]
async fn apply_sends_the_version_it_was_given_and_a_dry_run_says_so() {
    let (coordinator, lab) = StandIn::alone().await;
    let ran = lab
        .haftctl_with(&["apply", "-f", "-", "--dry-run"], WEB)
        .await;
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), "vip/web would be applied (dry run)\n"),
        "{}",
        ran.stderr
    );
    let (name, options) = coordinator.script().applied[0].clone();
    assert_eq!(
        (
            name.as_str(),
            options.dry_run,
            options.expected_resource_version.as_str()
        ),
        ("web", true, "7")
    );
}

#[tokio::test]
async fn nothing_is_sent_when_one_manifest_of_a_folder_is_bad() {
    let (coordinator, lab) = StandIn::alone().await;
    std::fs::create_dir(lab.path("objects")).unwrap();
    std::fs::write(lab.path("objects/1-good.yaml"), WEB).unwrap();
    std::fs::write(lab.path("objects/2-bad.yaml"), WEB.replace("eth0", "lo")).unwrap();
    let ran = lab.haftctl(&["apply", "-f", "objects"]).await;
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("objects/2-bad.yaml:4:"),
        "{}",
        ran.stderr
    );
    assert_eq!(coordinator.script().calls, 0);
}

#[tokio::test]
async fn a_refused_object_is_named_with_its_place_and_what_was_applied_before_it() {
    let (_coordinator, lab) = StandIn::alone().await;
    let two = format!(
        "{WEB}---\n{}",
        WEB.replace("web", "taken").replace(".100", ".101")
    );
    let ran = lab.haftctl_with(&["apply", "-f", "-"], &two).await;
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(4), "vip/web applied\n")
    );
    assert!(
        ran.stderr
            .contains("while applying the object at <stdin>:6; 1 of 2 not applied"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn move_can_wait_until_the_address_is_there() {
    let (_coordinator, lab) = StandIn::alone().await;
    let ran = lab
        .haftctl(&["move", "vip", "web", "--to", "n3", "--wait"])
        .await;
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), "vip/web is active on n3\n"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn fence_and_confirm_off_say_exactly_what_was_typed() {
    let (coordinator, lab) = StandIn::alone().await;
    let ran = lab
        .haftctl(&["fence", "node/n1", "--reason", "smoke", "--force"])
        .await;
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), "order/40\n"),
        "{}",
        ran.stderr
    );
    let fence = coordinator.script().fences[0].clone();
    assert_eq!(
        (
            fence.name.as_str(),
            fence.reason.as_str(),
            fence.force,
            fence.action
        ),
        ("n1", "smoke", true, 1)
    );
    let on = lab.haftctl(&["fence", "n1", "--on", "-o", "json"]).await;
    assert_eq!(on.json()["action"], "on");
    let ran = lab
        .haftctl(&[
            "confirm-off",
            "n1",
            "--yes-node",
            "n1",
            "--reason",
            "unplugged",
            "--incarnation",
            "7",
            "--boot",
            "0d8a6b5e-0000-4000-8000-00000000000a",
        ])
        .await;
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), "node/n1 confirmed off\n"),
        "{}",
        ran.stderr
    );
    let confirmation = coordinator.script().confirmations[0].clone();
    assert_eq!(
        (
            confirmation.typed_name.as_str(),
            confirmation.reason.as_str(),
            confirmation.incarnation,
            confirmation.boot.as_str(),
        ),
        ("n1", "unplugged", 7, "0d8a6b5e-0000-4000-8000-00000000000a")
    );
}

#[tokio::test]
async fn a_word_that_names_no_life_is_not_sent() {
    let (coordinator, lab) = StandIn::alone().await;
    let ran = lab
        .haftctl(&["confirm-off", "n1", "--yes-node", "n1"])
        .await;
    assert_eq!(ran.code, Some(7), "{}", ran.stderr);
    assert!(ran.stderr.contains("--incarnation"), "{}", ran.stderr);
    assert!(coordinator.script().confirmations.is_empty());
}

#[tokio::test]
async fn why_names_its_lines_by_kind() {
    let (_coordinator, lab) = StandIn::alone().await;
    let ran = lab.haftctl(&["why", "vip/db"]).await;
    assert_eq!(
        ran.stdout,
        "vip/db\n  State   silent everywhere\n  Remedy  haftctl confirm-off n1\n"
    );
    let ran = lab.haftctl(&["why", "order/12", "-o", "json"]).await;
    assert_eq!(ran.json()["subject"], "order/12");
    assert_eq!(
        ran.json()["lines"][0],
        json!({ "kind": "State", "text": "silent everywhere" })
    );
}
