//! Tests with real processes, sockets and files.

mod cli;
mod hub;
mod ipc;
mod remote;
