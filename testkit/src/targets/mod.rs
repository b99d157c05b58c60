//! The fuzz targets: each takes bytes and panics if something does not hold.

pub mod frames;
pub mod message;
pub mod noninterference;
pub mod relay;
