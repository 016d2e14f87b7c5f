//! How haftd and haft-agent say why they end: what is wrong, each cause below it, and what to do.
//!
//! Prints nothing and knows no error. haftctl has a form of its own, with a reason that scripts read
//! (docs/cli.md).

use std::error::Error;

/// The last lines of a process, without a newline at the end.
pub fn told(error: &dyn Error, fix: &str) -> String {
    let mut text = format!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!("\n  because: {cause}"));
        source = cause.source();
    }
    text.push_str(&format!("\n  fix: {}", fix.replace('\n', "\n       ")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("the store cannot be used")]
    struct Outer(#[source] io::Error);

    #[test]
    fn what_causes_and_fix_stand_below_one_another() {
        let error = Outer(io::Error::other("no space"));
        assert_eq!(
            told(&error, "make room"),
            "error: the store cannot be used\n  because: no space\n  fix: make room"
        );
    }
}
