//! Tests with real processes, sockets and files.

mod backends;
mod cli;
mod floors;
mod house;
mod hub;
mod ipc;
mod kills;
mod migrate;
mod old_sqlite;
mod person;
mod remote;
mod restored;
mod rig;
mod together;
mod trouble;
mod units;
