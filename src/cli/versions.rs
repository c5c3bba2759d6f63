//! Commands and agent of two versions, and the line that mends it.
//!
//! After an upgrade an agent goes on with its old program until it is restarted; and a
//! person may have two programs in their path.

use std::cmp::Ordering;

/// `None` where both are the same.
pub fn differ(agent: &str, command: &str) -> Option<String> {
    if agent == command {
        return None;
    }
    let versions = format!("the agent is version {agent}, this command {command}");
    Some(match order(agent).cmp(&order(command)) {
        Ordering::Greater => format!("{versions}: `type -a homing` shows where the newer command lies"),
        _ => format!("{versions}: {} puts the newer one in its place", restart()),
    })
}

/// How an agent under a supervisor is restarted.
fn restart() -> &'static str {
    match cfg!(target_os = "macos") {
        true => "`launchctl kickstart -k gui/$(id -u)/com.homing.agent`",
        false => "`systemctl --user restart homing`",
    }
}

fn order(version: &str) -> Vec<u64> {
    version.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_of_the_two_is_to_be_renewed() {
        assert_eq!(differ("0.1.0", "0.1.0"), None);
        for (agent, command, says) in [
            ("0.9.0", "0.10.0", restart()),
            ("0.10.0", "0.9.0", "type -a homing"),
            ("1.0.0-rc1", "1.0.0", restart()),
            ("strange", "0.1.0", restart()),
        ] {
            let line = differ(agent, command).unwrap();
            assert!(line.contains(says), "{line}");
            assert!(line.starts_with(&format!("the agent is version {agent}, this command {command}: ")), "{line}");
        }
    }
}
