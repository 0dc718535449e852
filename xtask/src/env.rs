//! Where a step works: the checkout, the folders under `target` that the test command keeps, and until when.

use std::path::{Path, PathBuf};
use std::time::Instant;

/// The surroundings of a step. Everything the test command creates lies below these folders.
#[derive(Clone, Debug)]
pub struct Env {
    /// The root of the checkout.
    pub root: PathBuf,
    /// Cargo's target folder, `CARGO_TARGET_DIR` included.
    pub target: PathBuf,
    /// When a command that still runs is ended. None at a terminal, where a person decides.
    pub deadline: Option<Instant>,
}

impl Env {
    /// The checkout that this program was built from.
    pub fn find() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("xtask is a folder of the checkout")
            .to_owned();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => root.join(folder),
            None => root.join("target"),
        };
        Self {
            root,
            target,
            deadline: None,
        }
    }

    /// Tools built for the test command, such as cargo-deny.
    pub fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// The environments of the client suites and their stamps.
    pub fn test_env(&self) -> PathBuf {
        self.target.join("test-env")
    }

    /// The binary that the client suites drive.
    pub fn server(&self) -> PathBuf {
        self.target.join("debug/fanfare")
    }
}
