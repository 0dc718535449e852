//! The topic plane through its facade, on a store in memory.

mod inbox;
mod live;
mod retained;
mod sessions;
mod shared;
mod wills;
