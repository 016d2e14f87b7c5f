//! Text that must not be seen: passwords and keys on their way to a device.
//!
//! A [`Secret`] has no `Debug`, no `Display` and no serialisation, so a log line that names one does
//! not compile, and its bytes are overwritten when it is dropped. It does not lock memory and does
//! not hide from a debugger of the same user.

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
/// alone: replacing every `a` would only tell the reader what the password is. A secret that contains
/// another is taken out first, or the rest of it would stay.
pub fn redact<'a>(text: &str, secrets: impl IntoIterator<Item = &'a Secret>) -> String {
    let mut secrets: Vec<&Secret> = secrets
        .into_iter()
        .filter(|secret| secret.0.len() >= 3)
        .collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.0.len()));
    let mut clean = text.to_owned();
    for secret in secrets {
        clean = clean.replace(&secret.0, "[secret]");
    }
    clean
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
    fn a_very_short_secret_does_not_shred_the_text() {
        let secret = Secret::new("a".to_owned());
        assert_eq!(redact("bad answer", [&secret]), "bad answer");
    }
}
