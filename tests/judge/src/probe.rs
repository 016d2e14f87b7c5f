//! The driver: keeps the rhythm, sends the frames, gives what it hears to the score, carries out orders.
//!
//! One thread, no allocation that matters between ticks. It decides nothing: see [`crate::record`].

use std::io::{self, BufRead, Write};
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::frame::{self, Heard, Mac};
use crate::protocol::{Answer, Order, Setup};
use crate::record::{NodeIndex, Record, ms};
use crate::sys;

/// How far back "now" looks, in microseconds: ten ticks, so that one lost frame is no absence.
const RECENT_US: u64 = 50_000;

/// One watched address and the client that follows its announcements.
struct Target {
    name: String,
    address: IpAddr,
    client: UdpSocket,
}

/// The running judge.
pub struct Probe {
    setup: Setup,
    own: Mac,
    nodes: Vec<(String, Mac)>,
    targets: Vec<Target>,
    wire: UdpSocket,
    record: Record,
    began: Instant,
    tick: u32,
    tick_length: Duration,
}

impl Probe {
    /// Opens the sockets.
    ///
    /// # Errors
    /// An unreadable hardware address, more than eight nodes, an IPv6 target without the client's own IPv6 address,
    /// or a socket that cannot be opened.
    pub fn open(setup: Setup) -> anyhow::Result<Self> {
        anyhow::ensure!(setup.nodes.len() <= 8, "at most eight nodes can be judged");
        anyhow::ensure!(
            setup.tick_us >= 500,
            "a tick shorter than 500 us cannot be kept"
        );
        let own = Mac::parse(&setup.mac)?;
        let mut nodes = Vec::new();
        for (name, mac) in &setup.nodes {
            nodes.push((
                name.clone(),
                Mac::parse(mac).with_context(|| format!("node {name}"))?,
            ));
        }
        let wire = sys::packet_socket(&setup.interface)
            .with_context(|| format!("packet socket on {}", setup.interface))?;
        let mut targets = Vec::new();
        for (name, address) in &setup.targets {
            anyhow::ensure!(
                address.is_ipv4() || setup.address6.is_some(),
                "target {name} needs the client's address6"
            );
            let client = sys::client_socket(*address)
                .with_context(|| format!("client socket to {address}"))?;
            targets.push(Target {
                name: name.clone(),
                address: *address,
                client,
            });
        }
        let record = Self::fresh(&setup, &nodes, &targets, 0);
        let tick_length = Duration::from_micros(setup.tick_us);
        Ok(Self {
            setup,
            own,
            nodes,
            targets,
            wire,
            record,
            began: Instant::now(),
            tick: 0,
            tick_length,
        })
    }

    fn fresh(
        setup: &Setup,
        nodes: &[(String, Mac)],
        targets: &[Target],
        first_tick: u32,
    ) -> Record {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a limit of some milliseconds"
        )]
        let stall_us = (setup.stall_ms * 1000.0) as u64;
        let names = nodes.iter().map(|(name, _)| name.clone()).collect();
        let watched: Vec<_> = targets
            .iter()
            .map(|t| (t.name.clone(), t.address))
            .collect();
        Record::new(setup.tick_us, stall_us, names, &watched, first_tick)
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros())
            .expect("a segment shorter than half a million years")
    }

    /// Ticks and answers orders from stdin until told to stop or stdin ends.
    ///
    /// # Errors
    /// A socket or stdout that fails.
    pub fn run(&mut self) -> anyhow::Result<()> {
        let mut orders = OrderReader::default();
        let mut due = Instant::now();
        loop {
            let now = Instant::now();
            if now >= due {
                self.record
                    .late(u64::try_from((now - due).as_micros()).unwrap_or(u64::MAX));
                self.ask_everybody();
                due += self.tick_length;
                // A judge that was away does not ask in a burst; the time away is on record.
                if due < now {
                    due = now + self.tick_length;
                }
            }
            let stdin = io::stdin();
            let timeout = due.saturating_duration_since(Instant::now());
            let [heard, ordered] = sys::wait_readable([self.wire.as_fd(), stdin.as_fd()], timeout)?;
            if heard {
                self.listen();
            }
            if ordered {
                let Some(order) = orders.read()? else {
                    return Ok(());
                };
                if !self.obey(&order, &mut due)? {
                    return Ok(());
                }
            }
        }
    }

    /// Sends one tick: per address all ARP frames back to back, then all echo frames, then the client's own request.
    fn ask_everybody(&mut self) {
        for index in 0..self.targets.len() {
            let address = self.targets[index].address;
            let frames = self.questions(address);
            let first = self.now_us();
            for frame in &frames {
                // A full queue or a port without carrier loses the question, as a wire would; it shows as silence.
                let _lost = self.wire.send(frame);
            }
            let spread = self.now_us() - first;
            self.record.sent(index, first, spread);
            let message = match address {
                IpAddr::V4(_) => frame::echo_message(frame::CLIENT_ECHO_ID, self.tick),
                IpAddr::V6(_) => frame::echo6_message(frame::CLIENT_ECHO_ID, self.tick),
            };
            // Unreachable, or queued behind an unresolved neighbour: that is what the client's gap measures.
            let _lost = self.targets[index].client.send(&message);
        }
        self.tick = self.tick.wrapping_add(1);
    }

    fn questions(&self, address: IpAddr) -> Vec<Vec<u8>> {
        let (own, tick) = (self.own, self.tick);
        let macs = || self.nodes.iter().map(|(_, mac)| *mac);
        match address {
            IpAddr::V4(vip) => {
                let arp = macs()
                    .map(|mac| frame::arp_question(mac, own, self.setup.arp_sender, vip, tick));
                let echo =
                    macs().map(|mac| frame::echo_question(mac, own, self.setup.address, vip, tick));
                arp.chain(echo).collect()
            }
            IpAddr::V6(vip) => {
                let Some(client) = self.setup.address6 else {
                    return Vec::new();
                };
                let solicit =
                    macs().map(|mac| frame::solicit_question(mac, own, client, vip, tick));
                let echo = macs().map(|mac| frame::echo6_question(mac, own, client, vip, tick));
                solicit.chain(echo).collect()
            }
        }
    }

    fn listen(&mut self) {
        let mut buffer = [0u8; 2048];
        while let Ok(length) = self.wire.recv(&mut buffer) {
            let Some((source, heard)) = frame::read(&buffer[..length]) else {
                continue;
            };
            let Some(position) = self.nodes.iter().position(|(_, mac)| *mac == source) else {
                continue;
            };
            let node = NodeIndex::try_from(position).expect("at most eight nodes");
            self.score(node, heard);
        }
    }

    fn score(&mut self, node: NodeIndex, heard: Heard) {
        let (address, tick, id) = match heard {
            Heard::Arp { address, tick } => (IpAddr::V4(address), tick, frame::JUDGE_ECHO_ID),
            Heard::Echo { address, id, tick } => (IpAddr::V4(address), tick, id),
            Heard::Echo6 { address, id, tick } => (IpAddr::V6(address), tick, id),
            Heard::Advertise { address, slot } => {
                let last = self.tick.wrapping_sub(1);
                let age = (last % frame::SOLICIT_SLOTS + frame::SOLICIT_SLOTS - slot)
                    % frame::SOLICIT_SLOTS;
                (
                    IpAddr::V6(address),
                    last.wrapping_sub(age),
                    frame::JUDGE_ECHO_ID,
                )
            }
        };
        if id == frame::CLIENT_ECHO_ID {
            let at = self.now_us();
            self.record.client_heard(address, at, node);
        } else if id == frame::JUDGE_ECHO_ID {
            self.record.answered(address, tick, node);
        }
    }

    /// Carries out one order; false means stop.
    fn obey(&mut self, order: &anyhow::Result<Order>, due: &mut Instant) -> anyhow::Result<bool> {
        let mut goes_on = true;
        let answer = match order {
            Ok(Order::Begin) => {
                self.record = Self::fresh(&self.setup, &self.nodes, &self.targets, self.tick);
                self.began = Instant::now();
                Answer::Done { at_ms: 0.0 }
            }
            Ok(Order::Mark { label }) => {
                let at = self.now_us();
                self.record.mark(label.clone(), at);
                Answer::Done { at_ms: ms(at) }
            }
            Ok(Order::Now) => {
                let at = self.now_us();
                let (owners, client) = self.record.recent(at.saturating_sub(RECENT_US));
                Answer::Now {
                    at_ms: ms(at),
                    owners,
                    client,
                }
            }
            Ok(Order::Report) => Answer::Report(self.record.report(self.now_us())),
            Ok(Order::Stop) => {
                goes_on = false;
                Answer::Report(self.record.report(self.now_us()))
            }
            Err(error) => Answer::Error {
                reason: format!("{error:#}"),
            },
        };
        let reports = matches!(answer, Answer::Report(_));
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        let mut stdout = io::stdout().lock();
        stdout.write_all(&line)?;
        stdout.flush()?;
        if reports {
            // Writing a long report is not a stall of the measurement: it comes after the end of it.
            *due = Instant::now() + self.tick_length;
        }
        Ok(goes_on)
    }
}

/// Reads order lines without ever blocking longer than one line takes to arrive.
#[derive(Default)]
struct OrderReader {
    line: String,
}

impl OrderReader {
    /// The next order, its reading error, or `None` at the end of input.
    fn read(&mut self) -> io::Result<Option<anyhow::Result<Order>>> {
        self.line.clear();
        if io::stdin().lock().read_line(&mut self.line)? == 0 {
            return Ok(None);
        }
        Ok(Some(
            serde_json::from_str(&self.line).context("an order is one JSON object a line"),
        ))
    }
}
