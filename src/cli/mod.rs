//! One file per subcommand.

pub mod bench;
pub mod client;
pub mod decrypt;
pub mod history;
pub mod notify;
pub mod session;
pub mod tail;
