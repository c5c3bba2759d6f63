//! A second pair of eyes on the file, for questions while a cycle runs elsewhere.

use super::open::Manners;
use super::{Result, Store};
use crate::model::settings::Replica;
use crate::model::{Fault, FaultKind, ReasonCode};

impl Store {
    /// Opens the file to look, or to note a person's decision. Installs nothing.
    pub fn look(replica: &Replica, device: &str) -> Result<Store> {
        let mut store = Store::open(replica, device, Manners::default())?;
        if !store.is_attached()? {
            return Err(Fault::new(
                FaultKind::Interrupted,
                ReasonCode::Detached,
                format!("nothing of {} is captured", replica.name),
                format!("run `homing attach {}` to begin", replica.name),
            ));
        }
        store.load()?;
        Ok(store)
    }
}
