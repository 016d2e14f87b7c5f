//! IPMI: the decoders on any bytes, and a session against a controller that a script drives.
//!
//! The script decides what the controller says: the truth, the truth with a changed byte, an old datagram,
//! anything. The properties: a session comes to life only with a controller that knows the password, an
//! answer is told only when its code, its sequence number and its question are right, and power is read as off
//! only from the body of such an answer.

use std::time::{Duration, Instant};

use haft_fence_ipmi::cipher::{Keys, Suite};
use haft_fence_ipmi::session::{Credentials, Pace, Progress, Reply, Seeds, Session};
use haft_fence_ipmi::wire::message::{
    self, Answer, CompletionCode, Control, Request, Restore, answer_to_bytes,
};
use haft_fence_ipmi::wire::packet::{self, Packet, PayloadKind};
use haft_fence_ipmi::wire::setup::{self, Privilege, Rakp2};
use zeroize::Zeroizing;

use crate::script::{Script, keeps};

const USER: &[u8] = b"admin";
const PASSWORD: &str = "Zx9.ipmi-canary.7q";
const CONSOLE: u32 = 0xA0A2_A3A4;
const CONSOLE_RANDOM: [u8; 16] = [3; 16];
const BMC_SESSION: u32 = 0x0200_000B;
const BMC_RANDOM: [u8; 16] = [0x5A; 16];
const GUID: [u8; 16] = [0xA1; 16];
const STEP: Duration = Duration::from_millis(10);
/// Where the bytes under a packet's code begin; the four before them are RMCP's own.
const COVERED_FROM: usize = 4;
const TURNS_MAX: usize = 64;

/// See the module.
pub(crate) fn run(bytes: &[u8]) {
    decoders(bytes);
    let mut script = Script::new(bytes);
    if let Some(choice) = script.byte() {
        Dialogue::new(choice).play(&mut script);
    }
}

fn decoders(bytes: &[u8]) {
    for suite in [Suite::Three, Suite::Seventeen] {
        if let Some(Packet::Plain { payload } | Packet::Plus { payload, .. }) =
            packet::parse(bytes, suite.integrity_len())
        {
            payloads(payload, suite);
        }
        payloads(bytes, suite);
    }
}

fn payloads(payload: &[u8], suite: Suite) {
    let _ = setup::parse_open_response(payload);
    let _ = setup::parse_rakp2(payload, suite);
    let _ = setup::parse_rakp4(payload, suite);
    let _ = message::speaks_rmcp_plus(payload);
    let _ = message::restore_of(payload);
    let _ = message::power_is_on(payload);
    if let Some(answer) = message::parse_answer(payload) {
        let again = answer_to_bytes(&answer);
        assert_eq!(message::parse_answer(&again), Some(answer));
    }
    let keys = Keys::derive(suite, b"key");
    let _ = keys.decrypt(payload);
    let short = &payload[..payload.len().min(64)];
    assert_eq!(
        keys.decrypt(&keys.encrypt([9; 16], short)).as_deref(),
        Some(short)
    );
}

/// Whether the controller was told the password.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Knows {
    Password,
    Nothing,
}

/// What may come of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Worth {
    /// It may be the answer.
    Genuine,
    /// It must not be.
    Forged,
}

/// A controller that answers as one should.
struct Bmc {
    suite: Suite,
    password: &'static [u8],
    keys: Option<Keys>,
    sequence: u32,
}

impl Bmc {
    /// The datagram that answers a question; `code` and `body` are those of an answer within the session.
    fn answer(&mut self, question: &[u8], code: u8, body: &[u8]) -> Option<Vec<u8>> {
        let suite = self.suite;
        let Some(packet) = packet::parse(question, suite.integrity_len()) else {
            panic!("our own datagram does not parse: {question:x?}");
        };
        match packet {
            Packet::Plain { payload } => Some(packet::plain(&answer_to_bytes(&Answer {
                function: 6,
                command: 0x38,
                sequence: payload[4] >> 2,
                code: CompletionCode::OK,
                body: &[1, 0x97, 0x04, 0x03, 0, 0, 0, 0],
            }))),
            Packet::Plus { kind, payload, .. } => match kind {
                PayloadKind::OpenRequest => {
                    let told = setup::open_response(payload[0], 0, CONSOLE, BMC_SESSION, suite);
                    Some(packet::setup(PayloadKind::OpenResponse, &told))
                }
                PayloadKind::Rakp1 => Some(self.rakp2(payload)),
                PayloadKind::Rakp3 => Some(self.rakp4(payload)),
                PayloadKind::Message => {
                    let asked = self.opened(payload)?;
                    let body = body.get(..body.len().min(32))?;
                    let answer = Answer {
                        function: asked.function,
                        command: asked.command,
                        sequence: asked.sequence,
                        code: CompletionCode(code),
                        body,
                    };
                    self.sequence += 1;
                    self.sealed(self.sequence, &answer_to_bytes(&answer))
                }
                PayloadKind::OpenResponse | PayloadKind::Rakp2 | PayloadKind::Rakp4 => None,
            },
        }
    }

    fn user_part() -> Vec<u8> {
        let role = Privilege::Administrator.number() | 0x10;
        let length = u8::try_from(USER.len()).expect("a short name");
        [&[role, length], USER].concat()
    }

    fn rakp2(&self, payload: &[u8]) -> Vec<u8> {
        let code = self.suite.mac(
            self.password,
            &[
                &CONSOLE.to_le_bytes(),
                &BMC_SESSION.to_le_bytes(),
                &CONSOLE_RANDOM,
                &BMC_RANDOM,
                &GUID,
                &Self::user_part(),
            ],
        );
        let parts = Rakp2 {
            bmc_random: BMC_RANDOM,
            bmc_guid: GUID,
            code: &code,
        };
        packet::setup(
            PayloadKind::Rakp2,
            &setup::rakp2(payload[0], 0, CONSOLE, &parts),
        )
    }

    fn rakp4(&mut self, payload: &[u8]) -> Vec<u8> {
        let user = Self::user_part();
        let key = self
            .suite
            .mac(self.password, &[&CONSOLE_RANDOM, &BMC_RANDOM, &user]);
        let check = self
            .suite
            .mac(&key, &[&CONSOLE_RANDOM, &BMC_SESSION.to_le_bytes(), &GUID]);
        self.keys = Some(Keys::derive(self.suite, &key));
        let check = &check[..self.suite.integrity_len()];
        packet::setup(
            PayloadKind::Rakp4,
            &setup::rakp4(payload[0], 0, CONSOLE, check),
        )
    }

    /// What an encrypted request of ours asks.
    fn opened(&self, payload: &[u8]) -> Option<Asked> {
        let message = self.keys.as_ref()?.decrypt(payload)?;
        Some(Asked {
            function: message.get(1)? >> 2,
            sequence: message.get(4)? >> 2,
            command: *message.get(5)?,
        })
    }

    fn sealed(&self, sequence: u32, message: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.as_ref()?;
        let encrypted = keys.encrypt([7; 16], message);
        Some(packet::protected(
            CONSOLE,
            sequence,
            &encrypted,
            |covered| keys.code(covered),
        ))
    }
}

/// A request as the controller sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Asked {
    function: u8,
    sequence: u8,
    command: u8,
}

struct Dialogue {
    now: Instant,
    knows: Knows,
    session: Session,
    bmc: Bmc,
    /// The last datagram of ours.
    question: Vec<u8>,
    delivered: Vec<Vec<u8>>,
    /// Sequence numbers of answers that were told.
    told: Vec<u32>,
}

impl Dialogue {
    fn new(choice: u8) -> Self {
        let suite = [Suite::Three, Suite::Seventeen][usize::from(choice & 1)];
        let (knows, password): (_, &[u8]) = if choice & 2 == 0 {
            (Knows::Password, PASSWORD.as_bytes())
        } else {
            (Knows::Nothing, b"another")
        };
        let credentials = Credentials {
            user: USER.to_vec(),
            password: Zeroizing::new(PASSWORD.as_bytes().to_vec()),
            bmc_key: None,
            privilege: Privilege::Administrator,
            suite,
        };
        let seeds = Seeds {
            console_session: CONSOLE,
            console_random: CONSOLE_RANDOM,
            vector_key: [5; 32],
        };
        let pace = Pace {
            repeat_after: STEP,
            sends_max: 6,
        };
        let now = Instant::now();
        Self {
            now,
            knows,
            session: Session::start(now, credentials, seeds, pace),
            bmc: Bmc {
                suite,
                password,
                keys: None,
                sequence: 0,
            },
            question: Vec::new(),
            delivered: Vec::new(),
            told: Vec::new(),
        }
    }

    fn play(&mut self, script: &mut Script<'_>) {
        for _ in 0..TURNS_MAX {
            if let Some(datagram) = self.session.datagram() {
                self.question = datagram;
            }
            let Some(turn) = script.byte() else {
                return;
            };
            self.turn(turn, script);
        }
    }

    fn turn(&mut self, turn: u8, script: &mut Script<'_>) {
        match turn % 9 {
            0 => {
                let (code, body) = (script.byte().unwrap_or(0), script.part());
                if let Some(answer) = self.bmc.answer(&self.question, code, body) {
                    let off = code == 0 && body.first().is_some_and(|state| state & 1 == 0);
                    let told = self.deliver(answer, Worth::Genuine);
                    // Off is read from what a genuine answer says, and from nothing else.
                    if let Some(reply) = told
                        && reply.code == CompletionCode::OK
                        && message::power_is_on(&reply.body) == Some(false)
                    {
                        assert!(off, "off out of {body:x?}");
                    }
                }
            }
            1 => {
                self.deliver(script.part().to_vec(), Worth::Forged);
            }
            2 => {
                let (code, body) = (script.byte().unwrap_or(0), script.part());
                if let Some(answer) = self.bmc.answer(&self.question, code, body) {
                    let (changed, place) = script.changed(&answer);
                    // RMCP's own four bytes say nothing about the session.
                    let worth = if place < COVERED_FROM {
                        Worth::Genuine
                    } else {
                        Worth::Forged
                    };
                    self.deliver(changed, worth);
                }
            }
            3 => {
                if let Some(mut answer) = self.bmc.answer(&self.question, 0, &[1]) {
                    answer.truncate(usize::from(script.byte().unwrap_or(0)) % answer.len());
                    self.deliver(answer, Worth::Forged);
                }
            }
            4 => {
                let which = usize::from(script.byte().unwrap_or(0));
                if let Some(old) = self.delivered.get(which % self.delivered.len().max(1)) {
                    self.deliver(old.clone(), Worth::Forged);
                }
            }
            5 => {
                self.now += STEP * u32::from(script.byte().unwrap_or(0));
                self.session.on_wake(self.now);
                self.settle(Worth::Forged, None);
            }
            6 => self.sealed_garbage(script),
            7 => self.ask(script),
            _ => {
                let closes = self.session.hang_up(self.now);
                assert!(closes.is_none() || self.knows == Knows::Password);
            }
        }
    }

    fn ask(&mut self, script: &mut Script<'_>) {
        const REQUESTS: [Request; 4] = [
            Request::ChassisStatus,
            Request::ChassisControl(Control::Down),
            Request::ChassisControl(Control::Up),
            Request::SetRestore(Restore::Previous),
        ];
        if self.session.progress() == Progress::Ready {
            let which = usize::from(script.byte().unwrap_or(0)) % REQUESTS.len();
            self.session.ask(self.now, REQUESTS[which]);
        }
    }

    /// Anything under a right code: what a controller with the password and without sense may say.
    fn sealed_garbage(&mut self, script: &mut Script<'_>) {
        let sequence = script.number();
        let inside = script.part();
        let Some(datagram) = self.bmc.sealed(sequence, inside) else {
            return;
        };
        let asked = match packet::parse(&self.question, self.bmc.suite.integrity_len()) {
            Some(Packet::Plus {
                kind: PayloadKind::Message,
                payload,
                ..
            }) => self.bmc.opened(payload),
            Some(Packet::Plus { .. } | Packet::Plain { .. }) | None => None,
        };
        let fits = message::parse_answer(inside).is_some_and(|answer| {
            Some(Asked {
                function: answer.function,
                sequence: answer.sequence,
                command: answer.command,
            }) == asked
        });
        let worth = if fits { Worth::Genuine } else { Worth::Forged };
        self.deliver(datagram, worth);
    }

    fn deliver(&mut self, datagram: Vec<u8>, worth: Worth) -> Option<Reply> {
        self.session.on_datagram(self.now, &datagram);
        let reply = self.settle(worth, Some(&datagram));
        self.delivered.push(datagram);
        reply
    }

    /// Looks where the session stands after something happened.
    fn settle(&mut self, worth: Worth, datagram: Option<&[u8]>) -> Option<Reply> {
        match self.session.progress() {
            Progress::Waiting => None,
            Progress::Ready => {
                assert!(self.knows == Knows::Password, "ready without the password");
                None
            }
            Progress::Answered(reply) => {
                assert!(self.knows == Knows::Password, "told without the password");
                assert!(worth == Worth::Genuine, "told by a forged datagram");
                self.admit(datagram);
                Some(reply)
            }
            Progress::Failed(error) => {
                keeps(PASSWORD, &[&error.to_string(), &format!("{error:?}")]);
                None
            }
        }
    }

    /// No sequence number is told twice.
    fn admit(&mut self, datagram: Option<&[u8]>) {
        let length = self.bmc.suite.integrity_len();
        let sequence = datagram.and_then(|bytes| match packet::parse(bytes, length)? {
            Packet::Plus { sequence, .. } => Some(sequence),
            Packet::Plain { .. } => None,
        });
        let sequence = sequence.expect("an answer came in a protected packet");
        assert!(!self.told.contains(&sequence), "number {sequence} twice");
        self.told.push(sequence);
    }
}
