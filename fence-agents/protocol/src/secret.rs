//! Text that must not be seen: passwords and keys on their way to a device.
//!
//! A [`Secret`] has no `Debug`, no `Display` and no serialisation, so a log line that names one does
//! not compile, and its bytes are overwritten when it is dropped. It does not lock memory and does
//! not hide from a debugger of the same user.

use std::ops::Range;

use zeroize::Zeroize;

/// A secret text. Read it only where it leaves for the device, with [`Secret::expose`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text over. The caller must not keep a copy.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself. Every call is a place to check in review.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Replaces every occurrence of the secrets in `text` by `[secret]`.
///
/// Agents of other makers echo what they were given. Secrets shorter than three bytes are left
/// alone: replacing every `a` would only tell the reader what the password is. Secrets that contain or
/// overlap one another, or themselves, are taken out with everything that any of them covers.
pub fn redact<'a>(text: &str, secrets: impl IntoIterator<Item = &'a Secret>) -> String {
    let mut covered = Vec::new();
    for secret in secrets {
        if secret.0.len() >= 3 {
            occurrences(text, &secret.0, &mut covered);
        }
    }
    covered.sort_unstable_by_key(|range| (range.start, range.end));
    let (mut clean, mut end) = (String::new(), 0);
    for range in covered {
        if end == 0 || range.start >= end {
            clean.push_str(&text[end..range.start]);
            clean.push_str("[secret]");
        }
        end = end.max(range.end);
    }
    clean.push_str(&text[end..]);
    clean
}

/// Where `secret` stands in `text`, also where it overlaps itself.
fn occurrences(text: &str, secret: &str, covered: &mut Vec<Range<usize>>) {
    let step = secret.chars().next().map_or(1, char::len_utf8);
    let mut from = 0;
    while let Some(at) = text[from..].find(secret) {
        let start = from + at;
        covered.push(start..start + secret.len());
        from = start + step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echoed_password_is_taken_out_of_text() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(
            redact("login hunter2 failed (hunter2)", [&secret]),
            "login [secret] failed ([secret])"
        );
    }

    #[test]
    fn nothing_is_left_of_a_secret_that_contains_another() {
        let secrets = ["hunter", "hunter2-of-the-bmc"].map(|text| Secret::new(text.to_owned()));
        assert_eq!(
            redact("hunter2-of-the-bmc, hunter", &secrets),
            "[secret], [secret]"
        );
    }

    #[test]
    fn nothing_is_left_of_secrets_that_overlap() {
        // All found by fuzzing; the order in which secrets are given makes no difference.
        for (secrets, text) in [
            (["hunter2", "er2-bmc"], "hunter2-bmc"),
            (["hunhun", "xyz"], "hunhunhun"),
            (["Qnn", "QQn"], "QQnn"),
            (["éaé", "xyz"], "éaéaé"),
        ] {
            let secrets = secrets.map(|text| Secret::new(text.to_owned()));
            assert_eq!(redact(text, &secrets), "[secret]", "{text}");
            assert_eq!(redact(text, secrets.iter().rev()), "[secret]", "{text}");
            let within = format!("a {text} b {text}");
            assert_eq!(redact(&within, &secrets), "a [secret] b [secret]");
        }
    }

    #[test]
    fn a_very_short_secret_does_not_shred_the_text() {
        let secret = Secret::new("a".to_owned());
        assert_eq!(redact("bad answer", [&secret]), "bad answer");
    }
}
