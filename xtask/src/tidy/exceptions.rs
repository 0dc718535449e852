//! Where a rule does not apply, and why. An entry that excuses nothing fails the check, so this list only shrinks by itself.

/// One file that a rule leaves alone.
#[derive(Debug)]
pub struct Exception {
    /// The rule, as the check prints it.
    pub rule: &'static str,
    /// The file, from the root of the checkout.
    pub path: &'static str,
    /// Why the rule would make this file worse. For the reader; the program does not use it.
    #[allow(dead_code, reason = "documentation that the compiler keeps in place")]
    pub reason: &'static str,
}

/// Every exception.
pub const ALL: &[Exception] = &[];
