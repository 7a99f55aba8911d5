//! When refusals of single records are no longer believed: a sink that refuses one after the other for the same reason is
//! itself at fault.

use super::letter::Refusal;

/// From so many equal refusals in a row on they are taken for a fault of the sink, and nothing is dead-lettered.
pub const EQUAL_REFUSALS_MAX: u32 = 1_000;

/// Equal refusals in a row.
#[derive(Clone, Debug, Default)]
pub struct Streak {
    status: u16,
    kind: String,
    count: u32,
    /// The bound was reached: no refusal is believed until a record is accepted.
    tripped: bool,
}

impl Streak {
    /// Counts a refusal; false where it is not to be believed any more.
    pub fn believes(&mut self, refusal: &Refusal) -> bool {
        if self.status != refusal.status || self.kind != refusal.kind {
            *self = Streak { status: refusal.status, kind: refusal.kind.clone(), count: 0, tripped: self.tripped };
        }
        self.count = self.count.saturating_add(1);
        self.tripped |= self.count >= EQUAL_REFUSALS_MAX;
        !self.tripped
    }

    pub fn accepted(&mut self) {
        self.count = 0;
        self.tripped = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(kind: &str) -> Refusal {
        Refusal { status: 400, kind: kind.to_owned(), reason: String::new() }
    }

    #[test]
    fn from_the_thousandth_equal_refusal_in_a_row_on_none_is_believed_until_a_record_is_accepted() {
        let mut streak = Streak::default();
        for n in 1..EQUAL_REFUSALS_MAX {
            assert!(streak.believes(&refusal("mapping")), "the {n}th");
        }
        assert!(!streak.believes(&refusal("mapping")));
        // Nor is another one: the sink is at fault.
        assert!(!streak.believes(&refusal("parsing")));
        streak.accepted();
        assert!(streak.believes(&refusal("mapping")));
    }

    #[test]
    fn refusals_that_differ_or_are_broken_by_a_record_that_is_accepted_are_believed() {
        let mut streak = Streak::default();
        for n in 0..EQUAL_REFUSALS_MAX * 3 {
            assert!(streak.believes(&refusal(if n % 2 == 0 { "mapping" } else { "parsing" })));
        }
        for n in 0..EQUAL_REFUSALS_MAX * 3 {
            assert!(streak.believes(&refusal("mapping")));
            if n % 900 == 0 {
                streak.accepted();
            }
        }
    }
}
