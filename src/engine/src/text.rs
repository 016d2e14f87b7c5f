//! Texts that others said (agents, fence devices, people), cut to a length that the log can bear.
//!
//! A cut text says so and how long it was, so that nobody takes it for the whole. Cutting twice changes nothing:
//! what is compared with a stored text is cut the same way first. Judges no content.

/// Longest word of an owner about its trouble, in bytes, the mark of a cut included.
pub const WHY_MAX: usize = 512;

/// Longest word of a fence device, of a probe, or of a person in an order, in bytes, the mark included.
pub const DETAIL_MAX: usize = 1_024;

/// At most `max` bytes of `text`; what was cut ends with a mark that says how long it was.
pub fn bounded(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mark = format!(" [cut: {} bytes]", text.len());
    let mut end = max.saturating_sub(mark.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{mark}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_left_alone_and_what_does_not_says_that_it_was_cut() {
        assert_eq!(bounded("no carrier", WHY_MAX), "no carrier");
        let long = "ä".repeat(1 << 20);
        let cut = bounded(&long, WHY_MAX);
        assert!(cut.len() <= WHY_MAX);
        assert!(cut.ends_with(" [cut: 2097152 bytes]"), "{cut}");
        assert!(cut.starts_with("ää"));
    }

    #[test]
    fn cutting_a_cut_text_changes_nothing() {
        let cut = bounded(&"x".repeat(9_999), WHY_MAX);
        assert_eq!(bounded(&cut, WHY_MAX), cut);
    }
}
