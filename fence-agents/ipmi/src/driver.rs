//! The driver: one UDP socket, the clock, randomness, one deadline for everything.
//!
//! It feeds a [`Session`] and does what it says, starts a new session when the old one failed in a way
//! that may pass, and carries out a [`SwitchPlan`]. Single-threaded and blocking; every wait ends at
//! the deadline of the action at the latest. It decides nothing about what proves a power state.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use haft_fence_protocol::agent::{Talk, edge};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::power::{Power, Step, SwitchEnd, SwitchPlan};
use crate::session::{Credentials, Progress, Reply, Seeds, Session, SessionError};
use crate::settings::{FirstOffRead, Settings};
use crate::wire::message::{Control, Request, Restore, power_is_on, restore_of};

/// Longest datagram looked at, in bytes; an answer to us has under a hundred.
const DATAGRAM_MAX: usize = 2048;
/// How long the answer to Close Session is awaited. The BMC drops an idle session after a minute anyway.
const CLOSE_PATIENCE: Duration = Duration::from_millis(150);
/// Pause before a busy BMC, or one out of sessions, is asked again.
const BUSY_PAUSE: Duration = Duration::from_millis(200);
/// Shortest wait given to the socket: zero would mean for ever.
const TICK: Duration = Duration::from_millis(1);

/// Why talking to the BMC failed.
#[derive(Debug, Error)]
pub enum DriverError {
    /// The address cannot be resolved.
    #[error("cannot resolve {host}: {why}")]
    Resolve {
        /// As given.
        host: String,
        /// For people.
        why: String,
    },
    /// The socket cannot be had.
    #[error("cannot open a UDP socket")]
    Socket(#[source] io::Error),
    /// No randomness.
    #[error("the system gives no random numbers")]
    Random,
    /// No session with the BMC.
    #[error("unable to connect/login to fencing device: {0}")]
    Login(SessionError),
    /// The session failed while in use, or a command was refused.
    #[error("{0}")]
    Session(SessionError),
    /// The BMC's answer holds no power state.
    #[error("the BMC's chassis status is too short to hold a power state")]
    NoState,
    /// The whole action's time is over.
    #[error("connection timed out: the action's time is over")]
    TimeOver,
}

/// A connection to one BMC, with or without a session at the moment.
pub struct Driver<'a> {
    settings: &'a Settings,
    socket: UdpSocket,
    deadline: Instant,
    session: Option<Session>,
    /// What happened since the last command or read.
    since: Since,
    /// The power restore policy as last read, where the BMC knows it.
    restore: Option<Restore>,
}

/// What happened since the BMC last answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Since {
    /// Nothing.
    Nothing,
    /// A wait for the word: the BMC may have forgotten the session.
    Wait,
}

impl<'a> Driver<'a> {
    /// Resolves the address and opens the socket; sends nothing.
    ///
    /// # Errors
    /// Resolution and socket errors.
    pub fn open(settings: &'a Settings) -> Result<Self, DriverError> {
        let deadline = Instant::now() + settings.timeout;
        let address = resolve(settings)?;
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).map_err(DriverError::Socket)?;
        // Connected: the kernel drops datagrams from anybody else.
        socket.connect(address).map_err(DriverError::Socket)?;
        Ok(Self {
            settings,
            socket,
            deadline,
            session: None,
            since: Since::Nothing,
            restore: None,
        })
    }

    /// Goes on after a wait for the word: the action's time begins now.
    pub fn resume(&mut self) {
        self.deadline = Instant::now() + self.settings.timeout;
        self.since = Since::Wait;
    }

    /// Reads the power state once.
    ///
    /// # Errors
    /// No session, no answer, or an answer without a state: all of them mean "unknown".
    pub fn read_power(&mut self) -> Result<Power, DriverError> {
        let reply = self.request(Request::ChassisStatus)?;
        self.restore = restore_of(&reply.body);
        let power = match power_is_on(&reply.body) {
            Some(true) => Power::On,
            Some(false) => Power::Off,
            None => return Err(DriverError::NoState),
        };
        self.tell(&format!("power reads {power:?}"));
        Ok(power)
    }

    /// Carries out a plan to its end.
    ///
    /// # Errors
    /// Any failed read or command ends it: the power state is then unknown.
    pub fn carry_out(&mut self, mut plan: SwitchPlan) -> Result<SwitchEnd, DriverError> {
        loop {
            match plan.next(Instant::now()) {
                Step::Read => {
                    let power = self.read_power()?;
                    plan.on_read(Instant::now(), power);
                    match self.settings.first_off_read {
                        FirstOffRead::Said if plan.has_first_off_read() => {
                            edge::say_first_off_read();
                        }
                        FirstOffRead::Said | FirstOffRead::Silent => {}
                    }
                }
                Step::Command(control) => {
                    self.command(control)?;
                    plan.on_commanded(Instant::now());
                }
                Step::PauseUntil(at) => self.pause_until(at)?,
                Step::Finished(end) => return Ok(end),
            }
        }
    }

    /// Gives a command. An acknowledgement proves nothing and its absence proves nothing either: after
    /// a command without answer the reads decide (hazard R24: ask for status, do not send off again).
    fn command(&mut self, control: Control) -> Result<(), DriverError> {
        let since = std::mem::replace(&mut self.since, Since::Nothing);
        match (self.request(Request::ChassisControl(control)), since) {
            (Ok(_), _) => {
                self.tell(&format!("commanded {control:?}"));
                Ok(())
            }
            (Err(DriverError::Session(error @ SessionError::NoAnswer { .. })), Since::Wait) => {
                // It may have gone to a session that was lost while nobody spoke. Asked first, in a new one.
                self.tell(&format!("{error}; asking in a new session"));
                match (self.read_power()?, control) {
                    (Power::On, Control::Down) | (Power::Off, Control::Up) => self.command(control),
                    (Power::Off, Control::Down) | (Power::On, Control::Up) => Ok(()),
                }
            }
            (Err(DriverError::Session(error)), _) if leaves_it_to_reads(&error) => {
                self.tell(&format!("commanded {control:?}, but: {error}"));
                Ok(())
            }
            (Err(error), _) => Err(error),
        }
    }

    /// The power restore policy as the last read of the power state told it.
    pub fn restore(&self) -> Option<Restore> {
        self.restore
    }

    /// Sets the power restore policy.
    ///
    /// # Errors
    /// No answer, or a BMC that cannot.
    pub fn set_restore(&mut self, restore: Restore) -> Result<(), DriverError> {
        self.request(Request::SetRestore(restore))?;
        self.tell(&format!("power restore policy set to {}", restore.name()));
        Ok(())
    }

    /// Ends the session politely, so that the BMC has it free for the next caller. What happens here
    /// changes no verdict.
    pub fn close(mut self) {
        self.hang_up();
    }

    /// Closes what the BMC may still hold for us and forgets the session, also one that failed.
    fn hang_up(&mut self) {
        let open = self
            .session
            .as_mut()
            .and_then(|session| session.hang_up(Instant::now()));
        if open.is_some() {
            let patience = self.deadline.min(Instant::now() + CLOSE_PATIENCE);
            let _ = self.pump(patience);
        }
        self.session = None;
    }

    /// Asks until there is a clear answer. Every request here may be repeated without harm.
    fn request(&mut self, request: Request) -> Result<Reply, DriverError> {
        let until = self
            .deadline
            .min(Instant::now() + self.settings.command_timeout);
        loop {
            self.login()?;
            if let Some(session) = &mut self.session {
                session.ask(Instant::now(), request);
            }
            match self.pump(until.max(Instant::now() + TICK)) {
                Progress::Answered(reply) if reply.code.0 == 0 => return Ok(reply),
                Progress::Answered(reply) => {
                    let error = refusal(request, &reply, self.settings);
                    if !error.may_pass() || Instant::now() + BUSY_PAUSE >= until {
                        return Err(DriverError::Session(error));
                    }
                    self.pause_until(Instant::now() + BUSY_PAUSE)?;
                }
                Progress::Failed(error) => {
                    self.hang_up();
                    if !error.may_pass() || Instant::now() >= until {
                        return Err(DriverError::Session(error));
                    }
                }
                Progress::Waiting | Progress::Ready if Instant::now() >= self.deadline => {
                    return Err(DriverError::TimeOver);
                }
                Progress::Waiting | Progress::Ready => {
                    let error = self.unanswered();
                    self.hang_up();
                    return Err(DriverError::Session(error));
                }
            }
        }
    }

    /// The session's own account of the question that its time did not suffice for.
    fn unanswered(&self) -> SessionError {
        let none = SessionError::NoAnswer {
            question: "anything",
            sends: 0,
            dropped: 0,
        };
        self.session.as_ref().map_or(none, Session::no_answer)
    }

    /// Establishes a session unless there is one, beginning anew as long as that may help.
    fn login(&mut self) -> Result<(), DriverError> {
        if self.session.is_some() {
            return Ok(());
        }
        let until = self
            .deadline
            .min(Instant::now() + self.settings.login_timeout);
        // When the time ends in the middle of a further attempt, an attempt that came to its own end says more.
        let mut earlier = None;
        loop {
            let session = Session::start(
                Instant::now(),
                self.credentials(),
                draw_seeds()?,
                self.settings.pace,
            );
            self.session = Some(session);
            let error = match self.pump(until) {
                Progress::Ready => {
                    self.tell("session established");
                    return Ok(());
                }
                Progress::Failed(error) => error,
                Progress::Waiting | Progress::Answered(_) => {
                    earlier.take().unwrap_or_else(|| self.unanswered())
                }
            };
            self.hang_up();
            self.tell(&format!("session failed: {error}"));
            if !error.may_pass() || Instant::now() + BUSY_PAUSE >= until {
                return Err(DriverError::Login(error));
            }
            earlier = Some(error);
            self.pause_until(Instant::now() + BUSY_PAUSE)?;
        }
    }

    fn credentials(&self) -> Credentials {
        let settings = self.settings;
        Credentials {
            user: settings.user.as_bytes().to_vec(),
            password: Zeroizing::new(settings.password.expose().as_bytes().to_vec()),
            bmc_key: settings.bmc_key.clone(),
            privilege: settings.privilege,
            suite: settings.suite,
        }
    }

    /// Moves datagrams and time until the session has something to say, or until `until`.
    fn pump(&mut self, until: Instant) -> Progress {
        let mut buffer = [0; DATAGRAM_MAX];
        let Some(session) = &mut self.session else {
            return Progress::Waiting;
        };
        loop {
            while let Some(datagram) = session.datagram() {
                // An unreachable BMC looks like a lost packet: repetition and deadline deal with it.
                let _ = self.socket.send(&datagram);
            }
            match session.progress() {
                Progress::Waiting => {}
                progress @ (Progress::Ready | Progress::Answered(_) | Progress::Failed(_)) => {
                    return progress;
                }
            }
            let now = Instant::now();
            if now >= until {
                return Progress::Waiting;
            }
            let wake = session.wake_at().unwrap_or(until).min(until);
            let wait = wake.saturating_duration_since(now).max(TICK);
            // Only a zero duration is refused, and TICK is not zero.
            let _ = self.socket.set_read_timeout(Some(wait));
            if let Ok(length) = self.socket.recv(&mut buffer) {
                session.on_datagram(Instant::now(), &buffer[..length]);
            }
            session.on_wake(Instant::now());
        }
    }

    fn pause_until(&self, at: Instant) -> Result<(), DriverError> {
        let now = Instant::now();
        if now >= self.deadline || at >= self.deadline {
            return Err(DriverError::TimeOver);
        }
        std::thread::sleep(at.saturating_duration_since(now));
        Ok(())
    }

    /// Waits for the configured delay before the action begins.
    ///
    /// # Errors
    /// The delay is longer than the action's time.
    pub fn delay(&self) -> Result<(), DriverError> {
        self.pause_until(Instant::now() + self.settings.delay)
    }

    fn tell(&self, what: &str) {
        tell(self.settings.talk, what);
    }
}

/// One line on stderr, when steps are to be told.
#[expect(
    clippy::print_stderr,
    reason = "stderr is where an agent of the field tells its steps"
)]
pub(crate) fn tell(talk: Talk, what: &str) {
    match talk {
        Talk::Quiet | Talk::Normal => {}
        Talk::Verbose => eprintln!("{what}"),
    }
}

/// Whether what a command met says nothing of the state: no answer, or one that the machine is in no state for it, as
/// some BMCs say to a power down of a machine that is off (table 5-2, 0xD5).
fn leaves_it_to_reads(error: &SessionError) -> bool {
    match error {
        SessionError::NoAnswer { .. } => true,
        SessionError::Unexpected { code, .. } => code.is_state(),
        SessionError::NoRmcpPlus
        | SessionError::Refused { .. }
        | SessionError::Downgraded
        | SessionError::WrongPassword
        | SessionError::WrongBmcKey
        | SessionError::Privilege { .. }
        | SessionError::TooLowFor { .. } => false,
    }
}

fn refusal(request: Request, reply: &Reply, settings: &Settings) -> SessionError {
    if reply.code.is_privilege() {
        SessionError::TooLowFor {
            question: request.name(),
            have: settings.privilege,
        }
    } else {
        SessionError::Unexpected {
            question: request.name(),
            code: reply.code,
        }
    }
}

fn draw_seeds() -> Result<Seeds, DriverError> {
    let mut bytes = [0; 52];
    getrandom::fill(&mut bytes).map_err(|_| DriverError::Random)?;
    let mut seeds = Seeds {
        console_session: 0,
        console_random: [0; 16],
        vector_key: [0; 32],
    };
    seeds.console_random.copy_from_slice(&bytes[..16]);
    seeds.vector_key.copy_from_slice(&bytes[16..48]);
    let [.., a, b, c, d] = bytes;
    // Zero stands for "no session" on the wire.
    seeds.console_session = u32::from_le_bytes([a, b, c, d]) | 1;
    Ok(seeds)
}

/// Turns the host into an address. A literal needs no resolver; a name is resolved in a thread, because
/// the system's resolver knows no deadline.
fn resolve(settings: &Settings) -> Result<SocketAddr, DriverError> {
    // An IPv6 address may come in brackets, as in a URL; one with a zone (%eth0) is left to the resolver.
    let bare = settings
        .host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Ok(literal) = bare.unwrap_or(&settings.host).parse::<IpAddr>() {
        return Ok(SocketAddr::new(literal, settings.port));
    }
    let failed = |why: String| DriverError::Resolve {
        host: settings.host.escape_default().to_string(),
        why,
    };
    let (tell, hear) = mpsc::sync_channel(1);
    let target = (settings.host.clone(), settings.port);
    std::thread::spawn(move || {
        let first = target
            .to_socket_addrs()
            .map(|mut addresses| addresses.next());
        let _ = tell.send(first);
    });
    match hear.recv_timeout(settings.login_timeout.min(settings.timeout)) {
        Ok(Ok(Some(address))) => Ok(address),
        Ok(Ok(None)) => Err(failed("it has no address".to_owned())),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("the resolver did not answer in time".to_owned())),
    }
}
