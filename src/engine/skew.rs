//! How far this device's clock is from the remote's.
//!
//! An answer took some time on its way, so that the remote's clock is known between two
//! bounds only. The smallest correction within them is taken: a slow network never moves
//! the stamps of a device whose clock is right, nor puts a later write before an earlier.

/// Milliseconds to add to this device's clock to read the remote's. `asked`, `heard`: this
/// device's clock before the request and after the answer; `remote`: the answer's.
pub fn offset(asked: i64, heard: i64, remote: i64) -> i64 {
    let (least, most) = (remote - heard.max(asked), remote - asked);
    match () {
        () if least > 0 => least,
        () if most < 0 => most,
        () => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_the_remote_is_not_taken_for_an_error_of_the_clock() {
        // Asked, heard, the remote's time.
        for (asked, heard, remote, expected) in [
            (1_000, 1_000, 1_000, 0),
            (1_000, 1_300, 1_000, 0),
            (1_000, 1_300, 1_299, 0),
            (1_000, 1_300, 5_000, 3_700),
            (1_000, 1_300, 400, -600),
            (3_601_000, 3_601_040, 1_020, -3_599_980),
            // The clock was set back in between.
            (1_000, 400, 1_010, 10),
        ] {
            assert_eq!(offset(asked, heard, remote), expected, "{asked} {heard} {remote}");
        }
    }
}
