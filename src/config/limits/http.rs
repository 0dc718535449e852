//! What an HTTP request may be, whatever it asks for. All of it ours; beyond it the request is refused before anything is
//! looked up.

use std::time::Duration;

/// Bytes of names and values of all headers together; beyond: 431.
pub const HEADER_BYTES: usize = 16 * 1024;
/// Number of headers; beyond: 431.
pub const HEADERS: usize = 100;
/// Bytes of a REST route's query; beyond: 414. RPC wires may carry a whole call in the query.
pub const REST_QUERY_BYTES: usize = 8 * 1024;
/// Bytes of a REST route's body, or of a request's that no wire claims; beyond: 413. This is the default of
/// `http.body_limit_bytes`.
pub const REST_BODY_BYTES: usize = 2 * 1024 * 1024;
/// How long a body may take to arrive; beyond: 408. This is the default of `http.body_timeout`.
pub const BODY_PATIENCE: Duration = Duration::from_secs(30);

const _: () = assert!(REST_BODY_BYTES > super::MESSAGE_BYTES);
