//! One scope's storage, as the network side sees it.
//!
//! Every call is whole: done and on disk, or not done at all. Time comes in as an
//! argument; a store reads no clock. `sqlite::Scope` is the store there is; another
//! (PostgreSQL) takes its place behind this trait and passes the same tests.

use std::io::Write;

use super::error::Result;
use super::watermelon::{Asked, Sent};
use crate::model::Revision;
use crate::protocol::{Digest, DigestRequest, Hello, Pull, Pulled, RowAnswer, RowRequest, ScopeStatus, Welcome};

/// Who is calling, as the token says.
#[derive(Clone, Debug, PartialEq)]
pub struct Who {
    pub account: String,
    pub role: String,
    pub may_write: bool,
    pub may_bring_tables: bool,
    /// The token's own id, for the log; never the token.
    pub token_id: String,
}

impl Who {
    /// The account's own self, with every right.
    pub fn owner(account: &str) -> Who {
        Who {
            account: account.to_owned(),
            role: "member".to_owned(),
            may_write: true,
            may_bring_tables: true,
            token_id: String::new(),
        }
    }
}

/// `now` is milliseconds since 1970.
pub trait Store: Send {
    fn hello(&mut self, who: &Who, hello: &Hello, now: i64) -> Result<Welcome>;

    /// Takes a `Push` as the bytes it came in, and gives the `Pushed` as the bytes to
    /// answer with: a batch is recognised, and answered again, byte for byte.
    fn push(&mut self, who: &Who, body: &[u8], now: i64) -> Result<Vec<u8>>;

    fn pull(&mut self, who: &Who, pull: &Pull, now: i64) -> Result<Pulled>;

    /// Writes what a WatermelonDB client lacks. What was written when it fails is nothing.
    fn watermelon_pull(&mut self, who: &Who, asked: &Asked, now: i64, out: &mut dyn Write) -> Result<()>;

    /// Takes the whole push of a WatermelonDB client, or refuses it whole.
    fn watermelon_push(&mut self, who: &Who, sent: &Sent, now: i64) -> Result<Vec<u8>>;

    fn digest(&mut self, request: &DigestRequest, now: i64) -> Result<Digest>;

    fn row(&mut self, request: &RowRequest, now: i64) -> Result<RowAnswer>;

    /// `listening`: incarnations whose live channel is open.
    fn status(&mut self, listening: &[String], now: i64) -> Result<ScopeStatus>;

    /// Forgets what is older than the settings keep.
    fn prune(&mut self, now: i64) -> Result<()>;

    /// Takes in what other clients of the storage wrote, where that can be seen
    /// cheaply; the newest revision.
    fn look_around(&mut self, now: i64) -> Result<Revision>;

    /// There is housekeeping that the next request would have to do before its own work,
    /// and that can be done now, when nobody waits.
    fn wants_rest(&self) -> bool {
        false
    }

    /// Does it.
    fn rest(&mut self) -> Result<()> {
        Ok(())
    }

    /// Writes down what is only in memory: it is about to be closed.
    fn leave(&mut self, _now: i64) -> Result<()> {
        Ok(())
    }

    fn epoch(&self) -> &str;

    fn head(&self) -> Revision;
}
