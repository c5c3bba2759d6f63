//! Tests with real processes, sockets and files.

mod cli;
mod clients;
mod doctor;
mod floors;
mod house;
mod http;
mod hub;
mod ipc;
mod kills;
mod migrate;
mod person;
mod remote;
mod restored;
mod rig;
mod service;
mod supervised;
mod together;
mod trouble;
mod units;
