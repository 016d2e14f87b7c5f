//! Vectors for both suites. They were computed by another implementation: Python's hmac and hashlib and
//! the `cryptography` package, over the concatenations of sections 13.28 to 13.32, for user `admin`,
//! password `secret`, role byte 0x14, console session a4a3a2a0, BMC session 0200000b (bytes as sent),
//! console random 10..1f, BMC random 80..8f. Keys and packets of the set-up are in session/tests.rs.

use proptest::prelude::*;

use super::*;
use crate::wire::packet;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

struct Vector {
    suite: Suite,
    session_key: &'static str,
    encrypted: &'static str,
    packet: &'static str,
}

const VECTORS: [Vector; 2] = [
    Vector {
        suite: Suite::Three,
        session_key: "8fb72ce564b11ebc377d2cfc1f7552280d9835e1",
        encrypted: "a0a1a2a3a4a5a6a7a8a9aaabacadaeaffcd8f6eecfdbf40abc4ce4c315ea485f",
        packet: "0600ff0706c00200000b030000002000a0a1a2a3a4a5a6a7a8a9aaabacadaeaffcd8f6eecfdbf40a\
                 bc4ce4c315ea485fffff0207215f0f718e44fcd7eaf58d8e",
    },
    Vector {
        suite: Suite::Seventeen,
        session_key: "53b36e206a8fcc8d48cf7e639cc38b59a9b1a40e59579fb5cc2cad4f3f98bd20",
        encrypted: "a0a1a2a3a4a5a6a7a8a9aaabacadaeaffb99678fe4da3dbc0046b9f3f10256ed",
        packet: "0600ff0706c00200000b030000002000a0a1a2a3a4a5a6a7a8a9aaabacadaeaffb99678fe4da3dbc\
                 0046b9f3f10256edffff02074d3c9f3685c8908d923643ae6577f4fb",
    },
];

/// Chassis status, message sequence 3.
const MESSAGE: &str = "2000e0810c0172";

fn vector() -> [u8; BLOCK] {
    std::array::from_fn(|index| 0xA0 + u8::try_from(index).unwrap())
}

#[test]
fn a_whole_packet_is_as_another_implementation_makes_it() {
    for case in VECTORS {
        let keys = Keys::derive(case.suite, &hex(case.session_key));
        let encrypted = keys.encrypt(vector(), &hex(MESSAGE));
        assert_eq!(encrypted, hex(case.encrypted), "{:?}", case.suite);
        let session = u32::from_le_bytes([0x02, 0x00, 0x00, 0x0B]);
        let whole = packet::protected(session, 3, &encrypted, |covered| keys.code(covered));
        assert_eq!(whole, hex(case.packet), "{:?}", case.suite);
        assert_eq!(keys.decrypt(&encrypted), Some(hex(MESSAGE)));
    }
}

#[test]
fn the_code_is_checked_in_full_length_only() {
    for case in VECTORS {
        let keys = Keys::derive(case.suite, &hex(case.session_key));
        let code = keys.code(b"covered");
        assert_eq!(code.len(), case.suite.integrity_len());
        assert!(keys.code_is_right(b"covered", &code));
        assert!(!keys.code_is_right(b"covered!", &code));
        assert!(!keys.code_is_right(b"covered", &code[..code.len() - 1]));
        assert!(!keys.code_is_right(b"covered", &[]));
    }
}

#[test]
fn hmac_sha1_is_that_of_rfc_2202_and_sha256_that_of_rfc_4231() {
    let sha1 = Suite::Three.mac(&[0x0B; 20], &[b"Hi ", b"There"]);
    assert_eq!(
        sha1.to_vec(),
        hex("b617318655057264e28bc0b6fb378c8ef146be00")
    );
    let sha256 = Suite::Seventeen.mac(&[0x0B; 20], &[b"Hi There"]);
    assert_eq!(
        sha256.to_vec(),
        hex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")
    );
}

/// Cases 2, 3, 4 and 7 of RFC 4231: a short key, combined lengths, a key longer than the block.
#[test]
fn hmac_sha256_is_that_of_the_other_cases_of_rfc_4231() {
    let counted: Vec<u8> = (1..=25).collect();
    let long: &[u8] = b"This is a test using a larger than block-size key and a larger than \
        block-size data. The key needs to be hashed before being used by the HMAC algorithm.";
    for (key, text, expected) in [
        (
            &b"Jefe"[..],
            &b"what do ya want for nothing?"[..],
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            &[0xAA; 20],
            &[0xDD; 50],
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
        ),
        (
            &counted,
            &[0xCD; 50],
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
        ),
        (
            &[0xAA; 131],
            long,
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        ),
    ] {
        assert_eq!(Suite::Seventeen.mac(key, &[text]).to_vec(), hex(expected));
    }
}

/// NIST SP 800-38A, F.2.1: CBC-AES128.Encrypt.
#[test]
fn aes_cbc_is_that_of_the_published_vectors() {
    let mut encryption = Zeroizing::new([0; 16]);
    encryption.copy_from_slice(&hex("2b7e151628aed2a6abf7158809cf4f3c"));
    let keys = Keys {
        suite: Suite::Seventeen,
        integrity: Zeroizing::new(Vec::new()),
        encryption,
    };
    let text = hex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
         30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
    );
    let encrypted = keys.encrypt(std::array::from_fn(|at| u8::try_from(at).unwrap()), &text);
    let expected = hex(
        "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2\
         73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7",
    );
    // Before it stands the vector, behind it the padding of IPMI.
    assert_eq!(encrypted[BLOCK..BLOCK + expected.len()], expected);
    assert_eq!(keys.decrypt(&encrypted), Some(text));
}

proptest! {
    #[test]
    fn what_was_encrypted_decrypts(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        let keys = Keys::derive(Suite::Three, b"key");
        let encrypted = keys.encrypt(vector(), &payload);
        prop_assert_eq!(encrypted.len() % BLOCK, 0);
        prop_assert_eq!(keys.decrypt(&encrypted), Some(payload));
    }

    #[test]
    fn no_bytes_make_decryption_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = Keys::derive(Suite::Three, b"key").decrypt(&bytes);
    }
}
