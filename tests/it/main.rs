//! One binary for all tests that need real files, sockets or processes.

mod floors;
mod house;
mod remote;
mod units;
