//! A node's slot: whether it is taken, and by whom.
//!
//! Names are bytes. The tool writes what it is given, and nothing keeps another program from writing
//! something that is no UTF-8; such a slot must not make the rest of the disk unreadable. Names are
//! compared without regard to ASCII case, as the tool does (`strncasecmp`).

use std::fmt;

use thiserror::Error;

use super::{SectorSize, put};

/// Longest name in bytes: a field of 64 with a NUL at its end.
pub const NAME_MAX: usize = 63;
/// Field of a name.
const FIELD: usize = 64;

/// Name of a node as it stands on a disk: 1 to 63 bytes without NUL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotName(Vec<u8>);

/// Why a text is no name for a slot.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// Nothing.
    #[error("a node name for an SBD slot cannot be empty")]
    Empty,
    /// Too long for the field.
    #[error("a node name of {0} bytes does not fit an SBD slot (at most {NAME_MAX})")]
    Long(usize),
    /// A byte that would end the name early, or spoil a listing.
    #[error("a node name for an SBD slot cannot hold control characters or white space")]
    Control,
}

impl SlotName {
    /// Checks a name that is to be written.
    ///
    /// # Errors
    /// See [`NameError`]. Stricter than reading: the tool prints names between tabs.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_MAX {
            return Err(NameError::Long(text.len()));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(NameError::Control);
        }
        Ok(Self(text.as_bytes().to_vec()))
    }

    /// Whether it names the same node: ASCII case does not matter.
    pub fn same_node(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }

    /// The name as text, when it is text.
    pub fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Reads a field up to its first NUL, at most [`NAME_MAX`] bytes; `None` when it is empty.
    pub(super) fn from_field(field: &[u8]) -> Option<Self> {
        let end = field.iter().position(|byte| *byte == 0);
        let name = &field[..end.unwrap_or(field.len()).min(NAME_MAX)];
        (!name.is_empty()).then(|| Self(name.to_vec()))
    }

    pub(super) fn put(&self, field: &mut [u8]) {
        put(&mut field[..FIELD], &self.0);
    }
}

impl fmt::Display for SlotName {
    /// Printable whatever is in it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for letter in chunk.valid().chars() {
                if letter.is_control() || letter.is_whitespace() {
                    write!(out, "{}", letter.escape_default())?;
                } else {
                    write!(out, "{letter}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(out, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for SlotName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "'{self}'")
    }
}

/// What a slot's sector says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Nobody's.
    Free,
    /// Somebody's. A taken slot without a name belongs to nobody who could be asked for.
    Taken(Option<SlotName>),
}

impl Slot {
    /// The sector's bytes.
    pub fn encode(&self, size: SectorSize) -> Vec<u8> {
        let mut bytes = vec![0; size.bytes()];
        match self {
            Self::Free => {}
            Self::Taken(name) => {
                bytes[0] = 1;
                if let Some(name) = name {
                    name.put(&mut bytes[1..]);
                }
            }
        }
        bytes
    }

    /// Reads a sector. There are no wrong slots, only free and taken ones; bytes that are missing
    /// count as zero.
    pub fn decode(bytes: &[u8]) -> Self {
        if bytes.first().is_none_or(|in_use| *in_use == 0) {
            return Self::Free;
        }
        let field = bytes.get(1..).unwrap_or(&[]);
        Self::Taken(SlotName::from_field(&field[..field.len().min(FIELD)]))
    }

    /// Whether it is this node's.
    pub fn belongs_to(&self, node: &SlotName) -> bool {
        match self {
            Self::Free | Self::Taken(None) => false,
            Self::Taken(Some(name)) => name.same_node(node),
        }
    }
}
