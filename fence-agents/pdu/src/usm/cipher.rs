//! The two ciphers: DES in CBC mode (RFC 3414, section 8.1.1) and AES in CFB128 mode (RFC 3826).
//!
//! Keys arrive with the length that the protocol needs. Nothing is authenticated here: a digest over the
//! whole message was checked before anything is decrypted.

use aes::cipher::{
    BlockDecryptMut as _, BlockEncrypt, BlockEncryptMut as _, KeyInit, KeyIvInit as _,
};
use aes::{Aes128, Aes192, Aes256};
use des::Des;

use super::{EngineTime, PrivProtocol};

const DES_BLOCK: usize = 8;
const AES_BLOCK: usize = 16;

pub(super) fn seal(
    protocol: PrivProtocol,
    key: &[u8],
    plain: &[u8],
    when: EngineTime,
    number: u64,
) -> (Vec<u8>, [u8; 8]) {
    match protocol {
        PrivProtocol::Des => {
            // Boots, then a number of our own: never the same twice under one key.
            let [.., a, b, c, d] = number.to_be_bytes();
            let [e, f, g, h] = when.boots.to_be_bytes();
            let salt = [e, f, g, h, a, b, c, d];
            (des_encrypt(key, &salt, plain), salt)
        }
        PrivProtocol::Aes128
        | PrivProtocol::Aes192
        | PrivProtocol::Aes256
        | PrivProtocol::Aes192Reeder
        | PrivProtocol::Aes256Reeder => {
            let salt = number.to_be_bytes();
            let vector = aes_vector(when, &salt);
            (cfb(key, vector, plain, Direction::Encrypt), salt)
        }
    }
}

pub(super) fn open(
    protocol: PrivProtocol,
    key: &[u8],
    sealed: &[u8],
    when: EngineTime,
    salt: &[u8],
) -> Option<Vec<u8>> {
    let salt: &[u8; 8] = salt.try_into().ok()?;
    match protocol {
        PrivProtocol::Des => des_decrypt(key, salt, sealed),
        PrivProtocol::Aes128
        | PrivProtocol::Aes192
        | PrivProtocol::Aes256
        | PrivProtocol::Aes192Reeder
        | PrivProtocol::Aes256Reeder => {
            Some(cfb(key, aes_vector(when, salt), sealed, Direction::Decrypt))
        }
    }
}

/// The key's last eight bytes, mixed with the salt.
fn des_vector(key: &[u8], salt: &[u8; 8]) -> [u8; DES_BLOCK] {
    let mut vector = *salt;
    for (byte, pre) in vector.iter_mut().zip(&key[DES_BLOCK..]) {
        *byte ^= pre;
    }
    vector
}

fn des_encrypt(key: &[u8], salt: &[u8; 8], plain: &[u8]) -> Vec<u8> {
    let mut bytes = plain.to_vec();
    // The value of the padding does not matter (RFC 3414, section 8.1.1.2).
    bytes.resize(plain.len().next_multiple_of(DES_BLOCK), 0);
    let mut cipher =
        cbc::Encryptor::<Des>::new_from_slices(&key[..DES_BLOCK], &des_vector(key, salt))
            .expect("key and vector have eight bytes each");
    for block in bytes.chunks_exact_mut(DES_BLOCK) {
        cipher.encrypt_block_mut(block.into());
    }
    bytes
}

fn des_decrypt(key: &[u8], salt: &[u8; 8], sealed: &[u8]) -> Option<Vec<u8>> {
    if !sealed.len().is_multiple_of(DES_BLOCK) {
        return None;
    }
    let mut bytes = sealed.to_vec();
    let mut cipher =
        cbc::Decryptor::<Des>::new_from_slices(&key[..DES_BLOCK], &des_vector(key, salt))
            .expect("key and vector have eight bytes each");
    for block in bytes.chunks_exact_mut(DES_BLOCK) {
        cipher.decrypt_block_mut(block.into());
    }
    Some(bytes)
}

fn aes_vector(when: EngineTime, salt: &[u8; 8]) -> [u8; AES_BLOCK] {
    let mut vector = [0; AES_BLOCK];
    vector[..4].copy_from_slice(&when.boots.to_be_bytes());
    vector[4..8].copy_from_slice(&when.time.to_be_bytes());
    vector[8..].copy_from_slice(salt);
    vector
}

#[derive(Clone, Copy)]
enum Direction {
    Encrypt,
    Decrypt,
}

/// Cipher feedback over whole blocks, with a short last one (RFC 3826, section 3.1.3).
fn cfb(key: &[u8], vector: [u8; AES_BLOCK], bytes: &[u8], direction: Direction) -> Vec<u8> {
    match key.len() {
        16 => feed(&cipher::<Aes128>(key), vector, bytes, direction),
        24 => feed(&cipher::<Aes192>(key), vector, bytes, direction),
        _ => feed(&cipher::<Aes256>(key), vector, bytes, direction),
    }
}

fn cipher<C: KeyInit>(key: &[u8]) -> C {
    C::new_from_slice(key).expect("the key was cut to the length of its protocol")
}

fn feed<C: BlockEncrypt>(
    cipher: &C,
    mut vector: [u8; AES_BLOCK],
    bytes: &[u8],
    direction: Direction,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for chunk in bytes.chunks(AES_BLOCK) {
        cipher.encrypt_block(aes::cipher::Block::<C>::from_mut_slice(&mut vector));
        let start = out.len();
        out.extend(chunk.iter().zip(&vector).map(|(byte, mask)| byte ^ mask));
        let fed = match direction {
            Direction::Encrypt => &out[start..],
            Direction::Decrypt => chunk,
        };
        vector[..fed.len()].copy_from_slice(fed);
    }
    out
}
