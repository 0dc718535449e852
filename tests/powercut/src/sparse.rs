//! File contents with holes: databases preallocate, and a disk image should not pay for zeros.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

const PAGE: usize = 4096;

/// The bytes of one file. Cloning shares the pages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sparse {
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
    len: u64,
}

impl Sparse {
    /// Length in bytes, holes included.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True for a file of length 0.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes `data` at `offset`, making the file longer if need be.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let mut position = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let start = (position % PAGE as u64) as usize;
            let count = rest.len().min(PAGE - start);
            let (now, later) = rest.split_at(count);
            let page = self
                .pages
                .entry(position / PAGE as u64)
                .or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[start..start + count].copy_from_slice(now);
            position += count as u64;
            rest = later;
        }
        self.len = self.len.max(position);
    }

    /// Cuts the file or makes it longer with a hole.
    pub fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.pages.split_off(&len.div_ceil(PAGE as u64));
            let tail = (len % PAGE as u64) as usize;
            if tail > 0
                && let Some(page) = self.pages.get_mut(&(len / PAGE as u64))
            {
                Arc::make_mut(page)[tail..].fill(0);
            }
        }
        self.len = len;
    }

    /// Reads a whole file, leaving out pages of zeros.
    pub fn read_from(file: &mut File) -> io::Result<Self> {
        let mut sparse = Self::default();
        let mut buffer = vec![0; 64 * PAGE];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok(sparse);
            }
            let start = sparse.len;
            for (index, chunk) in buffer[..count].chunks(PAGE).enumerate() {
                if chunk.iter().any(|byte| *byte != 0) {
                    sparse.write(start + (index * PAGE) as u64, chunk);
                }
            }
            sparse.set_len(start + count as u64);
        }
    }

    /// Writes the contents to an empty file, holes as holes.
    pub fn write_to(&self, file: &File) -> io::Result<()> {
        file.set_len(self.len)?;
        for (number, page) in &self.pages {
            let start = number * PAGE as u64;
            let count = (self.len - start).min(PAGE as u64) as usize;
            file.write_all_at(&page[..count], start)?;
        }
        Ok(())
    }

    /// The first offset at which two files differ, counting a hole as zeros.
    pub fn first_difference(&self, other: &Self) -> Option<u64> {
        const ZEROS: [u8; PAGE] = [0; PAGE];
        let numbers = self.pages.keys().chain(other.pages.keys());
        let mut lowest = (self.len != other.len).then(|| self.len.min(other.len));
        for number in numbers {
            let ours = self.pages.get(number).map_or(&ZEROS, |page| page);
            let theirs = other.pages.get(number).map_or(&ZEROS, |page| page);
            if let Some(at) = ours.iter().zip(theirs).position(|(a, b)| a != b) {
                let offset = number * PAGE as u64 + at as u64;
                lowest = Some(lowest.map_or(offset, |found| found.min(offset)));
            }
        }
        lowest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(sparse: &Sparse) -> Vec<u8> {
        let mut all = vec![0; sparse.len as usize];
        for (number, page) in &sparse.pages {
            let start = *number as usize * PAGE;
            let end = all.len().min(start + PAGE);
            all[start..end].copy_from_slice(&page[..end - start]);
        }
        all
    }

    #[test]
    fn writes_across_pages_and_cuts_leave_what_a_plain_buffer_has() {
        let mut seed = crate::Seed::new(1);
        let mut sparse = Sparse::default();
        let mut plain: Vec<u8> = Vec::new();
        for round in 0..500_u64 {
            let at = seed.below(20_000) as usize;
            if seed.chance(20) {
                sparse.set_len(at as u64);
                plain.resize(at, 0);
            } else {
                let data = vec![round as u8 | 1; seed.below(9_000) as usize];
                if data.is_empty() {
                    continue;
                }
                sparse.write(at as u64, &data);
                plain.resize(plain.len().max(at + data.len()), 0);
                plain[at..at + data.len()].copy_from_slice(&data);
            }
            assert!(bytes(&sparse) == plain, "round {round}");
        }
    }

    #[test]
    fn a_hole_equals_zeros_and_a_changed_byte_is_found() {
        let mut holes = Sparse::default();
        holes.set_len(10_000);
        let mut zeros = Sparse::default();
        zeros.write(0, &[0; 10_000]);
        assert_eq!(holes.first_difference(&zeros), None);
        zeros.write(9_000, b"x");
        assert_eq!(holes.first_difference(&zeros), Some(9_000));
    }
}
