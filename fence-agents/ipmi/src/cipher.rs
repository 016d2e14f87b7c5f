//! The cipher suites of RMCP+: authentication codes, session keys, integrity codes, AES-CBC-128.
//!
//! Suite 3 is HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128; suite 17 is the same shape with SHA-256 and a code
//! of 128 bits (section 22.15.2, table 22-20). Key material is wiped when dropped. Suites without
//! encryption or without integrity are not offered.

use aes::cipher::{
    BlockDecryptMut as _, BlockEncryptMut as _, KeyIvInit as _, block_padding::NoPadding,
};
use hmac::{Hmac, Mac as _};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Length of an AES block and of the initialisation vector, in bytes.
pub const BLOCK: usize = 16;

/// A cipher suite by its number in table 22-20.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128: every IPMI 2.0 BMC has it.
    Three,
    /// RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Seventeen,
}

/// The keys of an established session (section 13.31 and 13.32).
pub struct Keys {
    suite: Suite,
    /// K1, for integrity codes.
    integrity: Zeroizing<Vec<u8>>,
    /// The first 16 bytes of K2, for AES.
    encryption: Zeroizing<[u8; 16]>,
}

impl Suite {
    /// Authentication algorithm number (section 13.28, table 13-17).
    pub const fn authentication(self) -> u8 {
        match self {
            Self::Three => 0x01,
            Self::Seventeen => 0x03,
        }
    }

    /// Integrity algorithm number (table 13-18).
    pub const fn integrity(self) -> u8 {
        match self {
            Self::Three => 0x01,
            Self::Seventeen => 0x04,
        }
    }

    /// Confidentiality algorithm number (table 13-19): AES-CBC-128 in both.
    pub const fn confidentiality(self) -> u8 {
        match self {
            Self::Three | Self::Seventeen => 0x01,
        }
    }

    /// Length of the key exchange authentication code in RAKP 2 and 3, in bytes.
    pub const fn code_len(self) -> usize {
        match self {
            Self::Three => 20,
            Self::Seventeen => 32,
        }
    }

    /// Length of the integrity check value in RAKP 4 and of the code behind each packet, in bytes.
    pub const fn integrity_len(self) -> usize {
        match self {
            Self::Three => 12,
            Self::Seventeen => 16,
        }
    }

    /// The keyed hash over the parts, in full length.
    pub fn mac(self, key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        const ANY_KEY: &str = "HMAC takes a key of any length";
        match self {
            Self::Three => {
                let mut mac = Hmac::<Sha1>::new_from_slice(key).expect(ANY_KEY);
                parts.iter().for_each(|part| mac.update(part));
                Zeroizing::new(mac.finalize().into_bytes().to_vec())
            }
            Self::Seventeen => {
                let mut mac = Hmac::<Sha256>::new_from_slice(key).expect(ANY_KEY);
                parts.iter().for_each(|part| mac.update(part));
                Zeroizing::new(mac.finalize().into_bytes().to_vec())
            }
        }
    }

    /// Whether `given` is the beginning, `length` bytes long, of the keyed hash. Constant time.
    pub fn verifies(self, key: &[u8], parts: &[&[u8]], length: usize, given: &[u8]) -> bool {
        let full = self.mac(key, parts);
        given.len() == length && bool::from(full[..length].ct_eq(given))
    }
}

impl Keys {
    /// Derives K1 and K2 from the session integrity key: the keyed hash of twenty bytes of 1 and of 2.
    pub fn derive(suite: Suite, session_integrity_key: &[u8]) -> Self {
        let second = suite.mac(session_integrity_key, &[&[0x02; 20]]);
        let mut encryption = Zeroizing::new([0; 16]);
        encryption.copy_from_slice(&second[..16]);
        Self {
            suite,
            integrity: suite.mac(session_integrity_key, &[&[0x01; 20]]),
            encryption,
        }
    }

    /// The code that goes behind a packet.
    pub fn code(&self, covered: &[u8]) -> Vec<u8> {
        self.suite.mac(&self.integrity, &[covered])[..self.suite.integrity_len()].to_vec()
    }

    /// Whether the code behind a packet is right.
    pub fn code_is_right(&self, covered: &[u8], code: &[u8]) -> bool {
        self.suite.verifies(
            &self.integrity,
            &[covered],
            self.suite.integrity_len(),
            code,
        )
    }

    /// The suite of these keys.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Encrypts a payload (section 13.29): vector, then the text padded with 1, 2, 3, … and the count.
    pub fn encrypt(&self, vector: [u8; BLOCK], payload: &[u8]) -> Vec<u8> {
        let mut text = payload.to_vec();
        let padding = (BLOCK - (payload.len() + 1) % BLOCK) % BLOCK;
        text.extend((1..).take(padding));
        text.push(u8::try_from(padding).expect("padding is shorter than a block"));
        let length = text.len();
        cbc::Encryptor::<aes::Aes128>::new((&*self.encryption).into(), &vector.into())
            .encrypt_padded_mut::<NoPadding>(&mut text, length)
            .expect("the text was padded to whole blocks");
        [&vector[..], &text].concat()
    }

    /// Decrypts a payload; `None` when the lengths cannot be right. The values of the padding are not
    /// checked: the code behind the packet has been, and some BMCs pad with zeros.
    pub fn decrypt(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let (vector, text) = bytes.split_first_chunk::<BLOCK>()?;
        if text.is_empty() || !text.len().is_multiple_of(BLOCK) {
            return None;
        }
        let mut text = text.to_vec();
        cbc::Decryptor::<aes::Aes128>::new((&*self.encryption).into(), vector.into())
            .decrypt_padded_mut::<NoPadding>(&mut text)
            .ok()?;
        let padding = usize::from(text.pop()?);
        let length = text.len().checked_sub(padding)?;
        (padding < BLOCK).then(|| text[..length].to_vec())
    }
}

#[cfg(test)]
mod tests;
