//! Who is let in.

use haft_store::{Boot, Claim, ClusterId, PeerId, SyncMode};

use super::super::log::tests::memory;
use super::super::tls::CertifiedNode;
use super::super::wire::Greeting;
use super::{Gate, GateRefusal};

const CLUSTER: ClusterId = ClusterId([1; 16]);
const BOOT: Boot = Boot {
    counter: 1,
    nonce: 7,
};

fn greeting() -> Greeting {
    let claim = Claim {
        boots: vec![BOOT],
        vote_term: 0,
        last: None,
    };
    Greeting {
        cluster: CLUSTER,
        node: PeerId(2),
        name: "beta".to_owned(),
        claim,
    }
}

fn certified(name: &str) -> CertifiedNode {
    CertifiedNode {
        cluster: CLUSTER,
        name: name.to_owned(),
    }
}

async fn admit(greeting: &Greeting, to: u64, name: &str, known: &str) -> Result<(), GateRefusal> {
    let gate = Gate::new(memory(SyncMode::Immediate));
    let known = Some(known.to_owned());
    gate.admit(greeting, PeerId(to), &certified(name), known)
        .await
}

#[tokio::test]
async fn only_the_node_that_certificate_greeting_and_membership_name_is_let_in() {
    assert_eq!(admit(&greeting(), 1, "beta", "beta").await, Ok(()));
    let foreign = Greeting {
        cluster: ClusterId([2; 16]),
        ..greeting()
    };
    let refused = admit(&foreign, 1, "beta", "beta").await;
    assert!(
        matches!(refused, Err(GateRefusal::ForeignCluster { .. })),
        "{refused:?}"
    );
    let refused = admit(&greeting(), 3, "beta", "beta").await;
    assert!(
        matches!(refused, Err(GateRefusal::WrongAddress { .. })),
        "{refused:?}"
    );
    for (name, known) in [("gamma", "gamma"), ("beta", "gamma"), ("gamma", "beta")] {
        let refused = admit(&greeting(), 1, name, known).await;
        assert!(
            matches!(refused, Err(GateRefusal::WrongCertificate { .. })),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_greeting_that_was_given_up_does_not_let_the_next_one_in_before_the_disk_knows() {
    let store = memory(SyncMode::Manual);
    let gate = Gate::new(store.clone());
    let (greeting, certified) = (greeting(), certified("beta"));
    let mut given_up = Box::pin(gate.admit(&greeting, PeerId(1), &certified, None));
    assert!(futures::poll!(&mut given_up).is_pending());
    drop(given_up);
    let mut again = Box::pin(gate.admit(&greeting, PeerId(1), &certified, None));
    assert!(futures::poll!(&mut again).is_pending());
    assert!(!gate.is_admitted(PeerId(2), BOOT, "beta"));
    store.sync();
    again.await.unwrap();
    assert!(gate.is_admitted(PeerId(2), BOOT, "beta"));
}

#[tokio::test]
async fn a_call_is_let_in_only_from_the_start_that_was_greeted() {
    let gate = Gate::new(memory(SyncMode::Immediate));
    assert!(!gate.is_admitted(PeerId(2), BOOT, "beta"));
    gate.admit(&greeting(), PeerId(1), &certified("beta"), None)
        .await
        .unwrap();
    assert!(gate.is_admitted(PeerId(2), BOOT, "beta"));
    assert!(!gate.is_admitted(PeerId(2), BOOT, "gamma"));
    assert!(!gate.is_admitted(
        PeerId(2),
        Boot {
            counter: 2,
            nonce: 8
        },
        "beta"
    ));
    assert!(!gate.is_admitted(PeerId(3), BOOT, "beta"));
}
