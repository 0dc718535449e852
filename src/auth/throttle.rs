//! A rate for each of many, in bounded memory.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::domain::Timestamp;

/// Lets each key do something so many times at once, and then once in so long.
///
/// There is a fixed number of places, and a key's place is its hash. Keys that meet in one place share its rate: under a flood
/// of keys it gets stricter, and never looser.
#[derive(Debug)]
pub struct Throttle {
    /// For each place, when what was taken there will have been given back.
    places: Box<[Mutex<Timestamp>]>,
    pause: Duration,
    burst: u32,
    hasher: RandomState,
}

impl Throttle {
    /// `burst` at once, then one every `pause`, with so many places.
    pub fn new(burst: u32, pause: Duration, places: usize) -> Self {
        Self {
            places: (0..places.max(1)).map(|_| Mutex::default()).collect(),
            pause,
            burst: burst.max(1),
            hasher: RandomState::new(),
        }
    }

    /// Takes one for this key, unless nothing is left; then, how long it is until there is.
    ///
    /// # Errors
    /// That time.
    pub fn take(&self, key: &impl Hash, now: Timestamp) -> Result<(), Duration> {
        self.ask(key, now, true)
    }

    /// Whether something is left for this key, without taking it.
    ///
    /// # Errors
    /// How long it is until there is.
    pub fn check(&self, key: &impl Hash, now: Timestamp) -> Result<(), Duration> {
        self.ask(key, now, false)
    }

    fn ask(&self, key: &impl Hash, now: Timestamp, take: bool) -> Result<(), Duration> {
        let place = self.hasher.hash_one(key) % self.places.len() as u64;
        let place = usize::try_from(place).expect("below the number of places, which is a usize");
        // The lock covers a comparison; a panic inside can not leave the time half written.
        let mut back = self.places[place]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let after = (*back).max(now).plus(self.pause);
        let most = now.plus(self.pause * self.burst);
        if after > most {
            return Err(after.since(most));
        }
        if take {
            *back = after;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_a_rate_for_each_key() {
        let throttle = Throttle::new(3, Duration::from_secs(2), 1 << 16);
        let at = Timestamp::from_secs;
        for _ in 0..3 {
            assert_eq!(throttle.check(&"a", at(100)), Ok(()));
            assert_eq!(throttle.take(&"a", at(100)), Ok(()));
        }
        assert_eq!(throttle.take(&"a", at(100)), Err(Duration::from_secs(2)));
        assert_eq!(throttle.check(&"a", at(101)), Err(Duration::from_secs(1)));
        assert_eq!(throttle.take(&"b", at(100)), Ok(()));
        assert_eq!(throttle.take(&"a", at(102)), Ok(()));
        assert!(throttle.take(&"a", at(102)).is_err());
        for _ in 0..3 {
            assert_eq!(throttle.take(&"a", at(1000)), Ok(()));
        }
        assert!(throttle.take(&"a", at(1000)).is_err());
    }

    #[test]
    fn a_flood_of_keys_makes_it_stricter() {
        let places = crate::config::limits::policy::WATCHED;
        let throttle = Throttle::new(3, Duration::from_secs(2), places);
        let passed = (0..8 * places).filter(|key| throttle.take(key, Timestamp(0)).is_ok());
        assert!(passed.count() <= 3 * places);
    }
}
