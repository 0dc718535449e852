//! Exit codes: a contract with scripts. They follow `sysexits.h` where it has a word for it.

use super::serve::ServeError;

/// The codes, for `--help`.
pub const HELP: &str = "\
Exit codes:
   0  done
   1  the request was refused, or something else went wrong
   2  the command line is wrong
  69  the server can not be reached, or the address can not be listened on
  74  the store can not be opened, or has failed
  75  another process has the data directory
  77  the server does not accept the keys
  78  the configuration is wrong
 130  ended by a second Ctrl-C while draining (143: SIGTERM)";

/// Something went wrong that no other code stands for.
pub const FAILED: u8 = 1;
/// The server can not be reached, or the address can not be listened on.
pub const UNAVAILABLE: u8 = 69;
/// The store can not be opened, or has failed.
pub const STORE: u8 = 74;
/// Another process has the data directory.
pub const IN_USE: u8 = 75;
/// The server does not accept the keys.
pub const NO_PERMISSION: u8 = 77;
/// The configuration is wrong.
pub const CONFIGURATION: u8 = 78;

/// The exit code that an error stands for.
pub fn code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<ServeError>() {
        Some(error) => error.code(),
        None => FAILED,
    }
}
