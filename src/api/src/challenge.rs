//! The challenge and its answer: two datagrams on the beat port, by which a machine that is said to be off can say that
//! it is not (R3a; docs/beats.md draws them).
//!
//! Layout (big-endian): `magic "hW" | version 1 | kind | key generation | speaker | 0 0 | node u64 | incarnation u64 |
//! challenge u64 | from u64 | (answers) boot 16 | tag 16`. The tag is as of beats, under the same key of that life; the
//! number is drawn for one claim, so that no datagram captured earlier answers it. Opens no socket and judges nothing.

use crate::beat::{BeatKey, Claim, Dropped};
use haft_engine::ids::{BootId, Incarnation, NodeId};
use haft_engine::witness::{Challenge, Speaker};
use hmac::{Hmac, Mac};
use sha2::Sha256;

const MAGIC: [u8; 2] = *b"hW";
const VERSION: u8 = 1;
const HEAD: usize = 40;
const BOOT: usize = 16;
const TAG: usize = 16;
const QUESTION: u8 = 1;
const ANSWER: u8 = 2;

/// "Do you live?", to one life of one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question {
    /// Who is asked.
    pub node: NodeId,
    /// Which life; also that of the key.
    pub incarnation: Incarnation,
    /// What the answer has to echo.
    pub challenge: Challenge,
    /// The coordinator that asks.
    pub from: NodeId,
}

/// "I do."
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// What was asked.
    pub question: Question,
    /// Which process answers.
    pub speaker: Speaker,
    /// The boot that it runs in.
    pub boot: BootId,
}

/// What came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opened {
    /// To be answered at once.
    Question(Question),
    /// To one's own question.
    Answer(Answer),
}

/// Whether a datagram is one of these, and not a beat.
pub fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Whose key made it, as it says; nothing in it is proven yet.
///
/// # Errors
/// When its form is wrong.
pub fn claim(bytes: &[u8]) -> Result<Claim, Dropped> {
    if bytes.len() != HEAD + TAG && bytes.len() != HEAD + BOOT + TAG {
        return Err(Dropped::Length);
    }
    if !is_one(bytes) || bytes[2] != VERSION || bytes[6..8] != [0, 0] {
        return Err(Dropped::Foreign);
    }
    Ok(Claim {
        node: NodeId(word(bytes, 8)),
        incarnation: Incarnation(word(bytes, 16)),
        generation: bytes[4],
    })
}

/// Bytes of a question.
pub fn seal_question(key: &BeatKey, question: &Question) -> Vec<u8> {
    tagged(key, head(key, QUESTION, 0, question))
}

/// Bytes of an answer.
pub fn seal_answer(key: &BeatKey, answer: &Answer) -> Vec<u8> {
    let speaker = match answer.speaker {
        Speaker::Agent => 1,
        Speaker::Coordinator => 2,
    };
    let mut bytes = head(key, ANSWER, speaker, &answer.question);
    bytes.extend(answer.boot.0);
    tagged(key, bytes)
}

/// What is in a datagram, if the key made it.
///
/// # Errors
/// When it is malformed or another key made it.
pub fn open(key: &BeatKey, bytes: &[u8]) -> Result<Opened, Dropped> {
    let claim = claim(bytes)?;
    let (body, tag) = bytes.split_at(bytes.len() - TAG);
    let mut mac = keyed(key);
    mac.update(body);
    mac.verify_truncated_left(tag).map_err(|_| Dropped::Tag)?;
    let question = Question {
        node: claim.node,
        incarnation: claim.incarnation,
        challenge: Challenge(word(bytes, 24)),
        from: NodeId(word(bytes, 32)),
    };
    let speaker = match (bytes[3], bytes[5], body.len()) {
        (QUESTION, 0, HEAD) => return Ok(Opened::Question(question)),
        (ANSWER, 1, length) if length > HEAD => Speaker::Agent,
        (ANSWER, 2, length) if length > HEAD => Speaker::Coordinator,
        _ => return Err(Dropped::Field),
    };
    let mut boot = [0; BOOT];
    boot.copy_from_slice(&body[HEAD..]);
    Ok(Opened::Answer(Answer {
        question,
        speaker,
        boot: BootId(boot),
    }))
}

fn head(key: &BeatKey, kind: u8, speaker: u8, question: &Question) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + BOOT + TAG);
    bytes.extend(MAGIC);
    bytes.extend([VERSION, kind, key.generation, speaker, 0, 0]);
    for value in [
        question.node.0,
        question.incarnation.0,
        question.challenge.0,
        question.from.0,
    ] {
        bytes.extend(value.to_be_bytes());
    }
    bytes
}

fn tagged(key: &BeatKey, mut bytes: Vec<u8>) -> Vec<u8> {
    let mut mac = keyed(key);
    mac.update(&bytes);
    bytes.extend(&mac.finalize().into_bytes()[..TAG]);
    bytes
}

fn keyed(key: &BeatKey) -> Hmac<Sha256> {
    Hmac::new_from_slice(key.secret()).expect("HMAC takes a key of any length")
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> BeatKey {
        BeatKey::from_parts(1, [byte; 32])
    }

    fn question() -> Question {
        Question {
            node: NodeId(7),
            incarnation: Incarnation(40),
            challenge: Challenge(0xfeed),
            from: NodeId(3),
        }
    }

    fn answer() -> Answer {
        Answer {
            question: question(),
            speaker: Speaker::Coordinator,
            boot: BootId([9; 16]),
        }
    }

    #[test]
    fn what_is_sealed_opens_the_same_and_under_its_key_alone() {
        let asked = seal_question(&key(1), &question());
        assert_eq!(open(&key(1), &asked), Ok(Opened::Question(question())));
        let said = seal_answer(&key(1), &answer());
        assert_eq!(open(&key(1), &said), Ok(Opened::Answer(answer())));
        assert_eq!(open(&key(2), &said), Err(Dropped::Tag));
        assert!(is_one(&asked) && crate::beat::claim(&asked).is_err());
    }

    #[test]
    fn no_altered_or_cut_datagram_opens() {
        for whole in [
            seal_question(&key(1), &question()),
            seal_answer(&key(1), &answer()),
        ] {
            for place in 0..whole.len() {
                let mut altered = whole.clone();
                altered[place] ^= 1;
                assert!(open(&key(1), &altered).is_err(), "byte {place}");
                assert!(open(&key(1), &whole[..place]).is_err(), "cut at {place}");
            }
        }
    }
}
