//! A point in time on both clocks: what others write down, and what deadlines are kept by. It decides nothing.

use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Now, by both clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock: may be wrong, and may jump.
    pub wall: Timestamp,
    /// Since the machine started, sleep included (CLOCK_BOOTTIME); never set.
    pub boot: Duration,
}

impl Moment {
    pub fn now() -> Self {
        let boot = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(boot.tv_sec).unwrap_or_default();
        let nanos = u32::try_from(boot.tv_nsec).unwrap_or_default();
        Moment { wall: Timestamp::now(), boot: Duration::new(seconds, nanos) }
    }

    /// What the boot-time clock will show, or showed, when the wall clock shows `wall`, if nobody sets it.
    pub fn boot_at(self, wall: Timestamp) -> Duration {
        let ahead = wall.duration_since(self.wall);
        match Duration::try_from(ahead) {
            Ok(ahead) => self.boot.saturating_add(ahead),
            Err(_) => self.boot.saturating_sub(ahead.unsigned_abs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_time_has_its_boot_time_before_and_after_now() {
        let now = Moment { wall: Timestamp::constant(1_000, 0), boot: Duration::from_secs(50) };
        let check = |wall: i64, expected: u64| {
            assert_eq!(now.boot_at(Timestamp::constant(wall, 0)), Duration::from_secs(expected), "{wall}");
        };
        check(1_000, 50);
        check(1_600, 650);
        check(980, 30);
        check(0, 0);
    }

    #[test]
    fn the_boot_time_clock_goes_forward() {
        let (first, second) = (Moment::now(), Moment::now());
        assert!(first.boot > Duration::ZERO && second.boot >= first.boot, "{first:?} {second:?}");
    }
}
