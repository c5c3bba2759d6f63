//! News of the machine's sleep: when it has woken up, every replica looks for what
//! happened meanwhile, without waiting for a timer that slept as well.
//!
//! The system tells, by way of a timer that is cancelled whenever the clock jumps, which
//! it does at each waking. That it was sleep and not a person who set the clock shows in
//! the two clocks that differ in nothing but counting sleep. Nothing runs until then.
//! Other systems than Linux bring the network up when they wake, which is news too.

use std::sync::Arc;
use std::time::Duration;

use super::crew::Crew;

/// Shorter sleep interrupts nothing that a timer would not notice.
#[cfg(any(target_os = "linux", test))]
const SLEEP_MIN: Duration = Duration::from_secs(2);

#[cfg(target_os = "linux")]
pub fn watch(crew: Arc<Crew>) {
    let started = std::thread::Builder::new().name("sleep".to_owned()).stack_size(128 << 10).spawn(move || {
        if let Err(error) = linux::watch(&crew) {
            tracing::debug!("no news of the machine's sleep: {error}");
        }
    });
    if let Err(error) = started {
        tracing::debug!("no news of the machine's sleep: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
pub fn watch(_: Arc<Crew>) {}

#[cfg(target_os = "linux")]
mod linux {
    use rustix::io::Errno;
    use rustix::time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
        timerfd_settime,
    };

    use super::*;
    use crate::agent::worker::Order;
    use crate::engine::session::{Event, Wake};

    /// Never rings, for all that matters: the year 2500.
    const NEVER: i64 = 16_725_225_600;

    pub fn watch(crew: &Crew) -> Result<(), Errno> {
        let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC)?;
        let never = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: NEVER, tv_nsec: 0 },
        };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        let mut before = asleep();
        loop {
            timerfd_settime(&timer, flags, &never)?;
            match rustix::io::read(&timer, &mut [0; 8]) {
                Err(Errno::CANCELED) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
                Ok(_) => return Ok(()),
            }
            let now = asleep();
            if let Some(time) = slept(before, now) {
                tracing::info!(seconds = time.as_secs(), "the machine has woken up");
                for (_, post) in crew.posts() {
                    let _ = post.send(Order::Event(Event::Wake(Wake::Network)));
                }
            }
            before = now;
        }
    }

    /// How long the machine has slept since it started.
    fn asleep() -> Duration {
        let read = |clock| {
            let time = clock_gettime(clock);
            Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
        };
        read(ClockId::Boottime).saturating_sub(read(ClockId::Monotonic))
    }
}

/// The sleep between two readings; `None` where only the time of day was set.
#[cfg(any(target_os = "linux", test))]
fn slept(before: Duration, now: Duration) -> Option<Duration> {
    now.checked_sub(before).filter(|time| *time >= SLEEP_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_no_sleep() {
        let seconds = Duration::from_secs;
        assert_eq!(slept(seconds(0), seconds(0)), None);
        assert_eq!(slept(seconds(100), seconds(101)), None);
        assert_eq!(slept(seconds(100), seconds(3_700)), Some(seconds(3_600)));
        assert_eq!(slept(seconds(100), seconds(99)), None);
    }
}
