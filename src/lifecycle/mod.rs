//! From start to stop of a process: its state folder, its signals, what it reports, what it tells the service manager.

pub mod identity;
mod replay;
pub mod report;
pub mod service;
pub mod signals;
pub mod state_dir;

pub use replay::{ReplayReport, ReplayedSink};
pub use report::Report;
pub use signals::Signals;
pub use state_dir::{StateDir, StateError};
