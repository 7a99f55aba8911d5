//! One timer for all that is due in a loop that turns once a line: it is set anew only where its moment changes.

use std::future::pending;
use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};

/// See the module.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: Pin<Box<Sleep>>,
    at: Option<Instant>,
}

impl Alarm {
    /// `at`: `None` for never.
    pub(super) fn new(at: Option<Instant>) -> Alarm {
        Alarm { timer: Box::pin(sleep_until(at.unwrap_or_else(Instant::now))), at }
    }

    /// Rings at `at` from now on; `None`: never.
    pub(super) fn set(&mut self, at: Option<Instant>) {
        if let Some(next) = at.filter(|next| Some(*next) != self.at) {
            self.timer.as_mut().reset(next);
        }
        self.at = at;
    }

    /// Resolves at its moment, once. Cancel safe.
    pub(super) async fn rings(&mut self) {
        if self.at.is_none() {
            pending::<()>().await;
        }
        self.timer.as_mut().await;
        self.at = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_rings_once_at_the_moment_that_was_set_last() {
        let start = Instant::now();
        let at = |seconds| Some(start + Duration::from_secs(seconds));
        let mut alarm = Alarm::new(None);
        assert!(alarm.rings().now_or_never().is_none());
        alarm.set(at(9));
        alarm.set(at(2));
        alarm.set(at(2));
        alarm.rings().await;
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        assert!(alarm.rings().now_or_never().is_none(), "it has rung");
        alarm.set(at(1));
        assert!(alarm.rings().now_or_never().is_some(), "its moment has passed");
        alarm.set(at(5));
        alarm.set(None);
        assert!(alarm.rings().now_or_never().is_none());
    }
}
