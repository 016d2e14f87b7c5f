//! Log entries and states as they come from a disk or from a peer.
//!
//! What decodes, encodes to the same meaning; anything else is an error with words.

use haft_api::persisted::{
    decode_entry, decode_outcomes, decode_state, encode_entry, encode_outcomes, encode_state,
};

/// See the module.
pub(crate) fn run(bytes: &[u8]) {
    match decode_entry(bytes) {
        Ok(entry) => {
            let again = decode_entry(&encode_entry(&entry));
            assert_eq!(again.expect("what we wrote"), entry);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(outcomes) = decode_outcomes(bytes) {
        let again = decode_outcomes(&encode_outcomes(&outcomes));
        assert_eq!(again.expect("what we wrote"), outcomes);
    }
    if let Ok(state) = decode_state(bytes) {
        let again = decode_state(&encode_state(&state));
        assert!(again.expect("what we wrote") == state);
    }
}
