//! A PDU of our own on a loopback UDP port, which lies in one chosen way.
//!
//! It is built from the codec and the keys under test, so it proves nothing about them: their vectors and a
//! real `snmpd` do. One thread, stopped when the value is dropped. It knows eight outlets of an APC Switched
//! Rack PDU and speaks v2c; for its v3 lies it knows one user.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use haft_fence_pdu::oid::Oid;
use haft_fence_pdu::usm::{AuthProtocol, AuthSecret, EngineTime, Keys, Protection};
use haft_fence_pdu::wire::message::{
    Binding, CommunityMessage, ErrorStatus, Pdu, PduKind, Value, Version,
};
use haft_fence_pdu::wire::v3::{Envelope, FLAG_AUTH, Payload, ScopedPdu};
use zeroize::Zeroizing;

pub(crate) const COMMUNITY: &str = "canary-9";
pub(crate) const PASSWORD: &str = "canary-99";

const STATUS: &str = "1.3.6.1.4.1.318.1.1.12.3.5.1.1.4.";
const CONTROL: &str = "1.3.6.1.4.1.318.1.1.12.3.3.1.1.4.";
const ENGINE: [u8; 9] = [0x80, 0, 0x1F, 0x88, 4, b'l', b'i', b'a', b'r'];

/// How the PDU lies or fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    AlreadyOff,
    /// Switches so slowly that this many reads after the command still say on.
    OffAfterReads(u32),
    AnswersOnlyRepetitions,
    NoiseBeforeAnswers,
    EveryAnswerTwice,
    /// Every answer takes its time, and comes before the agent gives up.
    Slow,
    /// Switches but never acknowledges.
    ActsWithoutAnswer,
    Silent,
    NeverActsNorAnswersOff,
    /// Acknowledges and does nothing.
    StaysOn,
    /// Acknowledges on and does nothing.
    StaysOff,
    /// Says off while the second outlet stays on.
    OneOutletStaysOn,
    /// Off at every second round of reads.
    Flaps,
    SilentAfterOff,
    Garbage,
    Truncated,
    WrongRequestId,
    /// Answers every question with the answer to the first.
    ReplaysFirstAnswer,
    AnswersFromOtherPort,
    OtherCommunity,
    OtherVersion,
    /// Every answer comes after the agent gave up.
    TooSlow,
    OtherObject,
    NoBindings,
    /// The state is a text.
    TextForState,
    /// The state is NULL.
    NullForState,
    /// The state is a number that is neither on nor off, for ever.
    Pending,
    NoSuchInstance,
    ErrorForStatus(u32),
    RefusesOff(u32),
    /// v3, and sound.
    V3,
    /// v3: every answer and report twice.
    V3Twice,
    /// v3: every question is answered with this usmStats report, without a digest.
    V3Report(u32),
    /// v3: its clock jumps once, which a genuine report tells.
    V3ClockJumps,
    /// v3: a genuine report about the clock for every question.
    V3NeverInTime,
    /// v3: answers carry no digest.
    V3Unprotected,
    /// v3: answers carry the digest of another key.
    V3WrongDigest,
    /// v3: answers are replayed from before a restart.
    V3OldBoots,
}

impl Lie {
    pub(crate) fn is_v3(self) -> bool {
        matches!(
            self,
            Self::V3
                | Self::V3Twice
                | Self::V3Report(_)
                | Self::V3ClockJumps
                | Self::V3NeverInTime
                | Self::V3Unprotected
                | Self::V3WrongDigest
                | Self::V3OldBoots
        )
    }
}

impl Lie {
    /// Whether the agent ends by a timeout of its own, so that a test waits for all of it.
    pub(crate) fn ends_in_silence(self) -> bool {
        matches!(
            self,
            Self::Silent
                | Self::ActsWithoutAnswer
                | Self::NeverActsNorAnswersOff
                | Self::SilentAfterOff
                | Self::Garbage
                | Self::Truncated
                | Self::WrongRequestId
                | Self::ReplaysFirstAnswer
                | Self::AnswersFromOtherPort
                | Self::OtherCommunity
                | Self::OtherVersion
                | Self::TooSlow
                | Self::V3Unprotected
                | Self::V3WrongDigest
                | Self::V3OldBoots
        )
    }
}

/// What the tests look at.
#[derive(Default)]
struct Seen {
    /// Bit n: outlet n is on.
    on: AtomicU32,
    offs: AtomicU32,
    ons: AtomicU32,
    datagrams: AtomicU32,
    stop: AtomicBool,
}

pub(crate) struct Responder {
    port: u16,
    seen: Arc<Seen>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Responder {
    pub(crate) fn start(lie: Lie) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        let port = socket.local_addr().unwrap().port();
        let seen = Arc::new(Seen::default());
        let on = if lie == Lie::AlreadyOff { 0 } else { 0x1FE };
        seen.on.store(on, Ordering::SeqCst);
        let mut pdu = FakePdu::new(lie, Arc::clone(&seen));
        let thread = std::thread::spawn(move || serve(&socket, &mut pdu));
        Self {
            port,
            seen,
            thread: Mutex::new(Some(thread)),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn is_on(&self, outlet: u32) -> bool {
        self.seen.on.load(Ordering::SeqCst) & 1 << outlet != 0
    }

    pub(crate) fn off_commands(&self) -> u32 {
        self.seen.offs.load(Ordering::SeqCst)
    }

    pub(crate) fn on_commands(&self) -> u32 {
        self.seen.ons.load(Ordering::SeqCst)
    }

    pub(crate) fn datagrams(&self) -> u32 {
        self.seen.datagrams.load(Ordering::SeqCst)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.seen.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.lock().unwrap().take() {
            let _ = thread.join();
        }
    }
}

/// Hears and answers; late answers wait in a list until they are due.
fn serve(socket: &UdpSocket, pdu: &mut FakePdu) {
    let other_port = UdpSocket::bind("127.0.0.1:0").unwrap();
    let from = if pdu.lie == Lie::AnswersFromOtherPort {
        &other_port
    } else {
        socket
    };
    let lateness = match pdu.lie {
        Lie::Slow => Duration::from_millis(150),
        Lie::TooSlow => Duration::from_millis(1500),
        _ => Duration::ZERO,
    };
    let mut late: Vec<(Instant, SocketAddr, Vec<u8>)> = Vec::new();
    let mut buffer = [0; 2048];
    while !pdu.seen.stop.load(Ordering::SeqCst) {
        if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let due = Instant::now() + lateness;
            let answers = pdu.hear(&buffer[..length]);
            late.extend(answers.into_iter().map(|answer| (due, peer, answer)));
        }
        let now = Instant::now();
        late.retain(|(due, peer, answer)| {
            if *due <= now {
                let _ = from.send_to(answer, peer);
            }
            *due > now
        });
    }
}

struct FakePdu {
    lie: Lie,
    seen: Arc<Seen>,
    reads: u32,
    reads_until_off: Option<u32>,
    last_heard: Vec<u8>,
    first_answer: Option<Vec<u8>>,
    off_was_commanded: bool,
    keys: Keys,
    when: EngineTime,
    jumped: bool,
}

impl FakePdu {
    fn new(lie: Lie, seen: Arc<Seen>) -> Self {
        let protection = Protection::Auth(AuthSecret {
            protocol: AuthProtocol::Sha1,
            passphrase: Zeroizing::new(PASSWORD.as_bytes().to_vec()),
        });
        Self {
            lie,
            seen,
            reads: 0,
            reads_until_off: None,
            last_heard: Vec::new(),
            first_answer: None,
            off_was_commanded: false,
            keys: Keys::derive(&protection, &ENGINE),
            when: EngineTime {
                boots: 3,
                time: 500,
            },
            jumped: false,
        }
    }

    fn hear(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.seen.datagrams.fetch_add(1, Ordering::SeqCst);
        let repeated = self.last_heard == datagram;
        self.last_heard = datagram.to_vec();
        match self.lie {
            Lie::Silent => return Vec::new(),
            Lie::Garbage => return vec![vec![0xA5; 33], Vec::new(), datagram.to_vec()],
            Lie::AnswersOnlyRepetitions if !repeated => return Vec::new(),
            _ => {}
        }
        let answer = if self.lie.is_v3() {
            self.hear_v3(datagram)
        } else {
            self.hear_v2c(datagram)
        };
        let Some(answer) = answer else {
            return Vec::new();
        };
        match self.lie {
            Lie::Truncated => vec![answer[..answer.len() / 2].to_vec()],
            Lie::NoiseBeforeAnswers => vec![b"\x30\x05\x02\x01\x01noise".to_vec(), answer],
            Lie::EveryAnswerTwice | Lie::V3Twice => vec![answer.clone(), answer],
            Lie::ReplaysFirstAnswer => {
                vec![self.first_answer.get_or_insert(answer).clone()]
            }
            _ => vec![answer],
        }
    }

    fn hear_v2c(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let mut message = CommunityMessage::from_bytes(datagram).ok()?;
        if message.community != COMMUNITY.as_bytes() {
            return None;
        }
        message.pdu = self.answer(message.pdu)?;
        match self.lie {
            Lie::WrongRequestId => message.pdu.request_id ^= 1,
            Lie::OtherCommunity => message.community = b"public".to_vec(),
            Lie::OtherVersion => message.version = Version::V1,
            _ => {}
        }
        Some(message.to_bytes())
    }

    fn answer(&mut self, mut pdu: Pdu) -> Option<Pdu> {
        let kind = pdu.kind;
        pdu.kind = PduKind::Response;
        let binding = pdu.bindings.first_mut()?;
        let object = binding.oid.to_string();
        let outlet = |prefix: &str| object.strip_prefix(prefix)?.parse::<u32>().ok();
        if object == "1.3.6.1.2.1.1.2.0" {
            binding.value = Value::Oid(Oid::parse("1.3.6.1.4.1.318.1.3.4.5").unwrap());
        } else if kind == PduKind::Set {
            let outlet = outlet(CONTROL)?;
            let Value::Integer(number) = binding.value else {
                panic!("the agent sets {:?}", binding.value);
            };
            pdu.error = ErrorStatus(self.command(outlet, number)?);
        } else {
            let outlet = outlet(STATUS)?;
            binding.value = self.state(outlet)?;
            match self.lie {
                Lie::OtherObject => {
                    binding.oid = Oid::parse(&format!("{STATUS}{}", outlet + 1)).unwrap();
                }
                Lie::NoBindings => pdu.bindings.clear(),
                Lie::ErrorForStatus(error) => pdu.error = ErrorStatus(error),
                _ => {}
            }
        }
        Some(pdu)
    }

    /// The state of an outlet as this PDU tells it.
    fn state(&mut self, outlet: u32) -> Option<Value> {
        self.reads += 1;
        if let Some(left) = &mut self.reads_until_off {
            if *left == 0 {
                self.seen.on.store(0, Ordering::SeqCst);
            }
            *left = left.saturating_sub(1);
        }
        let on = self.seen.on.load(Ordering::SeqCst) & 1 << outlet != 0;
        let on = match self.lie {
            Lie::SilentAfterOff if self.off_was_commanded => return None,
            // Two outlets a round: two reads of each state.
            Lie::Flaps => (self.reads / 2).is_multiple_of(2),
            _ => on,
        };
        Some(match self.lie {
            Lie::TextForState => Value::Octets(b"2".to_vec()),
            Lie::NullForState => Value::Null,
            Lie::NoSuchInstance => Value::NoSuchInstance,
            Lie::Pending if outlet == 7 => Value::Integer(3),
            _ => Value::Integer(if on { 1 } else { 2 }),
        })
    }

    /// Takes a command; gives the error status to answer with, or none to be silent.
    fn command(&mut self, outlet: u32, number: i64) -> Option<u32> {
        let seen = &self.seen;
        match number {
            2 => {
                self.off_was_commanded = true;
                seen.offs.fetch_add(1, Ordering::SeqCst)
            }
            1 => seen.ons.fetch_add(1, Ordering::SeqCst),
            other => panic!("the agent sent the command {other}: neither off nor on"),
        };
        let bit = 1 << outlet;
        match (self.lie, number) {
            (Lie::RefusesOff(error), 2) => return Some(error),
            (Lie::NeverActsNorAnswersOff, 2) => return None,
            (Lie::StaysOn, 2) | (Lie::StaysOff, 1) => {}
            (Lie::OneOutletStaysOn, 2) if outlet == 7 => {}
            (Lie::OffAfterReads(count), 2) => self.reads_until_off = Some(count),
            (_, 2) => {
                seen.on.fetch_and(!bit, Ordering::SeqCst);
            }
            _ => {
                seen.on.fetch_or(bit, Ordering::SeqCst);
            }
        }
        if self.lie == Lie::ActsWithoutAnswer {
            return None;
        }
        Some(0)
    }

    fn hear_v3(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let (envelope, digest_at) = Envelope::from_bytes(datagram).ok()?;
        let Payload::Plain(plain) = &envelope.payload else {
            return None;
        };
        let question = ScopedPdu::from_bytes(plain).ok()?.pdu;
        if envelope.engine.is_empty() {
            return Some(self.report(&envelope, 0, 4));
        }
        let mut zeroed = datagram.to_vec();
        zeroed[digest_at].fill(0);
        assert!(self.keys.is_genuine(&zeroed, &envelope.digest));
        match self.lie {
            Lie::V3Report(number) => return Some(self.report(&envelope, 0, number)),
            Lie::V3NeverInTime => return Some(self.report(&envelope, FLAG_AUTH, 2)),
            Lie::V3ClockJumps if !self.jumped => {
                self.jumped = true;
                self.when = EngineTime { boots: 4, time: 1 };
                return Some(self.report(&envelope, FLAG_AUTH, 2));
            }
            _ => {}
        }
        let is_state = question
            .bindings
            .first()?
            .oid
            .to_string()
            .starts_with(STATUS);
        let pdu = self.answer(question)?;
        if self.lie == Lie::V3OldBoots && is_state {
            self.when = EngineTime {
                boots: 2,
                time: 500,
            };
        }
        let flags = if self.lie == Lie::V3Unprotected {
            0
        } else {
            FLAG_AUTH
        };
        Some(self.message(&envelope, flags, pdu))
    }

    fn report(&self, to: &Envelope, flags: u8, number: u32) -> Vec<u8> {
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
        self.message(to, flags, pdu)
    }

    fn message(&self, to: &Envelope, flags: u8, pdu: Pdu) -> Vec<u8> {
        let scoped = ScopedPdu {
            context_engine: ENGINE.to_vec(),
            pdu,
        };
        let mut envelope = Envelope {
            message_id: to.message_id,
            flags,
            engine: ENGINE.to_vec(),
            boots: self.when.boots,
            time: self.when.time,
            user: to.user.clone(),
            digest: vec![0; if flags == 0 { 0 } else { 12 }],
            salt: Vec::new(),
            payload: Payload::Plain(scoped.to_bytes()),
        };
        if flags != 0 {
            envelope.digest = self.keys.digest(&envelope.to_bytes());
            if self.lie == Lie::V3WrongDigest {
                envelope.digest[0] ^= 1;
            }
        }
        envelope.to_bytes()
    }
}
