//! SBD sectors: header, slots and mailboxes of a disk that anybody may have written to.
//!
//! What decodes, encodes to the same meaning; a pill is one of three numbers and nothing else; what is shown
//! of a name has no control characters.

use haft_fence_sbd::disk::{Header, Mailbox, SectorSize, Slot, SlotName};

/// See the module.
pub(crate) fn run(bytes: &[u8]) {
    let _ = Header::stated_sector_size(bytes);
    for size in SectorSize::ALL {
        match Header::decode(bytes, size) {
            Ok(header) => {
                let again = header.encode();
                assert_eq!(again.len(), size.bytes());
                assert_eq!(Header::decode(&again, size), Ok(header));
                assert_eq!(Header::stated_sector_size(&again), Some(size));
                assert!(!header.timeouts.to_string().is_empty());
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        let slot = Slot::decode(bytes);
        assert_eq!(Slot::decode(&slot.encode(size)), slot);
        let mailbox = Mailbox::decode(bytes);
        assert_eq!(Mailbox::decode(&mailbox.encode(size)), mailbox);
    }
    let mailbox = Mailbox::decode(bytes);
    let is_pill = matches!(bytes.first(), Some(2 | 3 | 5));
    assert_eq!(mailbox.word.pill().is_some(), is_pill);
    let taken = match Slot::decode(bytes) {
        Slot::Taken(name) => name,
        Slot::Free => None,
    };
    for name in [taken, mailbox.from].into_iter().flatten() {
        shown(&name);
    }
}

fn shown(name: &SlotName) {
    let text = format!("{name}{name:?}");
    assert!(!text.chars().any(char::is_control), "{text:?}");
    if let Some(text) = name.as_text()
        && let Ok(same) = SlotName::new(text)
    {
        assert_eq!(same, *name);
    }
    assert!(name.same_node(name));
}
