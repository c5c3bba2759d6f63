//! Tests with real processes, sockets and files.

mod cli;
mod conflicts;
mod floors;
mod house;
mod hub;
mod ipc;
mod kills;
mod migrate;
mod person;
mod remote;
mod restored;
mod rig;
mod together;
mod trouble;
mod units;
