//! One file per subcommand.

pub mod decrypt;
