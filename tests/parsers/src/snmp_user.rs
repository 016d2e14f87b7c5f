//! SNMPv3: a session of a user against an engine that a script drives.
//!
//! With a digest, no changed byte, no replay and no report without a digest makes an answer. The script may
//! also seal anything with the right keys, as an engine without sense would.

use std::sync::OnceLock;
use std::time::Instant;

use haft_fence_pdu::oid::Oid;
use haft_fence_pdu::session::{Credentials, Progress, Question, Session};
use haft_fence_pdu::usm::{
    AuthProtocol, AuthSecret, EngineTime, Keys, PrivProtocol, PrivSecret, Protection,
};
use haft_fence_pdu::wire::message::{Binding, ErrorStatus, Pdu, PduKind, Value};
use haft_fence_pdu::wire::v3::{Envelope, FLAG_AUTH, FLAG_PRIV, Payload, ScopedPdu};
use zeroize::Zeroizing;

use crate::script::{Script, keeps};
use crate::snmp::{REPEAT, SEEDS, answers, question, value};

const PASSPHRASE: &str = "Zx9.usm-canary.7q";
const ENGINE: [u8; 9] = [0x80, 0, 0x1F, 0x88, 4, b'p', b'd', b'u', b'1'];
const TURNS_MAX: usize = 32;
/// Deriving keys stretches a pass phrase to a mebibyte; an engine that keeps changing costs one each time.
const DISCOVERIES_MAX: usize = 4;
const LEVELS: usize = 4;

/// See the module.
pub(crate) fn run(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    if let Some(choice) = script.byte() {
        Dialogue::new(choice).play(&mut script);
    }
}

fn protection(level: usize) -> Protection {
    let passphrase = || Zeroizing::new(PASSPHRASE.as_bytes().to_vec());
    let auth = |protocol| AuthSecret {
        protocol,
        passphrase: passphrase(),
    };
    let privacy = |protocol| PrivSecret {
        protocol,
        passphrase: passphrase(),
    };
    match level {
        0 => Protection::None,
        1 => Protection::Auth(auth(AuthProtocol::Md5)),
        2 => Protection::AuthPriv(auth(AuthProtocol::Sha1), privacy(PrivProtocol::Aes128)),
        _ => Protection::AuthPriv(auth(AuthProtocol::Md5), privacy(PrivProtocol::Des)),
    }
}

/// The engine's keys of a level, derived once.
fn keys(level: usize) -> &'static Keys {
    static KEYS: [OnceLock<Keys>; LEVELS] = [const { OnceLock::new() }; LEVELS];
    KEYS[level].get_or_init(|| Keys::derive(&protection(level), &ENGINE))
}

/// What may come of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Worth {
    Genuine,
    Forged,
}

struct Dialogue {
    now: Instant,
    level: usize,
    flags: u8,
    clock: EngineTime,
    session: Session,
    asked: Question,
    sent: Vec<u8>,
    delivered: Vec<Vec<u8>>,
    discoveries: usize,
}

impl Dialogue {
    fn new(choice: u8) -> Self {
        let level = usize::from(choice) % LEVELS;
        let protection = protection(level);
        let flags = match protection {
            Protection::None => 0,
            Protection::Auth(_) => FLAG_AUTH,
            Protection::AuthPriv(..) => FLAG_AUTH | FLAG_PRIV,
        };
        let credentials = Credentials::User {
            name: b"fencer".to_vec(),
            protection,
        };
        let now = Instant::now();
        let mut session = Session::new(credentials, SEEDS, REPEAT);
        let asked = question(choice >> 4);
        session.ask(now, asked.clone());
        Self {
            now,
            level,
            flags,
            clock: EngineTime {
                boots: 5,
                time: 1000,
            },
            session,
            asked,
            sent: Vec::new(),
            delivered: Vec::new(),
            discoveries: 0,
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
            self.turn(turn, script);
        }
        let error = self.session.give_up();
        keeps(PASSPHRASE, &[&error.to_string(), &format!("{error:?}")]);
    }

    fn turn(&mut self, turn: u8, script: &mut Script<'_>) {
        match turn % 8 {
            0 => {
                let answer = self.honest(script);
                self.deliver(answer, Worth::Genuine);
            }
            1 => self.deliver(script.part().to_vec(), Worth::Forged),
            2 => {
                let answer = self.honest(script);
                let (changed, _) = script.changed(&answer);
                self.deliver(changed, Worth::Forged);
            }
            3 => {
                let flags = script.byte().unwrap_or(0) & (FLAG_AUTH | FLAG_PRIV);
                let number = u32::from(script.byte().unwrap_or(0) % 8);
                let report = self.report(flags, number);
                self.deliver(report, Worth::Forged);
            }
            4 => {
                let which = usize::from(script.byte().unwrap_or(0));
                let old = self.delivered.get(which % self.delivered.len().max(1));
                if let Some(old) = old.cloned() {
                    self.deliver(old, Worth::Forged);
                }
            }
            5 => {
                self.now += REPEAT * u32::from(script.byte().unwrap_or(0));
                self.session.on_wake(self.now);
            }
            6 => {
                let plain = script.part().to_vec();
                let flags = script.byte().unwrap_or(0) & (FLAG_AUTH | FLAG_PRIV);
                let message = self.message(flags, plain);
                self.deliver(message, Worth::Genuine);
            }
            _ => match script.byte().unwrap_or(0) {
                number @ 0..=127 => {
                    self.asked = question(number);
                    self.session.ask(self.now, self.asked.clone());
                }
                clock => {
                    self.clock.boots = u32::from(clock & 7);
                    self.clock.time = script.number() & 0x7FFF_FFFF;
                }
            },
        }
    }

    /// The report that a search for the engine gets, or the answer to a question.
    fn honest(&self, script: &mut Script<'_>) -> Vec<u8> {
        let (question, _) = Envelope::from_bytes(&self.sent).expect("our own message");
        if question.engine.is_empty() {
            return self.report(0, 4);
        }
        let when = EngineTime {
            boots: question.boots,
            time: question.time,
        };
        let plain = match &question.payload {
            Payload::Plain(plain) => Some(plain.clone()),
            Payload::Sealed(sealed) => keys(self.level).open(sealed, when, &question.salt),
        };
        // A question to an engine that a changed byte invented is not for these keys.
        let Some(Ok(mut scoped)) = plain.map(|plain| ScopedPdu::from_bytes(&plain)) else {
            return Vec::new();
        };
        scoped.pdu.kind = PduKind::Response;
        if let Some(binding) = scoped.pdu.bindings.first_mut() {
            binding.value = value(script);
        }
        self.message(self.flags, scoped.to_bytes())
    }

    fn report(&self, flags: u8, number: u32) -> Vec<u8> {
        let oid = Oid::new(vec![1, 3, 6, 1, 6, 3, 15, 1, 1, number, 0]).expect("a valid one");
        let scoped = ScopedPdu {
            context_engine: ENGINE.to_vec(),
            pdu: Pdu {
                kind: PduKind::Report,
                request_id: 0,
                error: ErrorStatus::NONE,
                error_index: 0,
                bindings: vec![Binding {
                    oid,
                    value: Value::Unsigned(1),
                }],
            },
        };
        self.message(flags, scoped.to_bytes())
    }

    fn message(&self, flags: u8, plain: Vec<u8>) -> Vec<u8> {
        let (to, _) = Envelope::from_bytes(&self.sent).expect("our own message");
        let keys = keys(self.level);
        let sealed = keys.seal(&plain, self.clock, 77);
        let (flags, payload, salt) = match sealed {
            Some((sealed, salt)) if flags & FLAG_PRIV != 0 => {
                (flags, Payload::Sealed(sealed), salt.to_vec())
            }
            Some(_) | None => (flags & !FLAG_PRIV, Payload::Plain(plain), Vec::new()),
        };
        let length = if flags & FLAG_AUTH == 0 {
            0
        } else {
            keys.digest_length()
        };
        let mut envelope = Envelope {
            message_id: to.message_id,
            flags,
            engine: ENGINE.to_vec(),
            boots: self.clock.boots,
            time: self.clock.time,
            user: to.user,
            digest: vec![0; length],
            salt,
            payload,
        };
        if length > 0 {
            envelope.digest = keys.digest(&envelope.to_bytes());
        }
        envelope.to_bytes()
    }

    fn deliver(&mut self, bytes: Vec<u8>, worth: Worth) {
        let sought = Envelope::from_bytes(&self.sent).is_ok_and(|(sent, _)| sent.engine.is_empty());
        if sought {
            self.discoveries += 1;
            if self.discoveries > DISCOVERIES_MAX {
                return;
            }
        }
        self.session.on_datagram(self.now, &bytes);
        match self.session.progress() {
            Progress::Waiting => {}
            Progress::Answered(binding) => {
                let proven = self.flags & FLAG_AUTH != 0;
                assert!(
                    worth == Worth::Genuine || !proven,
                    "told by a forged datagram"
                );
                let (envelope, _) = Envelope::from_bytes(&bytes).expect("an answer parses");
                assert_eq!(envelope.flags & (FLAG_AUTH | FLAG_PRIV), self.flags);
                answers(&self.asked, &binding);
            }
            Progress::Failed(error) => {
                keeps(PASSPHRASE, &[&error.to_string(), &format!("{error:?}")]);
            }
        }
        self.delivered.push(bytes);
    }
}
