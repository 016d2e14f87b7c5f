//! The subset of BER that SNMP uses (RFC 3417, section 8): definite lengths, single-byte tags.
//!
//! The reader never copies, never recurses and never looks beyond its element. Positions are kept
//! relative to the whole message, because a digest is computed over it with one place zeroed.

use std::ops::Range;

use crate::oid::{Oid, SUBIDS_MAX};
use crate::wire::WireError;

/// INTEGER.
pub const INTEGER: u8 = 0x02;
/// OCTET STRING.
pub const OCTETS: u8 = 0x04;
/// NULL.
pub const NULL: u8 = 0x05;
/// OBJECT IDENTIFIER.
pub const OID: u8 = 0x06;
/// SEQUENCE.
pub const SEQUENCE: u8 = 0x30;

/// Reads elements one after the other.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    whole: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    /// A reader over a whole message.
    pub fn new(whole: &'a [u8]) -> Self {
        Self {
            whole,
            at: 0,
            end: whole.len(),
        }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.at == self.end
    }

    /// The tag of the next element.
    pub fn peek(&self) -> Option<u8> {
        self.whole[self.at..self.end].first().copied()
    }

    /// Wants nothing left.
    ///
    /// # Errors
    /// [`WireError::Trailing`].
    pub fn finish(&self) -> Result<(), WireError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(WireError::Trailing)
        }
    }

    fn byte(&mut self) -> Result<u8, WireError> {
        let byte = self.peek().ok_or(WireError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    /// The next element: its tag and where its content lies in the whole message.
    ///
    /// # Errors
    /// When it is not all there, or its length is indefinite or has more than four bytes.
    pub fn element(&mut self) -> Result<(u8, Range<usize>), WireError> {
        let tag = self.byte()?;
        let first = self.byte()?;
        let length = match first {
            0..=0x7F => usize::from(first),
            0x81..=0x84 => {
                let mut length = 0;
                for _ in 0..first & 0x7F {
                    length = length << 8 | usize::from(self.byte()?);
                }
                length
            }
            _ => return Err(WireError::BadLength),
        };
        if length > self.end - self.at {
            return Err(WireError::Truncated);
        }
        let content = self.at..self.at + length;
        self.at = content.end;
        Ok((tag, content))
    }

    /// Content of the next element, which must have this tag.
    ///
    /// # Errors
    /// As [`Self::element`], or another tag.
    pub fn take(&mut self, tag: u8) -> Result<Range<usize>, WireError> {
        match self.element()? {
            (found, content) if found == tag => Ok(content),
            _ => Err(WireError::UnexpectedElement),
        }
    }

    /// A reader of the next element's content, which must have this tag.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn enter(&mut self, tag: u8) -> Result<Reader<'a>, WireError> {
        let content = self.take(tag)?;
        Ok(self.inside(&content))
    }

    /// A reader of a part of the message.
    pub fn inside(&self, content: &Range<usize>) -> Reader<'a> {
        Reader {
            whole: self.whole,
            at: content.start,
            end: content.end,
        }
    }

    /// The bytes at a place.
    pub fn bytes(&self, content: &Range<usize>) -> &'a [u8] {
        &self.whole[content.clone()]
    }

    /// Bytes of an OCTET STRING.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn octets(&mut self) -> Result<&'a [u8], WireError> {
        let content = self.take(OCTETS)?;
        Ok(self.bytes(&content))
    }

    /// An INTEGER.
    ///
    /// # Errors
    /// As [`Self::take`], or wider than 64 bits.
    pub fn integer(&mut self) -> Result<i64, WireError> {
        let content = self.take(INTEGER)?;
        signed(self.bytes(&content))
    }

    /// An INTEGER of 31 bits, as ids and times of SNMP are.
    ///
    /// # Errors
    /// As [`Self::integer`], or negative, or too large.
    pub fn natural(&mut self) -> Result<u32, WireError> {
        u32::try_from(self.integer()?)
            .ok()
            .filter(|number| *number <= i32::MAX.unsigned_abs())
            .ok_or(WireError::OutOfRange)
    }

    /// An OBJECT IDENTIFIER.
    ///
    /// # Errors
    /// As [`Self::take`], or malformed.
    pub fn oid(&mut self) -> Result<Oid, WireError> {
        let content = self.take(OID)?;
        oid(self.bytes(&content))
    }
}

/// Two's complement, up to 8 bytes.
///
/// # Errors
/// Empty or too wide.
pub fn signed(bytes: &[u8]) -> Result<i64, WireError> {
    if bytes.is_empty() || bytes.len() > 8 {
        return Err(WireError::OutOfRange);
    }
    let fill = if bytes[0] & 0x80 == 0 { 0 } else { 0xFF };
    let mut wide = [fill; 8];
    wide[8 - bytes.len()..].copy_from_slice(bytes);
    Ok(i64::from_be_bytes(wide))
}

/// The content of an OBJECT IDENTIFIER.
///
/// # Errors
/// Empty, unfinished, too long or with numbers above 32 bits.
pub fn oid(bytes: &[u8]) -> Result<Oid, WireError> {
    let mut subids = Vec::new();
    let mut number: u32 = 0;
    for byte in bytes {
        if number > u32::MAX >> 7 {
            return Err(WireError::BadOid);
        }
        number = number << 7 | u32::from(byte & 0x7F);
        if byte & 0x80 != 0 {
            continue;
        }
        if subids.is_empty() {
            // The first two numbers share one place (X.690, section 8.19.4).
            let first = (number / 40).min(2);
            subids.extend([first, number - first * 40]);
        } else {
            subids.push(number);
        }
        number = 0;
        if subids.len() > SUBIDS_MAX {
            return Err(WireError::BadOid);
        }
    }
    if bytes.last().is_some_and(|last| last & 0x80 != 0) {
        return Err(WireError::BadOid);
    }
    Oid::new(subids).ok_or(WireError::BadOid)
}

/// Appends an element.
pub fn put(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    let length = content.len().to_be_bytes();
    match content.len() {
        short @ 0..=0x7F => out.push(u8::try_from(short).expect("at most 127")),
        _ => {
            let zeros = length.iter().take_while(|byte| **byte == 0).count();
            let bytes = &length[zeros..];
            out.push(0x80 | u8::try_from(bytes.len()).expect("at most 8"));
            out.extend_from_slice(bytes);
        }
    }
    out.extend_from_slice(content);
}

/// Appends an INTEGER in as few bytes as hold it.
pub fn put_integer(out: &mut Vec<u8>, number: i64) {
    let wide = number.to_be_bytes();
    let mut bytes = wide.as_slice();
    while let [first, rest @ ..] = bytes {
        let redundant = rest.first().is_some_and(|next| match first {
            0x00 => next & 0x80 == 0,
            0xFF => next & 0x80 != 0,
            _ => false,
        });
        if !redundant {
            break;
        }
        bytes = rest;
    }
    put(out, INTEGER, bytes);
}

/// Appends an OBJECT IDENTIFIER.
pub fn put_oid(out: &mut Vec<u8>, oid: &Oid) {
    let mut content = Vec::new();
    if let [first, second, rest @ ..] = oid.subids() {
        put_subid(&mut content, first * 40 + second);
        for subid in rest {
            put_subid(&mut content, *subid);
        }
    }
    put(out, OID, &content);
}

fn put_subid(out: &mut Vec<u8>, subid: u32) {
    for shift in [28, 21, 14, 7] {
        if subid >> shift != 0 {
            let seven = u8::try_from(subid >> shift & 0x7F).expect("seven bits");
            out.push(0x80 | seven);
        }
    }
    out.push(u8::try_from(subid & 0x7F).expect("seven bits"));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_have_the_bytes_of_x_690() {
        for (number, bytes) in [
            (0, &[2, 1, 0][..]),
            (127, &[2, 1, 127]),
            (128, &[2, 2, 0, 128]),
            (-1, &[2, 1, 0xFF]),
            (-128, &[2, 1, 0x80]),
            (-129, &[2, 2, 0xFF, 0x7F]),
            (65_507, &[2, 3, 0, 0xFF, 0xE3]),
        ] {
            let mut out = Vec::new();
            put_integer(&mut out, number);
            assert_eq!(out, bytes, "{number}");
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for (bytes, error) in [
            (&[4, 5, 1][..], WireError::Truncated),
            (&[4, 0x80, 0, 0], WireError::BadLength),
            (&[4, 0x85, 1, 1, 1, 1, 1], WireError::BadLength),
            (&[4, 0x84, 0xFF, 0xFF, 0xFF, 0xFF], WireError::Truncated),
            (&[4, 0x82, 1], WireError::Truncated),
            (&[4], WireError::Truncated),
            (&[], WireError::Truncated),
        ] {
            assert_eq!(Reader::new(bytes).element(), Err(error), "{bytes:x?}");
        }
    }

    #[test]
    fn an_identifier_that_is_unfinished_or_too_wide_is_refused() {
        for bytes in [
            &[][..],
            &[0x2B, 0x86],
            &[0x2B, 0x90, 0x80, 0x80, 0x80, 0x80, 0x00],
        ] {
            assert_eq!(oid(bytes), Err(WireError::BadOid), "{bytes:x?}");
        }
        assert_eq!(oid(&[0x2B, 6, 1]).unwrap().to_string(), "1.3.6.1");
        assert_eq!(oid(&[0x88, 0x37, 3]).unwrap().to_string(), "2.999.3");
    }

    proptest! {
        #[test]
        fn every_number_reads_back(number in any::<i64>()) {
            let mut out = Vec::new();
            put_integer(&mut out, number);
            prop_assert_eq!(Reader::new(&out).integer(), Ok(number));
        }

        #[test]
        fn every_identifier_reads_back(rest in proptest::collection::vec(any::<u32>(), 0..126), second in 0u32..40) {
            let mut subids = vec![1, second];
            subids.extend(rest);
            let oid = Oid::new(subids).unwrap();
            let mut out = Vec::new();
            put_oid(&mut out, &oid);
            prop_assert_eq!(Reader::new(&out).oid(), Ok(oid));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut reader = Reader::new(&bytes);
            while let Ok((_, content)) = reader.element() {
                let _ = signed(reader.bytes(&content));
                let _ = oid(reader.bytes(&content));
                if reader.is_empty() {
                    break;
                }
            }
        }
    }
}
