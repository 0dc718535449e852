//! A folder tree in memory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::Sparse;

/// What stands in a folder: paths relative to it, parents before children.
#[derive(Debug, Clone, Default)]
pub struct Image {
    nodes: BTreeMap<PathBuf, Node>,
}

#[derive(Debug, Clone)]
enum Node {
    Folder,
    File(Sparse),
}

impl Image {
    /// Adds a folder.
    pub fn add_folder(&mut self, path: impl Into<PathBuf>) {
        self.nodes.insert(path.into(), Node::Folder);
    }

    /// Adds a file.
    pub fn add_file(&mut self, path: impl Into<PathBuf>, contents: Sparse) {
        self.nodes.insert(path.into(), Node::File(contents));
    }

    /// The contents of the file at `path`, if it is there.
    pub fn file(&self, path: impl AsRef<Path>) -> Option<&Sparse> {
        match self.nodes.get(path.as_ref()) {
            Some(Node::File(contents)) => Some(contents),
            Some(Node::Folder) | None => None,
        }
    }

    /// Reads `folder` and everything in it.
    ///
    /// # Errors
    /// Whatever reading says, and entries that are neither file nor folder.
    pub fn read_from(folder: &Path) -> io::Result<Self> {
        let mut image = Self::default();
        let mut waiting = vec![PathBuf::new()];
        while let Some(below) = waiting.pop() {
            for entry in fs::read_dir(folder.join(&below))? {
                let entry = entry?;
                let path = below.join(entry.file_name());
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    image.add_folder(path.clone());
                    waiting.push(path);
                } else if kind.is_file() {
                    image.add_file(path, Sparse::read_from(&mut File::open(entry.path())?)?);
                } else {
                    let reason = format!("{} is neither file nor folder", entry.path().display());
                    return Err(io::Error::other(reason));
                }
            }
        }
        Ok(image)
    }

    /// Writes everything into `folder`, which is made if need be and should be empty.
    ///
    /// # Errors
    /// Whatever writing says.
    pub fn write_to(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        for (path, node) in &self.nodes {
            let target = folder.join(path);
            match node {
                Node::Folder => fs::create_dir(&target)?,
                Node::File(contents) => contents.write_to(&File::create_new(&target)?)?,
            }
        }
        Ok(())
    }

    /// Says where two images differ; `None` if they do not.
    pub fn difference(&self, other: &Self) -> Option<String> {
        for (path, node) in &self.nodes {
            match (node, other.nodes.get(path)) {
                (Node::Folder, Some(Node::Folder)) => {}
                (Node::File(ours), Some(Node::File(theirs))) => {
                    if let Some(offset) = ours.first_difference(theirs) {
                        let (ours, theirs) = (ours.len(), theirs.len());
                        return Some(format!(
                            "{} differs from byte {offset} ({ours} and {theirs} bytes long)",
                            path.display()
                        ));
                    }
                }
                (_, None) => return Some(format!("{} is missing from the second", path.display())),
                _ => return Some(format!("{} is file here and folder there", path.display())),
            }
        }
        let extra = other
            .nodes
            .keys()
            .find(|path| !self.nodes.contains_key(*path));
        extra.map(|path| format!("{} is missing from the first", path.display()))
    }
}
