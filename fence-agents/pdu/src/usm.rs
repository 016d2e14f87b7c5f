//! SNMPv3's user-based security model (RFC 3414, RFC 3826, RFC 7860): keys, digests, encryption.
//!
//! A [`Keys`] belongs to one user at one engine. It holds no clock and decides nothing about times.
//! AES-192 and AES-256 are no standard; both ways in which the field makes keys long enough for them
//! are here (draft-blumenthal-aes-usm-04, draft-reeder-snmpv3-usm-3desede-00).

mod cipher;

use hmac::{Hmac, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Shortest pass phrase that the model takes (RFC 3414, section 11.2).
pub const PASSPHRASE_MIN: usize = 8;

/// How a message is proven genuine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthProtocol {
    /// HMAC-MD5-96.
    Md5,
    /// HMAC-SHA-96.
    Sha1,
    /// HMAC-128-SHA-224.
    Sha224,
    /// HMAC-192-SHA-256.
    Sha256,
    /// HMAC-256-SHA-384.
    Sha384,
    /// HMAC-384-SHA-512.
    Sha512,
}

impl AuthProtocol {
    /// Length of a digest on the wire, in bytes (RFC 3414, section 6; RFC 7860, section 4.2).
    pub const fn digest_length(self) -> usize {
        match self {
            Self::Md5 | Self::Sha1 => 12,
            Self::Sha224 => 16,
            Self::Sha256 => 24,
            Self::Sha384 => 32,
            Self::Sha512 => 48,
        }
    }

    fn hash(self, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        fn with<D: Digest>(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
            let mut hash = D::new();
            for part in parts {
                hash.update(part);
            }
            Zeroizing::new(hash.finalize().to_vec())
        }
        match self {
            Self::Md5 => with::<Md5>(parts),
            Self::Sha1 => with::<Sha1>(parts),
            Self::Sha224 => with::<Sha224>(parts),
            Self::Sha256 => with::<Sha256>(parts),
            Self::Sha384 => with::<Sha384>(parts),
            Self::Sha512 => with::<Sha512>(parts),
        }
    }

    fn code(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        macro_rules! with {
            ($hash:ty) => {{
                let mut code = <Hmac<$hash> as Mac>::new_from_slice(key)
                    .expect("HMAC takes keys of any length");
                code.update(message);
                code.finalize().into_bytes().to_vec()
            }};
        }
        let mut code = match self {
            Self::Md5 => with!(Md5),
            Self::Sha1 => with!(Sha1),
            Self::Sha224 => with!(Sha224),
            Self::Sha256 => with!(Sha256),
            Self::Sha384 => with!(Sha384),
            Self::Sha512 => with!(Sha512),
        };
        code.truncate(self.digest_length());
        code
    }

    /// Pass phrase to key, localized to an engine (RFC 3414, section 2.6 and appendix A.2).
    fn localized(self, passphrase: &[u8], engine: &[u8]) -> Zeroizing<Vec<u8>> {
        /// The pass phrase is repeated until it has this many bytes.
        const STRETCHED: usize = 1_048_576;
        let whole = passphrase.repeat(STRETCHED.div_ceil(passphrase.len().max(1)));
        let whole = Zeroizing::new(whole);
        let key = self.hash(&[&whole[..STRETCHED.min(whole.len())]]);
        self.hash(&[&key, engine, &key])
    }
}

/// How a payload is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivProtocol {
    /// CBC-DES (RFC 3414, section 8).
    Des,
    /// CFB128-AES-128 (RFC 3826).
    Aes128,
    /// AES-192 with a key extended by Blumenthal's draft, as net-snmp's `AES-192`.
    Aes192,
    /// AES-256 likewise.
    Aes256,
    /// AES-192 with a key extended by Reeder's draft, as Cisco and others.
    Aes192Reeder,
    /// AES-256 likewise.
    Aes256Reeder,
}

impl PrivProtocol {
    /// Length of the key, in bytes. DES takes eight more for its initial vector.
    const fn key_length(self) -> usize {
        match self {
            Self::Des | Self::Aes128 => 16,
            Self::Aes192 | Self::Aes192Reeder => 24,
            Self::Aes256 | Self::Aes256Reeder => 32,
        }
    }

    fn key(self, auth: AuthProtocol, passphrase: &[u8], engine: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut key = auth.localized(passphrase, engine);
        let mut last = key.clone();
        while key.len() < self.key_length() {
            last = match self {
                Self::Des | Self::Aes128 | Self::Aes192 | Self::Aes256 => auth.hash(&[&key]),
                Self::Aes192Reeder | Self::Aes256Reeder => auth.localized(&last, engine),
            };
            key.extend_from_slice(&last);
        }
        key.truncate(self.key_length());
        key
    }
}

/// What a user must do to be heard.
#[derive(Clone)]
pub enum Protection {
    /// Nothing: name only.
    None,
    /// A digest.
    Auth(AuthSecret),
    /// A digest and encryption.
    AuthPriv(AuthSecret, PrivSecret),
}

/// A digest's protocol and pass phrase.
#[derive(Clone)]
pub struct AuthSecret {
    /// The protocol.
    pub protocol: AuthProtocol,
    /// At least [`PASSPHRASE_MIN`] bytes.
    pub passphrase: Zeroizing<Vec<u8>>,
}

/// Encryption's protocol and pass phrase.
#[derive(Clone)]
pub struct PrivSecret {
    /// The protocol.
    pub protocol: PrivProtocol,
    /// At least [`PASSPHRASE_MIN`] bytes.
    pub passphrase: Zeroizing<Vec<u8>>,
}

/// The time at an engine, which is part of AES's initial vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineTime {
    /// How often the engine started.
    pub boots: u32,
    /// Its seconds since then.
    pub time: u32,
}

/// Keys of a user at one engine.
pub struct Keys {
    auth: Option<(AuthProtocol, Zeroizing<Vec<u8>>)>,
    privacy: Option<(PrivProtocol, Zeroizing<Vec<u8>>)>,
}

impl Keys {
    /// Derives them, which takes some milliseconds: each pass phrase is stretched to a mebibyte.
    pub fn derive(protection: &Protection, engine: &[u8]) -> Self {
        let auth_key = |secret: &AuthSecret| {
            let key = secret.protocol.localized(&secret.passphrase, engine);
            Some((secret.protocol, key))
        };
        match protection {
            Protection::None => Self {
                auth: None,
                privacy: None,
            },
            Protection::Auth(auth) => Self {
                auth: auth_key(auth),
                privacy: None,
            },
            Protection::AuthPriv(auth, privacy) => Self {
                auth: auth_key(auth),
                privacy: Some((
                    privacy.protocol,
                    privacy
                        .protocol
                        .key(auth.protocol, &privacy.passphrase, engine),
                )),
            },
        }
    }

    /// Length of the digests that these keys make; 0 when there are none.
    pub fn digest_length(&self) -> usize {
        self.auth
            .as_ref()
            .map_or(0, |(protocol, _)| protocol.digest_length())
    }

    /// Whether payloads are encrypted.
    pub fn encrypts(&self) -> bool {
        self.privacy.is_some()
    }

    /// The digest of a message in which the digest's own place is zero.
    pub fn digest(&self, zeroed: &[u8]) -> Vec<u8> {
        self.auth
            .as_ref()
            .map_or_else(Vec::new, |(protocol, key)| protocol.code(key, zeroed))
    }

    /// Whether a digest is genuine; compared in constant time.
    pub fn is_genuine(&self, zeroed: &[u8], digest: &[u8]) -> bool {
        !digest.is_empty() && bool::from(self.digest(zeroed).ct_eq(digest))
    }

    /// Encrypts; gives the bytes and what the message must carry beside them. `number` must never repeat
    /// under one key.
    pub fn seal(&self, plain: &[u8], when: EngineTime, number: u64) -> Option<(Vec<u8>, [u8; 8])> {
        let (protocol, key) = self.privacy.as_ref()?;
        Some(cipher::seal(*protocol, key, plain, when, number))
    }

    /// Decrypts.
    pub fn open(&self, sealed: &[u8], when: EngineTime, salt: &[u8]) -> Option<Vec<u8>> {
        let (protocol, key) = self.privacy.as_ref()?;
        cipher::open(*protocol, key, sealed, when, salt)
    }
}

#[cfg(test)]
mod tests;
