//! openraft's own conformance suite on the RocksDB store.
//!
//! Proves that the adapters keep openraft's contract, not that the store survives a crash; that is in
//! the store's own tests.

use std::sync::Arc;

use haft_store::{
    ClusterId, LogPosition, OpenOptions, PeerId, RocksStore, RowChange, StoreIdentity,
};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::log::LogAdapter;
use super::machine::{MachineAdapter, RestoreError, StateMachine};
use super::types::Types;

/// Remembers nothing: the suite looks at positions and memberships.
pub(super) struct Forgetful;

impl StateMachine for Forgetful {
    fn apply(&mut self, _: LogPosition, _: &[u8], _: &mut Vec<RowChange>) -> Vec<u8> {
        Vec::new()
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(
        &mut self,
        _: Option<LogPosition>,
        _: &[u8],
        _: &mut Vec<RowChange>,
    ) -> Result<(), RestoreError> {
        Ok(())
    }
}

struct Builder;

impl StoreBuilder<Types, LogAdapter, MachineAdapter, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogAdapter, MachineAdapter), StorageError<Types>> {
        let dir = TempDir::new().unwrap();
        let identity = StoreIdentity {
            cluster: ClusterId([1; 16]),
            node: PeerId(1),
            name: "alpha".to_owned(),
        };
        let options = OpenOptions::new(dir.path().to_owned(), identity);
        let store = Arc::new(RocksStore::open(options).unwrap());
        let machine = MachineAdapter::new(store.clone(), Box::new(Forgetful)).unwrap();
        Ok((dir, LogAdapter::new(store), machine))
    }
}

#[tokio::test]
async fn the_store_passes_openrafts_own_suite() {
    Suite::test_all(Builder).await.unwrap();
}
