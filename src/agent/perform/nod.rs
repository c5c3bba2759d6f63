//! Passing by a remote that was greeted a moment ago.
//!
//! A greeting is a round trip with the whole schema, and a write at the remote: in a cycle
//! that carries one row it is most of the time. What it finds out is found without it, as
//! long as all here is as the last good cycle left it: a push carries incarnation, number
//! and epoch, a cursor its epoch, and a remote that is another than it was refuses them.
//! The session says how long ago the greeting was, and greets after anything that went
//! wrong; here it is compared who is here.

use super::Performer;
use crate::engine::incarnation::Known;
use crate::engine::session::Report;
use crate::model::settings::Millis;
use crate::model::{Fault, Table};

/// How far this device's clock may have moved against the session's meanwhile, which
/// nobody can set. By more, it was set: the remote's clock is compared with it anew.
const CLOCK_OFF_MAX: Millis = 250;

/// How all was here when the remote was greeted.
pub(super) struct Welcome {
    /// On this device's clock.
    pub at: Millis,
    /// The tables as the remote was told of them.
    pub tables: Vec<Table>,
    pub epoch: String,
    /// Who the file was when the last good cycle since then ended; `None` before that.
    pub left: Option<Known>,
}

impl Performer {
    /// `age`: how long ago the remote was greeted, on the session's clock.
    pub(super) fn nod(&mut self, age: Millis) -> Result<Report, Fault> {
        let store = self.store.as_ref().expect("BUG: nodding comes after beginning");
        let identity = store.identity()?;
        let now = self.world.clock.millis();
        let holds = self.welcome.as_ref().is_some_and(|welcome| {
            self.remote.abilities().recognises()
                && welcome.left.as_ref() == Some(&self.known)
                && welcome.epoch == identity.epoch
                && identity.flight.is_none()
                && (now - welcome.at - age).abs() <= CLOCK_OFF_MAX
                && welcome.tables.iter().eq(store.tables().map(|synced| &synced.table))
        });
        let (Some(greeted), true) = (&self.greeted, holds) else { return self.greet() };
        if let Some(rules) = &mut self.rules {
            rules.role.clone_from(&greeted.role);
        }
        self.nodded = true;
        self.introduced(false)
    }
}
