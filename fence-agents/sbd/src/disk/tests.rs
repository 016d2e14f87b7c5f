//! The format against bytes that Debian's sbd 1.5.2 wrote, by round trips, and against noise.
//!
//! The ClusterLabs tool itself reads and writes beside us in the suite tests/agents.

use proptest::prelude::*;

use super::*;

/// Sector 0 as the tool wrote it with `-1 15 -4 30`; the rest of the sector is zero.
const TOOL_HEADER: &str = "5342445f5342445f02ff0000000002000000000f00000002000000010000001e\
                           01aa1848943bb34ac59cc107c02317d0ab";

fn sector(hex: &str, size: SectorSize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    bytes.resize(size.bytes(), 0);
    bytes
}

fn name(text: &str) -> SlotName {
    SlotName::new(text).unwrap()
}

#[test]
fn the_header_is_the_tools_to_the_byte() {
    let bytes = sector(TOOL_HEADER, SectorSize::B512);
    let header = Header::decode(&bytes, SectorSize::B512).unwrap();
    let expected = Timeouts {
        watchdog: 15,
        allocate: 2,
        loop_: 1,
        msgwait: 30,
    };
    assert_eq!(header.timeouts, expected);
    assert_eq!((header.slots, header.minor_version), (255, 1));
    let uuid = header.uuid.unwrap();
    assert_eq!(uuid.to_string(), "aa184894-3bb3-4ac5-9cc1-07c02317d0ab");
    assert_eq!(header.encode(), bytes);
    assert_eq!(
        Header::new(SectorSize::B512, expected, uuid).encode(),
        bytes
    );
}

#[test]
fn slots_and_mailboxes_are_the_tools_to_the_byte() {
    let size = SectorSize::B512;
    let slot = sector("014e6f646541", size);
    assert_eq!(Slot::decode(&slot), Slot::Taken(Some(name("NodeA"))));
    assert_eq!(Slot::Taken(Some(name("NodeA"))).encode(size), slot);
    let reset = sector("026e6f646542", size);
    let mailbox = Mailbox::message(Message::Pill(Pill::Reset), name("nodeB"));
    assert_eq!(Mailbox::decode(&reset), mailbox);
    assert_eq!(mailbox.encode(size), reset);
    let empty = sector("", size);
    assert_eq!(Mailbox::decode(&empty), Mailbox::EMPTY);
    assert_eq!(Mailbox::EMPTY.encode(size), empty);
    assert_eq!(Slot::decode(&empty), Slot::Free);
}

#[test]
fn slots_lie_where_the_format_has_them() {
    let last = SlotNumber::new(254).unwrap();
    assert_eq!(
        (last.slot_sector().get(), last.mailbox_sector().get()),
        (509, 510)
    );
    assert_eq!(SlotNumber::new(255), None);
    assert_eq!(SlotNumber::first(255).count(), 255);
    assert_eq!(SectorSize::B512.span(), 261_632);
    assert_eq!(SectorSize::B4096.span(), 2_093_056);
}

#[test]
fn every_message_has_its_number_and_name() {
    let numbers = [0, 1, 2, 3, 4, 5];
    let names = ["clear", "test", "reset", "off", "exit", "crashdump"];
    for ((message, number), name) in Message::ALL.into_iter().zip(numbers).zip(names) {
        assert_eq!((message.number(), message.name()), (number, name));
        assert_eq!(Message::from_name(name), Some(message));
        assert_eq!(Word::from_number(number), Word::Known(message));
    }
    assert_eq!(
        Message::from_name("Off"),
        None,
        "the tool's names are exact"
    );
}

#[test]
fn an_unknown_word_is_kept_and_is_no_pill() {
    for number in [6, 7, 127, -1, -128] {
        let word = Word::from_number(number);
        assert_eq!(word, Word::Unknown(number));
        assert_eq!((word.pill(), word.number()), (None, number));
        assert_eq!(word.to_string(), "undefined");
    }
}

#[test]
fn a_header_that_is_none_is_refused_with_its_reason() {
    let size = SectorSize::B512;
    let good = sector(TOOL_HEADER, size);
    let spoiled = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Header::decode(&bytes, size)
    };
    assert_eq!(spoiled(7, 0), Err(HeaderError::Magic));
    assert_eq!(spoiled(8, 3), Err(HeaderError::Version(3)));
    let wrong_size = HeaderError::SectorSize {
        stated: 4096,
        actual: 512,
    };
    assert_eq!(spoiled(14, 0x10), Err(wrong_size));
    assert_eq!(
        Header::decode(&good, SectorSize::B4096),
        Err(HeaderError::SectorSize {
            stated: 512,
            actual: 4096
        })
    );
    for length in 0..49 {
        assert_eq!(
            Header::decode(&good[..length], size),
            Err(HeaderError::Short(length))
        );
    }
    assert_eq!(Header::decode(&[0; 512], size), Err(HeaderError::Magic));
}

#[test]
fn an_old_header_without_identity_is_read() {
    let mut bytes = sector(TOOL_HEADER, SectorSize::B512);
    bytes[32] = 0;
    let header = Header::decode(&bytes, SectorSize::B512).unwrap();
    assert_eq!((header.uuid, header.minor_version), (None, 0));
}

#[test]
fn names_are_bounded_and_compared_without_case() {
    assert_eq!(SlotName::new(""), Err(NameError::Empty));
    assert!(SlotName::new(&"x".repeat(63)).is_ok());
    assert_eq!(SlotName::new(&"x".repeat(64)), Err(NameError::Long(64)));
    for bad in ["a b", "a\tb", "a\nb", "a\0b"] {
        assert_eq!(SlotName::new(bad), Err(NameError::Control), "{bad:?}");
    }
    assert!(name("NodeA").same_node(&name("nodea")));
    assert!(!name("nodea").same_node(&name("nodea2")));
}

#[test]
fn a_name_that_is_no_text_is_kept_shown_and_written_back() {
    let mut bytes = sector("01", SectorSize::B512);
    bytes[1..5].copy_from_slice(b"a\xff\tb");
    let Slot::Taken(Some(odd)) = Slot::decode(&bytes) else {
        panic!("the slot is taken");
    };
    assert_eq!(
        (odd.as_text(), odd.to_string().as_str()),
        (None, "a\\xff\\tb")
    );
    assert_eq!(Slot::Taken(Some(odd)).encode(SectorSize::B512), bytes);
}

#[test]
fn a_name_without_its_final_nul_ends_at_63_bytes() {
    let mut bytes = sector("01", SectorSize::B512);
    bytes[1..100].fill(b'x');
    let Slot::Taken(Some(long)) = Slot::decode(&bytes) else {
        panic!("the slot is taken");
    };
    assert_eq!(long, name(&"x".repeat(63)));
}

#[test]
fn a_taken_slot_without_a_name_belongs_to_nobody() {
    let slot = Slot::decode(&sector("01", SectorSize::B512));
    assert_eq!(slot, Slot::Taken(None));
    assert!(!slot.belongs_to(&name("a")));
}

/// A stream of numbers that a seed determines (splitmix64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Replays with `HAFT_SEED`; every failure names the seed and the round.
#[test]
fn noise_never_panics_and_what_decodes_encodes_to_the_same_meaning() {
    let given = std::env::var("HAFT_SEED").ok();
    let seed = given.map_or_else(
        || {
            let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            u64::try_from(clock.unwrap().as_nanos() & u128::from(u64::MAX)).unwrap()
        },
        |text| text.parse().unwrap(),
    );
    println!("HAFT_SEED={seed}");
    let mut noise = Noise(seed);
    let good = sector(TOOL_HEADER, SectorSize::B512);
    let mut headers = 0;
    for round in 0..20_000 {
        let size = SectorSize::ALL[usize::from(noise.next().is_multiple_of(8))];
        // Half of the rounds spoil a good header in a few places, so that more than the magic is tried.
        let mut bytes = if noise.next().is_multiple_of(2) {
            good.clone()
        } else {
            (0..size.bytes())
                .map(|_| noise.next().to_le_bytes()[0])
                .collect()
        };
        for _ in 0..noise.next() % 6 {
            let at = usize::try_from(noise.next()).unwrap() % bytes.len();
            bytes[at % 64] = noise.next().to_le_bytes()[0];
        }
        bytes.truncate(usize::try_from(noise.next()).unwrap() % (bytes.len() * 2));
        if let Ok(header) = Header::decode(&bytes, size) {
            headers += 1;
            let again = Header::decode(&header.encode(), size);
            assert_eq!(again, Ok(header), "HAFT_SEED={seed} round {round}");
        }
        let _ = Header::stated_sector_size(&bytes);
        let slot = Slot::decode(&bytes);
        assert_eq!(
            Slot::decode(&slot.encode(size)),
            slot,
            "HAFT_SEED={seed} round {round}"
        );
        let mailbox = Mailbox::decode(&bytes);
        assert_eq!(
            Mailbox::decode(&mailbox.encode(size)),
            mailbox,
            "HAFT_SEED={seed} round {round}"
        );
        let _ = (format!("{slot:?}"), mailbox.word.to_string());
    }
    assert!(
        headers > 100,
        "HAFT_SEED={seed}: only {headers} headers were read"
    );
}

fn any_size() -> impl Strategy<Value = SectorSize> {
    prop_oneof![Just(SectorSize::B512), Just(SectorSize::B4096)]
}

proptest! {
    #[test]
    fn headers_survive_the_round_trip(
        size in any_size(), numbers: [u32; 4], uuid: [u8; 16], slots: u8,
    ) {
        let [watchdog, allocate, loop_, msgwait] = numbers;
        let timeouts = Timeouts { watchdog, allocate, loop_, msgwait };
        let header = Header { slots, ..Header::new(size, timeouts, Uuid(uuid)) };
        let bytes = header.encode();
        prop_assert_eq!(bytes.len(), size.bytes());
        prop_assert_eq!(Header::decode(&bytes, size), Ok(header));
        prop_assert_eq!(Header::stated_sector_size(&bytes), Some(size));
    }

    #[test]
    fn mailboxes_and_slots_survive_the_round_trip(
        size in any_size(), number: i8, text in "[!-~]{1,63}",
    ) {
        let mailbox = Mailbox { word: Word::from_number(number), from: Some(name(&text)) };
        prop_assert_eq!(Mailbox::decode(&mailbox.encode(size)), mailbox);
        let slot = Slot::Taken(Some(name(&text)));
        prop_assert_eq!(Slot::decode(&slot.encode(size)), slot);
    }
}
