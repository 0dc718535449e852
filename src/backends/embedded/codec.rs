//! Stored records: bincode behind one door, always with a limit, each with a format version.
//!
//! A row's value is `[version: 1][expires: 8, big-endian µs, u64::MAX = never][bincode]`. The expiry stands
//! outside the encoding so that compaction can drop a dead row without decoding it.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{BorrowDecode, Encode};

use crate::config::limits::RECORD_BYTES;
use crate::domain::{StoreError, Timestamp};

/// Format of everything written by this version. A newer one is refused, an older one would be converted here.
pub(super) const VERSION: u8 = 1;

const HEADER: usize = 9;

/// Room for most rows, so that few grow while they are written.
const TYPICAL: usize = 512;

const CONFIG: Configuration<LittleEndian, Varint, Limit<RECORD_BYTES>> =
    bincode::config::standard().with_limit::<RECORD_BYTES>();

/// When a row that stays until it is removed expires.
pub(super) const NEVER: Timestamp = Timestamp(u64::MAX);

/// Encodes a row's value.
pub(super) fn encode<T: Encode>(record: &T, expires: Timestamp) -> Vec<u8> {
    let mut out = Vec::with_capacity(TYPICAL);
    out.push(VERSION);
    out.extend_from_slice(&expires.0.to_be_bytes());
    bincode::encode_into_std_write(record, &mut out, CONFIG).expect(
        "records are smaller than the limit, checked where they are accepted, and a Vec takes all",
    );
    out
}

/// Decodes a row's value; the record may borrow from it.
pub(super) fn decode<'a, T: BorrowDecode<'a, ()>>(value: &'a [u8]) -> Result<T, StoreError> {
    let body = match value.split_at_checked(HEADER) {
        Some((header, body)) if header[0] == VERSION => body,
        Some((header, _)) => {
            return Err(StoreError::Corrupt(format!(
                "record of unknown format {}",
                header[0]
            )));
        }
        None => return Err(StoreError::Corrupt("record shorter than its header".into())),
    };
    let (record, used) = bincode::borrow_decode_from_slice(body, CONFIG)
        .map_err(|error| StoreError::Corrupt(error.to_string()))?;
    if used == body.len() {
        Ok(record)
    } else {
        Err(StoreError::Corrupt("bytes after the record's end".into()))
    }
}

/// When the row of this value expires; `None` if the value has no readable header.
pub(super) fn expires(value: &[u8]) -> Option<Timestamp> {
    let bytes = value.get(1..HEADER)?.try_into().ok()?;
    Some(Timestamp(u64::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_carry_their_expiry() {
        let value = encode(&(7u64, "text"), Timestamp(5));
        assert_eq!(decode::<(u64, &str)>(&value), Ok((7, "text")));
        assert_eq!(expires(&value), Some(Timestamp(5)));
    }

    #[test]
    fn damage_is_an_error() {
        let value = encode(&(7u64, "text"), NEVER);
        for cut in 0..value.len() {
            assert!(
                decode::<(u64, &str)>(&value[..cut]).is_err(),
                "cut at {cut}"
            );
        }
        let mut longer = value.clone();
        longer.push(0);
        assert!(decode::<(u64, &str)>(&longer).is_err());
        let mut newer = value;
        newer[0] = VERSION + 1;
        assert!(decode::<(u64, &str)>(&newer).is_err());
    }

    #[test]
    fn a_forged_length_is_refused_before_it_is_allocated() {
        let mut value = encode(&(), NEVER);
        value.extend_from_slice(&[253, 255, 255, 255, 255, 255, 255, 255, 127]);
        assert!(decode::<Vec<u8>>(&value).is_err());
    }
}
