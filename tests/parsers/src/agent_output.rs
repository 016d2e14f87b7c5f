//! What agents of other makers print, as haft reads it: exit codes and words, lists, metadata.
//!
//! Off is read from exit code 2 of `status` and from nothing else, never beside words that say on; names of
//! plugs fit into a line; a reason is short and printable; secrets are taken out of what is kept.

use haft_fence_protocol::caller::{Exit, Metadata, Outcome, Plugs, interpret};
use haft_fence_protocol::secret::redact;
use haft_fence_protocol::{Action, Secret};

use crate::script::Script;

/// See the module.
pub(crate) fn run(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let action = Action::ALL[usize::from(script.byte().unwrap_or(0)) % Action::ALL.len()];
    let exit = match script.byte().unwrap_or(0) {
        signal @ 200.. => Exit::Signal(i32::from(signal) - 199),
        code => Exit::Code(i32::from(code) - 1),
    };
    let text = String::from_utf8_lossy(script.rest()).into_owned();
    let mut texts = text.splitn(4, '\0');
    let mut next = || texts.next().unwrap_or("");
    let (stdout, stderr, one, other) = (next(), next(), next(), next());
    weigh(action, exit, stdout, stderr);
    plugs(stdout);
    if let Some(metadata) = Metadata::scan(stdout) {
        assert!(!metadata.actions.is_empty());
        let _ = (metadata.host(), metadata.offers(action));
    }
    redacted(stdout, one, other);
}

fn weigh(action: Action, exit: Exit, stdout: &str, stderr: &str) {
    let lower = stdout.to_ascii_lowercase();
    match interpret(action, exit, stdout, stderr) {
        Outcome::Off => {
            assert_eq!((action, exit), (Action::Status, Exit::Code(2)));
            assert!(!lower.contains("status: on"));
        }
        Outcome::On => {
            assert_eq!((action, exit), (Action::Status, Exit::Code(0)));
            assert!(!lower.contains("status: off"));
        }
        Outcome::Done => {
            let reachable = action == Action::Monitor && exit == Exit::Code(2);
            assert!(exit == Exit::Code(0) || reachable);
            assert!(action != Action::Off || !lower.contains("success: rebooted"));
        }
        Outcome::Failed { reason, .. } => {
            assert!(reason.chars().count() <= 300);
            assert!(!reason.chars().any(char::is_control), "{reason:?}");
        }
        Outcome::TimedOut | Outcome::NotRunnable { .. } => panic!("it ran to its end"),
    }
}

fn plugs(stdout: &str) {
    let plugs = Plugs::scan(stdout);
    assert!(plugs.iter().count() <= 4096);
    for name in plugs.iter() {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
        assert!(!name.is_empty() && name.chars().all(plain), "{name:?}");
        assert!(plugs.contains(&name.to_ascii_uppercase()));
    }
}

/// Neither of two secrets is left, also where one is a part of the other.
fn redacted(text: &str, one: &str, other: &str) {
    let given = [one, other];
    let usual = |secret: &&str| {
        secret.len() >= 3
            && secret.chars().all(|letter| letter.is_ascii_alphanumeric())
            // What stands in their place is no leak.
            && !"secret".contains(*secret)
    };
    if !given.iter().all(usual) {
        return;
    }
    let secrets = given.map(|secret| Secret::new(secret.to_owned()));
    let clean = redact(text, &secrets);
    assert!(!given.iter().any(|secret| clean.contains(secret)));
    let longer = if one.len() > other.len() { one } else { other };
    // Nothing of a secret is left beside its place, whatever the order in which they are given.
    let swapped = redact(text, secrets.iter().rev());
    assert_eq!(clean, swapped, "{longer}");
}
