//! PDUs, and the messages of SNMP v1 and v2c around them (RFC 1157, RFC 3416, RFC 1901).
//!
//! Traps are not read. A value of a kind that no outlet uses keeps its tag and loses its content.

use std::fmt;

use crate::oid::Oid;
use crate::wire::WireError;
use crate::wire::ber::{self, INTEGER, NULL, OCTETS, OID, Reader, SEQUENCE};

/// Most variables read from one answer. We ask for one at a time.
const BINDINGS_MAX: usize = 16;

/// What a PDU is for, by its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PduKind {
    /// Tell these objects.
    Get,
    /// Tell the objects after these.
    GetNext,
    /// The answer to any of the others.
    Response,
    /// Change these objects.
    Set,
    /// SNMPv3: why a message could not be treated.
    Report,
}

impl PduKind {
    const fn tag(self) -> u8 {
        match self {
            Self::Get => 0xA0,
            Self::GetNext => 0xA1,
            Self::Response => 0xA2,
            Self::Set => 0xA3,
            Self::Report => 0xA8,
        }
    }

    fn from_tag(tag: u8) -> Option<Self> {
        [
            Self::Get,
            Self::GetNext,
            Self::Response,
            Self::Set,
            Self::Report,
        ]
        .into_iter()
        .find(|kind| kind.tag() == tag)
    }
}

/// A value of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// None, as in questions.
    Null,
    /// INTEGER.
    Integer(i64),
    /// OCTET STRING.
    Octets(Vec<u8>),
    /// OBJECT IDENTIFIER.
    Oid(Oid),
    /// Counter32, Gauge32, TimeTicks or Counter64 of at most 63 bits.
    Unsigned(u64),
    /// v2c and v3: there is no such object (RFC 3416, section 3).
    NoSuchObject,
    /// v2c and v3: the object has no such instance.
    NoSuchInstance,
    /// v2c and v3: nothing follows.
    EndOfMibView,
    /// A kind that no outlet uses.
    Other(u8),
}

impl Value {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => ber::put(out, NULL, &[]),
            Self::Integer(number) => ber::put_integer(out, *number),
            Self::Octets(bytes) => ber::put(out, OCTETS, bytes),
            Self::Oid(oid) => ber::put_oid(out, oid),
            Self::Unsigned(number) => {
                let mut inner = Vec::new();
                ber::put_integer(&mut inner, i64::try_from(*number).unwrap_or(i64::MAX));
                // A gauge is an INTEGER under another tag (RFC 2578, section 7.1.7).
                inner[0] = 0x42;
                out.extend_from_slice(&inner);
            }
            Self::NoSuchObject => ber::put(out, 0x80, &[]),
            Self::NoSuchInstance => ber::put(out, 0x81, &[]),
            Self::EndOfMibView => ber::put(out, 0x82, &[]),
            Self::Other(tag) => ber::put(out, *tag, &[]),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let (tag, content) = reader.element()?;
        let bytes = reader.bytes(&content);
        Ok(match tag {
            NULL => Self::Null,
            INTEGER => Self::Integer(ber::signed(bytes)?),
            OCTETS => Self::Octets(bytes.to_vec()),
            OID => Self::Oid(ber::oid(bytes)?),
            // Nine bytes hold a Counter64 with its top bit set, which is no state of any outlet.
            0x41..=0x43 | 0x46 if bytes.len() <= 8 => ber::signed(bytes)
                .and_then(|number| u64::try_from(number).map_err(|_| WireError::OutOfRange))
                .map(Self::Unsigned)?,
            0x80 => Self::NoSuchObject,
            0x81 => Self::NoSuchInstance,
            0x82 => Self::EndOfMibView,
            other => Self::Other(other),
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => out.write_str("nothing"),
            Self::Integer(number) => write!(out, "{number}"),
            Self::Unsigned(number) => write!(out, "{number}"),
            Self::Octets(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                let cut: String = text
                    .chars()
                    .take(40)
                    .flat_map(char::escape_default)
                    .collect();
                write!(out, "the text '{cut}'")
            }
            Self::Oid(oid) => write!(out, "the identifier {oid}"),
            Self::NoSuchObject => out.write_str("\"no such object\""),
            Self::NoSuchInstance => out.write_str("\"no such instance\""),
            Self::EndOfMibView => out.write_str("\"end of MIB view\""),
            Self::Other(tag) => write!(out, "a value of the unknown kind {tag:#04x}"),
        }
    }
}

/// An object with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The object.
    pub oid: Oid,
    /// Its value.
    pub value: Value,
}

/// The error-status of an answer (RFC 3416, section 3). Zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorStatus(pub u32);

impl ErrorStatus {
    /// No error.
    pub const NONE: Self = Self(0);
    /// v1: there is no such object, or not in this view, or it cannot be set.
    pub const NO_SUCH_NAME: Self = Self(2);
    /// The agent cannot right now (RFC 3416): worth asking again.
    pub const RESOURCE_UNAVAILABLE: Self = Self(13);
}

impl fmt::Display for ErrorStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 19] = [
            "noError",
            "tooBig",
            "noSuchName",
            "badValue",
            "readOnly",
            "genErr",
            "noAccess",
            "wrongType",
            "wrongLength",
            "wrongEncoding",
            "wrongValue",
            "noCreation",
            "inconsistentValue",
            "resourceUnavailable",
            "commitFailed",
            "undoFailed",
            "authorizationError",
            "notWritable",
            "inconsistentName",
        ];
        let name = usize::try_from(self.0)
            .ok()
            .and_then(|index| NAMES.get(index));
        match name {
            Some(name) => out.write_str(name),
            None => write!(out, "error {}", self.0),
        }
    }
}

/// A question or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pdu {
    /// What it is for.
    pub kind: PduKind,
    /// Ties an answer to its question.
    pub request_id: i32,
    /// Zero in questions.
    pub error: ErrorStatus,
    /// Which variable the error is about, from 1; 0 for none.
    pub error_index: u32,
    /// The variables.
    pub bindings: Vec<Binding>,
}

impl Pdu {
    /// Appends it.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut list = Vec::new();
        for binding in &self.bindings {
            let mut pair = Vec::new();
            ber::put_oid(&mut pair, &binding.oid);
            binding.value.put(&mut pair);
            ber::put(&mut list, SEQUENCE, &pair);
        }
        let mut inner = Vec::new();
        ber::put_integer(&mut inner, self.request_id.into());
        ber::put_integer(&mut inner, self.error.0.into());
        ber::put_integer(&mut inner, self.error_index.into());
        ber::put(&mut inner, SEQUENCE, &list);
        ber::put(out, self.kind.tag(), &inner);
    }

    /// Reads one.
    ///
    /// # Errors
    /// Any malformation, a trap, or more than 16 variables.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let tag = reader.peek().ok_or(WireError::Truncated)?;
        let kind = PduKind::from_tag(tag).ok_or(WireError::UnexpectedElement)?;
        let mut inner = reader.enter(tag)?;
        let request_id = i32::try_from(inner.integer()?).map_err(|_| WireError::OutOfRange)?;
        let error = ErrorStatus(inner.natural()?);
        let error_index = inner.natural()?;
        let mut list = inner.enter(SEQUENCE)?;
        inner.finish()?;
        let mut bindings = Vec::new();
        while !list.is_empty() {
            if bindings.len() == BINDINGS_MAX {
                return Err(WireError::TooMany);
            }
            let mut pair = list.enter(SEQUENCE)?;
            bindings.push(Binding {
                oid: pair.oid()?,
                value: Value::read(&mut pair)?,
            });
            pair.finish()?;
        }
        Ok(Self {
            kind,
            request_id,
            error,
            error_index,
            bindings,
        })
    }
}

/// The versions, by the number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 1157.
    V1,
    /// RFC 1901, community-based.
    V2c,
    /// RFC 3412.
    V3,
}

impl Version {
    /// The number on the wire.
    pub const fn number(self) -> i64 {
        match self {
            Self::V1 => 0,
            Self::V2c => 1,
            Self::V3 => 3,
        }
    }
}

/// A v1 or v2c message.
#[derive(Clone, PartialEq, Eq)]
pub struct CommunityMessage {
    /// [`Version::V1`] or [`Version::V2c`].
    pub version: Version,
    /// The community, which is a password sent in the clear.
    pub community: Vec<u8>,
    /// The question or answer.
    pub pdu: Pdu,
}

impl fmt::Debug for CommunityMessage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the community.
        out.debug_struct("CommunityMessage")
            .field("version", &self.version)
            .field("pdu", &self.pdu)
            .finish_non_exhaustive()
    }
}

impl CommunityMessage {
    /// To bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut inner = Vec::new();
        ber::put_integer(&mut inner, self.version.number());
        ber::put(&mut inner, OCTETS, &self.community);
        self.pdu.put(&mut inner);
        let mut out = Vec::new();
        ber::put(&mut out, SEQUENCE, &inner);
        out
    }

    /// From bytes.
    ///
    /// # Errors
    /// Any malformation, or v3.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let mut outer = Reader::new(bytes);
        let mut inner = outer.enter(SEQUENCE)?;
        outer.finish()?;
        let version = match inner.integer()? {
            0 => Version::V1,
            1 => Version::V2c,
            _ => return Err(WireError::OutOfRange),
        };
        let community = inner.octets()?.to_vec();
        let pdu = Pdu::read(&mut inner)?;
        inner.finish()?;
        Ok(Self {
            version,
            community,
            pdu,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question() -> CommunityMessage {
        CommunityMessage {
            version: Version::V1,
            community: b"private".to_vec(),
            pdu: Pdu {
                kind: PduKind::Get,
                request_id: 0x1234_5678,
                error: ErrorStatus::NONE,
                error_index: 0,
                bindings: vec![Binding {
                    oid: Oid::parse("1.3.6.1.2.1.1.2.0").unwrap(),
                    value: Value::Null,
                }],
            },
        }
    }

    #[test]
    fn a_get_has_the_bytes_of_the_rfcs() {
        let bytes =
            b"\x30\x2a\x02\x01\x00\x04\x07private\xa0\x1c\x02\x04\x12\x34\x56\x78\x02\x01\x00\
                      \x02\x01\x00\x30\x0e\x30\x0c\x06\x08\x2b\x06\x01\x02\x01\x01\x02\x00\x05\x00";
        assert_eq!(question().to_bytes(), bytes);
        assert_eq!(CommunityMessage::from_bytes(bytes), Ok(question()));
    }

    #[test]
    fn the_community_is_not_in_what_debug_prints() {
        let text = format!("{:?}", question());
        let bytes = format!("{:?}", b"private");
        assert!(!text.contains("private") && !text.contains(&bytes) && text.contains("pdu"));
    }

    #[test]
    fn every_kind_of_value_reads_back() {
        for value in [
            Value::Null,
            Value::Integer(-7),
            Value::Octets(b"node7".to_vec()),
            Value::Oid(Oid::parse("1.3.6.1.4.1.318.1.3.4.5").unwrap()),
            Value::Unsigned(4_000_000_000),
            Value::NoSuchObject,
            Value::NoSuchInstance,
            Value::EndOfMibView,
            Value::Other(0x44),
        ] {
            let mut message = question();
            message.pdu.kind = PduKind::Response;
            message.pdu.bindings[0].value = value;
            assert_eq!(
                CommunityMessage::from_bytes(&message.to_bytes()),
                Ok(message)
            );
        }
    }

    #[test]
    fn a_cut_message_is_refused_wherever_it_is_cut() {
        let bytes = question().to_bytes();
        for length in 0..bytes.len() {
            assert!(
                CommunityMessage::from_bytes(&bytes[..length]).is_err(),
                "{length}"
            );
        }
        let longer = [bytes, vec![0]].concat();
        assert_eq!(
            CommunityMessage::from_bytes(&longer),
            Err(WireError::Trailing)
        );
    }

    proptest! {
        #[test]
        fn no_datagram_makes_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = CommunityMessage::from_bytes(&bytes);
        }

        #[test]
        fn no_change_of_one_byte_makes_the_parser_panic(at in 0usize..44, byte in any::<u8>()) {
            let mut bytes = question().to_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = CommunityMessage::from_bytes(&bytes);
        }
    }
}
