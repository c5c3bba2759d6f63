//! The binary: everything it does is in `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    homing::cli::run(std::env::args_os())
}
