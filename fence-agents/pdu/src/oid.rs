//! Object identifiers, and patterns of them with places for an outlet and a unit.
//!
//! A pattern is how the table of PDUs states "the state of outlet 7 is at …7". Nothing here knows any
//! MIB.

use std::fmt;

use thiserror::Error;

/// Most numbers in an identifier (RFC 3416, section 2.1).
pub const SUBIDS_MAX: usize = 128;

/// An object identifier: at least two numbers, at most [`SUBIDS_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Oid(Vec<u32>);

/// Why a text or a list of numbers is no identifier or pattern.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OidError {
    /// Not dotted numbers.
    #[error("'{text}' is no object identifier such as 1.3.6.1.4.1.318.1.1")]
    Malformed {
        /// The text as given, cut to 80 characters.
        text: String,
    },
    /// No `{plug}` in a pattern.
    #[error("'{text}' names no outlet; write {{plug}} where its number goes")]
    NoPlug {
        /// The text as given, cut to 80 characters.
        text: String,
    },
}

impl Oid {
    /// Checks numbers: X.660 limits the first to 0..=2 and, below 2, the second to 0..=39.
    pub fn new(subids: Vec<u32>) -> Option<Self> {
        let fits = match subids.as_slice() {
            [0 | 1, second, ..] => *second < 40,
            [2, second, ..] => *second <= u32::MAX - 80,
            _ => false,
        };
        (fits && subids.len() <= SUBIDS_MAX).then_some(Self(subids))
    }

    /// Reads `1.3.6.1`, with or without a leading dot.
    ///
    /// # Errors
    /// [`OidError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, OidError> {
        let numbers: Option<Vec<u32>> = text
            .strip_prefix('.')
            .unwrap_or(text)
            .split('.')
            .map(number)
            .collect();
        numbers
            .and_then(Self::new)
            .ok_or_else(|| OidError::Malformed { text: shown(text) })
    }

    /// The numbers.
    pub fn subids(&self) -> &[u32] {
        &self.0
    }

    /// What follows `prefix`, when this lies below it.
    pub fn below<'a>(&'a self, prefix: &Self) -> Option<&'a [u32]> {
        self.0
            .strip_prefix(prefix.0.as_slice())
            .filter(|rest| !rest.is_empty())
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, subid) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str(".")?;
            }
            write!(out, "{subid}")?;
        }
        Ok(())
    }
}

/// Digits only: `u32::from_str` alone would take a plus sign.
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn shown(text: &str) -> String {
    text.chars()
        .take(80)
        .flat_map(char::escape_default)
        .collect()
}

/// One outlet of a PDU, or of one unit in a row of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The unit, where a MIB has a number for it.
    pub unit: u32,
    /// The outlet's number.
    pub plug: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Fixed(u32),
    Unit,
    Plug,
}

/// An identifier with places, such as `1.3.6.1.4.1.318.1.1.6.7.1.1.5.{unit}.1.{plug}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

impl Pattern {
    /// Reads a pattern; it must hold `{plug}` and may hold `{unit}`.
    ///
    /// # Errors
    /// See [`OidError`].
    pub fn parse(text: &str) -> Result<Self, OidError> {
        let parts: Option<Vec<Part>> = text
            .strip_prefix('.')
            .unwrap_or(text)
            .split('.')
            .map(|part| match part {
                "{plug}" => Some(Part::Plug),
                "{unit}" => Some(Part::Unit),
                digits => number(digits).map(Part::Fixed),
            })
            .collect();
        let malformed = || OidError::Malformed { text: shown(text) };
        let pattern = Self(parts.ok_or_else(malformed)?);
        // Whatever is filled in later, the result must be an identifier, and tables begin after a prefix.
        pattern.checked_prefix().ok_or_else(malformed)?;
        if pattern.0.len() > SUBIDS_MAX {
            return Err(malformed());
        }
        if !pattern.0.contains(&Part::Plug) {
            return Err(OidError::NoPlug { text: shown(text) });
        }
        Ok(pattern)
    }

    /// The identifier for an outlet.
    pub fn at(&self, place: Place) -> Oid {
        Oid(self
            .0
            .iter()
            .map(|part| match *part {
                Part::Fixed(subid) => subid,
                Part::Unit => place.unit,
                Part::Plug => place.plug,
            })
            .collect())
    }

    /// Whether the pattern needs a unit.
    pub fn has_unit(&self) -> bool {
        self.0.contains(&Part::Unit)
    }

    /// The outlet that `oid` is about, when it fits the pattern. A pattern without a unit gives unit 0.
    pub fn place_of(&self, oid: &Oid) -> Option<Place> {
        let mut place = Place { unit: 0, plug: 0 };
        if oid.0.len() != self.0.len() {
            return None;
        }
        for (part, subid) in self.0.iter().zip(&oid.0) {
            match part {
                Part::Fixed(fixed) if fixed == subid => {}
                Part::Fixed(_) => return None,
                Part::Unit => place.unit = *subid,
                Part::Plug => place.plug = *subid,
            }
        }
        Some(place)
    }

    /// The identifier that all outlets have in common: where a walk begins.
    pub fn prefix(&self) -> Oid {
        self.checked_prefix()
            .expect("a pattern begins with two numbers, checked when it was read")
    }

    fn checked_prefix(&self) -> Option<Oid> {
        let fixed = self.0.iter().map_while(|part| match part {
            Part::Fixed(subid) => Some(*subid),
            Part::Unit | Part::Plug => None,
        });
        Oid::new(fixed.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_read_back_and_nonsense_is_refused() {
        for text in ["1.3.6.1.2.1.1.2.0", "2.999.4294967295", "0.39"] {
            assert_eq!(Oid::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Oid::parse(".1.3").unwrap(), Oid::parse("1.3").unwrap());
        for text in [
            "",
            "1",
            "1..3",
            "1.+3",
            "1.40",
            "3.1",
            "1.3.4294967296",
            "1.3.x",
            "..1.3",
        ] {
            assert!(Oid::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_gives_the_identifier_of_an_outlet_and_back() {
        let pattern = Pattern::parse("1.3.6.{unit}.1.{plug}").unwrap();
        let place = Place { unit: 2, plug: 7 };
        let oid = pattern.at(place);
        assert_eq!(oid.to_string(), "1.3.6.2.1.7");
        assert_eq!(pattern.place_of(&oid), Some(place));
        assert_eq!(pattern.prefix().to_string(), "1.3.6");
        for other in ["1.3.6.2.2.7", "1.3.6.2.1", "1.3.6.2.1.7.1"] {
            assert_eq!(
                pattern.place_of(&Oid::parse(other).unwrap()),
                None,
                "{other}"
            );
        }
    }

    #[test]
    fn a_pattern_without_an_outlet_is_refused() {
        assert!(matches!(
            Pattern::parse("1.3.6.1"),
            Err(OidError::NoPlug { .. })
        ));
        for text in ["{plug}", "1.{plug}", "1.3.{socket}", "1.3.%d"] {
            assert!(
                matches!(Pattern::parse(text), Err(OidError::Malformed { .. })),
                "{text}"
            );
        }
    }
}
