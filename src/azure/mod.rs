//! What logferry asks of Azure itself: tokens, what this VM is, and what is going to happen to it.

pub mod credential;
pub mod imds;
pub mod moment;
pub mod scheduled_events;
pub mod whereabouts;

#[cfg(test)]
mod update_tests;
