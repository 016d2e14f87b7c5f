//! Taking haft off a machine, or clearing up after an agent that died: addresses, then the gate, then the tables.
//!
//! Refused while an agent runs. In this order nothing answers in between: what closed an address goes after it, and
//! stays where somebody else has put the same address on the machine, or a socket would speak from it.

use crate::daemon::{Options, RunError, configured, lock};
use crate::kernel::address::{Addresses, OpenAddressesError, ReadKernelError};
use crate::kernel::gate::{self, Home, NoGate};
use crate::kernel::guard::{Custody, Guard, GuardWriteError, OpenGuardError};
use crate::kernel::sockets::{Closer, Voices};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// For all sockets; a unit's stop waits for this.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// What stays.
#[derive(Debug, thiserror::Error)]
pub enum DismantleError {
    /// An agent runs, or the config cannot be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// No rtnetlink.
    #[error("cannot open the kernel's address interface")]
    Addresses(#[from] OpenAddressesError),
    /// Addresses; nothing else was touched.
    #[error("cannot remove the addresses, which stay closed")]
    Leftovers(#[from] ReadKernelError),
    /// The gate; no address is left.
    #[error("cannot take the gate away")]
    Gate(#[source] io::Error),
    /// The tables; no address is left.
    #[error("cannot open the guard's tables")]
    Open(#[from] OpenGuardError),
    /// The tables; no address is left.
    #[error("cannot take the guard's tables away")]
    Tables(#[from] GuardWriteError),
}

/// Removes everything of haft's from this network namespace, but for what keeps somebody else's copy of an address
/// silent (R13): the address may be another node's by now. Such a copy is named.
///
/// # Errors
/// What stays.
pub async fn dismantle(options: &Options) -> Result<(), DismantleError> {
    let (config, _) = configured(options)?;
    let _only = lock(&config.data_dir).await?;
    match Home::of(config.bpf_fs.as_deref()) {
        Ok(home) => clear_up(Some(&home)),
        // There never was a gate, or only its filters are left.
        Err(NoGate::NoFileSystem { .. }) => clear_up(None),
        Err(error) => Err(DismantleError::Gate(io::Error::other(error))),
    }
}

/// What sockets would do with addresses that are gone.
#[derive(Default)]
struct Sockets {
    silent: Vec<IpAddr>,
    speak: Vec<IpAddr>,
    /// Not known in time: a program hangs.
    unanswered: Vec<IpAddr>,
}

fn by_sockets(gone: Vec<IpAddr>) -> Sockets {
    let mut found = Sockets::default();
    let asked: Vec<IpAddr> = gone.iter().copied().filter(IpAddr::is_ipv6).collect();
    let answers = match Closer::start() {
        Ok(closer) => closer.survey(&asked, ANSWERS_WITHIN),
        Err(error) => {
            tracing::warn!(err = crate::chain(&error), "cannot ask for open sockets");
            Vec::new()
        }
    };
    let answers = answers
        .into_iter()
        .map(|answer| (answer.question.address, answer.voices));
    let answers: BTreeMap<IpAddr, Voices> = answers.collect();
    for address in gone {
        match (address, answers.get(&address)) {
            (IpAddr::V4(_), _) | (IpAddr::V6(_), Some(Voices::None)) => found.silent.push(address),
            (IpAddr::V6(_), Some(Voices::Left)) => found.speak.push(address),
            (IpAddr::V6(_), None) => found.unanswered.push(address),
        }
    }
    found
}

/// The same with a gate's home that is known, beside no agent: a living one has a guard, and nothing is touched then.
///
/// # Errors
/// What stays.
pub fn clear_up(home: Option<&Home>) -> Result<(), DismantleError> {
    let unreadable = |error| DismantleError::Gate(io::Error::other(error));
    // Before the gate's maps are opened, which closes every address in them: a living agent's guard refuses here.
    let mut guard = match home.map_or(Ok(false), gate::is_left).map_err(unreadable)? {
        true => Guard::behind_gate(Custody::Owned)?,
        false => Guard::open(Custody::Owned)?,
    };
    let gated = home.map_or(Ok(BTreeSet::new()), gate::left);
    let gated = gated.map_err(unreadable)?;
    let mut kernel = Addresses::open()?;
    for leftover in kernel.remove_leftovers()? {
        tracing::info!(address = %leftover.address, "removed");
    }
    let there: BTreeSet<IpAddr> = kernel.all()?.iter().map(|one| one.address).collect();
    let closed: BTreeSet<IpAddr> = gated.iter().copied().chain(guard.managed()).collect();
    let (copies, gone): (Vec<IpAddr>, Vec<IpAddr>) =
        closed.iter().partition(|address| there.contains(address));
    let Sockets {
        silent: gone,
        speak: spoken,
        unanswered,
    } = by_sockets(gone);
    if copies.is_empty() && spoken.is_empty() && unanswered.is_empty() {
        match home {
            Some(home) => gate::take_away(home),
            None => gate::take_filters_away(),
        }
        .map_err(DismantleError::Gate)?;
        return Ok(guard.dismantle()?);
    }
    for address in gone {
        if let Some(home) = home {
            gate::let_go(home, address).map_err(unreadable)?;
        }
        guard.unmanage(address)?;
    }
    for address in spoken {
        tracing::warn!(
            %address,
            "a program of this machine has an open socket on an address that was guarded here; it stays silent: it may \
             be another node's by now (fix: end the program, which lsof -i names, then haft-agent dismantle)"
        );
    }
    for address in unanswered {
        tracing::warn!(
            %address,
            "whether a program of this machine would speak from an address that was guarded here is not known: closing \
             its connections, or those of another address, hangs in the kernel with a program that uses one; it stays \
             silent (fix: end what that program waits for, then haft-agent dismantle)"
        );
    }
    for address in copies {
        tracing::warn!(
            %address,
            "somebody else's copy of an address that was guarded here stays, and stays silent: it may be another \
             node's by now (fix: ip addr del, then haft-agent dismantle)"
        );
    }
    Ok(())
}
