//! What logferry says of itself.

pub mod http;
pub mod log;
