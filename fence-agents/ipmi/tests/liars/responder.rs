//! A BMC of our own on a loopback UDP port, which lies in one chosen way.
//!
//! It is built from the codec and the cipher suites under test, so it proves nothing about them: their
//! vectors and `ipmi_sim` do. One thread, stopped when the value is dropped. It serves one session at a
//! time and knows only what power control asks.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use haft_fence_ipmi::cipher::{Keys, Suite};
use haft_fence_ipmi::wire::message::{Answer, CompletionCode, answer_to_bytes};
use haft_fence_ipmi::wire::packet::{self, Packet, PayloadKind, Protection};
use haft_fence_ipmi::wire::setup::{self, Rakp2};

/// How the BMC lies or fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    AlreadyOff,
    /// Powers down so slowly that this many reads after the command still say on.
    OffAfterReads(u32),
    AnswersOnlyRepetitions,
    NoiseBeforeAnswers,
    EveryAnswerTwice,
    /// Says "busy" to the first so many requests of the session.
    BusyAtFirst(u32),
    ForgetsSessionAfterOff,
    /// Powers down but never acknowledges.
    ActsWithoutAnswer,
    Silent,
    NeverActsNorAnswersOff,
    /// Acknowledges and does nothing.
    StaysOn,
    /// Acknowledges power-on and does nothing.
    StaysOff,
    /// Off at every second read.
    Flaps,
    SilentAfterOff,
    Garbage,
    Truncated,
    WrongMessageSequence,
    ReplaysFirstStatus,
    Unprotected,
    WrongCode,
    OtherPassword,
    UnknownUser,
    OtherBmcKey,
    Downgrades,
    OnlyIpmi15,
    RefusesPrivilege,
    RefusesOff,
    ErrorForStatus,
    ShortStatus,
    OutOfSessions,
    /// Loses every nth datagram, of both directions together.
    LosesEvery(u32),
    /// Sends each answer only when the next datagram comes.
    OneAnswerLate,
    /// The power restore policy is always-on, and can be set.
    RestoresAlways,
    /// The same, but it cannot be set.
    RestoresAlwaysStubbornly,
}

/// What the tests look at.
#[derive(Default)]
struct Seen {
    on: AtomicBool,
    offs: AtomicU32,
    ons: AtomicU32,
    closed: AtomicU32,
    restore: AtomicU32,
    datagrams: AtomicU32,
    stop: AtomicBool,
}

pub(crate) struct Responder {
    port: u16,
    seen: Arc<Seen>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Responder {
    pub(crate) fn start(lie: Lie, password: &str) -> Self {
        Self::start_on("127.0.0.1", lie, password)
    }

    pub(crate) fn start_on(address: &str, lie: Lie, password: &str) -> Self {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let port = socket.local_addr().unwrap().port();
        let seen = Arc::new(Seen::default());
        seen.on.store(lie != Lie::AlreadyOff, Ordering::SeqCst);
        let restore = match lie {
            Lie::RestoresAlways | Lie::RestoresAlwaysStubbornly => 2,
            // Unknown to the BMC.
            _ => 3,
        };
        seen.restore.store(restore, Ordering::SeqCst);
        let mut bmc = Bmc::new(lie, password, Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !bmc.seen.stop.load(Ordering::SeqCst) {
                if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                    for datagram in bmc.hear(&buffer[..length]) {
                        let _ = socket.send_to(&datagram, peer);
                    }
                }
            }
        });
        Self {
            port,
            seen,
            thread: Mutex::new(Some(thread)),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn is_on(&self) -> bool {
        self.seen.on.load(Ordering::SeqCst)
    }

    pub(crate) fn off_commands(&self) -> u32 {
        self.seen.offs.load(Ordering::SeqCst)
    }

    pub(crate) fn on_commands(&self) -> u32 {
        self.seen.ons.load(Ordering::SeqCst)
    }

    pub(crate) fn closed_sessions(&self) -> u32 {
        self.seen.closed.load(Ordering::SeqCst)
    }

    /// The power restore policy, as its two bits.
    pub(crate) fn restore(&self) -> u32 {
        self.seen.restore.load(Ordering::SeqCst)
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

const BMC_SESSION: u32 = 0x0200_000B;
const GUID: [u8; 16] = [0xA1; 16];

struct Bmc {
    lie: Lie,
    password: Vec<u8>,
    seen: Arc<Seen>,
    suite: Suite,
    console_session: [u8; 4],
    console_random: Vec<u8>,
    /// Drawn anew for each RAKP 1, as real BMCs do: a repeated one makes an answer under way worthless.
    random: [u8; 16],
    late: Option<Vec<u8>>,
    role_and_user: Vec<u8>,
    keys: Option<Keys>,
    sequence: u32,
    requests: u32,
    sessions: u32,
    last_command: Option<(u32, u8)>,
    passing: u32,
    reads_after_off: Option<u32>,
    reads: u32,
    first_status: Option<Vec<u8>>,
    last_heard: Vec<u8>,
}

impl Bmc {
    fn new(lie: Lie, password: &str, seen: Arc<Seen>) -> Self {
        let known = if lie == Lie::OtherPassword {
            "another"
        } else {
            password
        };
        Self {
            lie,
            password: known.as_bytes().to_vec(),
            seen,
            suite: Suite::Three,
            console_session: [0; 4],
            console_random: Vec::new(),
            random: [0x5A; 16],
            late: None,
            role_and_user: Vec::new(),
            keys: None,
            sequence: 0,
            requests: 0,
            sessions: 0,
            last_command: None,
            passing: 0,
            reads_after_off: None,
            reads: 0,
            first_status: None,
            last_heard: Vec::new(),
        }
    }

    fn hear(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.seen.datagrams.fetch_add(1, Ordering::SeqCst);
        let repeated = self.is_repetition(datagram);
        match self.lie {
            Lie::Silent => return Vec::new(),
            Lie::Garbage => return vec![vec![0xA5; 33], Vec::new(), datagram.to_vec()],
            Lie::AnswersOnlyRepetitions if !repeated => return Vec::new(),
            _ => {}
        }
        if self.loses() {
            return Vec::new();
        }
        let Some(mut answer) = self.answer(datagram) else {
            return Vec::new();
        };
        if self.lie == Lie::OneAnswerLate {
            let Some(earlier) = self.late.replace(answer) else {
                return Vec::new();
            };
            answer = earlier;
        }
        if self.loses() {
            return Vec::new();
        }
        match self.lie {
            Lie::Truncated => vec![answer[..answer.len() / 2].to_vec()],
            Lie::NoiseBeforeAnswers => vec![b"\x06\0\xff\x07\x06\xc0noise".to_vec(), answer],
            Lie::EveryAnswerTwice => vec![answer.clone(), answer],
            _ => vec![answer],
        }
    }

    /// Whether the next datagram, either way, is lost.
    fn loses(&mut self) -> bool {
        let Lie::LosesEvery(nth) = self.lie else {
            return false;
        };
        self.passing += 1;
        self.passing.is_multiple_of(nth)
    }

    /// A repeated session packet has a new sequence number and vector: its length and session decide.
    fn is_repetition(&mut self, datagram: &[u8]) -> bool {
        let same = if self.keys.is_some() {
            self.last_heard.len() == datagram.len() && !self.last_heard.is_empty()
        } else {
            self.last_heard == datagram
        };
        self.last_heard = if same { Vec::new() } else { datagram.to_vec() };
        same
    }

    fn answer(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        match packet::parse(datagram, self.suite.integrity_len())? {
            Packet::Plain { payload } => {
                let body: &[u8] = match self.lie {
                    Lie::OnlyIpmi15 => &[1, 0x17, 0x04, 0, 0, 0, 0, 0],
                    _ => &[1, 0x97, 0x04, 0x03, 0, 0, 0, 0],
                };
                let sequence = payload[4] >> 2;
                let answer = Answer {
                    function: 6,
                    command: 0x38,
                    sequence,
                    code: CompletionCode::OK,
                    body,
                };
                Some(packet::plain(&answer_to_bytes(&answer)))
            }
            Packet::Plus {
                kind: PayloadKind::OpenRequest,
                payload,
                ..
            } => self.open(payload),
            Packet::Plus {
                kind: PayloadKind::Rakp1,
                payload,
                ..
            } => self.rakp1(payload),
            Packet::Plus {
                kind: PayloadKind::Rakp3,
                payload,
                ..
            } => self.rakp3(payload),
            Packet::Plus {
                kind: PayloadKind::Message,
                payload,
                protection,
                ..
            } => {
                let Protection::Full { covered, code } = protection else {
                    return None;
                };
                let keys = self.keys.as_ref()?;
                assert!(
                    keys.code_is_right(covered, code),
                    "the agent's code is wrong"
                );
                let message = keys.decrypt(payload)?;
                self.request(&message)
            }
            Packet::Plus { .. } => None,
        }
    }

    fn console(&self) -> u32 {
        u32::from_le_bytes(self.console_session)
    }

    fn open(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        self.console_session = payload.get(4..8)?.try_into().ok()?;
        self.suite = if payload.get(12) == Some(&3) {
            Suite::Seventeen
        } else {
            Suite::Three
        };
        self.keys = None;
        let (status, chosen) = match self.lie {
            Lie::OutOfSessions => (0x01, self.suite),
            Lie::Downgrades => (0, Suite::Seventeen),
            _ => (0, self.suite),
        };
        let answer = setup::open_response(payload[0], status, self.console(), BMC_SESSION, chosen);
        Some(packet::setup(PayloadKind::OpenResponse, &answer))
    }

    fn rakp1(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        self.console_random = payload.get(8..24)?.to_vec();
        self.random[0] = self.random[0].wrapping_add(1);
        self.role_and_user = [&[payload[24]], payload.get(27..)?].concat();
        let code = self.suite.mac(
            &self.password,
            &[
                &self.console_session,
                &BMC_SESSION.to_le_bytes(),
                &self.console_random,
                &self.random,
                &GUID,
                &self.role_and_user,
            ],
        );
        let status = if self.lie == Lie::UnknownUser {
            0x0D
        } else {
            0
        };
        let parts = Rakp2 {
            bmc_random: self.random,
            bmc_guid: GUID,
            code: &code,
        };
        let answer = setup::rakp2(payload[0], status, self.console(), &parts);
        Some(packet::setup(PayloadKind::Rakp2, &answer))
    }

    fn rakp3(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let parts: [&[u8]; 3] = [&self.random, &self.console_session, &self.role_and_user];
        let proof = payload.get(8..)?;
        let right = self
            .suite
            .verifies(&self.password, &parts, self.suite.code_len(), proof);
        if !right {
            // A slow machine repeats RAKP 1, and the proof is over the earlier random number.
            let refused = setup::rakp4(payload[0], 0x0F, self.console(), &[]);
            return Some(packet::setup(PayloadKind::Rakp4, &refused));
        }
        self.sessions += 1;
        let key: &[u8] = if self.lie == Lie::OtherBmcKey {
            b"other key"
        } else {
            &self.password
        };
        let session_key = self.suite.mac(
            key,
            &[&self.console_random, &self.random, &self.role_and_user],
        );
        let check = self.suite.mac(
            &session_key,
            &[&self.console_random, &BMC_SESSION.to_le_bytes(), &GUID],
        );
        self.keys = Some(Keys::derive(self.suite, &session_key));
        (self.sequence, self.requests) = (0, 0);
        let check = &check[..self.suite.integrity_len()];
        Some(packet::setup(
            PayloadKind::Rakp4,
            &setup::rakp4(payload[0], 0, self.console(), check),
        ))
    }

    /// An IPMI request within the session: addresses, sequence, command, body, checksum.
    fn request(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let (function, sequence, command) = (message[1] >> 2, message[4] >> 2, message[5]);
        self.requests += 1;
        let busy = matches!(self.lie, Lie::BusyAtFirst(count) if self.requests <= count);
        let (code, body) = match (function, command) {
            _ if busy => (0xC0, Vec::new()),
            (6, 0x3B) if self.lie == Lie::RefusesPrivilege => (0x81, Vec::new()),
            (6, 0x3B) => (0, vec![message[6]]),
            (6, 0x3C) => {
                self.seen.closed.fetch_add(1, Ordering::SeqCst);
                (0, Vec::new())
            }
            (0, 0x01) => self.status()?,
            (0, 0x06) if self.lie == Lie::RestoresAlways => {
                self.seen
                    .restore
                    .store(u32::from(message[6]), Ordering::SeqCst);
                (0, vec![0x07])
            }
            (0, 0x06) => (0xC1, Vec::new()),
            (0, 0x02) => {
                let command = (self.sessions, sequence);
                // A repeated packet is the same command: a slow machine sends some.
                let counted = u32::from(self.last_command.replace(command) != Some(command));
                (self.control(message[6], counted)?, Vec::new())
            }
            other => panic!("the agent sent {other:?}, which power control does not need"),
        };
        let sequence = if self.lie == Lie::WrongMessageSequence {
            sequence ^ 1
        } else {
            sequence
        };
        let answer = Answer {
            function,
            command,
            sequence,
            code: CompletionCode(code),
            body: &body,
        };
        let datagram = self.wrap(&answer_to_bytes(&answer));
        if self.lie == Lie::ReplaysFirstStatus && (function, command) == (0, 0x01) {
            // The first one is genuine and says off; later ones are its recording.
            return Some(self.first_status.get_or_insert(datagram).clone());
        }
        if self.lie == Lie::ForgetsSessionAfterOff && (function, command) == (0, 0x02) {
            self.keys = None;
        }
        Some(datagram)
    }

    fn wrap(&mut self, message: &[u8]) -> Vec<u8> {
        self.sequence += 1;
        let keys = self
            .keys
            .as_ref()
            .expect("requests come only within a session");
        if self.lie == Lie::Unprotected {
            return packet::setup(PayloadKind::Message, message);
        }
        let encrypted = keys.encrypt([0x77; 16], message);
        packet::protected(self.console(), self.sequence, &encrypted, |covered| {
            let mut code = keys.code(covered);
            code[0] ^= u8::from(self.lie == Lie::WrongCode);
            code
        })
    }

    fn status(&mut self) -> Option<(u8, Vec<u8>)> {
        self.reads += 1;
        let after_off = self.seen.offs.load(Ordering::SeqCst) > 0;
        if let Some(left) = &mut self.reads_after_off {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => self.seen.on.store(false, Ordering::SeqCst),
            }
        }
        let on = match self.lie {
            Lie::SilentAfterOff if after_off => return None,
            Lie::ErrorForStatus => return Some((0xFF, Vec::new())),
            Lie::ShortStatus => return Some((0, vec![0x00])),
            // On before the command, so that it is given; then on and off in turns.
            Lie::Flaps if after_off => self.reads.is_multiple_of(2),
            Lie::ReplaysFirstStatus => false,
            _ => self.seen.on.load(Ordering::SeqCst),
        };
        let restore = u8::try_from(self.seen.restore.load(Ordering::SeqCst)).unwrap();
        Some((0, vec![restore << 5 | u8::from(on), 0x10, 0x40, 0x00]))
    }

    fn control(&mut self, what: u8, counted: u32) -> Option<u8> {
        match what {
            0 => self.seen.offs.fetch_add(counted, Ordering::SeqCst),
            1 => self.seen.ons.fetch_add(counted, Ordering::SeqCst),
            other => panic!("the agent sent chassis control {other}: neither off nor on"),
        };
        match (self.lie, what) {
            (Lie::RefusesOff, 0) => return Some(0xD4),
            (Lie::NeverActsNorAnswersOff, 0) => return None,
            (Lie::StaysOn, 0) | (Lie::StaysOff, 1) => {}
            (Lie::OffAfterReads(count), 0) => self.reads_after_off = Some(count),
            (Lie::ActsWithoutAnswer, 0) => {
                self.seen.on.store(false, Ordering::SeqCst);
                return None;
            }
            _ => self.seen.on.store(what == 1, Ordering::SeqCst),
        }
        Some(0)
    }
}
