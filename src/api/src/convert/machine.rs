//! What an agent reports of its kernel, both ways; bounded where it comes in.

use super::{FieldError, resource_from, wrong};
use crate::pb::v1;
use haft_engine::ids::ResourceId;
use haft_engine::keeper::Carrier;
use haft_engine::machine::{
    Carries, Claim, Foreign, Link, Machine, MachineError, NAME_MAX, Prefix, TUNNELS_MAX,
};
use std::net::IpAddr;

/// A report's form.
pub fn machine_into(
    taken_ns: u64,
    links: Vec<Link>,
    foreign: Vec<(IpAddr, Foreign)>,
) -> v1::Machine {
    let link = |link: Link| v1::MachineLink {
        names: link.names,
        carrier: link.carrier == Carrier::Up,
        no_ipv6: match &link.carries {
            Carries::NoIpv6(why) => why.clone(),
            Carries::Any | Carries::Nothing(_) => String::new(),
        },
        nothing: match link.carries {
            Carries::Nothing(why) => why,
            Carries::Any | Carries::NoIpv6(_) => String::new(),
        },
    };
    let address = |(address, found): (IpAddr, Foreign)| v1::MachineAddress {
        address: bytes_of(address),
        prefix: u32::from(found.prefix),
        link: found.link,
    };
    v1::Machine {
        taken_ns,
        links: links.into_iter().map(link).collect(),
        addresses: foreign.into_iter().map(address).collect(),
        partial: false,
        tunnels: Vec::new(),
    }
}

/// A tunnel's form in a report.
pub fn tunnel_into(source: Prefix) -> v1::MachineTunnel {
    v1::MachineTunnel {
        address: bytes_of(source.address),
        prefix: u32::from(source.bits),
    }
}

fn bytes_of(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn address_of(bytes: &[u8], field: &'static str) -> Result<IpAddr, FieldError> {
    match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
        (Ok(v4), _) => Ok(IpAddr::from(v4)),
        (_, Ok(v6)) => Ok(IpAddr::from(v6)),
        (Err(_), Err(_)) => Err(wrong(field, "no IP address", "upgrade")),
    }
}

fn bits_of(prefix: u32, field: &'static str) -> Result<u8, FieldError> {
    u8::try_from(prefix).map_err(|_| wrong(field, "out of bounds", "upgrade"))
}

/// A report.
///
/// # Errors
/// When it is beyond its bounds, or no report.
pub fn machine_from(form: v1::Machine) -> Result<Machine, FieldError> {
    let refused = |error: MachineError| wrong("machine", error.to_string(), "upgrade");
    // Before anything is built of it.
    Machine::holds(form.links.len(), form.addresses.len()).map_err(refused)?;
    let link = |form: v1::MachineLink| Link {
        names: form.names,
        carrier: if form.carrier {
            Carrier::Up
        } else {
            Carrier::Down
        },
        carries: match (form.nothing.is_empty(), form.no_ipv6.is_empty()) {
            (false, _) => Carries::Nothing(form.nothing),
            (true, false) => Carries::NoIpv6(form.no_ipv6),
            (true, true) => Carries::Any,
        },
    };
    let address = |form: v1::MachineAddress| {
        let address = address_of(&form.address, "machine.addresses")?;
        let prefix = bits_of(form.prefix, "machine.addresses.prefix")?;
        let link = form.link;
        Ok((address, Foreign { link, prefix }))
    };
    let links = form.links.into_iter().map(link).collect();
    let foreign = form.addresses.into_iter().map(address);
    let foreign = foreign.collect::<Result<_, _>>()?;
    let tunnel = |form: v1::MachineTunnel| {
        Ok(Prefix {
            address: address_of(&form.address, "machine.tunnels")?,
            bits: bits_of(form.prefix, "machine.tunnels.prefix")?,
        })
    };
    let tunnels = form.tunnels.into_iter().take(TUNNELS_MAX + 1).map(tunnel);
    let tunnels = tunnels.collect::<Result<_, _>>()?;
    let machine = Machine::new(form.taken_ns, links, foreign)
        .and_then(|machine| machine.with_tunnels(tunnels))
        .map_err(refused)?;
    Ok(match form.partial {
        true => machine.as_part(),
        false => machine,
    })
}

/// The report of a rival, or that none is heard any more.
pub fn rival_into(resource: &ResourceId, claim: Option<&Claim>) -> v1::RivalReport {
    v1::RivalReport {
        resource: resource.to_string(),
        mac: claim.map_or_else(Vec::new, |claim| claim.mac.to_vec()),
        link: claim.map_or_else(String::new, |claim| claim.link.clone()),
    }
}

/// The report of a rival.
///
/// # Errors
/// When it names no resource or no hardware address.
pub fn rival_from(form: v1::RivalReport) -> Result<(ResourceId, Option<Claim>), FieldError> {
    let resource = resource_from(&form.resource)?;
    if form.mac.is_empty() {
        return Ok((resource, None));
    }
    let mac = <[u8; 6]>::try_from(form.mac.as_slice())
        .map_err(|_| wrong("rival.mac", "not six bytes", "upgrade"))?;
    if form.link.len() > NAME_MAX {
        return Err(wrong("rival.link", "too long", "upgrade"));
    }
    let link = form.link;
    Ok((resource, Some(Claim { mac, link })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use haft_engine::machine::{ADDRESSES_MAX, LINKS_MAX, NAMES_MAX, REPORT_MAX, WHY_MAX};
    use prost::Message;
    use std::net::Ipv6Addr;

    /// The greatest report of so many interfaces and addresses.
    fn report(links: usize, addresses: usize) -> v1::Machine {
        let name = "x".repeat(NAME_MAX);
        let link = Link {
            names: vec![name.clone(); NAMES_MAX],
            carrier: Carrier::Up,
            carries: Carries::Nothing("x".repeat(WHY_MAX)),
        };
        let address = IpAddr::V6(Ipv6Addr::from(u128::MAX));
        let foreign = Foreign {
            link: name,
            prefix: 128,
        };
        let foreign = vec![(address, foreign); addresses];
        let tunnel = Prefix { address, bits: 128 };
        v1::Machine {
            tunnels: vec![tunnel_into(tunnel); TUNNELS_MAX],
            ..machine_into(u64::MAX, vec![link; links], foreign)
        }
    }

    #[test]
    fn the_greatest_report_passes_and_fits_what_it_is_said_to() {
        let greatest = report(LINKS_MAX, ADDRESSES_MAX);
        assert!(greatest.encoded_len() <= REPORT_MAX);
        assert!(machine_from(greatest).is_ok());
    }

    #[test]
    fn a_report_that_repeats_anything_too_often_is_refused_by_name_and_not_cut_short() {
        let mut names = report(1, 1);
        names.links[0].names.push("y".to_owned());
        let mut why = report(1, 1);
        why.links[0].nothing.push('x');
        let mut tunnels = report(1, 1);
        tunnels.tunnels.push(tunnels.tunnels[0].clone());
        let mut link = report(1, 1);
        link.addresses[0].link.push('x');
        for (form, problem) in [
            (report(LINKS_MAX + 1, 0), "1024 interfaces"),
            (report(0, ADDRESSES_MAX + 1), "4096 addresses"),
            (names, "16 names of an interface"),
            (why, "256 bytes"),
            (tunnels, "256 tunnels"),
            (link, "15 bytes"),
        ] {
            let refused = machine_from(form).unwrap_err();
            assert_eq!(refused.field, "machine");
            assert!(refused.problem.contains(problem), "{}", refused.problem);
        }
    }
}
