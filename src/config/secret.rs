//! A text that must not be shown.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize, Serializer};

use super::Problem;

/// A secret key. Neither `Debug` nor serialization shows it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Reads the secret of a setting from a file; white space around it does not count.
    pub(super) fn read(key: &str, file: &Path) -> Result<Self, Problem> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Problem(format!("{key} = {}: {error}", file.display())))?;
        match text.trim() {
            "" => Err(Problem(format!(
                "{key} = {}: the file is empty",
                file.display()
            ))),
            text => Ok(Self::new(text)),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str("…")
    }
}
