//! The keeper of manifests beside a running pipeline.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::buffer;
use crate::manifest::{self, Keeper};

/// How often origins that have ended and are delivered are looked for.
const RETIRE_LOOK: Duration = Duration::from_millis(500);

/// Writes manifests; the task retires origins while the pipeline runs.
pub(super) struct Manifests {
    pub keeper: Arc<Mutex<Keeper>>,
    pub origins: buffer::OriginsWatch,
    retiring: tokio::task::AbortHandle,
}

impl Manifests {
    pub fn start(setup: manifest::Setup) -> Self {
        let origins = setup.origins.clone();
        let keeper = Arc::new(Mutex::new(Keeper::new(setup)));
        let kept = Arc::clone(&keeper);
        let task = tokio::spawn(async move {
            let mut look = tokio::time::interval(RETIRE_LOOK);
            look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                look.tick().await;
                if kept.lock().await.retire_passed().await.is_err() {
                    return;
                }
            }
        });
        Manifests { keeper, origins, retiring: task.abort_handle() }
    }
}

impl Drop for Manifests {
    fn drop(&mut self) {
        self.retiring.abort();
    }
}
