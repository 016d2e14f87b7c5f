//! Whether an owner has begun (R14) survives the log and snapshots; what is older than the rule counts as begun.

use super::*;
use haft_engine::command::{Attestation, RelinquishCause};
use haft_engine::ids::{Epoch, LogIndex, ResourceId, Token};
use haft_engine::spec::{Failback, Isolation, ResourceSpec, Unfenced, VirtualIpSpec};
use haft_engine::state::{Evidence, Holding, Ownership, Progress, Proof, Resource};

fn token() -> Token {
    Token {
        epoch: Epoch(1),
        index: LogIndex(30),
    }
}

fn granted(progress: Progress) -> ClusterState {
    let id = ResourceId::vip("db");
    let spec = ResourceSpec::VirtualIp(VirtualIpSpec {
        address: [192, 0, 2, 7].into(),
        interface: "eth0".to_owned(),
        isolation: Isolation::Stonith,
        unfenced: Unfenced::Refused,
        preference: Vec::new(),
        failback: Failback::Never,
    });
    let holding = Holding {
        node: NodeId(2),
        incarnation: Incarnation(20),
        token: token(),
        isolation: Isolation::Stonith,
        spec: spec.clone(),
        guard: Attestation::Unknown,
        address_life: Duration::from_secs(10),
        since_unix_ms: 1,
        watchdog: None,
        progress,
    };
    let evidence = Evidence {
        token: token(),
        node: NodeId(2),
        incarnation: Incarnation(20),
        entry: LogIndex(29),
        proof: Proof::NeverBegun,
    };
    let resource = Resource {
        id: id.clone(),
        spec,
        generation: Generation(1),
        ownership: Ownership::Releasing(holding, RelinquishCause::Overdue),
        last_token: token(),
        evidence: Some(evidence),
        move_to: None,
        deleting: false,
        trouble: None,
    };
    let mut state = ClusterState::default();
    state.resources.insert(id, resource);
    state
}

#[test]
fn whether_an_owner_has_begun_comes_back_from_a_snapshot() {
    for progress in [Progress::NotBegun, Progress::Begun] {
        let state = granted(progress);
        let read = decode_state(&encode_state(&state)).expect("what was written is readable");
        assert_eq!(read, state);
    }
}

#[test]
fn a_holding_from_before_the_rule_counts_as_begun() {
    let older = state_into::state(&granted(Progress::Begun));
    assert!(
        !older.resources[0]
            .holding
            .as_ref()
            .expect("it is held")
            .not_begun
    );
}

#[test]
fn begins_and_withdrawals_come_back_from_the_log_and_are_measured() {
    let resource = ResourceId::vip("db");
    let entry = Entry {
        stamp_unix_ms: 0,
        commands: vec![
            Command::Begun {
                resource: resource.clone(),
                token: token(),
                incarnation: Incarnation(20),
            },
            Command::Withdraw {
                resource: resource.clone(),
                token: token(),
            },
            Command::Relinquish {
                resource,
                token: token(),
                cause: RelinquishCause::Overdue,
            },
        ],
    };
    let bytes = encode_entry(&entry);
    assert_eq!(
        decode_entry(&bytes).expect("what was written is readable"),
        entry
    );
    let measured: usize = entry.commands.iter().map(command_bytes).sum();
    assert_eq!(measured, bytes.len());
}
