//! What logferry asks of Azure itself: tokens (and, later, instance metadata and scheduled events).

pub mod credential;
