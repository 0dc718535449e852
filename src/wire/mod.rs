//! The wires: one module per protocol; wires know nothing of each other.
