//! Members' newest values, for those who come later: pure.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::config::limits;
use crate::domain::publication::ClientId;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Values {
    by_member: BTreeMap<ClientId, BTreeMap<Box<str>, Bytes>>,
    bytes: usize,
}

/// There is no room for a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoRoom(pub(super) &'static str);

impl Values {
    pub(super) fn is_empty(&self) -> bool {
        self.by_member.is_empty()
    }

    /// Replaces a value; an empty one removes it.
    pub(super) fn set(&mut self, member: &ClientId, key: &str, value: &[u8]) -> Result<(), NoRoom> {
        if value.len() > limits::rooms::VALUE_BYTES {
            return Err(NoRoom("bytes of a value"));
        }
        let none = BTreeMap::new();
        let own = self.by_member.get(member).unwrap_or(&none);
        let before = own.get(key).map(|before| cost(key, before));
        if value.is_empty() {
            if before.is_some() {
                self.remove(member, key);
            }
            return Ok(());
        }
        if before.is_none() && own.len() >= limits::rooms::VALUES {
            return Err(NoRoom("values of a member"));
        }
        let after = self.bytes - before.unwrap_or(0) + cost(key, value);
        if after > limits::rooms::ALL_VALUES_BYTES {
            return Err(NoRoom("bytes of a room's values"));
        }
        self.bytes = after;
        let own = self.by_member.entry(member.clone()).or_default();
        own.insert(key.into(), Bytes::copy_from_slice(value));
        Ok(())
    }

    fn remove(&mut self, member: &ClientId, key: &str) {
        let Some(own) = self.by_member.get_mut(member) else {
            return;
        };
        if let Some(before) = own.remove(key) {
            self.bytes -= cost(key, &before);
        }
        if own.is_empty() {
            self.by_member.remove(member);
        }
    }

    /// A member has left, and its values with it.
    pub(super) fn forget(&mut self, member: &ClientId) {
        let own = self.by_member.remove(member).unwrap_or_default();
        self.bytes -= own
            .iter()
            .map(|(key, value)| cost(key, value))
            .sum::<usize>();
    }

    /// All values of a key, or of all keys.
    pub(super) fn all(&self, key: Option<&str>) -> impl Iterator<Item = (&ClientId, &str, &Bytes)> {
        let members = self.by_member.iter();
        members.flat_map(move |(member, own)| {
            let own = own.iter().map(|(name, value)| (&**name, value));
            own.filter(move |(name, _)| key.is_none_or(|key| key == *name))
                .map(move |(name, value)| (member, name, value))
        })
    }
}

/// What a value takes.
fn cost(key: &str, value: &[u8]) -> usize {
    key.len() + value.len() + 64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> ClientId {
        ClientId(number.to_string().into())
    }

    #[test]
    fn values_are_counted_and_bounded() {
        let mut values = Values::default();
        let (one, two) = (id(1), id(2));
        let long = vec![7; limits::rooms::VALUE_BYTES];
        for key in 0..limits::rooms::VALUES {
            assert_eq!(values.set(&one, &key.to_string(), &long), Ok(()));
        }
        assert_eq!(
            values.set(&one, "more", b"1"),
            Err(NoRoom("values of a member"))
        );
        assert_eq!(values.set(&one, "0", b"1"), Ok(()));
        assert_eq!(values.set(&one, "1", b""), Ok(()));
        assert_eq!(values.set(&one, "more", b"1"), Ok(()));
        let longer = vec![7; limits::rooms::VALUE_BYTES + 1];
        assert_eq!(
            values.set(&two, "0", &longer),
            Err(NoRoom("bytes of a value"))
        );
        values.set(&two, "0", b"2").unwrap();
        let zero: Vec<_> = values
            .all(Some("0"))
            .map(|(_, _, value)| value.clone())
            .collect();
        assert_eq!(zero, ["1", "2"]);
        assert_eq!(values.all(None).count(), limits::rooms::VALUES + 1);
        values.forget(&one);
        values.set(&two, "0", b"").unwrap();
        assert!(values.is_empty());
        assert_eq!(values.bytes, 0);
    }

    #[test]
    fn a_room_has_so_many_bytes_of_values() {
        let mut values = Values::default();
        let long = vec![7; limits::rooms::VALUE_BYTES];
        let mut number = 0;
        while values.set(&id(number), "key", &long).is_ok() {
            number += 1;
        }
        assert_eq!(number, limits::rooms::ALL_VALUES_BYTES / cost("key", &long));
        values.forget(&id(0));
        assert_eq!(values.set(&id(number), "key", &long), Ok(()));
    }
}
