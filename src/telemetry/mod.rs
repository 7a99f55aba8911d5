//! What logferry says of itself.

pub mod log;
