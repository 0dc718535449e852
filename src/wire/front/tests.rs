//! The door as a whole, in process and over sockets.
