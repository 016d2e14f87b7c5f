//! Keys against the vectors of RFC 3414 (appendix A.3), encryption against itself and its padding.
//! That another implementation understands us is shown with a real snmpd in tests/agents.

use super::*;

const ENGINE: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn keys_are_those_of_rfc_3414() {
    for (protocol, key) in [
        (AuthProtocol::Md5, "526f5eed9fcce26f8964c2930787d82b"),
        (
            AuthProtocol::Sha1,
            "6695febc9288e36282235fc7151f128497b38f3f",
        ),
    ] {
        assert_eq!(
            *protocol.localized(b"maplesyrup", &ENGINE),
            hex(key),
            "{protocol:?}"
        );
    }
}

#[test]
fn digests_have_the_lengths_of_rfc_7860_and_a_changed_byte_breaks_them() {
    for (protocol, length) in [
        (AuthProtocol::Md5, 12),
        (AuthProtocol::Sha1, 12),
        (AuthProtocol::Sha224, 16),
        (AuthProtocol::Sha256, 24),
        (AuthProtocol::Sha384, 32),
        (AuthProtocol::Sha512, 48),
    ] {
        let keys = Keys::derive(&Protection::Auth(auth(protocol)), &ENGINE);
        let digest = keys.digest(b"a message");
        assert_eq!((digest.len(), keys.digest_length()), (length, length));
        assert!(keys.is_genuine(b"a message", &digest));
        assert!(!keys.is_genuine(b"A message", &digest));
        assert!(!keys.is_genuine(b"a message", &digest[1..]));
        assert!(!keys.is_genuine(b"a message", &[]));
    }
}

#[test]
fn without_keys_nothing_is_genuine() {
    let keys = Keys::derive(&Protection::None, &ENGINE);
    assert!(!keys.is_genuine(b"a message", &[]));
    assert!(!keys.is_genuine(b"a message", &[0; 12]));
    assert_eq!(keys.seal(b"x", WHEN, 1), None);
    assert_eq!(keys.open(b"x", WHEN, &[0; 8]), None);
}

const WHEN: EngineTime = EngineTime {
    boots: 7,
    time: 1234,
};

fn auth(protocol: AuthProtocol) -> AuthSecret {
    AuthSecret {
        protocol,
        passphrase: Zeroizing::new(b"maplesyrup".to_vec()),
    }
}

fn keys(auth_protocol: AuthProtocol, protocol: PrivProtocol) -> Keys {
    let privacy = PrivSecret {
        protocol,
        passphrase: Zeroizing::new(b"maplesyrup".to_vec()),
    };
    Keys::derive(&Protection::AuthPriv(auth(auth_protocol), privacy), &ENGINE)
}

#[test]
fn what_is_sealed_opens_again_with_every_cipher() {
    for protocol in [
        PrivProtocol::Des,
        PrivProtocol::Aes128,
        PrivProtocol::Aes192,
        PrivProtocol::Aes256,
        PrivProtocol::Aes192Reeder,
        PrivProtocol::Aes256Reeder,
    ] {
        let keys = keys(AuthProtocol::Md5, protocol);
        for length in [0, 1, 15, 16, 17, 64] {
            let plain = vec![0x5A; length];
            let (sealed, salt) = keys.seal(&plain, WHEN, 42).unwrap();
            let opened = keys.open(&sealed, WHEN, &salt).unwrap();
            assert_eq!(opened[..length], plain, "{protocol:?} {length}");
            assert!(opened[length..].iter().all(|byte| *byte == 0));
            if length > 8 {
                assert_ne!(sealed[..length], plain);
            }
        }
        assert_eq!(keys.open(&[0; 16], WHEN, &[0; 7]), None);
    }
    assert_eq!(
        keys(AuthProtocol::Md5, PrivProtocol::Des).open(&[0; 15], WHEN, &[0; 8]),
        None
    );
}

#[test]
fn short_keys_are_extended_in_the_two_ways_of_the_field() {
    // Reeder's draft gives this key for SHA and "maplesyrup" (appendix B.2), which starts as RFC 3414's.
    let long = PrivProtocol::Aes256Reeder.key(AuthProtocol::Sha1, b"maplesyrup", &ENGINE);
    assert_eq!(
        *long,
        hex("6695febc9288e36282235fc7151f128497b38f3f9b8b6d78936ba6e7d19dfd9c")
    );
    let blumenthal = PrivProtocol::Aes256.key(AuthProtocol::Sha1, b"maplesyrup", &ENGINE);
    assert_eq!(blumenthal[..20], long[..20]);
    assert_ne!(blumenthal[20..], long[20..]);
}
