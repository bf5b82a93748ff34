//! Arguments, exit codes.
