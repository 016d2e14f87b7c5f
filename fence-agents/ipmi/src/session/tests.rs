//! The session stepped by hand: a BMC's bytes in, ours out.
//!
//! The codes of the handshake are vectors of another implementation (see cipher/tests.rs for the
//! inputs). After it, a small BMC end is built from the same keys. Real BMCs are met in tests/agents.

use proptest::prelude::*;

use super::*;
use crate::wire::message::{Control, answer_to_bytes};
use crate::wire::setup::{self, Rakp2};

const CONSOLE: u32 = u32::from_le_bytes([0xA4, 0xA3, 0xA2, 0xA0]);
const BMC: u32 = u32::from_le_bytes([0x02, 0x00, 0x00, 0x0B]);
const GUID: &str = "a123456789abcdefa123456789abcdef";

struct Vector {
    suite: Suite,
    rakp2: &'static str,
    rakp3: &'static str,
    rakp4: &'static str,
    session_key: &'static str,
}

const THREE: Vector = Vector {
    suite: Suite::Three,
    rakp2: "c28239ee03271c05c402e6d57d15855d8d1ca7b7",
    rakp3: "7b95c94d1051326ad70117703a96da8368db67a5",
    rakp4: "38d3aa8faba1cfbf6d6983f7",
    session_key: "8fb72ce564b11ebc377d2cfc1f7552280d9835e1",
};
const SEVENTEEN: Vector = Vector {
    suite: Suite::Seventeen,
    rakp2: "0740f2110015d08689f277f94342869d699ff124428844708bfd8dcbf21add6d",
    rakp3: "296390cbc7781262b9b67afb8f72a61c6c8cc1d34088bfa0e3d8f0bd25abb3c0",
    rakp4: "5ea469b962fd53d05e4d77352ecc14f8",
    session_key: "53b36e206a8fcc8d48cf7e639cc38b59a9b1a40e59579fb5cc2cad4f3f98bd20",
};

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn counting(from: u8) -> [u8; 16] {
    std::array::from_fn(|index| from + u8::try_from(index).unwrap())
}

fn pace() -> Pace {
    Pace {
        repeat_after: Duration::from_millis(500),
        sends_max: 4,
    }
}

/// A session under test with the clock and the BMC's end.
struct Desk {
    session: Session,
    now: Instant,
    sent: Option<Vec<u8>>,
    keys: Keys,
    suite: Suite,
    bmc_sequence: u32,
}

impl Desk {
    fn new(vector: &Vector) -> Self {
        let now = Instant::now();
        let credentials = Credentials {
            user: b"admin".to_vec(),
            password: Zeroizing::new(b"secret".to_vec()),
            bmc_key: None,
            privilege: Privilege::Administrator,
            suite: vector.suite,
        };
        let seeds = Seeds {
            console_session: CONSOLE,
            console_random: counting(0x10),
            vector_key: [7; 32],
        };
        let mut session = Session::start(now, credentials, seeds, pace());
        let sent = session.datagram();
        let keys = Keys::derive(vector.suite, &hex(vector.session_key));
        Self {
            session,
            now,
            sent,
            keys,
            suite: vector.suite,
            bmc_sequence: 0,
        }
    }

    fn hear(&mut self, datagram: &[u8]) -> Progress {
        self.session.on_datagram(self.now, datagram);
        if let Some(datagram) = self.session.datagram() {
            self.sent = Some(datagram);
        }
        self.session.progress()
    }

    /// Lets time pass until the session wants to be woken.
    fn wake(&mut self) -> Progress {
        self.now = self
            .session
            .wake_at()
            .expect("a waiting session has a wake time");
        self.session.on_wake(self.now);
        self.sent = self.session.datagram();
        self.session.progress()
    }

    fn capabilities(&self) -> Vec<u8> {
        let answer = Answer {
            function: 0x06,
            command: 0x38,
            sequence: self.session.message_sequence,
            code: CompletionCode::OK,
            body: &[0x01, 0x97, 0x04, 0x03, 0, 0, 0, 0],
        };
        packet::plain(&answer_to_bytes(&answer))
    }

    fn opened(&self) -> Vec<u8> {
        let payload = setup::open_response(self.session.tag, 0, CONSOLE, BMC, self.suite);
        packet::setup(PayloadKind::OpenResponse, &payload)
    }

    fn rakp2(&self, code: &[u8]) -> Vec<u8> {
        let bmc_guid = hex(GUID).try_into().unwrap();
        let parts = Rakp2 {
            bmc_random: counting(0x80),
            bmc_guid,
            code,
        };
        packet::setup(
            PayloadKind::Rakp2,
            &setup::rakp2(self.session.tag, 0, CONSOLE, &parts),
        )
    }

    fn rakp4(&self, check: &[u8]) -> Vec<u8> {
        packet::setup(
            PayloadKind::Rakp4,
            &setup::rakp4(self.session.tag, 0, CONSOLE, check),
        )
    }

    /// A protected answer with everything right except what the caller chooses.
    fn protected(&mut self, request: Request, code: u8, body: &[u8]) -> Vec<u8> {
        self.bmc_sequence += 1;
        let answer = Answer {
            function: request.function(),
            command: request.command(),
            sequence: self.session.message_sequence,
            code: CompletionCode(code),
            body,
        };
        let encrypted = self.keys.encrypt([9; 16], &answer_to_bytes(&answer));
        packet::protected(CONSOLE, self.bmc_sequence, &encrypted, |covered| {
            self.keys.code(covered)
        })
    }

    fn until_raising(&mut self, vector: &Vector) {
        let capabilities = self.capabilities();
        assert_eq!(self.hear(&capabilities), Progress::Waiting);
        let opened = self.opened();
        assert_eq!(self.hear(&opened), Progress::Waiting);
        let rakp2 = self.rakp2(&hex(vector.rakp2));
        assert_eq!(self.hear(&rakp2), Progress::Waiting);
        let rakp4 = self.rakp4(&hex(vector.rakp4));
        assert_eq!(self.hear(&rakp4), Progress::Waiting);
    }

    fn ready(vector: &Vector) -> Self {
        let mut desk = Self::new(vector);
        desk.until_raising(vector);
        let raise = Request::RaisePrivilege(Privilege::Administrator);
        let raised = desk.protected(raise, 0, &[4]);
        assert_eq!(desk.hear(&raised), Progress::Ready);
        desk
    }
}

#[test]
fn both_suites_prove_themselves_with_the_codes_of_another_implementation() {
    for vector in [&THREE, &SEVENTEEN] {
        let mut desk = Desk::new(vector);
        let capabilities = desk.capabilities();
        desk.hear(&capabilities);
        let opened = desk.opened();
        desk.hear(&opened);
        let rakp2 = desk.rakp2(&hex(vector.rakp2));
        desk.hear(&rakp2);
        let rakp3 = desk.sent.clone().unwrap();
        assert!(rakp3.ends_with(&hex(vector.rakp3)), "{:?}", vector.suite);
        let rakp4 = desk.rakp4(&hex(vector.rakp4));
        assert_eq!(desk.hear(&rakp4), Progress::Waiting);
        assert_eq!(desk.session.bmc_session(), Some(BMC));
    }
}

#[test]
fn a_wrong_code_in_rakp_2_is_a_wrong_password_and_rakp_3_is_not_sent() {
    let mut desk = Desk::new(&THREE);
    let capabilities = desk.capabilities();
    desk.hear(&capabilities);
    let opened = desk.opened();
    desk.hear(&opened);
    let before = desk.sent.clone();
    let rakp2 = desk.rakp2(&[0xEE; 20]);
    assert_eq!(
        desk.hear(&rakp2),
        Progress::Failed(SessionError::WrongPassword)
    );
    assert_eq!(
        desk.sent, before,
        "our proof must not go to somebody who has none"
    );
}

#[test]
fn a_wrong_check_in_rakp_4_fails() {
    let mut desk = Desk::new(&THREE);
    let capabilities = desk.capabilities();
    desk.hear(&capabilities);
    let opened = desk.opened();
    desk.hear(&opened);
    let rakp2 = desk.rakp2(&hex(THREE.rakp2));
    desk.hear(&rakp2);
    let rakp4 = desk.rakp4(&[0; 12]);
    assert_eq!(
        desk.hear(&rakp4),
        Progress::Failed(SessionError::WrongBmcKey)
    );
}

#[test]
fn other_algorithms_than_those_asked_for_fail() {
    let mut desk = Desk::new(&THREE);
    let capabilities = desk.capabilities();
    desk.hear(&capabilities);
    desk.suite = Suite::Seventeen;
    let opened = desk.opened();
    assert_eq!(
        desk.hear(&opened),
        Progress::Failed(SessionError::Downgraded)
    );
}

#[test]
fn an_answer_with_another_tag_or_session_is_dropped() {
    let mut desk = Desk::new(&THREE);
    let capabilities = desk.capabilities();
    desk.hear(&capabilities);
    for (tag, session) in [
        (desk.session.tag ^ 1, CONSOLE),
        (desk.session.tag, CONSOLE ^ 1),
    ] {
        let payload = setup::open_response(tag, 0, session, BMC, Suite::Three);
        let datagram = packet::setup(PayloadKind::OpenResponse, &payload);
        assert_eq!(desk.hear(&datagram), Progress::Waiting);
        assert!(matches!(
            desk.session.phase,
            Phase::SettingUp(Handshake::Opening)
        ));
    }
    assert_eq!(desk.session.dropped, 2);
}

#[test]
fn a_question_is_repeated_at_growing_intervals_and_then_given_up() {
    let mut desk = Desk::new(&THREE);
    let first = desk.sent.clone();
    let mut times = vec![desk.now];
    for _ in 0..3 {
        assert_eq!(desk.wake(), Progress::Waiting);
        assert_eq!(desk.sent, first, "a set-up question is repeated as it was");
        times.push(desk.now);
    }
    let waits: Vec<_> = times
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_millis())
        .collect();
    assert_eq!(waits, [500, 1000, 2000]);
    let end = desk.wake();
    assert!(
        matches!(
            &end,
            Progress::Failed(SessionError::NoAnswer { sends: 4, .. })
        ),
        "{end:?}"
    );
    let Progress::Failed(error) = end else {
        panic!("checked above")
    };
    assert!(error.may_pass());
}

#[test]
fn a_repeated_command_bears_a_new_sequence_number() {
    let mut desk = Desk::ready(&THREE);
    desk.session.ask(desk.now, Request::ChassisStatus);
    let numbers: Vec<u32> = (0..3)
        .map(|round| {
            let datagram = if round == 0 {
                desk.session.datagram()
            } else {
                desk.wake();
                desk.sent.clone()
            };
            match packet::parse(&datagram.unwrap(), 12) {
                Some(Packet::Plus { sequence, .. }) => sequence,
                other => panic!("not a session packet: {other:?}"),
            }
        })
        .collect();
    assert_eq!(numbers, [2, 3, 4]);
}

#[test]
fn status_is_answered_and_only_once() {
    for vector in [&THREE, &SEVENTEEN] {
        let mut desk = Desk::ready(vector);
        desk.session.ask(desk.now, Request::ChassisStatus);
        let answer = desk.protected(Request::ChassisStatus, 0, &[0x20, 0, 0x40]);
        let reply = Reply {
            code: CompletionCode::OK,
            body: vec![0x20, 0, 0x40],
        };
        assert_eq!(desk.hear(&answer), Progress::Answered(reply));
        assert_eq!(desk.session.progress(), Progress::Ready);
    }
}

#[test]
fn a_recorded_off_cannot_be_played_back() {
    let mut desk = Desk::ready(&THREE);
    desk.session.ask(desk.now, Request::ChassisStatus);
    let recorded = desk.protected(Request::ChassisStatus, 0, &[0x20, 0, 0x40]);
    assert!(matches!(desk.hear(&recorded), Progress::Answered(_)));
    desk.session.ask(desk.now, Request::ChassisStatus);
    assert_eq!(desk.hear(&recorded), Progress::Waiting);
}

#[test]
fn a_late_answer_to_an_earlier_question_is_dropped() {
    let mut desk = Desk::ready(&THREE);
    desk.session.ask(desk.now, Request::ChassisStatus);
    let first = desk.protected(Request::ChassisStatus, 0, &[0x20, 0, 0x40]);
    let again = desk.protected(Request::ChassisStatus, 0, &[0x20, 0, 0x40]);
    assert!(matches!(desk.hear(&first), Progress::Answered(_)));
    desk.session.ask(desk.now, Request::ChassisStatus);
    assert_eq!(
        desk.hear(&again),
        Progress::Waiting,
        "it bears the earlier question's number"
    );
}

#[test]
fn what_is_forged_or_unprotected_is_dropped() {
    let mut desk = Desk::ready(&THREE);
    desk.session.ask(desk.now, Request::ChassisStatus);
    let good = desk.protected(Request::ChassisStatus, 0, &[0x20, 0, 0x40]);
    for at in 4..good.len() {
        let mut forged = good.clone();
        forged[at] ^= 1;
        assert_eq!(desk.hear(&forged), Progress::Waiting, "byte {at}");
    }
    let bare = answer_to_bytes(&Answer {
        function: 0,
        command: 1,
        sequence: desk.session.message_sequence,
        code: CompletionCode::OK,
        body: &[0x20, 0, 0x40],
    });
    assert_eq!(desk.hear(&packet::plain(&bare)), Progress::Waiting);
    assert_eq!(
        desk.hear(&packet::setup(PayloadKind::Message, &bare)),
        Progress::Waiting
    );
    let wrong_command = desk.protected(Request::ChassisControl(Control::Down), 0, &[]);
    assert_eq!(desk.hear(&wrong_command), Progress::Waiting);
    assert!(
        matches!(desk.hear(&good), Progress::Answered(_)),
        "the real one still counts"
    );
}

#[test]
fn a_refused_privilege_and_a_refused_user_are_told_apart() {
    for code in [0x80, 0x81] {
        let mut desk = Desk::new(&THREE);
        desk.until_raising(&THREE);
        let raise = Request::RaisePrivilege(Privilege::Administrator);
        let refused = desk.protected(raise, code, &[]);
        let wanted = Privilege::Administrator;
        assert_eq!(
            desk.hear(&refused),
            Progress::Failed(SessionError::Privilege { wanted })
        );
    }
    let mut desk = Desk::new(&THREE);
    let capabilities = desk.capabilities();
    desk.hear(&capabilities);
    let opened = desk.opened();
    desk.hear(&opened);
    let none = Rakp2 {
        bmc_random: [0; 16],
        bmc_guid: [0; 16],
        code: &[],
    };
    let payload = setup::rakp2(desk.session.tag, 0x0D, CONSOLE, &none);
    let answer = desk.hear(&packet::setup(PayloadKind::Rakp2, &payload));
    let Progress::Failed(error) = answer else {
        panic!("must fail: {answer:?}")
    };
    assert!(error.to_string().contains("unauthorized name"), "{error}");
    assert!(!error.may_pass());
}

#[test]
fn a_bmc_without_ipmi_2_is_told_so() {
    let mut desk = Desk::new(&THREE);
    let answer = Answer {
        function: 0x06,
        command: 0x38,
        sequence: desk.session.message_sequence,
        code: CompletionCode::OK,
        body: &[0x01, 0x17, 0x04, 0x00, 0, 0, 0, 0],
    };
    let datagram = packet::plain(&answer_to_bytes(&answer));
    assert_eq!(
        desk.hear(&datagram),
        Progress::Failed(SessionError::NoRmcpPlus)
    );
}

#[test]
fn two_packets_never_share_a_vector() {
    let mut desk = Desk::ready(&THREE);
    let mut vectors = std::collections::BTreeSet::new();
    for _ in 0..100 {
        desk.session.ask(desk.now, Request::ChassisStatus);
        let datagram = desk.session.datagram().unwrap();
        assert!(vectors.insert(datagram[16..32].to_vec()));
    }
}

#[derive(Clone, Debug)]
enum Op {
    Noise(Vec<u8>),
    Answer { which: u8, flip: usize },
    Wake,
    Ask,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..120).prop_map(Op::Noise),
        (any::<u8>(), 0usize..400).prop_map(|(which, flip)| Op::Answer { which, flip }),
        Just(Op::Wake),
        Just(Op::Ask),
    ]
}

proptest! {
    #[test]
    fn no_sequence_of_events_makes_the_session_panic(ops in proptest::collection::vec(op(), 0..60)) {
        let mut desk = Desk::new(&THREE);
        for op in ops {
            match op {
                Op::Noise(bytes) => {
                    desk.hear(&bytes);
                }
                Op::Answer { which, flip } => {
                    let raise = Request::RaisePrivilege(Privilege::Administrator);
                    let mut bytes = match which % 6 {
                        0 => desk.capabilities(),
                        1 => desk.opened(),
                        2 => desk.rakp2(&hex(THREE.rakp2)),
                        3 => desk.rakp4(&hex(THREE.rakp4)),
                        4 => desk.protected(raise, 0, &[4]),
                        _ => desk.protected(Request::ChassisStatus, 0, &[0x20, 0, 0x40]),
                    };
                    // Beyond the end: left as it is, so that sessions do get established.
                    if let Some(byte) = bytes.get_mut(flip) {
                        *byte ^= 0x10;
                    }
                    desk.hear(&bytes);
                }
                Op::Wake => {
                    if desk.session.wake_at().is_some() {
                        desk.wake();
                    }
                }
                Op::Ask => {
                    if desk.session.progress() == Progress::Ready {
                        desk.session.ask(desk.now, Request::ChassisStatus);
                    }
                }
            }
        }
    }
}
