//! The v3 half of a session: discovery of the engine, its clock, and messages in and out.
//!
//! Nothing is learnt from a message before its digest is checked, except the engine's id and a first guess
//! at its clock, which the very next genuine message corrects or confirms. Reports that are not genuine can
//! only make a question fail: an unknown power state opens nothing.

use std::time::Instant;

use super::SessionError;
use crate::oid::Oid;
use crate::usm::{EngineTime, Keys, Protection};
use crate::wire::message::{ErrorStatus, Pdu, PduKind};
use crate::wire::v3::{Envelope, FLAG_AUTH, FLAG_PRIV, FLAG_REPORTABLE, Payload, ScopedPdu};

/// How far a genuine message's time may lie behind ours, in seconds (RFC 3414, section 2.2.3).
const TIME_WINDOW: u32 = 150;
/// At this count an engine's clock is of no use any more (RFC 3414, section 2.2.2).
const BOOTS_MAX: u32 = 0x7FFF_FFFF;
/// How often one question is asked anew because a report said why. Two suffice: engine id and clock.
const CORRECTIONS_MAX: u32 = 4;
/// usmStats (RFC 3414, section 5); the next number tells which of them grew.
const USM_STATS: [u32; 9] = [1, 3, 6, 1, 6, 3, 15, 1, 1];

/// What a datagram turned out to be.
pub(super) enum Heard {
    /// A PDU for us, genuine as far as these credentials go.
    Answer(Pdu),
    /// The engine told what we needed to know: ask again.
    Again,
    /// It cannot be answered.
    Trouble(SessionError),
    /// Nothing for us.
    Dropped(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// From a message without digest.
    Guessed,
    /// From a genuine message.
    Genuine,
}

struct Engine {
    id: Vec<u8>,
    keys: Keys,
    clock: EngineTime,
    read_at: Instant,
    trust: Trust,
}

impl Engine {
    fn now(&self, now: Instant) -> EngineTime {
        let passed = now.saturating_duration_since(self.read_at).as_secs();
        EngineTime {
            boots: self.clock.boots,
            time: self
                .clock
                .time
                .saturating_add(u32::try_from(passed).unwrap_or(u32::MAX)),
        }
    }

    /// Whether a genuine message is of the present; its clock is taken over then (RFC 3414, section 3.2, 7b).
    fn accept_time(&mut self, now: Instant, told: EngineTime) -> bool {
        let ours = self.now(now);
        let fits = match self.trust {
            Trust::Guessed => true,
            Trust::Genuine => {
                told.boots > ours.boots
                    || (told.boots == ours.boots
                        && told.time.saturating_add(TIME_WINDOW) >= ours.time)
            }
        };
        let fits = fits && told.boots < BOOTS_MAX;
        let newer = (told.boots, told.time) > (self.clock.boots, self.clock.time);
        if fits && (newer || self.trust == Trust::Guessed) {
            self.clock = told;
            self.read_at = now;
            self.trust = Trust::Genuine;
        }
        fits
    }
}

/// A user at an engine that may not be known yet.
pub(super) struct User {
    name: Vec<u8>,
    protection: Protection,
    next_message_id: u32,
    /// The first message id that an answer or report may carry.
    first_message_id: u32,
    salt: u64,
    corrections: u32,
    engine: Option<Engine>,
}

impl User {
    pub(super) fn new(name: Vec<u8>, protection: Protection, message_id: u32, salt: u64) -> Self {
        // Half the range is left to count upwards in.
        let message_id = message_id & 0x3FFF_FFFF;
        Self {
            name,
            protection,
            next_message_id: message_id,
            first_message_id: message_id,
            salt,
            corrections: 0,
            engine: None,
        }
    }

    /// A new question: answers to messages before it count no more.
    pub(super) fn begin(&mut self) {
        self.first_message_id = self.next_message_id;
        self.corrections = 0;
    }

    pub(super) fn hint(&self) -> &'static str {
        match (&self.engine, &self.protection) {
            (None, _) => "a PDU is silent when it is unreachable or does not speak SNMPv3",
            (Some(_), Protection::AuthPriv(..)) => {
                "many PDUs are silent when snmp_priv_passwd or snmp_priv_prot are not theirs, or when the user may not do this"
            }
            (Some(_), Protection::None | Protection::Auth(_)) => {
                "the PDU spoke before and is silent now"
            }
        }
    }

    /// The message to send: the question, or first the search for the engine.
    pub(super) fn wrap(&mut self, now: Instant, pdu: Pdu) -> Vec<u8> {
        let message_id = self.next_message_id;
        self.next_message_id += 1;
        let Some(engine) = &self.engine else {
            return discovery(message_id, pdu.request_id);
        };
        let when = engine.now(now);
        let plain = ScopedPdu {
            context_engine: engine.id.clone(),
            pdu,
        }
        .to_bytes();
        self.salt = self.salt.wrapping_add(1);
        let mut flags = self.level() | FLAG_REPORTABLE;
        let (payload, salt) = match engine.keys.seal(&plain, when, self.salt) {
            Some((sealed, salt)) => (Payload::Sealed(sealed), salt.to_vec()),
            None => {
                flags &= !FLAG_PRIV;
                (Payload::Plain(plain), Vec::new())
            }
        };
        // Without authentication there is no use for a clock (RFC 3414, section 3.1, 5).
        let when = if flags & FLAG_AUTH == 0 {
            EngineTime { boots: 0, time: 0 }
        } else {
            when
        };
        let mut envelope = Envelope {
            message_id,
            flags,
            engine: engine.id.clone(),
            boots: when.boots,
            time: when.time,
            user: self.name.clone(),
            digest: vec![0; engine.keys.digest_length()],
            salt,
            payload,
        };
        envelope.digest = engine.keys.digest(&envelope.to_bytes());
        envelope.to_bytes()
    }

    fn level(&self) -> u8 {
        match self.protection {
            Protection::None => 0,
            Protection::Auth(_) => FLAG_AUTH,
            Protection::AuthPriv(..) => FLAG_AUTH | FLAG_PRIV,
        }
    }

    pub(super) fn unwrap(&mut self, now: Instant, bytes: &[u8]) -> Heard {
        let Ok((envelope, digest_at)) = Envelope::from_bytes(bytes) else {
            return Heard::Dropped("it is malformed");
        };
        if !(self.first_message_id..self.next_message_id).contains(&envelope.message_id) {
            return Heard::Dropped("it has another message id");
        }
        let level = envelope.flags & (FLAG_AUTH | FLAG_PRIV);
        if self.engine.is_none() {
            return self.discovered(now, &envelope, level);
        }
        let mut zeroed = bytes.to_vec();
        zeroed[digest_at].fill(0);
        let scoped = match self.open_envelope(now, &envelope, &zeroed) {
            Ok(scoped) => scoped,
            Err(why) => return Heard::Dropped(why),
        };
        match scoped.pdu.kind {
            PduKind::Report => self.reported(&scoped.pdu, level),
            PduKind::Response if level == self.level() => Heard::Answer(scoped.pdu),
            PduKind::Response => Heard::Dropped("it is not protected as asked"),
            PduKind::Get | PduKind::GetNext | PduKind::Set => Heard::Dropped("it is no response"),
        }
    }

    /// Checks who made it and when, and decrypts it.
    fn open_envelope(
        &mut self,
        now: Instant,
        envelope: &Envelope,
        zeroed: &[u8],
    ) -> Result<ScopedPdu, &'static str> {
        let told = EngineTime {
            boots: envelope.boots,
            time: envelope.time,
        };
        let engine = self.engine.as_mut().ok_or("the engine is not known")?;
        if envelope.flags & FLAG_AUTH != 0 {
            if envelope.engine != engine.id {
                return Err("it is of another engine");
            }
            if envelope.user != self.name {
                return Err("it is for another user");
            }
            if !engine.keys.is_genuine(zeroed, &envelope.digest) {
                return Err("its digest is wrong");
            }
            if !engine.accept_time(now, told) {
                return Err("it is of the past");
            }
        } else if envelope.flags & FLAG_PRIV != 0 {
            return Err("it is encrypted without a digest");
        }
        let decrypted;
        let plain = match &envelope.payload {
            Payload::Plain(plain) => plain,
            Payload::Sealed(sealed) => {
                decrypted = engine
                    .keys
                    .open(sealed, told, &envelope.salt)
                    .ok_or("it cannot be decrypted")?;
                &decrypted
            }
        };
        ScopedPdu::from_bytes(plain).map_err(|_| "its contents are malformed")
    }

    /// The first report tells the engine's id (RFC 3414, section 4).
    fn discovered(&mut self, now: Instant, envelope: &Envelope, level: u8) -> Heard {
        let Payload::Plain(plain) = &envelope.payload else {
            return Heard::Dropped("it is encrypted before we know the engine");
        };
        match ScopedPdu::from_bytes(plain) {
            Ok(scoped) if level == 0 && scoped.pdu.kind == PduKind::Report => {}
            Ok(_) | Err(_) => return Heard::Dropped("it does not tell the engine"),
        }
        // RFC 3411, section 5, SnmpEngineID.
        if !(5..=32).contains(&envelope.engine.len()) {
            return Heard::Dropped("its engine id has a wrong length");
        }
        self.engine = Some(Engine {
            id: envelope.engine.clone(),
            keys: Keys::derive(&self.protection, &envelope.engine),
            clock: EngineTime {
                boots: envelope.boots,
                time: envelope.time,
            },
            read_at: now,
            trust: Trust::Guessed,
        });
        self.forget_sent()
    }

    fn reported(&mut self, pdu: &Pdu, level: u8) -> Heard {
        let stats = Oid::new(USM_STATS.to_vec()).expect("a constant identifier");
        let reason = pdu.bindings.first().map(|binding| &binding.oid);
        let number = reason.and_then(|oid| oid.below(&stats)).map(|rest| rest[0]);
        let genuine = level & FLAG_AUTH != 0;
        match number {
            Some(1) => Heard::Trouble(SessionError::SecurityLevel),
            // The clock was taken over when the message was found genuine.
            Some(2) if genuine && self.correct() => self.forget_sent(),
            Some(2) => Heard::Trouble(SessionError::NotInTime),
            Some(3) => Heard::Trouble(SessionError::UnknownUser),
            Some(4) if self.correct() => {
                self.engine = None;
                self.forget_sent()
            }
            Some(5) => Heard::Trouble(SessionError::WrongDigest),
            Some(6) => Heard::Trouble(SessionError::Decryption),
            Some(_) | None => Heard::Trouble(SessionError::Report {
                what: reason.map_or_else(|| "a report without reason".to_owned(), Oid::to_string),
            }),
        }
    }

    /// What was sent so far has had its report: a doubled one must not be heard again.
    fn forget_sent(&mut self) -> Heard {
        self.first_message_id = self.next_message_id;
        Heard::Again
    }

    fn correct(&mut self) -> bool {
        self.corrections += 1;
        self.corrections <= CORRECTIONS_MAX
    }
}

/// An empty question to whoever is there, without protection: the report to it names the engine.
fn discovery(message_id: u32, request_id: i32) -> Vec<u8> {
    let scoped = ScopedPdu {
        context_engine: Vec::new(),
        pdu: Pdu {
            kind: PduKind::Get,
            request_id,
            error: ErrorStatus::NONE,
            error_index: 0,
            bindings: Vec::new(),
        },
    };
    Envelope {
        message_id,
        flags: FLAG_REPORTABLE,
        engine: Vec::new(),
        boots: 0,
        time: 0,
        user: Vec::new(),
        digest: Vec::new(),
        salt: Vec::new(),
        payload: Payload::Plain(scoped.to_bytes()),
    }
    .to_bytes()
}
