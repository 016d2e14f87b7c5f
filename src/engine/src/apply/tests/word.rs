//! A human's word speaks of the life that they saw, and of no other.

use super::*;

fn word(cluster: &Cluster, incarnation: Incarnation, boot: u8) -> Command {
    Command::ConfirmOff {
        node: cluster.ids[1],
        incarnation,
        boot: Some(BootId([boot; 16])),
        by: "alice".to_owned(),
        reason: "unplugged".to_owned(),
        witnesses: Vec::new(),
        overruled: Vec::new(),
        request: RequestId::default(),
    }
}

#[test]
fn a_life_that_came_and_was_lost_while_the_human_typed_is_not_vouched_for() {
    let mut cluster = Cluster::new();
    let id = cluster.put("db", Isolation::Stonith);
    cluster.active(&id, 1, Attestation::Intact);
    cluster.expire(1);
    let seen = cluster.newest(1);
    let typed = word(&cluster, seen, 1);
    // Its agent comes back, is granted the resource again, and is lost again.
    assert!(matches!(
        cluster.admit(1, 1, Probe::Clean),
        Outcome::Admitted(_)
    ));
    cluster.active(&id, 1, Attestation::Intact);
    cluster.expire(1);
    assert_eq!(
        cluster.refused(typed, "OtherIncarnation"),
        RefusalKind::Stale
    );
    assert!(matches!(
        cluster.state.resources[&id].ownership,
        Ownership::Orphaned(_)
    ));
    let now = word(&cluster, cluster.newest(1), 1);
    assert_eq!(cluster.apply(now), Outcome::Done);
    assert!(matches!(
        cluster.proof(&id),
        Some(Proof::ConfirmedByHuman { .. })
    ));
}

#[test]
fn a_word_for_another_boot_of_the_same_number_is_refused_with_what_stands() {
    let mut cluster = Cluster::new();
    let id = cluster.put("db", Isolation::Stonith);
    cluster.active(&id, 1, Attestation::Intact);
    cluster.expire(1);
    // As after a restore: numbers of lives come again, boots do not.
    let other = word(&cluster, cluster.newest(1), 9);
    let Outcome::Refused(refusal) = cluster.apply(other) else {
        panic!("another boot was vouched for");
    };
    assert_eq!(refusal.reason, "OtherIncarnation");
    let stands = BootId([1; 16]).to_string();
    assert!(refusal.message.contains(&stands), "{}", refusal.message);
}

#[test]
fn boots_are_read_as_they_are_written() {
    let boot = BootId([
        0x0d, 0x8a, 0x6b, 0x5e, 0x10, 0x32, 0x4f, 0xfe, 0x8a, 0xbc, 0xde, 0xf0, 0x12, 0x34, 0x56,
        0x78,
    ]);
    let text = boot.to_string();
    assert_eq!(text, "0d8a6b5e-1032-4ffe-8abc-def012345678");
    assert_eq!(text.parse(), Ok(boot));
    for bad in ["", "0d8a6b5e", "0d8a6b5e-1032-4ffe-8abc-def01234567x"] {
        assert!(bad.parse::<BootId>().is_err(), "{bad}");
    }
}
