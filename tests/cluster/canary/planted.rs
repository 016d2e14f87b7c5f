//! The search for secrets finds a canary that is planted: in every form, and in each kind of place that the story
//! of a whole cluster is searched in.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use haft_tests::canary::{Search, Sightings};

use super::{PASSWORD, Running};

#[test]
fn the_search_finds_a_planted_canary_in_every_form_and_place() {
    let secret: Vec<u8> = [PASSWORD.as_bytes(), &[0xFB, 0xFF, 0xFE, 0x00]].concat();
    let search = Search::new([("it", secret.as_slice())]);
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let colons: Vec<String> = secret.iter().map(|byte| format!("{byte:02X}")).collect();
    let escaped: String = secret.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let percent: String = secret.iter().map(|byte| format!("%{byte:02X}")).collect();
    let mut texts = vec![
        format!("key={secret:?}"),
        format!("key={secret:#?}"),
        hex.clone(),
        hex.to_uppercase(),
        colons.join(":"),
        escaped,
        percent,
    ];
    for before in 0..3 {
        let shifted = [&b"ab"[..before.min(2)], &secret, b"tail"].concat();
        let text = STANDARD.encode(shifted);
        texts.push(text.replace('+', "-").replace('/', "_"));
        texts.push(text[..20].to_owned() + "\n" + &text[20..]);
    }
    for text in texts {
        let line = format!("2026-01-01 TRACE it is {text}, see?");
        assert!(!search.find(line.as_bytes()).is_empty(), "{text}");
    }
    assert!(
        search
            .find(format!("{PASSWORD} and no more").as_bytes())
            .is_empty()
    );
    planted_in_places();
}

/// A canary in a file, in a file's name, in arguments and in an environment.
fn planted_in_places() {
    let search = Search::new([("it", PASSWORD.as_bytes())]);
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("a")).unwrap();
    fs::write(
        folder.path().join("a/000012.sst"),
        format!("\0\u{1}{PASSWORD}\0"),
    )
    .unwrap();
    fs::write(folder.path().join(PASSWORD), "nothing").unwrap();
    assert_eq!(search.find_below(folder.path()).len(), 2);
    let holder = Command::new("sh")
        .args(["-c", "read -r line; :", PASSWORD])
        .env("HAFT_PLANTED", PASSWORD)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let holder = Running(holder);
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut sightings = Sightings::default();
    let wanted = ["arguments", "environment"]
        .map(|what| format!("it (plain) in {what} of {}", holder.0.id()));
    while !wanted.iter().all(|leak| sightings.leaks.contains(leak)) {
        assert!(Instant::now() < deadline, "{:?}", sightings.leaks);
        search.find_in_processes(&mut sightings);
    }
}
