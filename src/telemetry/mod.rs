//! What logferry says of itself.

pub mod exposition;
pub mod http;
pub mod log;
pub mod process;
