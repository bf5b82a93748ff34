//! Rise and fall: pure.
