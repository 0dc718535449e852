//! The topic plane through its facade, on a store in memory.

mod inbox;
mod live;
mod remote;
mod retained;
mod sessions;
mod shared;
mod survey;
mod upstream;
mod wills;
