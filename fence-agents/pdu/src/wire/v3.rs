//! The messages of SNMPv3 (RFC 3412, section 6) with the parameters of its user-based security model
//! (RFC 3414, section 2.4).
//!
//! Shapes only: digests and encryption are in [`crate::usm`].

use std::ops::Range;

use crate::wire::WireError;
use crate::wire::ber::{self, OCTETS, Reader, SEQUENCE};
use crate::wire::message::{Pdu, Version};

/// msgFlags: the message carries a digest.
pub const FLAG_AUTH: u8 = 1;
/// msgFlags: its payload is encrypted.
pub const FLAG_PRIV: u8 = 2;
/// msgFlags: a report is welcome.
pub const FLAG_REPORTABLE: u8 = 4;

/// The user-based security model's number.
const USM: i64 = 3;
/// Longest message that we say we take, in bytes. No answer to us has more than a few hundred.
const MESSAGE_MAX: i64 = 2048;

/// What a message carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A scoped PDU in the clear, as bytes with its SEQUENCE.
    Plain(Vec<u8>),
    /// An encrypted one.
    Sealed(Vec<u8>),
}

/// A message without judgement of its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Ties reports and answers to messages.
    pub message_id: u32,
    /// [`FLAG_AUTH`], [`FLAG_PRIV`], [`FLAG_REPORTABLE`].
    pub flags: u8,
    /// The engine whose clock and keys count: the PDU's.
    pub engine: Vec<u8>,
    /// How often that engine started.
    pub boots: u32,
    /// Its seconds since then.
    pub time: u32,
    /// The user.
    pub user: Vec<u8>,
    /// The digest, or as many zeros while it is computed; empty for none.
    pub digest: Vec<u8>,
    /// What decryption needs beside the key; empty for none.
    pub salt: Vec<u8>,
    /// The payload.
    pub payload: Payload,
}

impl Envelope {
    /// To bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut header = Vec::new();
        ber::put_integer(&mut header, self.message_id.into());
        ber::put_integer(&mut header, MESSAGE_MAX);
        ber::put(&mut header, OCTETS, &[self.flags]);
        ber::put_integer(&mut header, USM);
        let mut parameters = Vec::new();
        ber::put(&mut parameters, OCTETS, &self.engine);
        ber::put_integer(&mut parameters, self.boots.into());
        ber::put_integer(&mut parameters, self.time.into());
        ber::put(&mut parameters, OCTETS, &self.user);
        ber::put(&mut parameters, OCTETS, &self.digest);
        ber::put(&mut parameters, OCTETS, &self.salt);
        let mut security = Vec::new();
        ber::put(&mut security, SEQUENCE, &parameters);
        let mut inner = Vec::new();
        ber::put_integer(&mut inner, Version::V3.number());
        ber::put(&mut inner, SEQUENCE, &header);
        ber::put(&mut inner, OCTETS, &security);
        match &self.payload {
            Payload::Plain(scoped) => inner.extend_from_slice(scoped),
            Payload::Sealed(bytes) => ber::put(&mut inner, OCTETS, bytes),
        }
        let mut out = Vec::new();
        ber::put(&mut out, SEQUENCE, &inner);
        out
    }

    /// From bytes, with the place of the digest among them.
    ///
    /// # Errors
    /// Any malformation, another version, another security model.
    pub fn from_bytes(bytes: &[u8]) -> Result<(Self, Range<usize>), WireError> {
        let mut outer = Reader::new(bytes);
        let mut inner = outer.enter(SEQUENCE)?;
        outer.finish()?;
        if inner.integer()? != Version::V3.number() {
            return Err(WireError::OutOfRange);
        }
        let mut header = inner.enter(SEQUENCE)?;
        let message_id = header.natural()?;
        header.natural()?;
        let [flags] = *header.octets()? else {
            return Err(WireError::BadLength);
        };
        if header.integer()? != USM {
            return Err(WireError::OutOfRange);
        }
        header.finish()?;
        let security = inner.take(OCTETS)?;
        let mut wrapper = inner.inside(&security);
        let mut parameters = wrapper.enter(SEQUENCE)?;
        wrapper.finish()?;
        let engine = parameters.octets()?.to_vec();
        let boots = parameters.natural()?;
        let time = parameters.natural()?;
        let user = parameters.octets()?.to_vec();
        let digest_at = parameters.take(OCTETS)?;
        let digest = parameters.bytes(&digest_at).to_vec();
        let salt = parameters.octets()?.to_vec();
        parameters.finish()?;
        let payload = read_payload(&mut inner, flags)?;
        let envelope = Self {
            message_id,
            flags,
            engine,
            boots,
            time,
            user,
            digest,
            salt,
            payload,
        };
        Ok((envelope, digest_at))
    }
}

fn read_payload(inner: &mut Reader<'_>, flags: u8) -> Result<Payload, WireError> {
    let payload = if flags & FLAG_PRIV == 0 {
        let content = inner.take(SEQUENCE)?;
        let mut whole = Vec::new();
        ber::put(&mut whole, SEQUENCE, inner.bytes(&content));
        Payload::Plain(whole)
    } else {
        Payload::Sealed(inner.octets()?.to_vec())
    };
    inner.finish()?;
    Ok(payload)
}

/// A PDU in the context of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopedPdu {
    /// The engine that holds the objects.
    pub context_engine: Vec<u8>,
    /// The question or answer. The context's name is empty in questions and ignored in answers.
    pub pdu: Pdu,
}

impl ScopedPdu {
    /// To bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut inner = Vec::new();
        ber::put(&mut inner, OCTETS, &self.context_engine);
        ber::put(&mut inner, OCTETS, &[]);
        self.pdu.put(&mut inner);
        let mut out = Vec::new();
        ber::put(&mut out, SEQUENCE, &inner);
        out
    }

    /// From bytes. What follows the SEQUENCE is the padding of DES (RFC 3414, section 8.1.1.3).
    ///
    /// # Errors
    /// Any malformation.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let mut inner = Reader::new(bytes).enter(SEQUENCE)?;
        let context_engine = inner.octets()?.to_vec();
        inner.octets()?;
        let pdu = Pdu::read(&mut inner)?;
        inner.finish()?;
        Ok(Self {
            context_engine,
            pdu,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::message::{ErrorStatus, PduKind};

    fn scoped() -> ScopedPdu {
        ScopedPdu {
            context_engine: vec![0x80, 0, 0x1F, 0x88],
            pdu: Pdu {
                kind: PduKind::Get,
                request_id: 7,
                error: ErrorStatus::NONE,
                error_index: 0,
                bindings: vec![],
            },
        }
    }

    fn envelope(flags: u8, payload: Payload) -> Envelope {
        Envelope {
            message_id: 99,
            flags,
            engine: vec![0x80, 0, 0x1F, 0x88],
            boots: 3,
            time: 70_000,
            user: b"fencer".to_vec(),
            digest: vec![0; 12],
            salt: vec![1; 8],
            payload,
        }
    }

    #[test]
    fn messages_read_back_and_tell_where_their_digest_is() {
        for (flags, payload) in [
            (FLAG_AUTH, Payload::Plain(scoped().to_bytes())),
            (FLAG_AUTH | FLAG_PRIV, Payload::Sealed(vec![9; 40])),
        ] {
            let mut message = envelope(flags, payload);
            message.digest = b"twelve bytes".to_vec();
            let bytes = message.to_bytes();
            let (read, at) = Envelope::from_bytes(&bytes).unwrap();
            assert_eq!(&bytes[at], b"twelve bytes");
            assert_eq!(read, message);
        }
        assert_eq!(ScopedPdu::from_bytes(&scoped().to_bytes()), Ok(scoped()));
    }

    #[test]
    fn a_cut_message_is_refused_wherever_it_is_cut() {
        let bytes = envelope(0, Payload::Plain(scoped().to_bytes())).to_bytes();
        for length in 0..bytes.len() {
            assert!(Envelope::from_bytes(&bytes[..length]).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_datagram_makes_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Envelope::from_bytes(&bytes);
            let _ = ScopedPdu::from_bytes(&bytes);
        }

        #[test]
        fn no_change_of_one_byte_makes_the_parser_panic(at in 0usize..200, byte in any::<u8>()) {
            let mut bytes = envelope(0, Payload::Plain(scoped().to_bytes())).to_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = Envelope::from_bytes(&bytes);
        }
    }
}
