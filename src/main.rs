//! The binary: command line to exit code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    logferry::cli::main()
}
