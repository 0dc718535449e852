//! Exit codes: a contract with scripts. They follow `sysexits.h` where it has a word for it.

use std::io;

use super::client::CallError;
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
    if let Some(error) = error.downcast_ref::<ServeError>() {
        return error.code();
    }
    match error.downcast_ref::<CallError>() {
        Some(CallError::Unreachable { .. }) => UNAVAILABLE,
        Some(CallError::Denied(_)) => NO_PERMISSION,
        Some(CallError::Refused(_)) | None => FAILED,
    }
}

/// Whether it failed only because nobody reads its output any more, as in `fanfare tail … | head`.
pub fn is_unread(error: &anyhow::Error) -> bool {
    let io = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn errors_keep_their_code_under_context() {
        let check = |error: CallError, expect: u8| {
            let result: Result<(), _> = Err(error);
            assert_eq!(
                code(&result.context("doing this").expect_err("it is one")),
                expect
            );
        };
        let (endpoint, reason) = (String::new(), String::new());
        check(CallError::Unreachable { endpoint, reason }, UNAVAILABLE);
        check(CallError::Denied(String::new()), NO_PERMISSION);
        check(CallError::Refused(String::new()), FAILED);
        assert_eq!(code(&anyhow::anyhow!("anything else")), FAILED);
    }

    #[test]
    fn the_codes_are_in_the_help() {
        for code in [
            FAILED,
            UNAVAILABLE,
            STORE,
            IN_USE,
            NO_PERMISSION,
            CONFIGURATION,
        ] {
            let line = format!("\n{code:>4}  ");
            assert!(HELP.contains(&line), "{code}");
        }
    }

    #[test]
    fn a_closed_pipe_is_told_from_other_failures() {
        let error = |kind| anyhow::Error::from(io::Error::from(kind)).context("printing");
        assert!(is_unread(&error(io::ErrorKind::BrokenPipe)));
        assert!(!is_unread(&error(io::ErrorKind::StorageFull)));
    }
}
