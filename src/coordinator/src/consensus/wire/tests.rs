//! Malformed and truncated messages are refused, never believed and never a panic.

use haft_store::record::{Position, RecordKind, VoteRecord};
use proptest::prelude::*;
use prost::Message;

use super::pb;
use super::{append_answer_of, append_of, ballot_answer_of, ballot_of, greeting_of, transfer_of};

fn vote() -> VoteRecord {
    VoteRecord {
        version: 1,
        term: 2,
        node: 1,
        committed: true,
    }
}

fn entry(index: u64) -> pb::WireEntry {
    let at = Some(Position { term: 2, index });
    pb::WireEntry {
        at,
        kind: RecordKind::Normal.into(),
        payload: b"x".to_vec(),
    }
}

fn append(previous: Option<u64>, indexes: &[u64]) -> pb::AppendRequest {
    pb::AppendRequest {
        vote: Some(vote()),
        previous: previous.map(|index| Position { term: 2, index }),
        entries: indexes.iter().copied().map(entry).collect(),
        leader_commit: None,
    }
}

#[test]
fn entries_must_follow_each_other_and_the_one_before() {
    assert!(append_of(append(None, &[0, 1, 2])).is_ok());
    assert!(append_of(append(Some(4), &[5, 6])).is_ok());
    assert!(append_of(append(Some(4), &[])).is_ok());
    for wrong in [
        append(None, &[1]),
        append(Some(4), &[6]),
        append(Some(4), &[5, 7]),
    ] {
        assert!(append_of(wrong).is_err());
    }
    assert!(append_of(append(Some(u64::MAX), &[0])).is_err());
    assert!(append_of(append(Some(u64::MAX - 1), &[u64::MAX])).is_ok());
}

#[test]
fn a_missing_or_later_field_is_refused() {
    assert!(
        append_of(pb::AppendRequest {
            vote: None,
            ..append(None, &[0])
        })
        .is_err()
    );
    let later = VoteRecord {
        version: 2,
        ..vote()
    };
    assert!(
        append_of(pb::AppendRequest {
            vote: Some(later),
            ..append(None, &[0])
        })
        .is_err()
    );
    let mut unknown = append(None, &[0]);
    unknown.entries[0].kind = 9;
    assert!(append_of(unknown).is_err());
    assert!(append_answer_of(pb::AppendResponse::default()).is_err());
    assert!(greeting_of(None).is_err());
    let short = pb::Greeting {
        cluster: vec![1; 15],
        ..pb::Greeting::default()
    };
    assert!(greeting_of(Some(short)).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = pb::AppendRequest::decode(bytes.as_slice()).map(append_of);
        let _ = pb::VoteRequest::decode(bytes.as_slice()).map(ballot_of);
        let _ = pb::VoteResponse::decode(bytes.as_slice()).map(ballot_answer_of);
        let _ = pb::TransferLeaderRequest::decode(bytes.as_slice()).map(transfer_of);
        let _ = pb::Greeting::decode(bytes.as_slice()).map(|form| greeting_of(Some(form)));
    }

    #[test]
    fn a_truncated_append_is_refused_or_shorter(cut in 0_usize..100) {
        let whole = append(Some(4), &[5, 6, 7]).encode_to_vec();
        let bytes = &whole[..cut.min(whole.len())];
        if let Ok(form) = pb::AppendRequest::decode(bytes) {
            let _ = append_of(form);
        }
    }
}
