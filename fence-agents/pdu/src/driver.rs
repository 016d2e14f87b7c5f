//! The driver: one UDP socket, the clock, randomness, one deadline for everything.
//!
//! It feeds a [`Session`] and does what it says, finds out what the PDU is and where the outlets are, and
//! carries out a [`SwitchPlan`]. Single-threaded and blocking; every wait ends at the deadline of the action
//! at the latest. It decides nothing about what proves a power state.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use haft_fence_protocol::agent::Talk;
use thiserror::Error;

use crate::oid::{Oid, Place};
use crate::outlets::{Command, Description, Label, Plug, Row, SYS_OBJECT_ID};
use crate::power::{Goal, Reading, Step, SwitchEnd, SwitchPlan};
use crate::session::{Progress, Question, Seeds, Session, SessionError};
use crate::settings::{PduChoice, Settings};
use crate::wire::message::{Binding, Value};

/// Longest datagram looked at, in bytes. We say in v3 that we take no more.
const DATAGRAM_MAX: usize = 2048;
/// Most outlets in a list. The largest PDU chains have a few hundred.
const OUTLETS_MAX: usize = 1024;
/// Shortest wait given to the socket: zero would mean for ever.
const TICK: Duration = Duration::from_millis(1);

/// Why talking to the PDU failed.
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
    /// A question without a usable answer.
    #[error("{0}")]
    Session(SessionError),
    /// The first question found nobody, or nobody who knows us.
    #[error("unable to connect/login to fencing device: {0}")]
    Login(SessionError),
    /// An outlet by a name that the PDU does not have.
    #[error("the PDU has no outlet called '{name}'")]
    NoSuchName {
        /// The name.
        name: String,
    },
    /// An outlet by a name that several have.
    #[error("the PDU has several outlets called '{name}'; use their numbers")]
    SeveralOfName {
        /// The name.
        name: String,
    },
    /// A name, and no way to look it up.
    #[error("'{name}' is no outlet number, and there is no outlet_name_oid to look a name up with")]
    NoNames {
        /// The name.
        name: String,
    },
    /// A unit on a PDU without units.
    #[error("a PDU of the kind {kind} has no units, so there is no outlet {unit}:{plug}")]
    NoUnits {
        /// The row's name.
        kind: String,
        /// As given.
        unit: u32,
        /// As given.
        plug: u32,
    },
    /// A table without a row, on a PDU that should have one.
    #[error(
        "the PDU lists no outlets at {prefix}; is it of another kind than {kind}? set pdu or describe it"
    )]
    NoOutlets {
        /// Where they should be.
        prefix: Oid,
        /// The kind that it was taken for.
        kind: String,
    },
    /// A table that does not end.
    #[error("the PDU's table of outlet names has more than {OUTLETS_MAX} rows")]
    EndlessTable,
    /// The whole action's time is over.
    #[error("connection timed out: the action's time is over")]
    TimeOver,
}

/// One round of reads of the node's outlets.
pub struct Round {
    /// Each outlet with what its state means and the value that said so.
    pub outlets: Vec<(Label, Reading, Value)>,
}

impl Round {
    /// The meanings alone.
    pub fn readings(&self) -> Vec<Reading> {
        self.outlets
            .iter()
            .map(|(_, reading, _)| *reading)
            .collect()
    }

    /// `outlet 3 is off, outlet 7 is on`.
    pub fn words(&self) -> String {
        let words: Vec<_> = self
            .outlets
            .iter()
            .map(|(label, reading, value)| match reading {
                Reading::On => format!("outlet {label} is on"),
                Reading::Off => format!("outlet {label} is off"),
                Reading::Unclear => {
                    format!("outlet {label} reads {value}, which is neither on nor off")
                }
            })
            .collect();
        words.join(", ")
    }
}

/// A row of a list of outlets.
pub struct Listed {
    /// The outlet.
    pub label: Label,
    /// The name that the PDU has for it.
    pub name: String,
    /// Its state, when it was asked for.
    pub reading: Option<Reading>,
}

/// A connection to one PDU.
pub struct Driver<'a> {
    settings: &'a Settings,
    socket: UdpSocket,
    deadline: Instant,
    session: Session,
    /// Whether any question was answered yet.
    met: bool,
    description: Option<Description>,
    places: Vec<Place>,
    last: Option<Round>,
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
        // Connected: the kernel drops datagrams from anybody else, other ports of the same host included.
        socket.connect(address).map_err(DriverError::Socket)?;
        let session = Session::new(
            settings.access.credentials(),
            draw_seeds()?,
            settings.repeat_after,
        );
        Ok(Self {
            settings,
            socket,
            deadline,
            session,
            met: false,
            description: None,
            places: Vec::new(),
            last: None,
        })
    }

    /// Finds out what the PDU is, and which outlets are meant.
    ///
    /// # Errors
    /// No answer, or an outlet that does not exist by its name.
    pub fn meet(&mut self) -> Result<(), DriverError> {
        let description = self.describe()?;
        self.places = self.find_plugs(&description)?;
        self.description = Some(description);
        Ok(())
    }

    /// Wants any answer at all.
    fn greet(&mut self) -> Result<(), DriverError> {
        match self.identity() {
            Ok(_) | Err(DriverError::Session(SessionError::NoSuchObject { .. })) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn identity(&mut self) -> Result<Binding, DriverError> {
        let object = Oid::new(SYS_OBJECT_ID.to_vec()).expect("a constant identifier");
        self.ask(Question::Get(object))
    }

    fn describe(&mut self) -> Result<Description, DriverError> {
        if let PduChoice::Known(description) = &self.settings.kind {
            return Ok(description.as_ref().clone());
        }
        let row = match self.identity() {
            Ok(Binding {
                value: Value::Oid(identity),
                ..
            }) => {
                let row = Row::by_identity(&identity);
                self.tell(&format!("the PDU is {identity}: treated as {}", row.name));
                row
            }
            // Every device must have one; one without is treated as one that is not known.
            Ok(_) | Err(DriverError::Session(SessionError::NoSuchObject { .. })) => {
                &crate::outlets::ROWS[0]
            }
            Err(error) => return Err(error),
        };
        Ok(row.description())
    }

    fn find_plugs(&mut self, description: &Description) -> Result<Vec<Place>, DriverError> {
        let mut names = None;
        let mut places = Vec::new();
        let settings = self.settings;
        for plug in &settings.plugs {
            let place = match plug {
                Plug::Number { unit, plug } => self.number(description, *unit, *plug)?,
                Plug::Name(name) => {
                    if names.is_none() {
                        let missing = || DriverError::NoNames {
                            name: name.escape_default().to_string(),
                        };
                        description.names.as_ref().ok_or_else(missing)?;
                        names = Some(self.names(description)?);
                    }
                    find_name(name, names.as_deref().unwrap_or(&[]))?
                }
            };
            if !places.contains(&place) {
                places.push(place);
            }
        }
        Ok(places)
    }

    fn number(
        &self,
        description: &Description,
        unit: Option<u32>,
        plug: u32,
    ) -> Result<Place, DriverError> {
        if description.has_unit() {
            let unit = unit
                .or(self.settings.unit)
                .unwrap_or(description.default_unit);
            return Ok(Place { unit, plug });
        }
        match unit {
            // Old configurations of fence_apc_snmp write 1:7 for outlet 7 of the only unit.
            None | Some(1) => Ok(Place { unit: 0, plug }),
            Some(unit) => Err(DriverError::NoUnits {
                kind: description.name.clone(),
                unit,
                plug,
            }),
        }
    }

    /// The names of all outlets, by walking the table of names.
    fn names(&mut self, description: &Description) -> Result<Vec<(Place, String)>, DriverError> {
        let Some(pattern) = &description.names else {
            return Ok(Vec::new());
        };
        let prefix = pattern.prefix();
        let mut at = prefix.clone();
        let mut found = Vec::new();
        for _ in 0..OUTLETS_MAX {
            let binding = self.ask(Question::Next(at))?;
            if binding.value == Value::EndOfMibView || binding.oid.below(&prefix).is_none() {
                return Ok(found);
            }
            if let Some(place) = pattern.place_of(&binding.oid) {
                found.push((place, name_text(&binding.value)));
            }
            at = binding.oid;
        }
        Err(DriverError::EndlessTable)
    }

    /// The outlets of the PDU, with their states if wanted.
    ///
    /// # Errors
    /// No answer. A state that cannot be read is no error here: the outlet is listed without.
    pub fn list(&mut self, states: ListStates) -> Result<Vec<Listed>, DriverError> {
        let description = self.describe()?;
        let names = self.names(&description)?;
        match &description.names {
            // Nothing was asked yet, and somebody who lists wants to know that the PDU is there.
            None => self.greet()?,
            Some(pattern) if names.is_empty() => {
                return Err(DriverError::NoOutlets {
                    prefix: pattern.prefix(),
                    kind: description.name,
                });
            }
            Some(_) => {}
        }
        let mut listed = Vec::new();
        for (place, name) in names {
            let reading = match states {
                ListStates::Without => None,
                ListStates::With => match self.ask(Question::Get(description.status.at(place))) {
                    Ok(binding) => Some(description.reading(&binding.value)),
                    Err(DriverError::Session(
                        SessionError::NoSuchObject { .. } | SessionError::Refused { .. },
                    )) => Some(Reading::Unclear),
                    Err(error) => return Err(error),
                },
            };
            listed.push(Listed {
                label: description.label(place),
                name,
                reading,
            });
        }
        Ok(listed)
    }

    /// Reads every outlet of the node once.
    ///
    /// # Errors
    /// Any outlet that cannot be read: the power state is then unknown.
    pub fn read_power(&mut self) -> Result<Round, DriverError> {
        let Some(description) = self.description.clone() else {
            return Ok(Round {
                outlets: Vec::new(),
            });
        };
        let mut outlets = Vec::new();
        for place in self.places.clone() {
            let binding = self.ask(Question::Get(description.status.at(place)))?;
            let reading = description.reading(&binding.value);
            outlets.push((description.label(place), reading, binding.value));
        }
        let round = Round { outlets };
        self.tell(&round.words());
        Ok(round)
    }

    /// Carries out a plan to its end.
    ///
    /// # Errors
    /// Any failed read or command ends it: the power state is then unknown.
    pub fn carry_out(&mut self, mut plan: SwitchPlan) -> Result<SwitchEnd, DriverError> {
        loop {
            match plan.next(Instant::now()) {
                Step::Read => {
                    let round = self.read_power()?;
                    plan.on_read(Instant::now(), &round.readings());
                    self.last = Some(round);
                }
                Step::Command => {
                    self.command(plan.goal())?;
                    plan.on_commanded(Instant::now());
                }
                Step::PauseUntil(at) => self.pause_until(at)?,
                Step::Finished(end) => return Ok(end),
            }
        }
    }

    /// What the last round of a plan read, in words.
    pub fn last_words(&self) -> String {
        self.last.as_ref().map_or_else(String::new, Round::words)
    }

    /// Commands every outlet. An acknowledgement proves nothing and its absence proves nothing either: after
    /// a command without answer the reads decide (hazard R24: ask for status, do not send off again).
    fn command(&mut self, goal: Goal) -> Result<(), DriverError> {
        let Some(description) = self.description.clone() else {
            return Ok(());
        };
        let Command { object, value } = match goal {
            Goal::On => &description.on,
            Goal::Off => &description.off,
        };
        for place in self.places.clone() {
            let label = description.label(place);
            match self.ask(Question::Set(object.at(place), *value)) {
                Ok(_) => self.tell(&format!("commanded outlet {label} {goal:?}")),
                Err(DriverError::Session(error @ SessionError::NoAnswer { .. })) => {
                    self.tell(&format!("commanded outlet {label} {goal:?}, but: {error}"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Asks until there is an answer. Every question here may be repeated without harm.
    fn ask(&mut self, question: Question) -> Result<Binding, DriverError> {
        let now = Instant::now();
        if now >= self.deadline {
            return Err(DriverError::TimeOver);
        }
        let patience = if self.met {
            self.settings.question_timeout
        } else {
            // The first question may have to find the engine before it can be asked.
            self.settings
                .question_timeout
                .max(self.settings.login_timeout)
        };
        let until = self.deadline.min(now + patience.max(TICK));
        self.session.ask(now, question);
        let error = match self.pump(until) {
            Progress::Answered(binding) => {
                self.met = true;
                return Ok(binding);
            }
            Progress::Failed(error) => error,
            Progress::Waiting if Instant::now() >= self.deadline => {
                return Err(DriverError::TimeOver);
            }
            Progress::Waiting => self.session.give_up(),
        };
        // A PDU that lacks an object has answered; the words about a login would mislead.
        let answered = matches!(
            error,
            SessionError::NoSuchObject { .. }
                | SessionError::Refused { .. }
                | SessionError::OtherObject { .. }
        );
        if self.met || answered {
            self.met = true;
            Err(DriverError::Session(error))
        } else {
            Err(DriverError::Login(error))
        }
    }

    /// Moves datagrams and time until the session has something to say, or until `until`.
    fn pump(&mut self, until: Instant) -> Progress {
        let mut buffer = [0; DATAGRAM_MAX];
        loop {
            while let Some(datagram) = self.session.datagram() {
                // An unreachable PDU looks like a lost packet: repetition and deadline deal with it.
                let _ = self.socket.send(&datagram);
            }
            match self.session.progress() {
                Progress::Waiting => {}
                progress @ (Progress::Answered(_) | Progress::Failed(_)) => return progress,
            }
            let now = Instant::now();
            if now >= until {
                return Progress::Waiting;
            }
            let wake = self.session.wake_at().unwrap_or(until).min(until);
            let wait = wake.saturating_duration_since(now).max(TICK);
            // Only a zero duration is refused, and TICK is not zero.
            let _ = self.socket.set_read_timeout(Some(wait));
            if let Ok(length) = self.socket.recv(&mut buffer) {
                self.session.on_datagram(Instant::now(), &buffer[..length]);
            }
            self.session.on_wake(Instant::now());
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

/// Whether a list holds states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListStates {
    /// It does not.
    Without,
    /// It does.
    With,
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

fn find_name(wanted: &str, names: &[(Place, String)]) -> Result<Place, DriverError> {
    let mut found = names.iter().filter(|(_, name)| name == wanted);
    let name = wanted.escape_default().to_string();
    match (found.next(), found.next()) {
        (Some((place, _)), None) => Ok(*place),
        (None, _) => Err(DriverError::NoSuchName { name }),
        (Some(_), Some(_)) => Err(DriverError::SeveralOfName { name }),
    }
}

fn name_text(value: &Value) -> String {
    match value {
        Value::Octets(bytes) => String::from_utf8_lossy(bytes)
            .trim_matches(['\0', ' '])
            .to_owned(),
        Value::Null
        | Value::Integer(_)
        | Value::Oid(_)
        | Value::Unsigned(_)
        | Value::NoSuchObject
        | Value::NoSuchInstance
        | Value::EndOfMibView
        | Value::Other(_) => value.to_string(),
    }
}

fn draw_seeds() -> Result<Seeds, DriverError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| DriverError::Random)?;
    let [a, b, c, d, e, f, g, h, salt @ ..] = bytes;
    Ok(Seeds {
        request_id: u32::from_be_bytes([a, b, c, d]),
        message_id: u32::from_be_bytes([e, f, g, h]),
        salt: u64::from_be_bytes(salt),
    })
}

/// Turns the host into an address. A literal needs no resolver; a name is resolved in a thread, because
/// the system's resolver knows no deadline.
fn resolve(settings: &Settings) -> Result<SocketAddr, DriverError> {
    if let Ok(literal) = settings.host.parse::<IpAddr>() {
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
