//! A node's mailbox: one word, and who left it.
//!
//! The word is a signed byte. A word that this program does not know is kept as it is: what to do
//! about it differs between reading (show it) and obeying (the watcher clears it, as the tool does).

use std::fmt;

use super::SectorSize;
use super::slot::SlotName;

/// A pill: what the owner of the mailbox must do to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pill {
    /// Reset at once.
    Reset,
    /// Power off at once.
    Off,
    /// Crash with a dump.
    CrashDump,
}

/// A message of the protocol, by its number on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Message {
    /// 0: nothing to do.
    Clear,
    /// 1: say that you are there, by clearing it.
    Test,
    /// 2, 3 and 5.
    Pill(Pill),
    /// 4: stop watching, in good order.
    Exit,
}

impl Message {
    /// Every message, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Clear,
        Self::Test,
        Self::Pill(Pill::Reset),
        Self::Pill(Pill::Off),
        Self::Exit,
        Self::Pill(Pill::CrashDump),
    ];

    /// The number on the disk.
    pub const fn number(self) -> i8 {
        match self {
            Self::Clear => 0,
            Self::Test => 1,
            Self::Pill(Pill::Reset) => 2,
            Self::Pill(Pill::Off) => 3,
            Self::Exit => 4,
            Self::Pill(Pill::CrashDump) => 5,
        }
    }

    /// The name that people type.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Test => "test",
            Self::Pill(pill) => pill.name(),
            Self::Exit => "exit",
        }
    }

    /// The message of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|message| message.name() == name)
    }
}

impl Pill {
    /// The name that people type.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Off => "off",
            Self::CrashDump => "crashdump",
        }
    }
}

/// The word in a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// A message of the protocol.
    Known(Message),
    /// Anything else, as found.
    Unknown(i8),
}

impl Word {
    /// From the byte on the disk.
    pub fn from_number(number: i8) -> Self {
        Message::ALL
            .into_iter()
            .find(|message| message.number() == number)
            .map_or(Self::Unknown(number), Self::Known)
    }

    /// The byte on the disk.
    pub const fn number(self) -> i8 {
        match self {
            Self::Known(message) => message.number(),
            Self::Unknown(number) => number,
        }
    }

    /// The pill, if it is one.
    pub const fn pill(self) -> Option<Pill> {
        match self {
            Self::Known(Message::Pill(pill)) => Some(pill),
            Self::Known(Message::Clear | Message::Test | Message::Exit) | Self::Unknown(_) => None,
        }
    }
}

impl fmt::Display for Word {
    /// The tool's words; what it does not know it calls `undefined`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(message) => out.write_str(message.name()),
            Self::Unknown(_) => out.write_str("undefined"),
        }
    }
}

/// What a mailbox's sector says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// The word.
    pub word: Word,
    /// Who left it; empty when the owner cleared it itself.
    pub from: Option<SlotName>,
}

impl Mailbox {
    /// An empty mailbox, as its owner leaves it.
    pub const EMPTY: Self = Self {
        word: Word::Known(Message::Clear),
        from: None,
    };

    /// A message from somebody.
    pub const fn message(message: Message, from: SlotName) -> Self {
        Self {
            word: Word::Known(message),
            from: Some(from),
        }
    }

    /// The sector's bytes.
    pub fn encode(&self, size: SectorSize) -> Vec<u8> {
        let mut bytes = vec![0; size.bytes()];
        bytes[0] = self.word.number().cast_unsigned();
        if let Some(from) = &self.from {
            from.put(&mut bytes[1..]);
        }
        bytes
    }

    /// Reads a sector; bytes that are missing count as zero.
    pub fn decode(bytes: &[u8]) -> Self {
        let number = bytes.first().copied().unwrap_or(0).cast_signed();
        let field = bytes.get(1..).unwrap_or(&[]);
        Self {
            word: Word::from_number(number),
            from: SlotName::from_field(&field[..field.len().min(64)]),
        }
    }
}
