//! Where coordinators are dialled. Resolves no names: addresses come from the one config file.

use haft_api::client::host_port;
use haft_config::Config;
use haft_engine::command::NodeRole;

/// Every address of every coordinator, primary addresses first.
pub(super) fn endpoints(config: &Config) -> Vec<String> {
    let mut ranked: Vec<(usize, String)> = config
        .nodes
        .iter()
        .filter(|node| node.role == NodeRole::Coordinator)
        .flat_map(|node| node.addresses.iter().enumerate())
        .map(|(rank, address)| (rank, host_port(&address.to_string(), config.ports.api)))
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, endpoint)| endpoint).collect()
}
