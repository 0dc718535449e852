//! The routes, in process.
