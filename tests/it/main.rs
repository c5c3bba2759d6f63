//! Tests with real processes, sockets and files.

mod cli;
mod ipc;
mod remote;
