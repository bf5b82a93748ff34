//! The checks of the fuzz targets, shared with the proxy's own tests.
#[path = "../../tests/it/oracle/mod.rs"]
pub mod oracle;
