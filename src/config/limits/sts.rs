//! STS's requests; past a limit, `ValidationError`.

/// Ours: bytes of a body. A session policy with every character percent-encoded fits; beyond: 413.
pub const BODY_BYTES: usize = 64 * 1024;
/// Ours: parameters of a request. `AssumeRole` with everything has about 200.
pub const PARAMETERS: usize = 256;
