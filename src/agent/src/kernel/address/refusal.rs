//! Why an address could not be written, in words that name the interface.
//!
//! Asks the kernel nothing: what is known of the interface is handed in.

use super::super::interface::Interface;
use std::io;
use std::net::IpAddr;

/// Why an address could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteAddressError {
    /// The socket failed, or the kernel did not answer within two seconds: unknown whether done.
    #[error("no answer from the kernel for address {address}")]
    Socket {
        /// The address.
        address: IpAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// Somebody else has put the address on this machine.
    #[error(
        "somebody else has put {address}/{prefix} on {link}: take it away there, or choose another address"
    )]
    Foreign {
        /// The address.
        address: IpAddr,
        /// Its prefix length there.
        prefix: u8,
        /// The interface's name.
        link: String,
    },
    /// It is not on the interface, so that there is nothing to renew.
    #[error("{address} is not on {link}: {why}")]
    Absent {
        /// The address.
        address: IpAddr,
        /// The interface's name.
        link: String,
        /// The kernel's reason, in words.
        why: String,
    },
    /// The kernel refused.
    #[error("the kernel refused {address} on {link}: {why}")]
    Refused {
        /// The address.
        address: IpAddr,
        /// The interface's name.
        link: String,
        /// The kernel's reason, in words.
        why: String,
    },
    /// What is there could not be listed, so nothing is proven.
    #[error("cannot list this machine's addresses: {why}")]
    Unlisted {
        /// Why.
        why: String,
    },
}

/// The kernel's answer in words, by what is known of the interface.
pub(super) fn reason(errno: i32, address: IpAddr, interface: Option<&Interface>) -> String {
    let Some(interface) = interface else {
        return "there is no such interface any more".to_owned();
    };
    if let Some(why) = interface.refusal(address) {
        return why;
    }
    match errno {
        libc::EPERM | libc::EACCES => "haft-agent may not (it needs CAP_NET_ADMIN)".to_owned(),
        libc::ENOBUFS | libc::ENOMEM => "the kernel has no memory for it".to_owned(),
        libc::EADDRNOTAVAIL => "it is not there".to_owned(),
        libc::EEXIST => "somebody else has just put it there".to_owned(),
        other => words(other),
    }
}

/// The system's text without its number.
fn words(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_left_in_a_reason() {
        assert_eq!(words(libc::EINVAL), "invalid argument");
        let gone = reason(libc::ENODEV, IpAddr::from([10, 0, 0, 1]), None);
        assert_eq!(gone, "there is no such interface any more");
    }
}
