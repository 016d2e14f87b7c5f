//! Beat datagrams: keyed, so that nothing but the key's owner makes one that opens.
//!
//! The script makes beats and answers, changes a byte, takes another key, or puts a right tag on anything.

use haft_api::beat::{
    BeatKey, DATAGRAM_MAX, Dropped, OpenedAnswer, OpenedBeat, VOTERS_MAX, claim, open_answer,
    open_beat, seal_answer, seal_beat, seal_challenge,
};
use haft_engine::command::{Attestation, HeartbeatKey, VoterSets};
use haft_engine::ids::{EntryId, Epoch, Incarnation, NodeId};
use haft_engine::session::{Answer, AnswerKind, Beat};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::script::Script;

const KINDS: [AnswerKind; 7] = [
    AnswerKind::Acknowledged,
    AnswerKind::Sealed,
    AnswerKind::NotAdmitted,
    AnswerKind::Ended,
    AnswerKind::OtherMembership,
    AnswerKind::NotReady,
    AnswerKind::OtherTtl,
];

/// See the module.
pub(crate) fn run(bytes: &[u8]) {
    let key = BeatKey::from_parts(3, [0x42; 32]);
    anything(&key, bytes);
    let mut script = Script::new(bytes);
    match script.byte().unwrap_or(0) % 4 {
        0 => beat(&key, &mut script),
        1 => answer(&key, &mut script),
        2 => challenge(&key, &mut script),
        _ => tagged_anything(&key, script.rest()),
    }
}

/// Nobody finds a tag by trying.
fn anything(key: &BeatKey, bytes: &[u8]) {
    let claimed = claim(bytes);
    assert!(bytes.len() <= DATAGRAM_MAX || claimed == Err(Dropped::Length));
    assert!(open_beat(key, bytes).is_err());
    assert!(open_answer(key, bytes).is_err());
}

/// The fields behind a right tag: what an owner of the key could send.
fn tagged_anything(key: &BeatKey, body: &[u8]) {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.secret()).expect("any length");
    mac.update(body);
    let bytes = [body, &mac.finalize().into_bytes()[..16]].concat();
    if let Ok(OpenedBeat { beat, nonce }) = open_beat(key, &bytes) {
        let again = seal_beat(key, &beat, nonce);
        assert_eq!(open_beat(key, &again), Ok(OpenedBeat { beat, nonce }));
        assert!(open_answer(key, &bytes).is_err(), "a beat and an answer");
    }
    if let Ok(opened) = open_answer(key, &bytes) {
        let to = claim(&bytes).unwrap().node;
        if let OpenedAnswer::Answer(answer) = &opened {
            let again = seal_answer(key, to, answer);
            assert!(again.len() <= DATAGRAM_MAX);
            assert_eq!(open_answer(key, &again), Ok(opened));
        }
    }
}

fn some_beat(script: &mut Script<'_>) -> Beat {
    const GUARDS: [Attestation; 4] = [
        Attestation::Unknown,
        Attestation::Broken,
        Attestation::Intact,
        Attestation::Watched,
    ];
    Beat {
        node: NodeId(script.long()),
        incarnation: Incarnation(script.long()),
        sequence: script.long(),
        membership: EntryId::new(script.long(), script.long()),
        ttl: Duration::from_nanos(script.long()),
        guards: GUARDS[usize::from(script.byte().unwrap_or(0)) % GUARDS.len()],
    }
}

fn beat(key: &BeatKey, script: &mut Script<'_>) {
    let beat = some_beat(script);
    let nonce = script.long();
    let bytes = seal_beat(key, &beat, nonce);
    assert_eq!(open_beat(key, &bytes), Ok(OpenedBeat { beat, nonce }));
    spoiled(key, &bytes, script, |key, bytes| {
        open_beat(key, bytes).is_err()
    });
}

fn answer(key: &BeatKey, script: &mut Script<'_>) {
    let beat = some_beat(script);
    let from = NodeId(script.long());
    let kind = KINDS[usize::from(script.byte().unwrap_or(0)) % KINDS.len()];
    let mut sets = vec![BTreeSet::new(), BTreeSet::new()];
    let wide = script.long();
    for voter in script.part().chunks(2) {
        let id: u64 = voter.iter().map(|byte| u64::from(*byte)).sum();
        let id = NodeId(id.wrapping_mul(wide));
        sets[usize::from(voter[0] & 1)].insert(id);
    }
    sets.retain(|set| !set.is_empty());
    let all: BTreeSet<_> = sets.iter().flatten().collect();
    let fits = all.len() <= VOTERS_MAX;
    let answer = Answer {
        from,
        incarnation: beat.incarnation,
        sequence: beat.sequence,
        membership: VoterSets {
            at: beat.membership,
            sets,
        },
        epoch: Epoch(u32::from(script.byte().unwrap_or(0))),
        log: EntryId::new(script.long(), script.long()),
        kind,
    };
    let bytes = seal_answer(key, beat.node, &answer);
    assert!(bytes.len() <= DATAGRAM_MAX);
    let opened = open_answer(key, &bytes);
    if fits {
        assert_eq!(opened, Ok(OpenedAnswer::Answer(answer)));
    } else {
        // Voters that do not fit are left out; the entry names them.
        let Ok(OpenedAnswer::Answer(opened)) = opened else {
            panic!("{opened:?}");
        };
        assert!(opened.membership.sets.is_empty());
        assert_eq!(opened.membership.at, answer.membership.at);
    }
    spoiled(key, &bytes, script, |key, bytes| {
        open_answer(key, bytes).is_err()
    });
}

fn challenge(key: &BeatKey, script: &mut Script<'_>) {
    let beat = some_beat(script);
    let (from, nonce) = (NodeId(script.long()), script.long());
    let bytes = seal_challenge(key, &beat, from, nonce);
    assert_eq!(
        open_answer(key, &bytes),
        Ok(OpenedAnswer::Challenge { from, nonce })
    );
    spoiled(key, &bytes, script, |key, bytes| {
        open_answer(key, bytes).is_err()
    });
}

/// One changed byte, a cut, or another key: it opens no more.
fn spoiled(
    key: &BeatKey,
    bytes: &[u8],
    script: &mut Script<'_>,
    refused: fn(&BeatKey, &[u8]) -> bool,
) {
    let (changed, place) = script.changed(bytes);
    assert!(refused(key, &changed), "byte {place} is not under the tag");
    let cut = usize::from(script.byte().unwrap_or(0)) % bytes.len();
    assert!(refused(key, &bytes[..cut]));
    let heartbeat = HeartbeatKey {
        generation: key.generation,
        secret: [0x42; 32],
    };
    let other = BeatKey::derive(&heartbeat, NodeId(1), Incarnation(script.long()));
    assert!(refused(&other, bytes), "another key opens it");
    assert!(!format!("{key:?}{heartbeat:?}").contains("66, 66"));
}
