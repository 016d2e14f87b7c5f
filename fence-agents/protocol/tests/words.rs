//! Everything that reads text of others: an agent's stdout on the caller's side, stdin on the agent's.
//!
//! Thousands of texts from one seed, which is printed; `HAFT_SEED=N` replays it. None may panic, and
//! no reader may hand on what a line of the contract could not carry. What exit codes and words together
//! mean is tested beside `caller::outcome`.

#![expect(clippy::print_stdout, reason = "a random test tells its seed")]

use std::time::SystemTime;

use haft_fence_protocol::agent::options::{ActionSpec, AgentSpec, Kind, Need, OptionSpec};
use haft_fence_protocol::agent::{read_argv, read_stdin};
use haft_fence_protocol::caller::{Metadata, Parameter, Plugs};

const TEXTS: u32 = 20_000;

/// Pieces that mean something to some reader.
const PIECES: [&str; 40] = [
    "<resource-agent name=\"x\">",
    "<resource-agent",
    "<parameter name=\"plug\"",
    "<parameter name='port'>",
    "<action name=\"on\" automatic=\"1\"/>",
    "<action name=\"off\" />",
    "name=",
    "\"",
    "'",
    "<",
    ">",
    "/>",
    "</",
    "é",
    "\u{0}",
    "\u{feff}",
    "\n",
    "\r\n",
    "\\n",
    " ",
    "\t",
    ",",
    ";",
    "=",
    "on",
    "off",
    "N/A",
    "invalid",
    "variable",
    "1,node1",
    "node2,2,ON",
    "action=off",
    "  action = off",
    "password=canary",
    "#action=off",
    "passwd",
    "--ip",
    "-a",
    "\u{202e}",
    "automatic=",
];

static OPTIONS: [OptionSpec; 3] = [
    option("action", Kind::Text, 'o'),
    option("password", Kind::Secret, 'p'),
    option("lanplus", Kind::Boolean, 'P'),
];
static ACTIONS: [ActionSpec; 1] = [ActionSpec {
    name: "off",
    automatic: None,
}];
static SPEC: AgentSpec = AgentSpec {
    name: "fence_words",
    short: "",
    long: "",
    options: &OPTIONS,
    actions: &ACTIONS,
};

const fn option(name: &'static str, kind: Kind, letter: char) -> OptionSpec {
    OptionSpec {
        name,
        old_name: None,
        letter: Some(letter),
        value_word: "value",
        kind,
        default: None,
        need: Need::Optional,
        summary: "",
    }
}

/// Sebastiano Vigna's splitmix64: the same numbers everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        usize::try_from(z % u64::try_from(bound).expect("small")).expect("small")
    }

    fn text(&mut self) -> String {
        (0..self.below(30))
            .map(|_| match self.below(4) {
                0 => char::from_u32(u32::try_from(self.below(0x250)).expect("small"))
                    .map_or_else(String::new, String::from),
                _ => PIECES[self.below(PIECES.len())].to_owned(),
            })
            .collect()
    }
}

fn dice() -> Dice {
    let given = std::env::var("HAFT_SEED").ok();
    let seed = given.and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.map_or(1, |since| u64::from(since.subsec_nanos()))
    });
    println!("seed {seed}; replay with HAFT_SEED={seed}");
    Dice(seed)
}

#[test]
fn what_agents_print_is_read_without_panic_and_names_fit_a_line() {
    let mut dice = dice();
    let mut read = 0;
    for _ in 0..TEXTS {
        let text = dice.text();
        if let Some(metadata) = Metadata::scan(&text) {
            read += 1;
            assert!(!metadata.actions.is_empty());
        }
        for name in Plugs::scan(&text).iter() {
            assert!(Parameter::plain("plug", name).is_ok(), "{name:?}");
            assert!(name != "on" && name != "off");
        }
    }
    assert!(read > 0, "some texts are metadata");
}

#[test]
fn what_callers_write_is_read_without_panic_and_no_warning_repeats_a_value() {
    let mut dice = dice();
    for _ in 0..TEXTS {
        let mut bytes = dice.text().into_bytes();
        if dice.below(8) == 0 {
            bytes.push(0xFF);
        }
        if let Ok(input) = read_stdin(&SPEC, &bytes) {
            // The word itself is a piece, so only where it is a value does it stand behind a '='.
            let told = input.warnings.join(" ");
            assert!(!told.contains("=canary"), "{told}");
            if input.action().is_ok() {
                let text = String::from_utf8_lossy(&bytes);
                assert!(text.contains("action="), "{text:?}");
            }
        }
        let words: Vec<String> = (0..dice.below(4)).map(|_| dice.text()).collect();
        let _ = read_argv(&SPEC, &words);
    }
}
