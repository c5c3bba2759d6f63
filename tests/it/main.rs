//! Tests with real processes, sockets and files.

mod backends;
mod cli;
mod clients;
mod conflicts;
mod doctor;
mod floors;
mod history;
mod hostile;
mod house;
mod http;
mod hub;
mod ipc;
mod kills;
mod migrate;
mod old_sqlite;
mod openrpc;
mod person;
mod remote;
mod restored;
mod rig;
mod service;
mod supervised;
mod together;
mod top;
mod trouble;
mod units;
