//! What the machine runs on at the moment: its power, and the network's price.
//!
//! `None` where the system does not say; nobody guesses that a battery or a bill is there.

use super::settings::Thrift;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Supply {
    /// True while a battery drains.
    pub on_battery: Option<bool>,
    /// True where the network is paid for by what goes over it.
    pub metered: Option<bool>,
}

/// How sparing a replica is at the moment, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saving {
    Nothing,
    Battery(Thrift),
    Network(Thrift),
}

impl Saving {
    pub fn thrift(self) -> Thrift {
        match self {
            Saving::Nothing => Thrift::Sync,
            Saving::Battery(thrift) | Saving::Network(thrift) => thrift,
        }
    }
}
