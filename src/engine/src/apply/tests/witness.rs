//! A witness beats a verdict, and what follows after one that came too late (R3a; rules.md C1).

use super::*;
use crate::command::HoldReason;
use crate::levels::levels_of;
use crate::state::OrderPhase;
use crate::witness::{Lie, Speaker, Witness};

const OLD: BootId = BootId([1; 16]);

fn answer(cluster: &Cluster, boot: BootId) -> Witness {
    Witness {
        by: cluster.ids[2],
        speaker: Speaker::Coordinator,
        boot,
    }
}

/// `n2` is lost with something under stonith, and the first try against it runs.
fn fenced() -> (Cluster, ResourceId, OrderId) {
    let mut cluster = Cluster::new();
    cluster.apply(put_device(device(&["n1", "n2", "n3"])));
    let id = cluster.put("db", Isolation::Stonith);
    cluster.active(&id, 1, Attestation::Intact);
    cluster.expire(1);
    let order = cluster.fence(1, FenceCause::Orphans);
    (cluster, id, order)
}

fn confirmed(cluster: &mut Cluster, order: OrderId, attempt: u32, lie: Option<Lie>) -> Outcome {
    cluster.apply(Command::FenceVerdict {
        order,
        attempt,
        verdict: Verdict::Confirmed,
        detail: "two off reads".to_owned(),
        lie,
    })
}

fn lie(cluster: &Cluster, boot: BootId) -> Option<Lie> {
    Some(Lie {
        witness: answer(cluster, boot),
        devices: vec![DeviceName::from("bmc")],
    })
}

fn has_event(cluster: &Cluster, reason: &str) -> bool {
    cluster
        .state
        .events
        .iter()
        .any(|event| event.reason == reason)
}

#[test]
fn a_witness_makes_a_verdict_unknown_and_its_device_untrusted() {
    let (mut cluster, id, order) = fenced();
    let said = lie(&cluster, OLD);
    assert_eq!(confirmed(&mut cluster, order, 1, said), Outcome::Done);
    assert_eq!(
        cluster.state.orders[&order].phase,
        OrderPhase::Waiting {
            last: Verdict::Unknown,
            level: 1
        }
    );
    assert!(matches!(
        cluster.state.resources[&id].ownership,
        Ownership::Orphaned(_)
    ));
    assert!(has_event(&cluster, "FenceLie"));
    let name = NodeName::from("n2");
    let levels = levels_of(&cluster.state, &name);
    assert!(
        !levels[0].isolates(&cluster.state.devices),
        "never again the only one"
    );
    // A try that was under way by it alone proves nothing either.
    cluster.apply(Command::FenceAttempt {
        order,
        attempt: 2,
        executor: cluster.ids[0],
        level: 1,
        deadline: Duration::from_secs(5),
    });
    assert_eq!(confirmed(&mut cluster, order, 2, None), Outcome::Done);
    assert!(matches!(
        cluster.state.resources[&id].ownership,
        Ownership::Orphaned(_)
    ));
    let told = |cluster: &Cluster, subject: &str| {
        let subject = crate::why::Subject::parse(subject).expect("a subject");
        let report = crate::why::why(&cluster.state, &subject);
        format!("{report:?}").contains("distrusted since order")
    };
    let held = Command::FenceHeld {
        order,
        reason: HoldReason::NoDevice,
    };
    assert_eq!(cluster.apply(held), Outcome::Done);
    let subjects = [format!("order/{order}"), "fencedevice/bmc".to_owned()];
    assert!(subjects.iter().all(|subject| told(&cluster, subject)));
    // Somebody has looked at it and applies it again.
    cluster.apply(put_device(device(&["n1", "n2", "n3"])));
    assert!(!subjects.iter().any(|subject| told(&cluster, subject)));
    assert!(levels_of(&cluster.state, &name)[0].isolates(&cluster.state.devices));
}

#[test]
fn an_untrusted_device_counts_beside_one_that_is_trusted() {
    let (mut cluster, id, order) = fenced();
    let said = lie(&cluster, OLD);
    confirmed(&mut cluster, order, 1, said);
    let spec = FenceDeviceSpec {
        agent: "fence_haft_pdu".to_owned(),
        ..device(&["n1", "n2", "n3"])
    };
    cluster.apply(Command::Put {
        object: ObjectSpec::Device(DeviceName::from("pdu"), spec),
        expected: None,
        request: RequestId::default(),
    });
    cluster.apply(Command::FenceAttempt {
        order,
        attempt: 2,
        executor: cluster.ids[0],
        level: 1,
        deadline: Duration::from_secs(5),
    });
    assert_eq!(confirmed(&mut cluster, order, 2, None), Outcome::Done);
    assert!(matches!(cluster.proof(&id), Some(Proof::Fenced { .. })));
}

#[test]
fn an_answer_of_another_boot_is_a_reboot_and_no_lie() {
    let (mut cluster, id, order) = fenced();
    let rebooted = lie(&cluster, BootId([2; 16]));
    assert_eq!(confirmed(&mut cluster, order, 1, rebooted), Outcome::Done);
    assert!(matches!(cluster.proof(&id), Some(Proof::Fenced { .. })));
    assert!(!has_event(&cluster, "FenceLie"));
}

#[test]
fn a_witness_after_the_grant_changes_no_ownership_and_calls_for_another_order() {
    let (mut cluster, id, order) = fenced();
    confirmed(&mut cluster, order, 1, None);
    let life = cluster.newest(1);
    let token = cluster.active(&id, 2, Attestation::Intact);
    let early = cluster.intent(1, FenceCause::Witnessed);
    cluster.refused(early, "NothingToFence");
    let late = |cluster: &Cluster, boot| Command::Witnessed {
        node: cluster.ids[1],
        incarnation: life,
        witness: answer(cluster, boot),
    };
    let rebooted = late(&cluster, BootId([2; 16]));
    cluster.refused(rebooted, "OtherBoot");
    let speaks = late(&cluster, OLD);
    assert_eq!(cluster.apply(speaks.clone()), Outcome::Done);
    cluster.refused(speaks, "NotProvenOff");
    let holding = cluster.state.resources[&id].ownership.holding();
    assert_eq!(holding.map(|holding| holding.token), Some(token));
    assert!(has_event(&cluster, "FenceLie") && has_event(&cluster, "FenceDeviceDistrusted"));
    let subject = crate::why::Subject::parse(&id.to_string()).expect("a subject");
    let told = crate::why::why(&cluster.state, &subject).expect("it is there");
    let told = format!("{told:?}");
    assert!(told.contains("n2") && told.contains("n3"), "{told}");
    let again = cluster.fence(1, FenceCause::Witnessed);
    assert_ne!(again, order);
}

#[test]
fn a_humans_word_is_not_taken_against_a_witness_that_they_do_not_name() {
    let (mut cluster, id, order) = fenced();
    cluster.verdict(order, 1, Verdict::Unknown);
    let word = |cluster: &Cluster, boot, overruled| Command::ConfirmOff {
        node: cluster.ids[1],
        incarnation: cluster.newest(1),
        boot: Some(OLD),
        by: "alice".to_owned(),
        reason: "unplugged".to_owned(),
        witnesses: vec![answer(cluster, boot)],
        overruled,
        request: RequestId::default(),
    };
    let unaware = word(&cluster, OLD, Vec::new());
    assert_eq!(
        cluster.refused(unaware, "StillAnswers"),
        RefusalKind::Unsafe
    );
    let wrong = word(&cluster, OLD, vec![cluster.ids[0]]);
    cluster.refused(wrong, "StillAnswers");
    let knows = word(&cluster, OLD, vec![cluster.ids[2]]);
    assert_eq!(cluster.apply(knows), Outcome::Done);
    assert!(matches!(
        cluster.proof(&id),
        Some(Proof::ConfirmedByHuman { .. })
    ));
    let vouched = cluster.state.events.iter().rev();
    let vouched = vouched
        .clone()
        .find(|event| event.reason == "ConfirmedOff")
        .expect("people are told");
    assert!(vouched.message.contains("n3"), "{}", vouched.message);
}
