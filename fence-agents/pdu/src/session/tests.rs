//! Sessions stepped by hand: which answers count, what is sent again and when, and how an SNMPv3 engine is
//! found and its clock followed. The other side here is built from our own codec, so the codec's vectors and a
//! real snmpd (tests/agents) prove that.

use super::*;
use crate::usm::{AuthProtocol, AuthSecret, EngineTime, Keys, PrivProtocol, PrivSecret};
use crate::wire::v3::{Envelope, FLAG_AUTH, FLAG_PRIV, Payload, ScopedPdu};

const SEEDS: Seeds = Seeds {
    request_id: 0x8000_0007,
    message_id: 0xFFFF_FFFF,
    salt: 9,
};
const REPEAT: Duration = Duration::from_millis(500);

fn object() -> Oid {
    Oid::parse("1.3.6.1.4.1.318.1.1.12.3.5.1.1.4.3").unwrap()
}

fn community() -> Session {
    let credentials = Credentials::Community {
        version: Version::V2c,
        community: Zeroizing::new(b"private".to_vec()),
    };
    Session::new(credentials, SEEDS, REPEAT)
}

/// The answer that a sound agent gives.
fn answer(question: &[u8], value: Value) -> CommunityMessage {
    let mut message = CommunityMessage::from_bytes(question).unwrap();
    message.pdu.kind = PduKind::Response;
    message.pdu.bindings[0].value = value;
    message
}

fn asked(session: &mut Session, now: Instant) -> Vec<u8> {
    session.ask(now, Question::Get(object()));
    session.datagram().unwrap()
}

fn tell(session: &mut Session, now: Instant, message: &CommunityMessage) -> Progress {
    session.on_datagram(now, &message.to_bytes());
    session.progress()
}

#[test]
fn an_answer_to_our_question_counts_once() {
    let (mut session, now) = (community(), Instant::now());
    let question = asked(&mut session, now);
    let good = answer(&question, Value::Integer(1));
    let Progress::Answered(binding) = tell(&mut session, now, &good) else {
        panic!("the answer was not taken");
    };
    assert_eq!((binding.oid, binding.value), (object(), Value::Integer(1)));
    assert_eq!(tell(&mut session, now, &good), Progress::Waiting);
}

type Change = fn(&mut CommunityMessage);

#[test]
fn answers_that_are_not_to_our_question_are_dropped_and_named() {
    let changes: [(&str, Change); 5] = [
        ("another request id", |m| m.pdu.request_id += 1),
        ("another community", |m| m.community = b"public".to_vec()),
        ("another version", |m| m.version = Version::V1),
        ("no response", |m| m.pdu.kind = PduKind::Get),
        ("no response", |m| m.pdu.kind = PduKind::Report),
    ];
    for (why, change) in changes {
        let (mut session, now) = (community(), Instant::now());
        let question = asked(&mut session, now);
        let mut bad = answer(&question, Value::Integer(2));
        change(&mut bad);
        assert_eq!(tell(&mut session, now, &bad), Progress::Waiting, "{why}");
        let said = session.give_up().to_string();
        assert!(
            said.contains(why) && said.contains("no answer to get"),
            "{said}"
        );
    }
    let (mut session, now) = (community(), Instant::now());
    asked(&mut session, now);
    session.on_datagram(now, b"garbage");
    session.on_datagram(now, &[]);
    let said = session.give_up().to_string();
    assert!(
        said.contains("2 datagrams were dropped, the last one: it is malformed"),
        "{said}"
    );
}

#[test]
fn an_answer_to_the_question_before_does_not_answer_this_one() {
    let (mut session, now) = (community(), Instant::now());
    let first = asked(&mut session, now);
    let second = asked(&mut session, now);
    assert_eq!(
        tell(&mut session, now, &answer(&first, Value::Integer(2))),
        Progress::Waiting
    );
    let good = answer(&second, Value::Integer(1));
    assert!(matches!(
        tell(&mut session, now, &good),
        Progress::Answered(_)
    ));
}

#[test]
fn an_answer_about_another_object_is_a_failure() {
    let (mut session, now) = (community(), Instant::now());
    let question = asked(&mut session, now);
    let mut bad = answer(&question, Value::Integer(2));
    bad.pdu.bindings[0].oid = Oid::parse("1.3.6.1.4.1.318.1.1.12.3.5.1.1.4.4").unwrap();
    let Progress::Failed(error) = tell(&mut session, now, &bad) else {
        panic!("another object was taken");
    };
    assert!(error.to_string().contains("another object"));
    for bindings in [0, 2] {
        let question = asked(&mut session, now);
        let mut bad = answer(&question, Value::Integer(2));
        bad.pdu.bindings = vec![bad.pdu.bindings[0].clone(); bindings];
        assert!(matches!(
            tell(&mut session, now, &bad),
            Progress::Failed(SessionError::OtherObject { .. })
        ));
    }
}

#[test]
fn errors_of_the_agent_are_failures_with_its_word() {
    for (status, word) in [
        (1, "tooBig"),
        (5, "genErr"),
        (16, "authorizationError"),
        (99, "error 99"),
    ] {
        let (mut session, now) = (community(), Instant::now());
        let question = asked(&mut session, now);
        let mut refused = answer(&question, Value::Null);
        refused.pdu.error = ErrorStatus(status);
        let Progress::Failed(error) = tell(&mut session, now, &refused) else {
            panic!("an error was taken for an answer");
        };
        assert!(error.to_string().contains(word), "{error}");
    }
    let missing = SessionError::NoSuchObject { oid: object() };
    let (mut session, now) = (community(), Instant::now());
    for value in [Value::NoSuchObject, Value::NoSuchInstance] {
        let question = asked(&mut session, now);
        let told = tell(&mut session, now, &answer(&question, value));
        assert_eq!(told, Progress::Failed(missing.clone()));
    }
    let question = asked(&mut session, now);
    let mut no_such_name = answer(&question, Value::Null);
    no_such_name.pdu.error = ErrorStatus::NO_SUCH_NAME;
    assert_eq!(
        tell(&mut session, now, &no_such_name),
        Progress::Failed(missing)
    );
}

#[test]
fn a_walk_ends_and_never_goes_back() {
    let next = |change: fn(&mut CommunityMessage)| {
        let (mut session, now) = (community(), Instant::now());
        session.ask(now, Question::Next(object()));
        let mut told = answer(&session.datagram().unwrap(), Value::Integer(1));
        change(&mut told);
        tell(&mut session, now, &told)
    };
    let ends = |progress| {
        matches!(
            progress,
            Progress::Answered(Binding {
                value: Value::EndOfMibView,
                ..
            })
        )
    };
    assert!(ends(
        next(|m| m.pdu.bindings[0].value = Value::EndOfMibView)
    ));
    assert!(ends(next(|m| m.pdu.error = ErrorStatus::NO_SUCH_NAME)));
    assert!(matches!(
        next(|_| {}),
        Progress::Failed(SessionError::OtherObject { .. })
    ));
    let forward = next(|m| m.pdu.bindings[0].oid = Oid::parse("1.3.6.1.5.1").unwrap());
    assert!(matches!(forward, Progress::Answered(_)));
}

#[test]
fn a_question_is_sent_again_with_growing_pauses_and_the_same_id() {
    let (mut session, mut now) = (community(), Instant::now());
    let first = asked(&mut session, now);
    for pause in [500, 1000, 2000, 2000] {
        let at = now + Duration::from_millis(pause);
        assert_eq!(session.wake_at(), Some(at));
        session.on_wake(at - Duration::from_millis(1));
        assert_eq!(session.datagram(), None);
        session.on_wake(at);
        assert_eq!(session.datagram().as_deref(), Some(first.as_slice()));
        now = at;
    }
    assert!(session.give_up().to_string().contains("5 sent"));
    assert_eq!(session.wake_at(), None);
}

const ENGINE: [u8; 9] = [0x80, 0, 0x1F, 0x88, 4, b'p', b'd', b'u', b'1'];

fn protection() -> Protection {
    let passphrase = Zeroizing::new(b"maplesyrup".to_vec());
    Protection::AuthPriv(
        AuthSecret {
            protocol: AuthProtocol::Sha1,
            passphrase: passphrase.clone(),
        },
        PrivSecret {
            protocol: PrivProtocol::Aes128,
            passphrase,
        },
    )
}

fn user() -> Session {
    let credentials = Credentials::User {
        name: b"fencer".to_vec(),
        protection: protection(),
    };
    Session::new(credentials, SEEDS, REPEAT)
}

/// The engine of a PDU, as sound as it is told to be.
struct Pdu3 {
    keys: Keys,
    when: EngineTime,
}

impl Pdu3 {
    fn new() -> Self {
        Self {
            keys: Keys::derive(&protection(), &ENGINE),
            when: EngineTime {
                boots: 5,
                time: 1000,
            },
        }
    }

    fn message(&self, to: &Envelope, flags: u8, pdu: Pdu) -> Vec<u8> {
        let plain = ScopedPdu {
            context_engine: ENGINE.to_vec(),
            pdu,
        }
        .to_bytes();
        let (payload, salt) = if flags & FLAG_PRIV == 0 {
            (Payload::Plain(plain), Vec::new())
        } else {
            let (sealed, salt) = self.keys.seal(&plain, self.when, 77).unwrap();
            (Payload::Sealed(sealed), salt.to_vec())
        };
        let length = if flags & FLAG_AUTH == 0 { 0 } else { 12 };
        let mut envelope = Envelope {
            message_id: to.message_id,
            flags,
            engine: ENGINE.to_vec(),
            boots: self.when.boots,
            time: self.when.time,
            user: to.user.clone(),
            digest: vec![0; length],
            salt,
            payload,
        };
        if length > 0 {
            envelope.digest = self.keys.digest(&envelope.to_bytes());
        }
        envelope.to_bytes()
    }

    fn report(&self, to: &[u8], flags: u8, number: u32) -> Vec<u8> {
        let (to, _) = Envelope::from_bytes(to).unwrap();
        let oid = Oid::new(vec![1, 3, 6, 1, 6, 3, 15, 1, 1, number, 0]).unwrap();
        let pdu = Pdu {
            kind: PduKind::Report,
            request_id: 0,
            error: ErrorStatus::NONE,
            error_index: 0,
            bindings: vec![Binding {
                oid,
                value: Value::Unsigned(1),
            }],
        };
        self.message(&to, flags, pdu)
    }

    fn question(&self, bytes: &[u8]) -> (Envelope, Pdu) {
        let (envelope, _) = Envelope::from_bytes(bytes).unwrap();
        let Payload::Sealed(sealed) = &envelope.payload else {
            panic!("the question is not encrypted");
        };
        let when = EngineTime {
            boots: envelope.boots,
            time: envelope.time,
        };
        let plain = self.keys.open(sealed, when, &envelope.salt).unwrap();
        (envelope, ScopedPdu::from_bytes(&plain).unwrap().pdu)
    }

    fn answer(&self, bytes: &[u8], flags: u8) -> Vec<u8> {
        let (envelope, mut pdu) = self.question(bytes);
        pdu.kind = PduKind::Response;
        pdu.bindings[0].value = Value::Integer(1);
        self.message(&envelope, flags, pdu)
    }
}

const BOTH: u8 = FLAG_AUTH | FLAG_PRIV;

/// A session that has found its engine and asks a first question.
fn found(pdu: &Pdu3, now: Instant) -> (Session, Vec<u8>) {
    let mut session = user();
    let search = asked(&mut session, now);
    session.on_datagram(now, &pdu.report(&search, 0, 4));
    let question = session.datagram().unwrap();
    (session, question)
}

#[test]
fn the_engine_is_found_and_then_asked_with_digest_and_encryption() {
    let (pdu, now) = (Pdu3::new(), Instant::now());
    let (mut session, question) = found(&pdu, now);
    let (envelope, inner) = pdu.question(&question);
    assert_eq!(envelope.flags & BOTH, BOTH);
    assert_eq!((envelope.boots, envelope.time), (5, 1000));
    assert_eq!(inner.request_id, 7);
    session.on_datagram(now, &pdu.answer(&question, BOTH));
    assert!(matches!(session.progress(), Progress::Answered(_)));
}

/// Makes something of the bytes of a question.
type Forgery<'a> = dyn Fn(&[u8]) -> Vec<u8> + 'a;

#[test]
fn answers_that_are_not_genuine_are_dropped_and_named() {
    let (pdu, now) = (Pdu3::new(), Instant::now());
    let other = Pdu3 {
        keys: Keys::derive(&protection(), b"another engine"),
        ..Pdu3::new()
    };
    let altered = |question: &[u8]| {
        let mut bytes = pdu.answer(question, BOTH);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        bytes
    };
    let cases: [(&str, &Forgery<'_>); 6] = [
        ("its digest is wrong", &altered),
        ("not protected as asked", &|question| {
            pdu.answer(question, FLAG_AUTH)
        }),
        ("not protected as asked", &|question| {
            pdu.answer(question, 0)
        }),
        ("encrypted without a digest", &|question| {
            pdu.answer(question, FLAG_PRIV)
        }),
        ("its digest is wrong", &|question| {
            let (envelope, inner) = pdu.question(question);
            other.message(
                &envelope,
                BOTH,
                Pdu {
                    kind: PduKind::Response,
                    ..inner
                },
            )
        }),
        ("another message id", &|question| {
            let (mut envelope, inner) = pdu.question(question);
            envelope.message_id += 1;
            pdu.message(
                &envelope,
                BOTH,
                Pdu {
                    kind: PduKind::Response,
                    ..inner
                },
            )
        }),
    ];
    for (why, make) in cases {
        let (mut session, question) = found(&pdu, now);
        session.on_datagram(now, &make(&question));
        assert_eq!(session.progress(), Progress::Waiting, "{why}");
        let said = session.give_up().to_string();
        assert!(said.contains(why), "{why}: {said}");
    }
}

#[test]
fn reports_fail_the_question_with_a_reason() {
    let (pdu, now) = (Pdu3::new(), Instant::now());
    for (number, word) in [
        (1, "security level"),
        (2, "time window"),
        (3, "user name"),
        (5, "wrong password"),
        (6, "decrypt"),
        (9, "1.3.6.1.6.3.15.1.1.9.0"),
    ] {
        let (mut session, question) = found(&pdu, now);
        session.on_datagram(now, &pdu.report(&question, 0, number));
        let Progress::Failed(error) = session.progress() else {
            panic!("report {number} was not heard");
        };
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn a_genuine_report_about_time_corrects_the_clock_and_a_forged_one_does_not() {
    let (mut pdu, now) = (Pdu3::new(), Instant::now());
    let (mut session, question) = found(&pdu, now);
    pdu.when = EngineTime { boots: 6, time: 20 };
    session.on_datagram(now, &pdu.report(&question, FLAG_AUTH, 2));
    let again = session.datagram().unwrap();
    let (envelope, inner) = pdu.question(&again);
    assert_eq!(
        (envelope.boots, envelope.time, inner.request_id),
        (6, 20, 7)
    );
    session.on_datagram(now, &pdu.answer(&again, BOTH));
    assert!(matches!(session.progress(), Progress::Answered(_)));
    // Without a digest anybody could have said so: the question fails, and the clock stays.
    let question = asked(&mut session, now);
    pdu.when = EngineTime {
        boots: 60,
        time: 20,
    };
    session.on_datagram(now, &pdu.report(&question, 0, 2));
    assert_eq!(
        session.progress(),
        Progress::Failed(SessionError::NotInTime)
    );
    let question = asked(&mut session, now + Duration::from_secs(3));
    let (envelope, _) = Envelope::from_bytes(&question).unwrap();
    assert_eq!((envelope.boots, envelope.time), (6, 23));
}

#[test]
fn messages_of_the_past_are_dropped() {
    let (mut pdu, now) = (Pdu3::new(), Instant::now());
    let (mut session, question) = found(&pdu, now);
    session.on_datagram(now, &pdu.answer(&question, BOTH));
    assert!(matches!(session.progress(), Progress::Answered(_)));
    for (boots, time, taken) in [
        (5, 1000, true),
        (5, 849, false),
        (4, 9000, false),
        (0x7FFF_FFFF, 1, false),
        (5, 850, true),
    ] {
        let question = asked(&mut session, now);
        pdu.when = EngineTime { boots, time };
        let (envelope, mut inner) = Pdu3::new().question(&question);
        inner.kind = PduKind::Response;
        session.on_datagram(now, &pdu.message(&envelope, BOTH, inner));
        assert_eq!(
            session.progress() != Progress::Waiting,
            taken,
            "{boots} {time}"
        );
    }
}

#[test]
fn an_engine_that_keeps_changing_is_given_up() {
    let (pdu, now) = (Pdu3::new(), Instant::now());
    let (mut session, mut question) = found(&pdu, now);
    for _ in 0..10 {
        session.on_datagram(now, &pdu.report(&question, 0, 4));
        match session.progress() {
            Progress::Waiting => question = session.datagram().unwrap(),
            Progress::Answered(binding) => panic!("{binding:?}"),
            Progress::Failed(error) => {
                assert!(matches!(error, SessionError::Report { .. }), "{error}");
                return;
            }
        }
    }
    panic!("it was never given up");
}

#[test]
fn no_datagram_makes_a_session_panic_or_answers_it() {
    use proptest::prelude::*;
    let pdu = Pdu3::new();
    // Keys are derived for each case, which takes a while.
    proptest!(ProptestConfig::with_cases(48), |(bytes in proptest::collection::vec(any::<u8>(), 0..120), at in 0usize..400, byte in 1u8..)| {
        let now = Instant::now();
        let mut plain = community();
        asked(&mut plain, now);
        plain.on_datagram(now, &bytes);
        prop_assert_eq!(plain.progress(), Progress::Waiting);
        let (mut session, question) = found(&pdu, now);
        session.on_datagram(now, &bytes);
        let mut altered = pdu.answer(&question, BOTH);
        let at = at % altered.len();
        altered[at] ^= byte;
        session.on_datagram(now, &altered);
        prop_assert!(!matches!(session.progress(), Progress::Answered(_)));
    });
}
