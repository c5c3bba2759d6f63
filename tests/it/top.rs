//! `homing top`: as a picture at two widths, and on a terminal of its own.

use std::process::Command;

use super::rig::{Device, Hub, homing};

fn device() -> (Hub, Device) {
    let hub = Hub::start();
    let mut device = Device::new("a", &hub.url(), &hub.token(&["--account", "ada"]));
    device.sql("CREATE TABLE tasks(id TEXT PRIMARY KEY, title TEXT)");
    device.start();
    device.sql("INSERT INTO tasks VALUES ('1', 'one'), ('2', 'two')");
    device.sync();
    device.homing(&["pause"]);
    device.sql("INSERT INTO tasks VALUES ('3', 'it waits')");
    (hub, device)
}

fn picture(device: &Device, columns: &str) -> Vec<String> {
    let mut command = homing(device.home());
    command.env("HOMING_SOCKET", &device.socket).env("COLUMNS", columns).args(["top", "--once"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_picture_shows_replicas_throughput_queue_conflicts_and_log_at_any_width() {
    let (_hub, device) = device();
    for (columns, side_by_side) in [(80, false), (160, true)] {
        let lines = picture(&device, &columns.to_string());
        let text = lines.join("\n");
        assert!(lines.iter().all(|line| line.chars().count() <= columns), "{text}");
        for part in
            ["replicas", "2 sent, 0 received", "queue (1)", "conflicts for you (0)", "log", "tasks [\"3\"]", "‖ notes"]
        {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let both = lines.iter().any(|line| line.contains("queue (1)") && line.contains("conflicts for you"));
        assert_eq!(both, side_by_side, "{text}");
    }
    let refused = device.homing(&["top"]);
    assert_eq!(refused.code, 2, "without a terminal: {refused:?}");
}

/// A terminal of its own, by Python's pty: it draws, takes a key, and puts everything back.
#[test]
fn it_draws_on_a_terminal_and_leaves_it_as_it_was() {
    let (_hub, device) = device();
    let script = r#"
import fcntl, os, pty, select, signal, struct, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    os.execv(sys.argv[1], [sys.argv[1], "top"])
signal.alarm(60)
seen, pressed = b"", False
while True:
    try:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, seen
        part = os.read(terminal, 65536)
    except OSError:
        break
    if not part:
        break
    seen += part
    if not pressed and b"conflicts for you" in seen:
        pressed = True
        os.write(terminal, b"q")
_, status = os.waitpid(pid, 0)
assert os.waitstatus_to_exitcode(status) == 0, (status, seen)
assert seen.count(b"\x1b[?1049h") == 1 and seen.rstrip().endswith(b"\x1b[?25h"), seen[-200:]
assert seen.index(b"\x1b[?1049h") < seen.index(b"\x1b[?1049l"), "the screen is given back"
print("well")
"#;
    let output = Command::new("python3")
        .args(["-B", "-c", script, env!("CARGO_BIN_EXE_homing")])
        .env("HOMING_SOCKET", &device.socket)
        .env("TERM", "xterm-256color")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "well\n");
}
