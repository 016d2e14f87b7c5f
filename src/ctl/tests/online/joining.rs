//! Tokens and joining.

use crate::stand_in::{Lab, StandIn};
use haft_config::identity::Identity;

const JOIN: [&str; 8] = [
    "cluster",
    "join",
    "--config",
    "haft.yaml",
    "--node",
    "n2",
    "--data-dir",
    "n2",
];

async fn token(lab: &Lab) -> String {
    let ran = lab
        .haftctl(&["cluster", "token", "create", "--node", "n2", "--ttl", "10m"])
        .await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(
        ran.stdout.lines().count(),
        1,
        "the token alone: {}",
        ran.stdout
    );
    assert!(
        !ran.stderr.contains(ran.stdout.trim()),
        "talk repeats the token"
    );
    ran.stdout
}

fn join(more: &[&'static str]) -> Vec<&'static str> {
    let mut arguments = JOIN.to_vec();
    arguments.extend(more);
    arguments
}

#[tokio::test]
async fn a_token_from_stdin_makes_an_identity_with_its_own_key() {
    let (coordinator, lab) = StandIn::alone().await;
    let token = token(&lab).await;
    let ran = lab
        .haftctl_with(&join(&["--token-file", "-"]), &token)
        .await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stdout.starts_with("node n2 12 of cluster demo "),
        "{}",
        ran.stdout
    );
    let identity = Identity::read(&lab.path("n2")).unwrap();
    assert_eq!(
        (
            identity.node.as_str(),
            identity.node_id.0,
            identity.cluster.0
        ),
        ("n2", 12, lab.cluster)
    );
    assert_eq!(
        identity
            .certificate_pem
            .matches("BEGIN CERTIFICATE")
            .count(),
        2
    );
    assert!(identity.ca_key_pem.is_none() && identity.bootstrap().unwrap().is_none());
    let joins = coordinator.script().joins.clone();
    assert_eq!(joins.len(), 1);
    assert_eq!((joins[0].host.as_str(), joins[0].role), ("127.0.0.2", 2));
    assert!(!joins[0].certificate_request_pem.contains("PRIVATE"));
}

#[tokio::test]
async fn a_second_join_is_refused_before_the_token_is_spent() {
    let (coordinator, lab) = StandIn::alone().await;
    let token = token(&lab).await;
    for code in [0, 4] {
        let ran = lab
            .haftctl_with(&join(&["--token-file", "-"]), &token)
            .await;
        assert_eq!(ran.code, Some(code), "{}", ran.stderr);
    }
    assert_eq!(coordinator.script().joins.len(), 1);
}

#[tokio::test]
async fn a_cluster_with_another_authority_is_not_joined() {
    let (_ours, lab) = StandIn::alone().await;
    let token = token(&lab).await;
    let (other, foreign) = StandIn::alone().await;
    std::fs::write(foreign.path("token"), token).unwrap();
    let ran = foreign
        .haftctl(&join(&["--token-file", "token", "--timeout", "500ms"]))
        .await;
    assert_eq!(ran.code, Some(9), "{}", ran.stderr);
    assert!(ran.stderr.contains("certificate"), "{}", ran.stderr);
    assert!(other.script().joins.is_empty(), "nothing was said to it");
    assert!(!foreign.path("n2").exists());
}

#[tokio::test]
async fn a_token_for_another_node_is_refused_without_asking() {
    let (coordinator, lab) = StandIn::alone().await;
    let ran = lab
        .haftctl(&["cluster", "token", "create", "--node", "n9", "-o", "json"])
        .await;
    let token = ran.json()["token"].as_str().unwrap().to_owned();
    let ran = lab
        .haftctl_with(&join(&["--token-file", "-"]), &token)
        .await;
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(
        ran.stderr.starts_with("error[TokenForOther]"),
        "{}",
        ran.stderr
    );
    assert!(coordinator.script().joins.is_empty());
}
