//! Where things are: the checkout, and the folders under `target` that the test command keeps.

use std::path::{Path, PathBuf};

/// The folders of one checkout. Everything the test command creates lies below them.
#[derive(Debug)]
pub struct Places {
    /// The root of the checkout.
    pub root: PathBuf,
    /// Cargo's target folder, `CARGO_TARGET_DIR` included.
    pub target: PathBuf,
}

impl Places {
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
        Self { root, target }
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
