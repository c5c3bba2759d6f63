//! A token bucket an account.

use std::collections::HashMap;

/// Accounts remembered before the full buckets are forgotten.
const ACCOUNTS_MAX: usize = 10_000;

pub(super) struct Rate {
    per_second: f64,
    burst: f64,
    buckets: HashMap<String, Bucket>,
}

struct Bucket {
    left: f64,
    at: i64,
}

impl Rate {
    pub fn new(per_second: u32, burst: u32) -> Rate {
        Rate { per_second: f64::from(per_second), burst: f64::from(burst), buckets: HashMap::new() }
    }

    /// True when the account may ask once more at `now`, in milliseconds.
    pub fn take(&mut self, account: &str, now: i64) -> bool {
        if self.buckets.len() > ACCOUNTS_MAX {
            let (burst, per_second) = (self.burst, self.per_second);
            self.buckets.retain(|_, bucket| bucket.filled(now, burst, per_second) < burst);
        }
        let fresh = || Bucket { left: self.burst, at: now };
        let bucket = self.buckets.entry(account.to_owned()).or_insert_with(fresh);
        bucket.left = bucket.filled(now, self.burst, self.per_second);
        bucket.at = now;
        let may = bucket.left >= 1.0;
        if may {
            bucket.left -= 1.0;
        }
        may
    }
}

impl Bucket {
    fn filled(&self, now: i64, burst: f64, per_second: f64) -> f64 {
        let elapsed = (now - self.at).max(0) as f64 / 1000.0;
        (self.left + elapsed * per_second).min(burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_that_asks_too_often_waits_and_others_do_not() {
        let mut rate = Rate::new(2, 3);
        let taken: Vec<bool> = (0..4).map(|_| rate.take("ada", 0)).collect();
        assert_eq!(taken, [true, true, true, false]);
        assert!(rate.take("bob", 0));
        assert!(!rate.take("ada", 499));
        assert!(rate.take("ada", 500));
        assert!(!rate.take("ada", -10_000), "a clock that steps back gives nothing");
    }
}
