//! SNMP: the codecs on any bytes, and a session of v1 or v2c against an agent that a script drives.
//!
//! A community is no proof, so the property is the other way round: what the session tells is exactly what a
//! response with our community, our version, our request id and our object says.

use std::time::{Duration, Instant};

use haft_fence_pdu::oid::{Oid, Pattern, Place};
use haft_fence_pdu::outlets::{Description, Row};
use haft_fence_pdu::power::Reading;
use haft_fence_pdu::session::{Credentials, Progress, Question, Seeds, Session};
use haft_fence_pdu::wire::ber::{self, Reader};
use haft_fence_pdu::wire::message::{
    Binding, CommunityMessage, ErrorStatus, Pdu, PduKind, Value, Version,
};
use haft_fence_pdu::wire::v3::{Envelope, ScopedPdu};
use zeroize::Zeroizing;

use crate::script::{Script, keeps};

const COMMUNITY: &str = "Zx9.snmp-canary.7q";
pub(crate) const SEEDS: Seeds = Seeds {
    request_id: 7,
    message_id: 100,
    salt: 9,
};
pub(crate) const REPEAT: Duration = Duration::from_millis(10);
const TURNS_MAX: usize = 64;

/// See the module.
pub(crate) fn run(bytes: &[u8]) {
    codecs(bytes);
    let mut script = Script::new(bytes);
    if let Some(choice) = script.byte() {
        Dialogue::new(choice).play(&mut script);
    }
}

fn codecs(bytes: &[u8]) {
    if let Ok(message) = CommunityMessage::from_bytes(bytes) {
        let again = CommunityMessage::from_bytes(&message.to_bytes());
        assert_eq!(again, Ok(message));
    }
    if let Ok((envelope, digest_at)) = Envelope::from_bytes(bytes) {
        assert_eq!(bytes[digest_at], envelope.digest);
        let (again, _) = Envelope::from_bytes(&envelope.to_bytes()).unwrap();
        assert_eq!(again, envelope);
    }
    if let Ok(scoped) = ScopedPdu::from_bytes(bytes) {
        assert_eq!(ScopedPdu::from_bytes(&scoped.to_bytes()), Ok(scoped));
    }
    if let Ok(oid) = ber::oid(bytes) {
        let mut out = Vec::new();
        ber::put_oid(&mut out, &oid);
        assert_eq!(Reader::new(&out).oid(), Ok(oid.clone()));
        assert_eq!(Oid::parse(&oid.to_string()), Ok(oid));
    }
    if let Ok(number) = ber::signed(bytes) {
        let mut out = Vec::new();
        ber::put_integer(&mut out, number);
        assert_eq!(Reader::new(&out).integer(), Ok(number));
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(pattern) = Pattern::parse(text)
    {
        places(&pattern);
    }
}

/// What a pattern says of an outlet is read back from it.
pub(crate) fn places(pattern: &Pattern) {
    let unit = if pattern.has_unit() { 3 } else { 0 };
    let place = Place { unit, plug: 7 };
    let oid = pattern.at(place);
    assert_eq!(pattern.place_of(&oid), Some(place));
    assert!(oid.below(&pattern.prefix()).is_some());
    assert_eq!(Oid::parse(&oid.to_string()), Ok(oid));
}

/// A value as a script wants it.
pub(crate) fn value(script: &mut Script<'_>) -> Value {
    match script.byte().unwrap_or(0) % 9 {
        0 | 1 => Value::Integer(i64::from(script.byte().unwrap_or(0))),
        2 => Value::Unsigned(u64::from(script.number())),
        3 => Value::Octets(script.part().to_vec()),
        4 => Value::NoSuchInstance,
        5 => Value::EndOfMibView,
        6 => Value::Other(script.byte().unwrap_or(0)),
        7 => Value::Null,
        _ => Value::Integer(i64::from(script.number().cast_signed())),
    }
}

/// How the outlets of the dialogues are described.
pub(crate) fn description() -> Description {
    let row = Row::by_name("apc-rpdu").expect("a row of the table");
    row.description()
}

/// The object that dialogues ask about.
pub(crate) fn object() -> Oid {
    description().status.at(Place { unit: 1, plug: 3 })
}

/// The question of this number.
pub(crate) fn question(number: u8) -> Question {
    match number % 3 {
        0 => Question::Get(object()),
        1 => Question::Next(object()),
        _ => Question::Set(object(), 2),
    }
}

/// Wants a binding to answer a question, and off to be said by the one number that means it.
pub(crate) fn answers(question: &Question, binding: &Binding) {
    match question {
        Question::Get(oid) | Question::Set(oid, _) => assert_eq!(*oid, binding.oid),
        Question::Next(oid) => {
            assert!(binding.oid > *oid || binding.value == Value::EndOfMibView);
        }
    }
    let description = description();
    let off = match binding.value {
        Value::Integer(number) => number == description.says_off,
        Value::Unsigned(number) => i64::try_from(number) == Ok(description.says_off),
        Value::Null
        | Value::Octets(_)
        | Value::Oid(_)
        | Value::NoSuchObject
        | Value::NoSuchInstance
        | Value::EndOfMibView
        | Value::Other(_) => false,
    };
    assert_eq!(description.reading(&binding.value) == Reading::Off, off);
}

struct Dialogue {
    now: Instant,
    version: Version,
    session: Session,
    asked: Question,
    /// The last datagram of ours.
    sent: Vec<u8>,
    delivered: Vec<Vec<u8>>,
}

impl Dialogue {
    fn new(choice: u8) -> Self {
        let version = if choice & 1 == 0 {
            Version::V1
        } else {
            Version::V2c
        };
        let credentials = Credentials::Community {
            version,
            community: Zeroizing::new(COMMUNITY.as_bytes().to_vec()),
        };
        let now = Instant::now();
        let mut session = Session::new(credentials, SEEDS, REPEAT);
        let asked = question(choice >> 1);
        session.ask(now, asked.clone());
        Self {
            now,
            version,
            session,
            asked,
            sent: Vec::new(),
            delivered: Vec::new(),
        }
    }

    fn play(&mut self, script: &mut Script<'_>) {
        for _ in 0..TURNS_MAX {
            if let Some(datagram) = self.session.datagram() {
                self.sent = datagram;
            }
            let Some(turn) = script.byte() else {
                break;
            };
            match turn % 6 {
                0 => {
                    let answer = self.answer(script);
                    self.deliver(&answer);
                }
                1 => {
                    let bytes = script.part().to_vec();
                    self.deliver(&bytes);
                }
                2 => {
                    let answer = self.answer(script);
                    let (changed, _) = script.changed(&answer);
                    self.deliver(&changed);
                }
                3 => {
                    let which = usize::from(script.byte().unwrap_or(0));
                    let old = self.delivered.get(which % self.delivered.len().max(1));
                    if let Some(old) = old.cloned() {
                        self.deliver(&old);
                    }
                }
                4 => {
                    self.now += REPEAT * u32::from(script.byte().unwrap_or(0));
                    self.session.on_wake(self.now);
                }
                _ => {
                    self.asked = question(script.byte().unwrap_or(0));
                    self.session.ask(self.now, self.asked.clone());
                }
            }
        }
        let error = self.session.give_up();
        keeps(COMMUNITY, &[&error.to_string(), &format!("{error:?}")]);
    }

    fn answer(&self, script: &mut Script<'_>) -> Vec<u8> {
        let question = CommunityMessage::from_bytes(&self.sent).expect("our own message");
        let error = script.byte().filter(|error| *error > 200).unwrap_or(200) - 200;
        let mut oid = question.pdu.bindings[0].oid.clone();
        if script.byte().is_some_and(|next| next & 1 == 1) {
            oid = description().status.at(Place { unit: 1, plug: 4 });
        }
        CommunityMessage {
            pdu: Pdu {
                kind: PduKind::Response,
                request_id: question.pdu.request_id,
                error: ErrorStatus(error.into()),
                error_index: 0,
                bindings: vec![Binding {
                    oid,
                    value: value(script),
                }],
            },
            ..question
        }
        .to_bytes()
    }

    fn deliver(&mut self, bytes: &[u8]) {
        self.session.on_datagram(self.now, bytes);
        self.delivered.push(bytes.to_vec());
        match self.session.progress() {
            Progress::Waiting => {}
            Progress::Answered(binding) => {
                let message = CommunityMessage::from_bytes(bytes).expect("an answer parses");
                let sent = CommunityMessage::from_bytes(&self.sent).expect("our own message");
                assert_eq!(message.community, COMMUNITY.as_bytes());
                assert_eq!(message.version, self.version);
                assert_eq!(message.pdu.kind, PduKind::Response);
                assert_eq!(message.pdu.request_id, sent.pdu.request_id);
                answers(&self.asked, &binding);
            }
            Progress::Failed(error) => {
                keeps(COMMUNITY, &[&error.to_string(), &format!("{error:?}")]);
            }
        }
    }
}
