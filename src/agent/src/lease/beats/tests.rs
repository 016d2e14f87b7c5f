//! The beat port against a coordinator's end on loopback.

use super::*;
use haft_api::beat::{OpenedBeat, open_beat, seal_answer, seal_challenge};
use haft_engine::command::{Attestation, HeartbeatKey, VoterSets};
use haft_engine::ids::{EntryId, Epoch};
use haft_engine::session::AnswerKind;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::{Duration, Instant};

const NODE: NodeId = NodeId(9);
const LIFE: Incarnation = Incarnation(20);
const COORDINATOR: NodeId = NodeId(1);

fn key(incarnation: Incarnation) -> BeatKey {
    let heartbeat = HeartbeatKey {
        generation: 1,
        secret: [5; 32],
    };
    BeatKey::derive(&heartbeat, NODE, incarnation)
}

fn beat(sequence: u64) -> Beat {
    Beat {
        node: NODE,
        incarnation: LIFE,
        sequence,
        membership: EntryId::new(1, 5),
        ttl: Duration::from_millis(250),
        guards: Attestation::Intact,
    }
}

fn answer(sequence: u64) -> Answer {
    Answer {
        from: COORDINATOR,
        incarnation: LIFE,
        sequence,
        membership: VoterSets {
            at: EntryId::new(1, 5),
            sets: vec![[COORDINATOR].into()],
        },
        epoch: Epoch(1),
        log: EntryId::new(1, 9),
        kind: AnswerKind::Acknowledged,
    }
}

/// A port that knows one coordinator, and that coordinator's socket.
fn pair() -> (BeatPort, UdpSocket) {
    let coordinator = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    coordinator
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut port = BeatPort::open().unwrap();
    port.begin(LIFE, vec![key(LIFE)]);
    let address = coordinator.local_addr().unwrap();
    port.set_addresses(&[(COORDINATOR, vec![address])].into());
    (port, coordinator)
}

fn heard(coordinator: &UdpSocket) -> (OpenedBeat, SocketAddr) {
    let mut buffer = [0; 512];
    let (length, from) = coordinator.recv_from(&mut buffer).unwrap();
    (open_beat(&key(LIFE), &buffer[..length]).unwrap(), from)
}

/// Receives until `enough` says so, for at most five seconds.
fn receive_until(
    port: &mut BeatPort,
    enough: impl Fn(&BeatPort, &[Answer]) -> bool,
) -> Vec<Answer> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut answers = Vec::new();
    while !enough(port, &answers) {
        assert!(
            Instant::now() < deadline,
            "nothing came: {:?}",
            port.counts()
        );
        let timeout = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        let mut descriptors: Vec<PollFd<'_>> = port
            .descriptors()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        poll(&mut descriptors, Some(&timeout)).unwrap();
        drop(descriptors);
        answers.extend(port.receive());
    }
    answers
}

#[test]
fn an_answer_comes_back() {
    let (mut port, coordinator) = pair();
    port.send(&beat(1), &[COORDINATOR]);
    let (opened, from) = heard(&coordinator);
    assert_eq!(opened.beat, beat(1));
    let datagram = seal_answer(&key(LIFE), NODE, &answer(1));
    coordinator.send_to(&datagram, from).unwrap();
    let answers = receive_until(&mut port, |_, answers| !answers.is_empty());
    assert_eq!(answers, vec![answer(1)]);
}

#[test]
fn a_challenge_is_met_with_the_same_beat_and_the_nonce_is_kept() {
    let (mut port, coordinator) = pair();
    port.send(&beat(1), &[COORDINATOR]);
    let (opened, from) = heard(&coordinator);
    assert_eq!(opened.nonce, 0);
    let challenge = seal_challenge(&key(LIFE), &opened.beat, COORDINATOR, 77);
    coordinator.send_to(&challenge, from).unwrap();
    receive_until(&mut port, |port, _| port.counts().challenges == 1);
    let (again, _) = heard(&coordinator);
    assert_eq!((again.beat, again.nonce), (beat(1), 77));
    port.send(&beat(2), &[COORDINATOR]);
    assert_eq!(heard(&coordinator).0.nonce, 77);
}

#[test]
fn a_beat_meets_one_challenge_only() {
    let (mut port, coordinator) = pair();
    port.send(&beat(1), &[COORDINATOR]);
    let (opened, from) = heard(&coordinator);
    for nonce in [77, 78] {
        let challenge = seal_challenge(&key(LIFE), &opened.beat, COORDINATOR, nonce);
        coordinator.send_to(&challenge, from).unwrap();
    }
    receive_until(&mut port, |port, _| port.counts().challenges == 2);
    assert_eq!(port.counts().sent, 2);
}

#[test]
fn malformed_foreign_and_wrongly_keyed_datagrams_are_dropped_and_counted() {
    let (mut port, coordinator) = pair();
    port.send(&beat(1), &[COORDINATOR]);
    let (_, from) = heard(&coordinator);
    let good = seal_answer(&key(LIFE), NODE, &answer(1));
    let mut altered = good.clone();
    altered[20] ^= 1;
    let mut tampered = good.clone();
    *tampered.last_mut().unwrap() ^= 1;
    let other_life = seal_answer(&key(Incarnation(21)), NODE, &answer(1));
    for bad in [&good[..40], &[0; 149], &altered, &tampered, &other_life] {
        coordinator.send_to(bad, from).unwrap();
    }
    receive_until(&mut port, |port, answers| {
        let counts = port.counts();
        answers.is_empty() && counts.malformed + counts.unauthentic == 5
    });
    let counts = port.counts();
    assert_eq!((counts.malformed, counts.unauthentic), (2, 3));
}

#[test]
fn an_unanswering_coordinator_is_tried_at_its_next_address() {
    let (mut port, second) = pair();
    let first = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let both = vec![first.local_addr().unwrap(), second.local_addr().unwrap()];
    port.set_addresses(&[(COORDINATOR, both)].into());
    for sequence in 1..=3 {
        port.send(&beat(sequence), &[COORDINATOR]);
    }
    assert_eq!(heard(&second).0.beat.sequence, 3);
}

#[test]
fn a_machine_that_is_asked_whether_it_lives_answers_at_once_with_its_boot() {
    let (mut port, coordinator) = pair();
    port.send(&beat(1), &[COORDINATOR]);
    let (_, from) = heard(&coordinator);
    let question = challenge::Question {
        node: NODE,
        incarnation: LIFE,
        challenge: haft_engine::witness::Challenge(77),
        from: COORDINATOR,
    };
    // Under another life's key: it is not for this one.
    let other = challenge::seal_question(&key(Incarnation(19)), &question);
    coordinator.send_to(&other, from).unwrap();
    let asked = challenge::seal_question(&key(LIFE), &question);
    coordinator.send_to(&asked, from).unwrap();
    receive_until(&mut port, |port, _| port.counts().witnessed == 1);
    assert_eq!(port.counts().unauthentic, 1);
    let mut buffer = [0; 512];
    let (length, _) = coordinator.recv_from(&mut buffer).unwrap();
    let said = challenge::open(&key(LIFE), &buffer[..length]);
    let expected = challenge::Answer {
        question,
        speaker: Speaker::Agent,
        boot: BootId(boot_id().unwrap().0),
    };
    assert_eq!(said, Ok(challenge::Opened::Answer(expected)));
}
