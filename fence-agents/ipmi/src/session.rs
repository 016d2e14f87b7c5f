//! One RMCP+ session as a machine: bytes and time go in, bytes and a verdict come out.
//!
//! ```text
//! Capabilities ─► Opening ─► Rakp1 ─► Rakp3 ─► Raising ─► Ready ◄─► Asking ─► …
//!        each waits for its own answer, repeats its question a few times, and then is Failed
//! ```
//!
//! What is not the answer awaited is dropped and counted: another tag, another session, a wrong code, a
//! repeated sequence number, an answer to an earlier question, noise. So a late or forged datagram can
//! delay us and nothing else. The driver asks [`Session::wake_at`], [`Session::datagram`] and
//! [`Session::progress`]. No clock, no socket and no source of randomness in here; starting anew after
//! a failure that may pass is the driver's decision.

mod handshake;
mod replay;

use std::time::{Duration, Instant};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::cipher::{Keys, Suite};
use crate::wire::message::{self, Answer, CompletionCode, Request};
use crate::wire::packet::{self, Packet, PayloadKind, Protection};
use crate::wire::setup::{Privilege, SetupStatus};
use handshake::Handshake;
use replay::Replay;

/// Who we are to the BMC, and what we ask for.
pub struct Credentials {
    /// User name, at most 16 bytes.
    pub user: Vec<u8>,
    /// Password, at most 20 bytes: the user key of the codes.
    pub password: Zeroizing<Vec<u8>>,
    /// The BMC key Kg, when the BMC has one set.
    pub bmc_key: Option<Zeroizing<Vec<u8>>>,
    /// Privilege asked for.
    pub privilege: Privilege,
    /// Cipher suite.
    pub suite: Suite,
}

/// Randomness for one session, drawn by the driver.
#[derive(Clone)]
pub struct Seeds {
    /// Our session id; never zero.
    pub console_session: u32,
    /// Our random number of RAKP 1.
    pub console_random: [u8; 16],
    /// Key from which initialisation vectors are made, so that they cannot be foreseen.
    pub vector_key: [u8; 32],
}

/// How patiently one question is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Wait before the first repetition; doubles each time, up to [`REPEAT_MAX`].
    pub repeat_after: Duration,
    /// How often a question is sent before it counts as unanswered.
    pub sends_max: u32,
}

/// Longest wait between two sends of one question.
pub const REPEAT_MAX: Duration = Duration::from_secs(2);

/// An answer to a request within the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Completion code.
    pub code: CompletionCode,
    /// What follows it.
    pub body: Vec<u8>,
}

/// What the driver should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Waiting for the BMC, until [`Session::wake_at`].
    Waiting,
    /// The session stands and awaits a [`Session::ask`].
    Ready,
    /// The last request was answered; told once.
    Answered(Reply),
    /// The session is of no more use.
    Failed(SessionError),
}

/// Why a session failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SessionError {
    /// Every send of a question went unanswered.
    #[error("no answer to {question} (sent {sends} times; {dropped} other datagrams dropped)")]
    NoAnswer {
        /// What was asked.
        question: &'static str,
        /// How often.
        sends: u32,
        /// Datagrams that were not the answer.
        dropped: u32,
    },
    /// The BMC speaks only IPMI 1.5.
    #[error("the BMC does not offer IPMI 2.0 (RMCP+) sessions")]
    NoRmcpPlus,
    /// The BMC refused a step of the set-up.
    #[error("the BMC refused {step}: {} (0x{:02x})", status.meaning(), status.0)]
    Refused {
        /// Which step.
        step: &'static str,
        /// Its status code.
        status: SetupStatus,
    },
    /// The BMC chose algorithms that we did not propose.
    #[error("the BMC chose other algorithms than those asked for")]
    Downgraded,
    /// The BMC's code in RAKP 2 does not fit our password.
    #[error("wrong password for this user (the BMC's RAKP 2 code does not match)")]
    WrongPassword,
    /// The BMC's check value in RAKP 4 does not fit the session.
    #[error(
        "wrong BMC key, or a BMC that is not what it seems (RAKP 4 check value does not match)"
    )]
    WrongBmcKey,
    /// The user may not have the privilege asked for.
    #[error("the user is not allowed the privilege level '{}'", wanted.name())]
    Privilege {
        /// What was asked for.
        wanted: Privilege,
    },
    /// The session's privilege does not suffice for a command.
    #[error("privilege level '{}' does not suffice for {question}", have.name())]
    TooLowFor {
        /// What was asked.
        question: &'static str,
        /// The level of the session.
        have: Privilege,
    },
    /// Another completion code where only success makes sense.
    #[error("the BMC answered {question} with {} (completion code 0x{:02x})", code.meaning(), code.0)]
    Unexpected {
        /// What was asked.
        question: &'static str,
        /// Its completion code.
        code: CompletionCode,
    },
}

impl SessionError {
    /// Whether a new session may fare better. Wrong credentials will not.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            // Out of sessions, or an id that timed out meanwhile; 0x0F in RAKP 4 also comes from a
            // repeated RAKP 1 that made the BMC draw a new random number.
            Self::Refused { status, .. } => {
                matches!(status.0, 0x01 | 0x02 | 0x08 | 0x0B | 0x0F)
            }
            Self::Unexpected { code, .. } => code.is_passing(),
            Self::NoRmcpPlus
            | Self::Downgraded
            | Self::WrongPassword
            | Self::WrongBmcKey
            | Self::TooLowFor { .. }
            | Self::Privilege { .. } => false,
        }
    }
}

/// The session.
pub struct Session {
    pub(crate) credentials: Credentials,
    pub(crate) seeds: Seeds,
    pace: Pace,
    phase: Phase,
    question: Question,
    pub(crate) tag: u8,
    message_sequence: u8,
    vectors_made: u64,
    dropped: u32,
    outbox: Option<Vec<u8>>,
    told: Option<Reply>,
}

enum Phase {
    /// No keys yet.
    SettingUp(Handshake),
    /// Keys are agreed; the flag of use is the question.
    Established(Channel),
    /// Over. The BMC may still hold a session for us, which can be closed.
    Failed {
        error: SessionError,
        open: Option<Channel>,
    },
}

struct Channel {
    keys: Keys,
    bmc_session: u32,
    /// Last sequence number that we used towards the BMC.
    sent_sequence: u32,
    replay: Replay,
    asking: Asking,
}

/// What an established session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    Nothing,
    /// Set Session Privilege Level, before the session is ready.
    Privilege(Request),
    Request(Request),
}

/// The sends of the question under way.
struct Question {
    sends: u32,
    repeat_at: Instant,
}

impl Session {
    /// Starts a session; the first datagram is ready at once.
    pub fn start(now: Instant, credentials: Credentials, seeds: Seeds, pace: Pace) -> Self {
        let mut session = Self {
            credentials,
            seeds,
            pace,
            phase: Phase::SettingUp(Handshake::Capabilities),
            question: Question {
                sends: 0,
                repeat_at: now,
            },
            tag: 0,
            message_sequence: 1,
            vectors_made: 0,
            dropped: 0,
            outbox: None,
            told: None,
        };
        session.send(now);
        session
    }

    /// Asks something of a ready session.
    ///
    /// # Panics
    /// Never on input; the driver asks only after [`Progress::Ready`] or [`Progress::Answered`].
    pub fn ask(&mut self, now: Instant, request: Request) {
        self.told = None;
        if let Phase::Established(channel) = &mut self.phase {
            channel.asking = Asking::Request(request);
            self.next_question(now);
        }
    }

    /// The BMC's id of this session, once there is one: Close Session names it.
    pub fn bmc_session(&self) -> Option<u32> {
        match &self.phase {
            Phase::Established(channel) => Some(channel.bmc_session),
            Phase::SettingUp(_) | Phase::Failed { .. } => None,
        }
    }

    /// Asks the BMC to close what it still holds for us, also after a failure: sessions are few, and one
    /// left open keeps others out for a minute. `None` when there is nothing to close.
    pub fn hang_up(&mut self, now: Instant) -> Option<u32> {
        self.told = None;
        let mut channel = match self.take_phase() {
            Phase::Established(channel)
            | Phase::Failed {
                open: Some(channel),
                ..
            } => channel,
            phase @ (Phase::SettingUp(_) | Phase::Failed { open: None, .. }) => {
                self.phase = phase;
                return None;
            }
        };
        let id = channel.bmc_session;
        channel.asking = Asking::Request(Request::CloseSession(id));
        self.phase = Phase::Established(channel);
        self.next_question(now);
        Some(id)
    }

    /// Takes the phase out; whoever takes it puts one back.
    fn take_phase(&mut self) -> Phase {
        std::mem::replace(&mut self.phase, Phase::SettingUp(Handshake::Capabilities))
    }

    /// A datagram to send now, if any. Ask until `None` after every event.
    pub fn datagram(&mut self) -> Option<Vec<u8>> {
        self.outbox.take()
    }

    /// When [`Self::on_wake`] wants to be called, unless an answer comes first.
    pub fn wake_at(&self) -> Option<Instant> {
        match &self.phase {
            Phase::SettingUp(_) => Some(self.question.repeat_at),
            Phase::Established(channel) => match channel.asking {
                Asking::Nothing => None,
                Asking::Privilege(_) | Asking::Request(_) => Some(self.question.repeat_at),
            },
            Phase::Failed { .. } => None,
        }
    }

    /// Where things stand. An answer is told once.
    pub fn progress(&mut self) -> Progress {
        if let Some(reply) = self.told.take() {
            return Progress::Answered(reply);
        }
        match &self.phase {
            Phase::SettingUp(_) => Progress::Waiting,
            Phase::Established(channel) => match channel.asking {
                Asking::Nothing => Progress::Ready,
                Asking::Privilege(_) | Asking::Request(_) => Progress::Waiting,
            },
            Phase::Failed { error, .. } => Progress::Failed(error.clone()),
        }
    }

    /// The question under way as an unanswered one, for a driver whose own time is over.
    pub fn no_answer(&self) -> SessionError {
        SessionError::NoAnswer {
            question: self.question_name(),
            sends: self.question.sends,
            dropped: self.dropped,
        }
    }

    /// Time has passed: repeat the question, or give it up.
    pub fn on_wake(&mut self, now: Instant) {
        match self.wake_at() {
            Some(at) if now >= at => {}
            Some(_) | None => return,
        }
        if self.question.sends >= self.pace.sends_max {
            self.fail(self.no_answer());
            return;
        }
        self.send(now);
    }

    /// A datagram has come. Anything but the awaited answer is dropped.
    pub fn on_datagram(&mut self, now: Instant, datagram: &[u8]) {
        let code_len = self.credentials.suite.integrity_len();
        let taken = match packet::parse(datagram, code_len) {
            None => Taken::No,
            Some(Packet::Plain { payload }) => self.on_plain(now, payload),
            Some(Packet::Plus {
                kind,
                session,
                sequence,
                payload,
                protection,
            }) => match (kind, protection) {
                (PayloadKind::Message, Protection::Full { covered, code }) => {
                    self.on_protected(now, session, sequence, payload, covered, code)
                }
                (
                    PayloadKind::OpenResponse | PayloadKind::Rakp2 | PayloadKind::Rakp4,
                    Protection::None,
                ) => self.on_setup(now, kind, payload),
                (
                    PayloadKind::Message
                    | PayloadKind::OpenRequest
                    | PayloadKind::OpenResponse
                    | PayloadKind::Rakp1
                    | PayloadKind::Rakp2
                    | PayloadKind::Rakp3
                    | PayloadKind::Rakp4,
                    Protection::None | Protection::Full { .. },
                ) => Taken::No,
            },
        };
        match taken {
            Taken::Yes => {}
            Taken::No => self.dropped = self.dropped.saturating_add(1),
        }
    }

    fn on_protected(
        &mut self,
        now: Instant,
        session: u32,
        sequence: u32,
        payload: &[u8],
        covered: &[u8],
        code: &[u8],
    ) -> Taken {
        let Phase::Established(channel) = &mut self.phase else {
            return Taken::No;
        };
        if session != self.seeds.console_session || !channel.keys.code_is_right(covered, code) {
            return Taken::No;
        }
        // Only behind the code check: a forged number must not move the window.
        if channel.replay.admit(sequence) == replay::Admission::Stale {
            return Taken::No;
        }
        let Some(message) = channel.keys.decrypt(payload) else {
            return Taken::No;
        };
        let Some(answer) = message::parse_answer(&message) else {
            return Taken::No;
        };
        let (request, first) = match channel.asking {
            Asking::Nothing => return Taken::No,
            Asking::Privilege(request) => (request, Step::Privilege),
            Asking::Request(request) => (request, Step::Request),
        };
        if !answers(&answer, request, self.message_sequence) {
            return Taken::No;
        }
        channel.asking = Asking::Nothing;
        match first {
            Step::Request => {
                self.told = Some(Reply {
                    code: answer.code,
                    body: answer.body.to_vec(),
                });
            }
            Step::Privilege => self.on_privilege(now, request, answer.code),
        }
        Taken::Yes
    }

    fn on_privilege(&mut self, now: Instant, request: Request, code: CompletionCode) {
        // 0x80: level not available to the user; 0x81: above the user's or channel's limit; 0x82:
        // cannot disable user level authentication (section 22.18).
        let failed = match code.0 {
            0x00 => return,
            0x80..=0x82 | 0xD4 => SessionError::Privilege {
                wanted: self.credentials.privilege,
            },
            _ if code.is_passing() => {
                if let Phase::Established(channel) = &mut self.phase {
                    channel.asking = Asking::Privilege(request);
                }
                // Busy: the same question again after the usual pause.
                self.question.repeat_at = now + self.pace.repeat_after;
                return;
            }
            _ => SessionError::Unexpected {
                question: request.name(),
                code,
            },
        };
        self.fail(failed);
    }

    /// The keys are agreed: claim the privilege.
    fn establish(&mut self, now: Instant, keys: Keys, bmc_session: u32) {
        self.phase = Phase::Established(Channel {
            keys,
            bmc_session,
            sent_sequence: 0,
            replay: Replay::default(),
            asking: Asking::Privilege(Request::RaisePrivilege(self.credentials.privilege)),
        });
        self.next_question(now);
    }

    pub(crate) fn fail(&mut self, error: SessionError) {
        let open = match self.take_phase() {
            Phase::Established(channel) => Some(channel),
            Phase::Failed { open, .. } => open,
            Phase::SettingUp(_) => None,
        };
        self.phase = Phase::Failed { error, open };
    }

    fn next_question(&mut self, now: Instant) {
        self.question.sends = 0;
        self.tag = self.tag.wrapping_add(1);
        self.message_sequence = (self.message_sequence + 1) & 0x3F;
        self.send(now);
    }

    fn send(&mut self, now: Instant) {
        let wait = self
            .pace
            .repeat_after
            .saturating_mul(1 << self.question.sends.min(8));
        self.question.sends += 1;
        self.question.repeat_at = now + wait.min(REPEAT_MAX).max(self.pace.repeat_after);
        self.outbox = self.render();
    }

    fn render(&mut self) -> Option<Vec<u8>> {
        let sequence = self.message_sequence;
        match &mut self.phase {
            Phase::SettingUp(handshake) => {
                let handshake = handshake.clone();
                Some(self.render_setup(&handshake, sequence))
            }
            Phase::Established(channel) => {
                let request = match channel.asking {
                    Asking::Nothing => return None,
                    Asking::Privilege(request) | Asking::Request(request) => request,
                };
                // A repetition is a new packet: BMCs drop sequence numbers that they have seen.
                channel.sent_sequence += 1;
                self.vectors_made += 1;
                let vector = vector(&self.seeds.vector_key, self.vectors_made);
                let encrypted = channel.keys.encrypt(vector, &request.to_bytes(sequence));
                Some(packet::protected(
                    channel.bmc_session,
                    channel.sent_sequence,
                    &encrypted,
                    |covered| channel.keys.code(covered),
                ))
            }
            Phase::Failed { .. } => None,
        }
    }

    fn question_name(&self) -> &'static str {
        match &self.phase {
            Phase::SettingUp(handshake) => handshake.name(),
            Phase::Established(channel) => match channel.asking {
                Asking::Nothing => "nothing",
                Asking::Privilege(request) | Asking::Request(request) => request.name(),
            },
            Phase::Failed { .. } => "nothing",
        }
    }
}

/// Whether a datagram was the awaited answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Yes,
    No,
}

enum Step {
    Privilege,
    Request,
}

/// Whether an answer belongs to the question.
pub(crate) fn answers(answer: &Answer<'_>, request: Request, sequence: u8) -> bool {
    answer.function == request.function()
        && answer.command == request.command()
        && answer.sequence == sequence
}

/// The next initialisation vector: a keyed hash of a counter, so no two are alike and none foreseeable.
fn vector(key: &[u8; 32], count: u64) -> [u8; 16] {
    let hash = Suite::Seventeen.mac(key, &[&count.to_le_bytes()]);
    hash.first_chunk()
        .copied()
        .expect("a SHA-256 hash has 32 bytes")
}

#[cfg(test)]
mod tests;
