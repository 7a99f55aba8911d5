//! What the tests stand on: real engines, imitations that are stricter than needed, and servers that misbehave.

pub mod auth_proxy;
pub mod azure;
pub mod docker_proxy;
pub mod engine;
pub mod fault_proxy;
pub mod ferry;
pub mod http1;
pub mod imds;
pub mod network;
pub mod records;
pub mod search;
pub mod stub;
