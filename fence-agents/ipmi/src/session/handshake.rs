//! The steps before there are keys: capabilities, open session, RAKP 1 to 4 (section 13.15).
//!
//! It is the part of [`Session`] that authenticates both sides. Each step takes only the answer with
//! its own tag and our session id. It never falls back to a weaker suite: what the BMC chooses must be
//! what was asked for.

use std::time::Instant;

use super::{Phase, Session, SessionError, Taken, answers};
use crate::cipher::{Keys, Suite};
use crate::wire::message::{self, Request};
use crate::wire::packet::{self, PayloadKind};
use crate::wire::setup::{self, Rakp2, SetupAnswer};

/// Bit 4 of the role byte: look the user up by name alone (section 13.20).
const NAME_ONLY: u8 = 0x10;

/// Where the set-up stands.
#[derive(Clone)]
pub(crate) enum Handshake {
    /// Asked for the channel's authentication capabilities.
    Capabilities,
    /// Sent the open session request.
    Opening,
    /// Sent RAKP 1.
    Rakp1 { bmc_session: u32 },
    /// Sent RAKP 3.
    Rakp3 {
        bmc_session: u32,
        bmc_random: [u8; 16],
        bmc_guid: [u8; 16],
    },
}

impl Handshake {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Capabilities => "get channel authentication capabilities",
            Self::Opening => "RMCP+ open session request",
            Self::Rakp1 { .. } => "RAKP message 1",
            Self::Rakp3 { .. } => "RAKP message 3",
        }
    }
}

/// What the exchange's codes are made over, in the words of section 13.31.
struct Exchange<'a> {
    suite: Suite,
    role: u8,
    user: &'a [u8],
    console_session: [u8; 4],
    bmc_session: [u8; 4],
    console_random: &'a [u8; 16],
    bmc_random: &'a [u8; 16],
    bmc_guid: &'a [u8; 16],
}

impl Exchange<'_> {
    fn user_length(&self) -> [u8; 1] {
        [u8::try_from(self.user.len()).expect("user names are at most USER_MAX")]
    }

    /// The BMC's proof in RAKP 2.
    fn rakp2_is_right(&self, password: &[u8], code: &[u8]) -> bool {
        let parts: [&[u8]; 8] = [
            &self.console_session,
            &self.bmc_session,
            self.console_random,
            self.bmc_random,
            self.bmc_guid,
            &[self.role],
            &self.user_length(),
            self.user,
        ];
        self.suite
            .verifies(password, &parts, self.suite.code_len(), code)
    }

    /// Our proof in RAKP 3.
    fn rakp3_code(&self, password: &[u8]) -> Vec<u8> {
        let parts: [&[u8]; 5] = [
            self.bmc_random,
            &self.console_session,
            &[self.role],
            &self.user_length(),
            self.user,
        ];
        self.suite.mac(password, &parts).to_vec()
    }

    /// The session integrity key.
    fn session_key(&self, bmc_key: &[u8]) -> zeroize::Zeroizing<Vec<u8>> {
        let parts: [&[u8]; 5] = [
            self.console_random,
            self.bmc_random,
            &[self.role],
            &self.user_length(),
            self.user,
        ];
        self.suite.mac(bmc_key, &parts)
    }

    /// The BMC's check value in RAKP 4.
    fn rakp4_is_right(&self, session_key: &[u8], check: &[u8]) -> bool {
        let parts: [&[u8]; 3] = [self.console_random, &self.bmc_session, self.bmc_guid];
        self.suite
            .verifies(session_key, &parts, self.suite.integrity_len(), check)
    }
}

impl Session {
    fn role(&self) -> u8 {
        self.credentials.privilege.number() | NAME_ONLY
    }

    fn exchange<'a>(
        &'a self,
        bmc_session: u32,
        bmc_random: &'a [u8; 16],
        bmc_guid: &'a [u8; 16],
    ) -> Exchange<'a> {
        Exchange {
            suite: self.credentials.suite,
            role: self.role(),
            user: &self.credentials.user,
            console_session: self.seeds.console_session.to_le_bytes(),
            bmc_session: bmc_session.to_le_bytes(),
            console_random: &self.seeds.console_random,
            bmc_random,
            bmc_guid,
        }
    }

    pub(crate) fn render_setup(&self, handshake: &Handshake, sequence: u8) -> Vec<u8> {
        let credentials = &self.credentials;
        match handshake {
            Handshake::Capabilities => {
                let request = Request::ChannelCapabilities(credentials.privilege);
                packet::plain(&request.to_bytes(sequence))
            }
            Handshake::Opening => {
                let console = self.seeds.console_session;
                let payload = setup::open_request(
                    self.tag,
                    credentials.privilege,
                    console,
                    credentials.suite,
                );
                packet::setup(PayloadKind::OpenRequest, &payload)
            }
            Handshake::Rakp1 { bmc_session } => {
                let random = &self.seeds.console_random;
                let payload = setup::rakp1(
                    self.tag,
                    *bmc_session,
                    random,
                    self.role(),
                    &credentials.user,
                );
                packet::setup(PayloadKind::Rakp1, &payload)
            }
            Handshake::Rakp3 {
                bmc_session,
                bmc_random,
                bmc_guid,
            } => {
                let exchange = self.exchange(*bmc_session, bmc_random, bmc_guid);
                let code = exchange.rakp3_code(&credentials.password);
                packet::setup(
                    PayloadKind::Rakp3,
                    &setup::rakp3(self.tag, *bmc_session, &code),
                )
            }
        }
    }

    pub(crate) fn on_plain(&mut self, now: Instant, payload: &[u8]) -> Taken {
        let Phase::SettingUp(Handshake::Capabilities) = &self.phase else {
            return Taken::No;
        };
        let request = Request::ChannelCapabilities(self.credentials.privilege);
        let Some(answer) = message::parse_answer(payload) else {
            return Taken::No;
        };
        if !answers(&answer, request, self.message_sequence) {
            return Taken::No;
        }
        if answer.code != message::CompletionCode::OK {
            let code = answer.code;
            self.fail(SessionError::Unexpected {
                question: request.name(),
                code,
            });
        } else if message::speaks_rmcp_plus(answer.body) {
            self.step(now, Handshake::Opening);
        } else {
            self.fail(SessionError::NoRmcpPlus);
        }
        Taken::Yes
    }

    pub(crate) fn on_setup(&mut self, now: Instant, kind: PayloadKind, payload: &[u8]) -> Taken {
        let Phase::SettingUp(handshake) = &self.phase else {
            return Taken::No;
        };
        match (handshake.clone(), kind) {
            (Handshake::Opening, PayloadKind::OpenResponse) => self.on_opened(now, payload),
            (Handshake::Rakp1 { bmc_session }, PayloadKind::Rakp2) => {
                self.on_rakp2(now, bmc_session, payload)
            }
            (
                Handshake::Rakp3 {
                    bmc_session,
                    bmc_random,
                    bmc_guid,
                },
                PayloadKind::Rakp4,
            ) => self.on_rakp4(now, bmc_session, &bmc_random, &bmc_guid, payload),
            (
                Handshake::Capabilities
                | Handshake::Opening
                | Handshake::Rakp1 { .. }
                | Handshake::Rakp3 { .. },
                PayloadKind::Message
                | PayloadKind::OpenRequest
                | PayloadKind::OpenResponse
                | PayloadKind::Rakp1
                | PayloadKind::Rakp2
                | PayloadKind::Rakp3
                | PayloadKind::Rakp4,
            ) => Taken::No,
        }
    }

    fn on_opened(&mut self, now: Instant, payload: &[u8]) -> Taken {
        let Some(opened) = setup::parse_open_response(payload) else {
            return Taken::No;
        };
        if !self.is_ours(opened.tag, opened.console_session, &opened.answer) {
            return Taken::No;
        }
        match opened.answer {
            SetupAnswer::Refused(status) => {
                self.fail(SessionError::Refused {
                    step: "the open session request",
                    status,
                });
            }
            SetupAnswer::Accepted(opened) => {
                let suite = self.credentials.suite;
                let asked = [
                    suite.authentication(),
                    suite.integrity(),
                    suite.confidentiality(),
                ];
                if opened.algorithms == asked {
                    self.step(
                        now,
                        Handshake::Rakp1 {
                            bmc_session: opened.bmc_session,
                        },
                    );
                } else {
                    self.fail(SessionError::Downgraded);
                }
            }
        }
        Taken::Yes
    }

    fn on_rakp2(&mut self, now: Instant, bmc_session: u32, payload: &[u8]) -> Taken {
        let suite = self.credentials.suite;
        let Some(rakp2) = setup::parse_rakp2(payload, suite) else {
            return Taken::No;
        };
        if !self.is_ours(rakp2.tag, rakp2.console_session, &rakp2.answer) {
            return Taken::No;
        }
        match rakp2.answer {
            SetupAnswer::Refused(status) => self.refused("the user (RAKP 1)", status),
            SetupAnswer::Accepted(Rakp2 {
                bmc_random,
                bmc_guid,
                code,
            }) => {
                let exchange = self.exchange(bmc_session, &bmc_random, &bmc_guid);
                if exchange.rakp2_is_right(&self.credentials.password, code) {
                    self.step(
                        now,
                        Handshake::Rakp3 {
                            bmc_session,
                            bmc_random,
                            bmc_guid,
                        },
                    );
                } else {
                    self.fail(SessionError::WrongPassword);
                }
            }
        }
        Taken::Yes
    }

    fn on_rakp4(
        &mut self,
        now: Instant,
        bmc_session: u32,
        bmc_random: &[u8; 16],
        bmc_guid: &[u8; 16],
        payload: &[u8],
    ) -> Taken {
        let suite = self.credentials.suite;
        let Some(rakp4) = setup::parse_rakp4(payload, suite) else {
            return Taken::No;
        };
        if !self.is_ours(rakp4.tag, rakp4.console_session, &rakp4.answer) {
            return Taken::No;
        }
        let check = match rakp4.answer {
            SetupAnswer::Refused(status) => {
                self.refused("our proof (RAKP 3)", status);
                return Taken::Yes;
            }
            SetupAnswer::Accepted(check) => check,
        };
        let exchange = self.exchange(bmc_session, bmc_random, bmc_guid);
        let bmc_key = self
            .credentials
            .bmc_key
            .as_ref()
            .unwrap_or(&self.credentials.password);
        let session_key = exchange.session_key(bmc_key);
        if exchange.rakp4_is_right(&session_key, check) {
            self.establish(now, Keys::derive(suite, &session_key), bmc_session);
        } else {
            self.fail(SessionError::WrongBmcKey);
        }
        Taken::Yes
    }

    /// Whether a set-up answer is to our question. Some BMCs leave the session id of a refusal zero.
    fn is_ours<T>(&self, tag: u8, console_session: u32, answer: &SetupAnswer<T>) -> bool {
        let session_fits = console_session == self.seeds.console_session
            || (console_session == 0 && matches!(answer, SetupAnswer::Refused(_)));
        tag == self.tag && session_fits
    }

    fn refused(&mut self, step: &'static str, status: setup::SetupStatus) {
        // 0x09 and 0x0A: the role asked for is not the user's.
        self.fail(match status.0 {
            0x09 | 0x0A => SessionError::Privilege {
                wanted: self.credentials.privilege,
            },
            _ => SessionError::Refused { step, status },
        });
    }

    fn step(&mut self, now: Instant, handshake: Handshake) {
        self.phase = Phase::SettingUp(handshake);
        self.next_question(now);
    }
}
