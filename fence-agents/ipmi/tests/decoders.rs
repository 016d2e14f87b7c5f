//! Every decoder of the wire, fed with noise and with mangled datagrams of every kind.
//!
//! Thousands of inputs from one seed, which is printed; `HAFT_SEED=N` replays it. None may panic, and
//! none may bring a session to life or make it tell an answer. It forges no codes: what a BMC that knows
//! the password can do is in `liars`.

#![expect(clippy::print_stdout, reason = "a random test tells its seed")]

use std::time::{Duration, Instant, SystemTime};

use haft_fence_ipmi::cipher::{Keys, Suite};
use haft_fence_ipmi::session::{Credentials, Pace, Progress, Seeds, Session};
use haft_fence_ipmi::wire::message::{self, Answer, CompletionCode};
use haft_fence_ipmi::wire::packet::{self, Packet, PayloadKind};
use haft_fence_ipmi::wire::setup::{self, Privilege, Rakp2};
use zeroize::Zeroizing;

const INPUTS: u32 = 50_000;
const CONSOLE: u32 = 0xA0A2_A3A4;

/// Sebastiano Vigna's splitmix64: the same numbers everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).expect("small")).expect("small")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.byte()).collect()
    }
}

fn seed() -> u64 {
    let given = std::env::var("HAFT_SEED").ok();
    let seed = given.and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.map_or(1, |since| u64::from(since.subsec_nanos()))
    });
    println!("seed {seed}; replay with HAFT_SEED={seed}");
    seed
}

fn suite(dice: &mut Dice) -> Suite {
    [Suite::Three, Suite::Seventeen][dice.below(2)]
}

/// A well-formed datagram of some kind, as a BMC would send it.
fn wellformed(dice: &mut Dice, tag: u8) -> Vec<u8> {
    let suite = suite(dice);
    let answer = Answer {
        function: 0x06,
        command: 0x38,
        sequence: dice.byte() & 0x3F,
        code: CompletionCode(dice.byte() & 1),
        body: &[1, 0x97, 0x04, 0x03, 0, 0, 0, 0],
    };
    let status = if dice.below(4) == 0 { dice.byte() } else { 0 };
    match dice.below(5) {
        0 => packet::plain(&message::answer_to_bytes(&answer)),
        1 => {
            let payload = setup::open_response(tag, status, CONSOLE, 7, suite);
            packet::setup(PayloadKind::OpenResponse, &payload)
        }
        2 => {
            let code = dice.bytes(40);
            let parts = Rakp2 {
                bmc_random: [dice.byte(); 16],
                bmc_guid: [dice.byte(); 16],
                code: &code,
            };
            let payload = setup::rakp2(tag, status, CONSOLE, &parts);
            packet::setup(PayloadKind::Rakp2, &payload)
        }
        3 => {
            let check = dice.bytes(20);
            let payload = setup::rakp4(tag, status, CONSOLE, &check);
            packet::setup(PayloadKind::Rakp4, &payload)
        }
        _ => {
            let keys = Keys::derive(suite, &dice.bytes(20));
            let inside = message::answer_to_bytes(&answer);
            let encrypted = keys.encrypt([dice.byte(); 16], &inside);
            packet::protected(CONSOLE, 1, &encrypted, |covered| keys.code(covered))
        }
    }
}

/// Some bytes changed, cut off or added; sometimes none of it.
fn mangled(dice: &mut Dice, mut datagram: Vec<u8>) -> Vec<u8> {
    for _ in 0..dice.below(6) {
        let at = dice.below(datagram.len().max(1));
        match datagram.get_mut(at) {
            Some(byte) => *byte = dice.byte(),
            None => datagram.push(dice.byte()),
        }
    }
    match dice.below(4) {
        0 => datagram.truncate(dice.below(datagram.len() + 1)),
        1 => datagram.extend(dice.bytes(30)),
        _ => {}
    }
    datagram
}

fn input(dice: &mut Dice) -> Vec<u8> {
    if dice.below(3) == 0 {
        dice.bytes(200)
    } else {
        let tag = dice.byte() & 7;
        let datagram = wellformed(dice, tag);
        mangled(dice, datagram)
    }
}

fn session(suite: Suite, now: Instant) -> Session {
    let credentials = Credentials {
        user: b"admin".to_vec(),
        password: Zeroizing::new(b"secret".to_vec()),
        bmc_key: None,
        privilege: Privilege::Administrator,
        suite,
    };
    let seeds = Seeds {
        console_session: CONSOLE,
        console_random: [3; 16],
        vector_key: [5; 32],
    };
    let pace = Pace {
        repeat_after: Duration::from_millis(10),
        sends_max: 1000,
    };
    Session::start(now, credentials, seeds, pace)
}

#[test]
fn no_datagram_makes_a_decoder_panic() {
    let mut dice = Dice(seed());
    let keys = Keys::derive(Suite::Three, b"key");
    let mut understood = 0;
    for _ in 0..INPUTS {
        let bytes = input(&mut dice);
        let suite = suite(&mut dice);
        if let Some(parsed) = packet::parse(&bytes, suite.integrity_len()) {
            understood += 1;
            let payload = match parsed {
                Packet::Plain { payload } | Packet::Plus { payload, .. } => payload,
            };
            let _ = setup::parse_open_response(payload);
            let _ = setup::parse_rakp2(payload, suite);
            let _ = setup::parse_rakp4(payload, suite);
            let _ = message::parse_answer(payload);
            let _ = keys.decrypt(payload);
        }
        let _ = setup::parse_open_response(&bytes);
        let _ = setup::parse_rakp2(&bytes, suite);
        let _ = setup::parse_rakp4(&bytes, suite);
        if let Some(answer) = message::parse_answer(&bytes) {
            let _ = message::power_is_on(answer.body);
        }
        let _ = message::power_is_on(&bytes);
        let _ = message::restore_of(&bytes);
        let _ = message::speaks_rmcp_plus(&bytes);
        let _ = keys.decrypt(&bytes);
    }
    assert!(
        understood > INPUTS / 10,
        "the inputs reach the inner decoders: {understood}"
    );
}

#[test]
fn nobody_without_the_password_brings_a_session_to_life() {
    let mut dice = Dice(seed());
    let mut now = Instant::now();
    let mut failed = 0;
    let mut session_now = session(Suite::Three, now);
    for _ in 0..INPUTS {
        let bytes = input(&mut dice);
        session_now.on_datagram(now, &bytes);
        let _ = session_now.datagram();
        if dice.below(16) == 0 {
            now += Duration::from_millis(10);
            session_now.on_wake(now);
        }
        match session_now.progress() {
            Progress::Waiting => {}
            Progress::Failed(error) => {
                // A refusal or a wrong code ends a set-up; the next one begins.
                assert!(!error.to_string().is_empty());
                failed += 1;
                assert_eq!(session_now.hang_up(now), None, "there was nothing to close");
                let suite = suite(&mut dice);
                session_now = session(suite, now);
            }
            other @ (Progress::Ready | Progress::Answered(_)) => {
                panic!("a session without the password: {other:?}")
            }
        }
    }
    assert!(failed > 0, "the inputs reach the steps of the set-up");
}
