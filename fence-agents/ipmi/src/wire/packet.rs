//! RMCP header and session wrapper (sections 13.1 and 13.6).
//!
//! Before a session exists, requests travel in the IPMI 1.5 wrapper without authentication; set-up
//! payloads and everything later travel in the RMCP+ wrapper. Codes are placed and found here but
//! neither made nor judged: that is [`crate::cipher`].

use super::Cursor;

/// Version 1.0, reserved, sequence 0xFF (no RMCP acknowledgement), class IPMI.
const RMCP: [u8; 4] = [0x06, 0x00, 0xFF, 0x07];
/// Authentication type "none" of the IPMI 1.5 wrapper.
const AUTH_NONE: u8 = 0x00;
/// Authentication type that marks the RMCP+ wrapper.
const AUTH_RMCP_PLUS: u8 = 0x06;
/// Next-header value behind the integrity pad (table 13-8).
const NEXT_HEADER: u8 = 0x07;
const ENCRYPTED: u8 = 0x80;
const AUTHENTICATED: u8 = 0x40;

/// Longest payload made or taken, in bytes: chassis commands are tiny, and a BMC's datagram fits a frame.
pub const PAYLOAD_MAX: usize = 1024;

/// What an RMCP+ packet carries (table 13-16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadKind {
    /// An IPMI message.
    Message,
    /// RMCP+ open session request.
    OpenRequest,
    /// RMCP+ open session response.
    OpenResponse,
    /// RAKP message 1.
    Rakp1,
    /// RAKP message 2.
    Rakp2,
    /// RAKP message 3.
    Rakp3,
    /// RAKP message 4.
    Rakp4,
}

/// Whether an RMCP+ packet is protected. A session's packets always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection<'a> {
    /// Neither encrypted nor authenticated: session set-up.
    None,
    /// Encrypted and authenticated.
    Full {
        /// The bytes under the code.
        covered: &'a [u8],
        /// The code.
        code: &'a [u8],
    },
}

/// A datagram taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// IPMI 1.5 wrapper without authentication.
    Plain {
        /// The message.
        payload: &'a [u8],
    },
    /// RMCP+ wrapper.
    Plus {
        /// What the payload is.
        kind: PayloadKind,
        /// Session id of the receiver.
        session: u32,
        /// Sequence number within the session.
        sequence: u32,
        /// The payload, still encrypted when protected.
        payload: &'a [u8],
        /// Codes.
        protection: Protection<'a>,
    },
}

impl PayloadKind {
    const ALL: [Self; 7] = [
        Self::Message,
        Self::OpenRequest,
        Self::OpenResponse,
        Self::Rakp1,
        Self::Rakp2,
        Self::Rakp3,
        Self::Rakp4,
    ];

    const fn number(self) -> u8 {
        match self {
            Self::Message => 0x00,
            Self::OpenRequest => 0x10,
            Self::OpenResponse => 0x11,
            Self::Rakp1 => 0x12,
            Self::Rakp2 => 0x13,
            Self::Rakp3 => 0x14,
            Self::Rakp4 => 0x15,
        }
    }
}

/// Wraps a message for the time before a session (IPMI 1.5 wrapper, all zero).
pub fn plain(message: &[u8]) -> Vec<u8> {
    let length = u8::try_from(message.len()).expect("messages before a session are a few bytes");
    let mut out = RMCP.to_vec();
    out.push(AUTH_NONE);
    out.extend_from_slice(&[0; 8]);
    out.push(length);
    out.extend_from_slice(message);
    out
}

/// Wraps a set-up payload: session and sequence are zero.
pub fn setup(kind: PayloadKind, payload: &[u8]) -> Vec<u8> {
    let mut out = RMCP.to_vec();
    header(&mut out, kind.number(), 0, 0, payload);
    out
}

/// Wraps an encrypted message; `code` makes the code over the covered bytes.
pub fn protected(
    session: u32,
    sequence: u32,
    encrypted: &[u8],
    code: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Vec<u8> {
    let mut out = RMCP.to_vec();
    let kind = PayloadKind::Message.number() | ENCRYPTED | AUTHENTICATED;
    header(&mut out, kind, session, sequence, encrypted);
    // From the authentication type to the next header, a multiple of four (table 13-8).
    let unpadded = out.len() - RMCP.len() + 2;
    let padding = (4 - unpadded % 4) % 4;
    out.extend(std::iter::repeat_n(0xFF, padding));
    out.push(u8::try_from(padding).expect("padding is below four"));
    out.push(NEXT_HEADER);
    let code = code(&out[RMCP.len()..]);
    out.extend_from_slice(&code);
    out
}

fn header(out: &mut Vec<u8>, kind: u8, session: u32, sequence: u32, payload: &[u8]) {
    let length = u16::try_from(payload.len()).expect("payloads are below PAYLOAD_MAX");
    out.push(AUTH_RMCP_PLUS);
    out.push(kind);
    out.extend_from_slice(&session.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(payload);
}

/// Takes a datagram apart. `code_len` is the length of the code in the session's suite.
pub fn parse(datagram: &[u8], code_len: usize) -> Option<Packet<'_>> {
    let mut cursor = Cursor::new(datagram);
    let [version, _, _, class] = cursor.array::<4>()?;
    if (version, class) != (RMCP[0], RMCP[3]) {
        return None;
    }
    let behind_rmcp = cursor.rest();
    match cursor.byte()? {
        AUTH_NONE => {
            cursor.bytes(8)?;
            let length = usize::from(cursor.byte()?);
            Some(Packet::Plain {
                payload: cursor.bytes(length)?,
            })
        }
        AUTH_RMCP_PLUS => parse_plus(cursor, behind_rmcp, code_len),
        _ => None,
    }
}

fn parse_plus<'a>(
    mut cursor: Cursor<'a>,
    behind_rmcp: &'a [u8],
    code_len: usize,
) -> Option<Packet<'a>> {
    let flags = cursor.byte()?;
    let number = flags & !(ENCRYPTED | AUTHENTICATED);
    let kind = PayloadKind::ALL
        .into_iter()
        .find(|kind| kind.number() == number)?;
    let session = cursor.u32()?;
    let sequence = cursor.u32()?;
    let length = usize::from(cursor.u16()?);
    if length > PAYLOAD_MAX {
        return None;
    }
    let payload = cursor.bytes(length)?;
    let protection = match (flags & ENCRYPTED != 0, flags & AUTHENTICATED != 0) {
        (false, false) => Protection::None,
        (true, true) => {
            let trailer = cursor.rest();
            let covered_len = behind_rmcp.len().checked_sub(code_len)?;
            let (covered, code) = behind_rmcp.split_at_checked(covered_len)?;
            // The trailer is pad, pad length, next header, code.
            let tail = trailer.get(..trailer.len().checked_sub(code_len)?)?;
            let (&next_header, pad) = tail.split_last()?;
            let (&pad_len, pad) = pad.split_last()?;
            if next_header != NEXT_HEADER || usize::from(pad_len) != pad.len() {
                return None;
            }
            Protection::Full { covered, code }
        }
        // Half a protection is none that we ever negotiate.
        (true, false) | (false, true) => return None,
    };
    Some(Packet::Plus {
        kind,
        session,
        sequence,
        payload,
        protection,
    })
}
