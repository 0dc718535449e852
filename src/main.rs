//! The `fanfare` binary: parse, run, exit with a documented code.

fn main() {}
