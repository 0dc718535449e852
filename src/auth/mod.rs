//! Who is calling, and may they: SigV4 verification, temporary keys, access decisions.

pub mod sigv4;
