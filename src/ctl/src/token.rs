//! The join token as text: `haft1.` and base64url of cluster id (16 bytes), SHA-256 of the CA certificate (32),
//! secret (32), node name, and the first 4 bytes of SHA-256 over all of it, so that a torn copy is noticed.
//!
//! A token is a secret until it is spent: it is printed once, and `Debug` shows nothing of it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use haft_engine::ids::ClusterId;
use sha2::{Digest, Sha256};
use std::fmt;

const PREFIX: &str = "haft1.";
const FIXED: usize = 16 + 32 + 32;
const CHECK: usize = 4;
/// A name has at most 63 bytes.
const NAME_MAX: usize = 63;

/// What a token says.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct JoinToken {
    pub(crate) cluster: ClusterId,
    /// SHA-256 of the CA certificate (DER): what the joining node pins.
    pub(crate) ca_sha256: [u8; 32],
    pub(crate) secret: [u8; 32],
    /// The only node that it admits.
    pub(crate) node: String,
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(..)")
    }
}

/// A text is no token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("it does not begin with `haft1.`")]
    Prefix,
    #[error("it holds characters that no token has")]
    Alphabet,
    #[error("it is torn or mistyped: its check does not fit")]
    Check,
}

impl JoinToken {
    pub(crate) fn to_text(&self) -> String {
        let mut bytes = Vec::with_capacity(FIXED + NAME_MAX + CHECK);
        bytes.extend_from_slice(&self.cluster.0);
        bytes.extend_from_slice(&self.ca_sha256);
        bytes.extend_from_slice(&self.secret);
        bytes.extend_from_slice(self.node.as_bytes());
        let check = Sha256::digest(&bytes);
        bytes.extend_from_slice(&check[..CHECK]);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(crate) fn parse(text: &str) -> Result<JoinToken, TokenError> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(TokenError::Prefix)?;
        let bytes = URL_SAFE_NO_PAD
            .decode(body)
            .map_err(|_| TokenError::Alphabet)?;
        if bytes.len() <= FIXED + CHECK || bytes.len() > FIXED + NAME_MAX + CHECK {
            return Err(TokenError::Check);
        }
        let (said, check) = bytes.split_at(bytes.len() - CHECK);
        if Sha256::digest(said)[..CHECK] != *check {
            return Err(TokenError::Check);
        }
        let (fixed, name) = said.split_at(FIXED);
        let node = std::str::from_utf8(name)
            .map_err(|_| TokenError::Check)?
            .to_owned();
        Ok(JoinToken {
            cluster: ClusterId(part(fixed, 0)),
            ca_sha256: part(fixed, 16),
            secret: part(fixed, 48),
            node,
        })
    }
}

fn part<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    bytes[from..from + N]
        .try_into()
        .expect("the length was checked against FIXED")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            cluster: ClusterId([1; 16]),
            ca_sha256: [2; 32],
            secret: [3; 32],
            node: "n2".to_owned(),
        }
    }

    #[test]
    fn a_token_comes_back_from_its_text() {
        assert_eq!(
            JoinToken::parse(&format!(" {}\n", token().to_text())),
            Ok(token())
        );
    }

    #[test]
    fn every_torn_or_altered_token_is_refused() {
        let text = token().to_text();
        for cut in 0..text.len() {
            assert!(JoinToken::parse(&text[..cut]).is_err(), "cut at {cut}");
        }
        for at in PREFIX.len()..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert!(JoinToken::parse(&altered).is_err(), "altered at {at}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", token()), "JoinToken(..)");
    }
}
