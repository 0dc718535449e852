//! The `fanfare` binary: parse, run, exit with a documented code ([`fanfare::cli::exit`]).

use std::process::ExitCode;

use clap::Parser as _;
use fanfare::cli::{self, Cli, exit};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match cli::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if exit::is_unread(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fanfare: {error:#}");
            ExitCode::from(exit::code(&error))
        }
    }
}
