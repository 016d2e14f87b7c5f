//! Questions to one SNMP agent as a machine: bytes and time in, bytes out.
//!
//! One question is open at a time. It is sent again when no answer comes, under the same request id, and
//! only an answer that carries this id, our community or a genuine digest, and the object that was asked for
//! counts; everything else is dropped and counted. When to give up is the driver's decision, and what an
//! answer means for an outlet is for [`crate::outlets`].

mod user;

use std::fmt;
use std::time::{Duration, Instant};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::oid::Oid;
use crate::usm::Protection;
use crate::wire::message::{Binding, CommunityMessage, ErrorStatus, Pdu, PduKind, Value, Version};
use user::{Heard, User};

/// Longest wait between two sends of a question.
const REPEAT_MAX: Duration = Duration::from_secs(2);

/// Who asks.
pub enum Credentials {
    /// v1 or v2c.
    Community {
        /// [`Version::V1`] or [`Version::V2c`].
        version: Version,
        /// The community.
        community: Zeroizing<Vec<u8>>,
    },
    /// v3.
    User {
        /// The user's name.
        name: Vec<u8>,
        /// Level, protocols, pass phrases.
        protection: Protection,
    },
}

/// Random numbers, drawn by the driver.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    /// The first request id; its top bit is cleared.
    pub request_id: u32,
    /// The first message id of v3; its top bit is cleared.
    pub message_id: u32,
    /// The first salt of v3.
    pub salt: u64,
}

/// A question about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Tell it.
    Get(Oid),
    /// Tell the one after it.
    Next(Oid),
    /// Make it this INTEGER.
    Set(Oid, i64),
}

impl Question {
    fn pdu(&self, request_id: i32) -> Pdu {
        let (kind, oid, value) = match self {
            Self::Get(oid) => (PduKind::Get, oid, Value::Null),
            Self::Next(oid) => (PduKind::GetNext, oid, Value::Null),
            Self::Set(oid, number) => (PduKind::Set, oid, Value::Integer(*number)),
        };
        Pdu {
            kind,
            request_id,
            error: ErrorStatus::NONE,
            error_index: 0,
            bindings: vec![Binding {
                oid: oid.clone(),
                value,
            }],
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get(oid) => write!(out, "get {oid}"),
            Self::Next(oid) => write!(out, "get-next {oid}"),
            Self::Set(oid, number) => write!(out, "set {oid} to {number}"),
        }
    }
}

/// Datagrams that were no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    count: u32,
    why: &'static str,
}

impl Dropped {
    fn add(&mut self, why: &'static str) {
        self.count = self.count.saturating_add(1);
        self.why = why;
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            0 => Ok(()),
            1 => write!(out, "; one datagram was dropped: {}", self.why),
            more => write!(
                out,
                "; {more} datagrams were dropped, the last one: {}",
                self.why
            ),
        }
    }
}

/// Why a question has no usable answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SessionError {
    /// Nothing that answers it came.
    #[error("no answer to {question} ({sends} sent{dropped}); {hint}")]
    NoAnswer {
        /// What was asked.
        question: String,
        /// How often it was sent.
        sends: u32,
        /// What came instead.
        dropped: Dropped,
        /// What silence may mean with these credentials.
        hint: &'static str,
    },
    /// The PDU answered with an error.
    #[error("the PDU refused to {question}: {status}")]
    Refused {
        /// What was asked.
        question: String,
        /// Its error.
        status: ErrorStatus,
    },
    /// There is no such object.
    #[error("the PDU has no object {oid}")]
    NoSuchObject {
        /// The object.
        oid: Oid,
    },
    /// The right request id and the wrong object.
    #[error("the PDU's answer to {question} is about another object")]
    OtherObject {
        /// What was asked.
        question: String,
    },
    /// v3: no such user.
    #[error("the PDU does not know the user name")]
    UnknownUser,
    /// v3: a digest that the PDU does not accept.
    #[error("the PDU does not accept our digest: wrong password or snmp_auth_prot")]
    WrongDigest,
    /// v3: it cannot read what we encrypted.
    #[error("the PDU cannot decrypt: wrong snmp_priv_passwd or snmp_priv_prot")]
    Decryption,
    /// v3: more or less protection than the user may have.
    #[error("the PDU does not allow this user the security level asked for")]
    SecurityLevel,
    /// v3: our idea of its clock stays wrong.
    #[error("the PDU says that we are not in its time window")]
    NotInTime,
    /// v3: it keeps changing its engine id, or it reports what we do not know.
    #[error("the PDU reports a problem with SNMPv3: {what}")]
    Report {
        /// For people.
        what: String,
    },
}

/// Where the open question stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// No answer yet, or no question.
    Waiting,
    /// The answer: an object and its value. [`Value::EndOfMibView`] when nothing follows.
    Answered(Binding),
    /// There will be none.
    Failed(SessionError),
}

enum Guard {
    Community {
        version: Version,
        community: Zeroizing<Vec<u8>>,
    },
    User(Box<User>),
}

struct Open {
    question: Question,
    request_id: i32,
    sends: u32,
    /// When it is sent (again).
    send_at: Instant,
    repeat_after: Duration,
    dropped: Dropped,
}

/// A conversation with one SNMP agent.
pub struct Session {
    guard: Guard,
    repeat_after: Duration,
    next_request_id: i32,
    open: Option<Open>,
    outgoing: Option<Vec<u8>>,
    result: Option<Progress>,
}

impl Session {
    /// Nothing is sent yet. `repeat_after` is the wait before a question is sent again; it doubles up to 2 s.
    pub fn new(credentials: Credentials, seeds: Seeds, repeat_after: Duration) -> Self {
        let guard = match credentials {
            Credentials::Community { version, community } => {
                Guard::Community { version, community }
            }
            Credentials::User { name, protection } => Guard::User(Box::new(User::new(
                name,
                protection,
                seeds.message_id & 0x7FFF_FFFF,
                seeds.salt,
            ))),
        };
        Self {
            guard,
            repeat_after,
            next_request_id: i32::try_from(seeds.request_id & 0x7FFF_FFFF).unwrap_or(1),
            open: None,
            outgoing: None,
            result: None,
        }
    }

    /// Opens a question; the one before it is forgotten.
    pub fn ask(&mut self, now: Instant, question: Question) {
        let request_id = self.next_request_id;
        self.next_request_id = request_id.checked_add(1).unwrap_or(1);
        if let Guard::User(user) = &mut self.guard {
            user.begin();
        }
        self.result = None;
        self.open = Some(Open {
            question,
            request_id,
            sends: 0,
            send_at: now,
            repeat_after: self.repeat_after,
            dropped: Dropped::default(),
        });
        self.on_wake(now);
    }

    /// A datagram to send now, once.
    pub fn datagram(&mut self) -> Option<Vec<u8>> {
        self.outgoing.take()
    }

    /// When [`Self::on_wake`] has something to do.
    pub fn wake_at(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.send_at)
    }

    /// Time has passed.
    pub fn on_wake(&mut self, now: Instant) {
        let Some(open) = &mut self.open else {
            return;
        };
        if now < open.send_at {
            return;
        }
        let pdu = open.question.pdu(open.request_id);
        self.outgoing = Some(match &mut self.guard {
            Guard::Community { version, community } => CommunityMessage {
                version: *version,
                community: community.to_vec(),
                pdu,
            }
            .to_bytes(),
            Guard::User(user) => user.wrap(now, pdu),
        });
        open.sends += 1;
        open.send_at = now + open.repeat_after;
        open.repeat_after = (open.repeat_after * 2).min(REPEAT_MAX.max(self.repeat_after));
    }

    /// A datagram came from the agent's address.
    pub fn on_datagram(&mut self, now: Instant, bytes: &[u8]) {
        let Some(open) = &mut self.open else {
            return;
        };
        let heard = match &mut self.guard {
            Guard::Community { version, community } => open_community(*version, community, bytes),
            Guard::User(user) => user.unwrap(now, bytes),
        };
        match heard {
            Heard::Answer(pdu) if pdu.kind != PduKind::Response => {
                open.dropped.add("it is no response");
            }
            Heard::Answer(pdu) if pdu.request_id != open.request_id => {
                open.dropped.add("it has another request id");
            }
            Heard::Answer(pdu) => {
                let result = judge(&open.question, pdu);
                self.end(result);
            }
            Heard::Again => {
                open.send_at = now;
                open.repeat_after = self.repeat_after;
                self.on_wake(now);
            }
            Heard::Trouble(error) => self.end(Err(error)),
            Heard::Dropped(why) => open.dropped.add(why),
        }
    }

    fn end(&mut self, result: Result<Binding, SessionError>) {
        self.open = None;
        self.outgoing = None;
        self.result = Some(match result {
            Ok(binding) => Progress::Answered(binding),
            Err(error) => Progress::Failed(error),
        });
    }

    /// Where the question stands; a result is given once.
    pub fn progress(&mut self) -> Progress {
        self.result.take().unwrap_or(Progress::Waiting)
    }

    /// The error for a question that the driver gives up.
    pub fn give_up(&mut self) -> SessionError {
        let hint = match &self.guard {
            Guard::Community { .. } => {
                "a PDU is silent when it is unreachable, or when community or snmp_version are not its own"
            }
            Guard::User(user) => user.hint(),
        };
        let (question, sends, dropped) = self.open.take().map_or_else(
            || ("anything".to_owned(), 0, Dropped::default()),
            |open| (open.question.to_string(), open.sends, open.dropped),
        );
        self.outgoing = None;
        SessionError::NoAnswer {
            question,
            sends,
            dropped,
            hint,
        }
    }
}

fn open_community(version: Version, community: &[u8], bytes: &[u8]) -> Heard {
    match CommunityMessage::from_bytes(bytes) {
        Err(_) => Heard::Dropped("it is malformed"),
        Ok(message) if message.version != version => Heard::Dropped("it has another version"),
        Ok(message) if message.community != community => Heard::Dropped("it has another community"),
        Ok(message) => Heard::Answer(message.pdu),
    }
}

/// What an answer with our request id says about the question.
fn judge(question: &Question, pdu: Pdu) -> Result<Binding, SessionError> {
    let asked = match question {
        Question::Get(oid) | Question::Next(oid) | Question::Set(oid, _) => oid.clone(),
    };
    if pdu.error != ErrorStatus::NONE {
        return match question {
            // v1 has no other way to say these two things (RFC 1157, sections 4.1.2 and 4.1.3).
            Question::Get(oid) if pdu.error == ErrorStatus::NO_SUCH_NAME => {
                Err(SessionError::NoSuchObject { oid: oid.clone() })
            }
            Question::Next(_) if pdu.error == ErrorStatus::NO_SUCH_NAME => Ok(Binding {
                oid: asked,
                value: Value::EndOfMibView,
            }),
            Question::Get(_) | Question::Next(_) | Question::Set(..) => {
                Err(SessionError::Refused {
                    question: question.to_string(),
                    status: pdu.error,
                })
            }
        };
    }
    let other = || SessionError::OtherObject {
        question: question.to_string(),
    };
    let mut bindings = pdu.bindings.into_iter();
    let (Some(binding), None) = (bindings.next(), bindings.next()) else {
        return Err(other());
    };
    let ends = binding.value == Value::EndOfMibView;
    let fits = match question {
        Question::Get(_) | Question::Set(..) => binding.oid == asked,
        Question::Next(_) => ends || binding.oid > asked,
    };
    if !fits {
        return Err(other());
    }
    match (question, &binding.value) {
        (
            Question::Get(oid) | Question::Set(oid, _),
            Value::NoSuchObject | Value::NoSuchInstance,
        ) => Err(SessionError::NoSuchObject { oid: oid.clone() }),
        _ => Ok(binding),
    }
}

#[cfg(test)]
mod tests;
