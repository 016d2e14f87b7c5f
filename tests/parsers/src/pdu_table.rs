//! A PDU described by its user: identifiers with places for an outlet, and the numbers of on and off.
//!
//! A description is whole or refused; on and off are never the same; and an outlet's place is read back from
//! the identifier that the description makes of it.

use haft_fence_pdu::outlets::{Description, Plug};
use haft_fence_pdu::power::Reading;
use haft_fence_pdu::settings::{PduChoice, Settings};
use haft_fence_pdu::spec::AGENT;
use haft_fence_pdu::wire::message::Value;
use haft_fence_protocol::agent::read_stdin;

use crate::agent_input::{CANARY, names_a_file};
use crate::script::keeps;
use crate::snmp::places;

/// See the module.
pub(crate) fn run(bytes: &[u8]) {
    if String::from_utf8_lossy(bytes).contains(CANARY) {
        return;
    }
    let told = [
        bytes,
        b"\nip=pdu\ncommunity=",
        CANARY.as_bytes(),
        b"\npassword=",
        CANARY.as_bytes(),
        b"\n",
    ]
    .concat();
    let Ok(input) = read_stdin(&AGENT, &told) else {
        return;
    };
    if names_a_file(&AGENT, &input) {
        return;
    }
    match Settings::read(&input) {
        Err(error) => keeps(CANARY, &[&error.to_string(), &format!("{error:?}")]),
        Ok(settings) => {
            plugs(&settings.plugs);
            match &settings.kind {
                PduChoice::Ask => {}
                PduChoice::Known(description) => sound(description),
            }
        }
    }
}

fn sound(description: &Description) {
    assert_ne!(description.says_on, description.says_off);
    assert_ne!(description.on, description.off);
    for pattern in [
        &description.status,
        &description.on.object,
        &description.off.object,
    ] {
        places(pattern);
    }
    description.names.iter().for_each(places);
    for number in [
        description.says_on,
        description.says_off,
        description.says_off + 1,
        0,
        -1,
    ] {
        let off = description.reading(&Value::Integer(number)) == Reading::Off;
        assert_eq!(off, number == description.says_off);
    }
}

fn plugs(plugs: &[Plug]) {
    assert!(plugs.len() <= 16);
    for (index, plug) in plugs.iter().enumerate() {
        assert!(!plugs[..index].contains(plug), "an outlet twice");
    }
}
