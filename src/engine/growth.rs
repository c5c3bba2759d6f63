//! How large the next batch may be: small at first, larger while the line is quick.
//!
//! A batch is one transaction at the remote. Large ones cost less a row; small ones are
//! answered sooner, and lose less to a line that breaks. Counted in the sizes that the
//! settings name.

use crate::model::settings::Millis;

const TIMES_MAX: usize = 16;
/// A full batch that was answered this soon is followed by one twice as large …
const QUICK: Millis = 1_000;
/// … and one that took longer than this by one half as large.
const SLOW: Millis = 4_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    times: usize,
}

impl Default for Growth {
    fn default() -> Growth {
        Growth { times: 1 }
    }
}

impl Growth {
    /// How many times the named size the next batch may have.
    pub fn times(self) -> usize {
        self.times
    }

    /// A batch was answered. `full`: it was as large as it might be.
    pub fn answered(&mut self, full: bool, took: Millis) {
        if took > SLOW {
            self.times = (self.times / 2).max(1);
        } else if full && took < QUICK {
            self.times = (self.times * 2).min(TIMES_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_grow_while_the_line_is_quick_and_shrink_when_it_is_slow() {
        let mut growth = Growth::default();
        let mut after = |full, took| {
            growth.answered(full, took);
            growth.times()
        };
        assert_eq!(after(false, 10), 1, "there is no more to send");
        assert_eq!([after(true, 10), after(true, 999), after(true, 1_000), after(true, 4_000)], [2, 4, 4, 4]);
        assert_eq!([after(true, 4_001), after(false, 60_000), after(true, 60_000)], [2, 1, 1]);
        assert_eq!([(); 9].map(|()| after(true, 0)), [2, 4, 8, 16, 16, 16, 16, 16, 16]);
    }
}
