//! The engine's resolver and order, in the form the store asks for.

use std::collections::BTreeMap;

use crate::engine::{Order, resolve};
use crate::model::Table;
use crate::model::conflict::{Meeting, Resolution};
use crate::model::settings::Replica;
use crate::store::Judge;

pub struct Rules {
    replica: Replica,
    pub order: Order,
    /// What this device's token says of who writes here.
    pub role: String,
}

impl Rules {
    pub fn new(replica: &Replica, tables: &[Table]) -> Rules {
        let after: BTreeMap<String, Vec<String>> = tables
            .iter()
            .map(|table| (table.name.clone(), replica.rule(&table.name).after.clone()))
            .filter(|(_, after)| !after.is_empty())
            .collect();
        Rules { replica: replica.clone(), order: Order::new(tables, &after), role: String::new() }
    }
}

impl Judge for Rules {
    fn judge(&self, meeting: &Meeting) -> Resolution {
        let rule = self.replica.rule(meeting.table);
        resolve::resolve(rule.strategy, &rule.policy, &Meeting { local_role: &self.role, ..*meeting })
    }

    fn rank(&self, table: &str) -> usize {
        self.order.rank(table)
    }
}
