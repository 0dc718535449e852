//! The log: what the preloaded library writes and the replay reads.
//!
//! Each record is a little-endian `u32` length, one byte for the kind, and the fields. The log ends
//! where a record is cut short, because the process may have been killed while appending it.

/// A file or folder of the watched tree. Ids are never used twice, inode numbers are.
pub type FileId = u32;

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name within its folder.
    pub name: String,
    /// What it stands for.
    pub id: FileId,
    /// True for a folder.
    pub is_folder: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record<'a> {
    /// The tree as the process found it is complete; changes follow.
    Started,
    /// The names in a folder, logged when they have changed. The root folder has id 0.
    Names {
        /// The folder.
        folder: FileId,
        /// All of its names, sorted.
        entries: Vec<Entry>,
    },
    /// Bytes written to the page cache.
    Write {
        /// The file.
        file: FileId,
        /// Where in it.
        offset: u64,
        /// The bytes.
        data: &'a [u8],
    },
    /// A truncation or an extension with zeros.
    SetLen {
        /// The file.
        file: FileId,
        /// Its new length.
        len: u64,
    },
    /// A sync is about to be asked for.
    SyncBegin {
        /// The file or folder.
        file: FileId,
        /// Ties the end to the beginning.
        token: u32,
    },
    /// The sync has returned; the caller has not been told yet.
    SyncEnd {
        /// The token of the beginning.
        token: u32,
        /// False if it reported an error.
        ok: bool,
    },
}

const STARTED: u8 = 0;
const NAMES: u8 = 1;
const WRITE: u8 = 2;
const SET_LEN: u8 = 3;
const SYNC_BEGIN: u8 = 4;
const SYNC_END: u8 = 5;

const WRITE_HEAD: usize = 4 + 1 + 4 + 8;

/// The head of a write record whose `count` data bytes follow, so that the library can log a
/// caller's buffers without copying them.
pub fn encode_write_head(file: FileId, offset: u64, count: u32) -> [u8; WRITE_HEAD] {
    let mut head = [0; WRITE_HEAD];
    head[..4].copy_from_slice(&(WRITE_HEAD as u32 - 4 + count).to_le_bytes());
    head[4] = WRITE;
    head[5..9].copy_from_slice(&file.to_le_bytes());
    head[9..].copy_from_slice(&offset.to_le_bytes());
    head
}

impl<'a> Record<'a> {
    /// The record as it stands in the log.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 4];
        match self {
            Self::Started => out.push(STARTED),
            Self::Names { folder, entries } => {
                out.push(NAMES);
                out.extend(folder.to_le_bytes());
                for entry in entries {
                    out.extend(entry.id.to_le_bytes());
                    out.push(entry.is_folder.into());
                    out.extend((entry.name.len() as u32).to_le_bytes());
                    out.extend(entry.name.as_bytes());
                }
            }
            Self::Write { file, offset, data } => {
                let mut record = encode_write_head(*file, *offset, data.len() as u32).to_vec();
                record.extend_from_slice(data);
                return record;
            }
            Self::SetLen { file, len } => {
                out.push(SET_LEN);
                out.extend(file.to_le_bytes());
                out.extend(len.to_le_bytes());
            }
            Self::SyncBegin { file, token } => {
                out.push(SYNC_BEGIN);
                out.extend(file.to_le_bytes());
                out.extend(token.to_le_bytes());
            }
            Self::SyncEnd { token, ok } => {
                out.push(SYNC_END);
                out.extend(token.to_le_bytes());
                out.push((*ok).into());
            }
        }
        let length = (out.len() - 4) as u32;
        out[..4].copy_from_slice(&length.to_le_bytes());
        out
    }

    /// Takes the first record off `log`; `None` where the log ends or is cut short.
    pub fn decode(log: &mut &'a [u8]) -> Option<Self> {
        let mut rest = *log;
        let length = take_u32(&mut rest)? as usize;
        let (mut body, after) = rest.split_at_checked(length)?;
        *log = after;
        let body = &mut body;
        Some(match take::<1>(body)?[0] {
            STARTED => Self::Started,
            NAMES => Self::Names {
                folder: take_u32(body)?,
                entries: take_entries(body)?,
            },
            WRITE => Self::Write {
                file: take_u32(body)?,
                offset: take_u64(body)?,
                data: body,
            },
            SET_LEN => Self::SetLen {
                file: take_u32(body)?,
                len: take_u64(body)?,
            },
            SYNC_BEGIN => Self::SyncBegin {
                file: take_u32(body)?,
                token: take_u32(body)?,
            },
            SYNC_END => Self::SyncEnd {
                token: take_u32(body)?,
                ok: take::<1>(body)?[0] == 1,
            },
            _ => return None,
        })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes).map(u32::from_le_bytes)
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(u64::from_le_bytes)
}

fn take_entries(bytes: &mut &[u8]) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let id = take_u32(bytes)?;
        let is_folder = take::<1>(bytes)?[0] == 1;
        let length = take_u32(bytes)? as usize;
        let (name, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        entries.push(Entry {
            name: String::from_utf8(name.to_vec()).ok()?,
            id,
            is_folder,
        });
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_log_and_a_cut_record_ends_it() {
        let entry = Entry {
            name: "é".to_owned(),
            id: 7,
            is_folder: true,
        };
        let records = [
            Record::Started,
            Record::Names {
                folder: 0,
                entries: vec![entry],
            },
            Record::Write {
                file: 1,
                offset: 1 << 40,
                data: b"bytes",
            },
            Record::SetLen { file: 1, len: 9 },
            Record::SyncBegin { file: 1, token: 3 },
            Record::SyncEnd {
                token: 3,
                ok: false,
            },
        ];
        let log: Vec<u8> = records.iter().flat_map(Record::encode).collect();
        for cut in 0..=log.len() {
            let mut rest = &log[..cut];
            let read: Vec<_> = std::iter::from_fn(|| Record::decode(&mut rest)).collect();
            assert!(records.starts_with(&read));
            assert_eq!(read.len() == records.len(), cut == log.len());
        }
    }
}
