//! Bytes read as a script: small numbers, and parts with a length before them.
//!
//! A script that ends early ends whatever it drives; it is never an error.

/// What is left of a script.
pub(crate) struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// A number of 32 bits; the bytes that are missing are zero.
    pub(crate) fn number(&mut self) -> u32 {
        let bytes = self.up_to(4);
        bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte))
    }

    /// A number of 64 bits.
    pub(crate) fn long(&mut self) -> u64 {
        u64::from(self.number()) << 32 | u64::from(self.number())
    }

    /// As many bytes as the byte before them says, or what is left.
    pub(crate) fn part(&mut self) -> &'a [u8] {
        let count = usize::from(self.byte().unwrap_or(0));
        self.up_to(count)
    }

    /// At most so many bytes.
    pub(crate) fn up_to(&mut self, count: usize) -> &'a [u8] {
        let (part, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        part
    }

    /// Everything that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// `bytes` with one byte changed; unchanged when it is empty.
    pub(crate) fn changed(&mut self, bytes: &[u8]) -> (Vec<u8>, usize) {
        let mut bytes = bytes.to_vec();
        let place = usize::from(self.byte().unwrap_or(0)) % bytes.len().max(1);
        let mask = self.byte().unwrap_or(0).max(1);
        if let Some(byte) = bytes.get_mut(place) {
            *byte ^= mask;
        }
        (bytes, place)
    }
}

/// Wants a secret to be in none of these texts.
pub(crate) fn keeps(secret: &str, texts: &[&str]) {
    for text in texts {
        assert!(!text.contains(secret), "a secret is told: {text}");
    }
}
