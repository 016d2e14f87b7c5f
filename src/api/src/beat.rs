//! The beat datagram: at most [`DATAGRAM_MAX`] bytes, keyed per incarnation, replay-proof.
//!
//! Layout (big-endian; docs/beats.md draws it): `magic "hF" | version 2 | kind | key generation | code | count u16 |
//! node u64 | incarnation u64 | sequence u64 | membership term u64, index u64 | nonce u64 | ttl u64, or in what
//! comes back from u64`, then only in an answer `epoch u64 | last entry's term u64, index u64 | count voters of 9`,
//! and always `tag 16`. Every number has the width of the type that it carries; nothing is left out for its size but
//! the voters of a membership with more than [`VOTERS_MAX`] of them, which its entry names as well.
//!
//! The tag is HMAC-SHA256 truncated to 16 bytes (RFC 2104 section 5) under the incarnation's key. The nonce
//! is chosen by each coordinator at its start and must come back in every beat to it, so that a beat
//! captured earlier proves nothing to a restarted coordinator; within one start the sequence only rises.
//! Reads no clock and opens no socket. Decides nothing about sessions: haft-engine does.

use haft_engine::command::{Attestation, VoterSets};
use haft_engine::ids::{EntryId, Epoch, Incarnation, NodeId};
use haft_engine::session::{Answer, AnswerKind, Beat};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// No datagram of ours is longer: IPv6's least MTU (1,280, RFC 8200 section 5) without its headers and UDP's, so that
/// none is ever cut in pieces.
pub const DATAGRAM_MAX: usize = 1_280 - 40 - 8;
const MAGIC: [u8; 2] = *b"hF";
const VERSION: u8 = 2;
const TAG: usize = 16;
/// What every kind begins with.
const HEAD: usize = 64;
/// Epoch, and term and index of the last entry.
const LOG: usize = 24;
const VOTER: usize = 9;
/// Most voters that an answer carries: (1,232 − 64 − 24 − 16) / 9 = 125, far beyond two sets of seven.
pub const VOTERS_MAX: usize = (DATAGRAM_MAX - HEAD - LOG - TAG) / VOTER;
const KIND_BEAT: u8 = 1;
const KIND_ANSWER: u8 = 2;
const KIND_CHALLENGE: u8 = 3;

/// Key of one incarnation's beats. Shows no bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct BeatKey {
    /// Which heartbeat key it derives from.
    pub generation: u8,
    secret: [u8; 32],
}

impl std::fmt::Debug for BeatKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BeatKey({}, ..)", self.generation)
    }
}

impl BeatKey {
    /// Derives an incarnation's key: HMAC-SHA256(heartbeat key, "haft beat 1" | node | incarnation).
    pub fn derive(
        heartbeat: &haft_engine::command::HeartbeatKey,
        node: NodeId,
        incarnation: Incarnation,
    ) -> BeatKey {
        let mut mac = keyed(&heartbeat.secret);
        mac.update(b"haft beat 1");
        mac.update(&node.0.to_be_bytes());
        mac.update(&incarnation.0.to_be_bytes());
        BeatKey {
            generation: heartbeat.generation,
            secret: mac.finalize().into_bytes().into(),
        }
    }

    /// As handed to the agent over its stream.
    pub fn from_parts(generation: u8, secret: [u8; 32]) -> BeatKey {
        BeatKey { generation, secret }
    }

    /// The bytes, for the agent's stream only.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

/// Why a datagram is dropped. Each is counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum Dropped {
    /// Shorter or longer than its kind.
    #[error("wrong length")]
    Length,
    /// Not ours, or another version.
    #[error("not a haft datagram of version 2")]
    Foreign,
    /// A field holds a value that does not exist.
    #[error("field out of range")]
    Field,
    /// No such incarnation or key generation here.
    #[error("no key for this sender")]
    NoKey,
    /// The tag does not match.
    #[error("wrong key or altered")]
    Tag,
    /// A beat with an old nonce, or with a sequence seen before.
    #[error("replayed")]
    Replayed,
}

impl Dropped {
    /// The reason as a word for counters.
    pub fn word(self) -> &'static str {
        match self {
            Dropped::Length => "length",
            Dropped::Foreign => "foreign",
            Dropped::Field => "field",
            Dropped::NoKey => "no_key",
            Dropped::Tag => "wrong_tag",
            Dropped::Replayed => "replayed",
        }
    }
}

/// Who a datagram claims to come from (or to answer), to look up the key; nothing in it is proven yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The node that beats.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Key generation.
    pub generation: u8,
}

/// An authentic beat with the nonce it echoes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenedBeat {
    /// The beat.
    pub beat: Beat,
    /// The recipient's nonce as the node knows it; 0 before it knows one.
    pub nonce: u64,
}

/// An authentic answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpenedAnswer {
    /// An answer of the engine's responder.
    Answer(Answer),
    /// The coordinator did not accept the nonce: beat again with this one.
    Challenge {
        /// Who answers.
        from: NodeId,
        /// Its nonce.
        nonce: u64,
    },
}

/// Reads the claim of a datagram, after checking its form.
pub fn claim(bytes: &[u8]) -> Result<Claim, Dropped> {
    if bytes.len() < HEAD + TAG || bytes.len() > DATAGRAM_MAX {
        return Err(Dropped::Length);
    }
    if bytes[0..2] != MAGIC || bytes[2] != VERSION {
        return Err(Dropped::Foreign);
    }
    Ok(Claim {
        node: NodeId(word(bytes, 8)),
        incarnation: Incarnation(word(bytes, 16)),
        generation: bytes[4],
    })
}

/// Bytes of a beat for the coordinator whose nonce this is.
pub fn seal_beat(key: &BeatKey, beat: &Beat, nonce: u64) -> Vec<u8> {
    let code = match beat.guards {
        Attestation::Unknown => 0,
        Attestation::Broken => 1,
        Attestation::Intact => 2,
        Attestation::Watched => 3,
    };
    let ttl = u64::try_from(beat.ttl.as_nanos()).unwrap_or(u64::MAX);
    let mut bytes = head(key, KIND_BEAT, code, 0);
    words(
        &mut bytes,
        [
            beat.node.0,
            beat.incarnation.0,
            beat.sequence,
            beat.membership.term.0,
            beat.membership.index.0,
            nonce,
            ttl,
        ],
    );
    tagged(key, bytes)
}

/// The beat in a datagram, if the key made it.
pub fn open_beat(key: &BeatKey, bytes: &[u8]) -> Result<OpenedBeat, Dropped> {
    let claim = claim(bytes)?;
    if bytes[3] != KIND_BEAT || bytes.len() != HEAD + TAG {
        return Err(Dropped::Length);
    }
    verify(key, bytes)?;
    if count(bytes) != 0 {
        return Err(Dropped::Field);
    }
    let guards = match bytes[5] {
        0 => Attestation::Unknown,
        1 => Attestation::Broken,
        2 => Attestation::Intact,
        3 => Attestation::Watched,
        _ => return Err(Dropped::Field),
    };
    let beat = Beat {
        node: claim.node,
        incarnation: claim.incarnation,
        sequence: word(bytes, 24),
        membership: entry(bytes, 32),
        ttl: Duration::from_nanos(word(bytes, 56)),
        guards,
    };
    Ok(OpenedBeat {
        beat,
        nonce: word(bytes, 48),
    })
}

/// Bytes of an answer. The membership's entry travels with every one, and its voters if they fit: a node
/// counts an acknowledgement only under the very entry that it named.
pub fn seal_answer(key: &BeatKey, to: NodeId, answer: &Answer) -> Vec<u8> {
    let code = match answer.kind {
        AnswerKind::Acknowledged => 1,
        AnswerKind::Sealed => 2,
        AnswerKind::NotAdmitted => 3,
        AnswerKind::Ended => 4,
        AnswerKind::OtherMembership => 5,
        AnswerKind::NotReady => 6,
        AnswerKind::OtherTtl => 7,
    };
    let voters = voters_into(&answer.membership);
    let count = u16::try_from(voters.len() / VOTER).unwrap_or(0);
    let mut bytes = head(key, KIND_ANSWER, code, count);
    words(
        &mut bytes,
        [
            to.0,
            answer.incarnation.0,
            answer.sequence,
            answer.membership.at.term.0,
            answer.membership.at.index.0,
            0,
            answer.from.0,
            u64::from(answer.epoch.0),
            answer.log.term.0,
            answer.log.index.0,
        ],
    );
    bytes.extend(voters);
    tagged(key, bytes)
}

/// Bytes of a challenge: beat again with this nonce.
pub fn seal_challenge(key: &BeatKey, beat: &Beat, from: NodeId, nonce: u64) -> Vec<u8> {
    let mut bytes = head(key, KIND_CHALLENGE, 0, 0);
    words(
        &mut bytes,
        [
            beat.node.0,
            beat.incarnation.0,
            beat.sequence,
            beat.membership.term.0,
            beat.membership.index.0,
            nonce,
            from.0,
        ],
    );
    tagged(key, bytes)
}

/// The answer in a datagram, if the key made it.
pub fn open_answer(key: &BeatKey, bytes: &[u8]) -> Result<OpenedAnswer, Dropped> {
    let claim = claim(bytes)?;
    let whole = match bytes[3] {
        KIND_CHALLENGE => HEAD + TAG,
        _ => HEAD + LOG + usize::from(count(bytes)) * VOTER + TAG,
    };
    if bytes.len() != whole {
        return Err(Dropped::Length);
    }
    verify(key, bytes)?;
    let from = NodeId(word(bytes, 56));
    let kind = match (bytes[3], bytes[5]) {
        (KIND_CHALLENGE, 0) if count(bytes) == 0 => {
            return Ok(OpenedAnswer::Challenge {
                from,
                nonce: word(bytes, 48),
            });
        }
        (KIND_ANSWER, 1) => AnswerKind::Acknowledged,
        (KIND_ANSWER, 2) => AnswerKind::Sealed,
        (KIND_ANSWER, 3) => AnswerKind::NotAdmitted,
        (KIND_ANSWER, 4) => AnswerKind::Ended,
        (KIND_ANSWER, 5) => AnswerKind::OtherMembership,
        (KIND_ANSWER, 6) => AnswerKind::NotReady,
        (KIND_ANSWER, 7) => AnswerKind::OtherTtl,
        _ => return Err(Dropped::Field),
    };
    let epoch = u32::try_from(word(bytes, 64)).map_err(|_| Dropped::Field)?;
    let sets = voters_from(&bytes[HEAD + LOG..whole - TAG])?;
    Ok(OpenedAnswer::Answer(Answer {
        from,
        incarnation: claim.incarnation,
        sequence: word(bytes, 24),
        membership: VoterSets {
            at: entry(bytes, 32),
            sets,
        },
        epoch: Epoch(epoch),
        log: entry(bytes, 72),
        kind,
    }))
}

/// Each voter: which sets hold it (bit 0 the first, bit 1 the second), then its id in 8 bytes. Nothing if
/// they do not fit; the agent then learns them from its stream, and the membership's entry names them.
fn voters_into(membership: &VoterSets) -> Vec<u8> {
    let mut masks: BTreeMap<NodeId, u8> = BTreeMap::new();
    for (bit, set) in membership.sets.iter().enumerate().take(2) {
        for node in set {
            *masks.entry(*node).or_default() |= 1 << bit;
        }
    }
    let mut bytes = Vec::new();
    if masks.len() > VOTERS_MAX {
        return bytes;
    }
    for (node, mask) in masks {
        bytes.push(mask);
        bytes.extend(node.0.to_be_bytes());
    }
    bytes
}

fn voters_from(bytes: &[u8]) -> Result<Vec<BTreeSet<NodeId>>, Dropped> {
    let mut sets = vec![BTreeSet::new(), BTreeSet::new()];
    for voter in bytes.chunks_exact(VOTER) {
        let id = NodeId(word(voter, 1));
        if voter[0] == 0 || voter[0] > 3 {
            return Err(Dropped::Field);
        }
        for (bit, set) in sets.iter_mut().enumerate() {
            if voter[0] & (1 << bit) != 0 {
                set.insert(id);
            }
        }
    }
    sets.retain(|set| !set.is_empty());
    Ok(sets)
}

fn head(key: &BeatKey, kind: u8, code: u8, count: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + LOG + TAG + usize::from(count) * VOTER);
    bytes.extend(MAGIC);
    bytes.extend([VERSION, kind, key.generation, code]);
    bytes.extend(count.to_be_bytes());
    bytes
}

fn words<const N: usize>(bytes: &mut Vec<u8>, values: [u64; N]) {
    for value in values {
        bytes.extend(value.to_be_bytes());
    }
}

fn count(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[6], bytes[7]])
}

fn entry(bytes: &[u8], at: usize) -> EntryId {
    EntryId::new(word(bytes, at), word(bytes, at + 8))
}

fn tagged(key: &BeatKey, mut bytes: Vec<u8>) -> Vec<u8> {
    let mut mac = keyed(&key.secret);
    mac.update(&bytes);
    bytes.extend(&mac.finalize().into_bytes()[..TAG]);
    bytes
}

fn verify(key: &BeatKey, bytes: &[u8]) -> Result<(), Dropped> {
    let (body, tag) = bytes.split_at(bytes.len() - TAG);
    let mut mac = keyed(&key.secret);
    mac.update(body);
    mac.verify_truncated_left(tag).map_err(|_| Dropped::Tag)
}

fn keyed(secret: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret).expect("HMAC takes a key of any length")
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(word)
}

#[cfg(test)]
mod tests;
