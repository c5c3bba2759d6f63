//! What a person may agree to send about how syncing goes. Off until they say yes, in
//! every place of the world.
//!
//! With consent, each cycle adds a few records to a file in the state directory: which of
//! seven things happened, how often, how long it took, and codes from closed lists. Never
//! a value, a key, a name of a table, a replica, a device or a remote, no text, and no
//! time finer than an hour. Records go after 90 days; taking the consent back removes
//! them at once. They leave this machine only where `telemetry_url` names a place.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use tokio::sync::Notify;

use super::clock::{Clock, SystemClock};
use super::memory;
use crate::ipc::answer::TelemetryEvent;
use crate::model::status::HistoryEntry;

const AGE_MAX: i64 = 90 * 86_400_000;
const HOUR: i64 = 3_600_000;
/// Records kept, whatever their age.
const RECORDS_MAX: usize = 20_000;
const SEND_EVERY: Duration = Duration::from_secs(24 * 3600);
const SEND_MAX: usize = 5_000;

pub struct Telemetry {
    state_dir: PathBuf,
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Inner {
    consent: bool,
    /// When the last batch was sent: records up to then are with the receiver.
    sent_at: i64,
    #[serde(skip)]
    records: Vec<TelemetryEvent>,
}

impl Telemetry {
    pub fn open(state_dir: PathBuf) -> Telemetry {
        let consent = std::fs::read_to_string(state_dir.join("telemetry.json")).unwrap_or_default();
        let mut inner: Inner = serde_json::from_str(&consent).unwrap_or_default();
        if inner.consent {
            let kept = std::fs::read_to_string(state_dir.join("telemetry.jsonl")).unwrap_or_default();
            inner.records = kept.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        }
        let telemetry = Telemetry { state_dir, inner: Mutex::new(inner), changed: Notify::new() };
        telemetry.trim(SystemClock.millis());
        telemetry
    }

    pub fn consent(&self) -> bool {
        self.inner().consent
    }

    /// Exactly what is kept, and would be sent.
    pub fn events(&self) -> Vec<TelemetryEvent> {
        self.inner().records.clone()
    }

    /// Taking it back removes everything before it returns.
    pub fn agree(&self, consent: bool) -> std::io::Result<()> {
        let mut inner = self.inner();
        let fresh = Inner { consent, ..Inner::default() };
        if !consent || !inner.consent {
            match std::fs::remove_file(self.state_dir.join("telemetry.jsonl")) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => *inner = fresh,
            }
        }
        inner.consent = consent;
        self.save(&inner)?;
        self.changed.notify_one();
        Ok(())
    }

    pub fn note(&self, entry: &HistoryEntry) {
        let mut inner = self.inner();
        if !inner.consent {
            return;
        }
        let records = records_of(entry);
        let lines: String = records.iter().map(|record| json!(record).to_string() + "\n").collect();
        let path = self.state_dir.join("telemetry.jsonl");
        let opened = std::fs::File::options().create(true).append(true).mode(0o600).open(path);
        // Not worth a word to anybody when it fails.
        let _ = opened.and_then(|mut file| file.write_all(lines.as_bytes()));
        inner.records.extend(records);
        let full = inner.records.len() > RECORDS_MAX + SEND_MAX;
        drop(inner);
        if full {
            self.trim(SystemClock.millis());
        }
    }

    fn trim(&self, now: i64) {
        let mut inner = self.inner();
        let before = inner.records.len();
        inner.records.retain(|record| record.hour >= now - AGE_MAX);
        let surplus = inner.records.len().saturating_sub(RECORDS_MAX);
        inner.records.drain(..surplus);
        if inner.records.len() < before {
            let lines: String = inner.records.iter().map(|record| json!(record).to_string() + "\n").collect();
            let _ = memory::replace(&self.state_dir.join("telemetry.jsonl"), lines.as_bytes());
        }
    }

    /// Records of whole hours that were not sent, and the time they reach to.
    fn due(&self, now: i64) -> Option<(Vec<TelemetryEvent>, i64)> {
        let inner = self.inner();
        let until = now - now.rem_euclid(HOUR);
        let fresh = inner.records.iter().filter(|record| record.hour >= inner.sent_at && record.hour < until);
        let batch: Vec<TelemetryEvent> = fresh.take(SEND_MAX).cloned().collect();
        let reach = match batch.len() == SEND_MAX {
            // The rest of the last hour comes with the next batch, and that hour whole.
            true => batch.last().map_or(until, |last| last.hour),
            false => until,
        };
        (inner.consent && !batch.is_empty()).then_some((batch, reach))
    }

    fn sent(&self, reach: i64) {
        let mut inner = self.inner();
        if inner.consent {
            inner.sent_at = reach;
            let _ = self.save(&inner);
        }
    }

    fn save(&self, inner: &Inner) -> std::io::Result<()> {
        let text = json!(inner).to_string();
        memory::replace(&self.state_dir.join("telemetry.json"), text.as_bytes())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("BUG: nobody panics while holding the telemetry")
    }
}

/// Sends once a day what was agreed to, for as long as it is polled. An answer other than
/// success is tried again a day later.
pub async fn send(telemetry: Arc<Telemetry>, url: String) {
    // An error says that a provider was installed before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let built = reqwest::Client::builder()
        .user_agent(concat!("homing/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(30))
        .build();
    let Ok(client) = built else { return };
    loop {
        if let Some((events, reach)) = telemetry.due(SystemClock.millis()) {
            let body = json!({ "schema": "homing.telemetry/1", "events": events }).to_string();
            let asked = client.post(&url).header("content-type", "application/json").body(body).send().await;
            match asked.and_then(reqwest::Response::error_for_status) {
                Ok(_) => telemetry.sent(reach),
                Err(error) => tracing::debug!("telemetry was not taken: {}", error.without_url()),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(SEND_EVERY) => {}
            () = telemetry.changed.notified() => {}
        }
        telemetry.trim(SystemClock.millis());
    }
}

/// The seven kinds of event, as one cycle has them to tell.
fn records_of(entry: &HistoryEntry) -> Vec<TelemetryEvent> {
    let HistoryEntry { cycle, detail, .. } = entry;
    let hour = entry.at - entry.at.rem_euclid(HOUR);
    let refused: u64 = detail.refused.values().sum();
    let mut records = Vec::new();
    let mut tell = |event: &str, facts: Json| {
        let facts: Map<String, Json> = facts.as_object().cloned().unwrap_or_default();
        records.push(TelemetryEvent { event: event.to_owned(), hour, facts });
    };
    if cycle.pushed + refused > 0 {
        tell("sync_operation_start", json!({ "count": cycle.pushed + refused }));
    }
    if cycle.pushed > 0 {
        tell("sync_operation_success", json!({ "count": cycle.pushed }));
    }
    for (code, count) in &detail.refused {
        tell("sync_operation_error", json!({ "code": code, "count": count }));
    }
    match &entry.reason {
        None => tell(
            "sync_batch_success",
            json!({
                "push_milliseconds": detail.push_milliseconds,
                "pull_milliseconds": detail.pull_milliseconds,
                "apply_milliseconds": detail.apply_milliseconds,
                "milliseconds": cycle.milliseconds,
                "bytes_up": cycle.bytes_up,
                "bytes_down": cycle.bytes_down,
                "pulled": cycle.pulled,
                "checkpoint_age_seconds": detail.checkpoint_age_seconds,
                // Counts without the names of the tables.
                "queued": detail.queued.values().collect::<Vec<_>>(),
            }),
        ),
        Some(reason) => tell("sync_batch_error", json!({ "code": reason.code.word() })),
    }
    if cycle.conflicts > 0 {
        tell("sync_conflict_detected", json!({ "count": cycle.conflicts }));
    }
    for (outcome, count) in detail.resolved.iter().filter(|(outcome, _)| *outcome != "open") {
        tell("sync_conflict_resolved", json!({ "outcome": outcome, "count": count }));
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::status::{Cycle, Detail};
    use crate::model::{Reason, ReasonCode};

    fn entry() -> HistoryEntry {
        let secret = || "PRIVATE".to_owned();
        HistoryEntry {
            replica: secret(),
            at: SystemClock.millis(),
            cause: "write".into(),
            cycle: Cycle { pushed: 2, conflicts: 2, bytes_up: 10, ..Cycle::default() },
            detail: Detail {
                queued: [(secret(), 3)].into(),
                refused: [("constraint".to_owned(), 1)].into(),
                resolved: [("merged".to_owned(), 1), ("open".to_owned(), 1)].into(),
                ..Detail::default()
            },
            reason: None,
        }
    }

    #[test]
    fn seven_kinds_are_told_and_nothing_that_is_anybodys() {
        let reason = Reason { code: ReasonCode::OfflineHubDown, text: "PRIVATE".into(), next: "PRIVATE".into() };
        let failed = HistoryEntry { reason: Some(reason), ..entry() };
        let mut records = records_of(&entry());
        records.extend(records_of(&failed));
        let mut kinds: Vec<&str> = records.iter().map(|record| record.event.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(
            kinds,
            [
                "sync_batch_error",
                "sync_batch_success",
                "sync_conflict_detected",
                "sync_conflict_resolved",
                "sync_operation_error",
                "sync_operation_start",
                "sync_operation_success",
            ]
        );
        assert!(!json!(records).to_string().contains("PRIVATE"));
        assert!(records.iter().all(|record| record.hour % HOUR == 0));
    }

    #[test]
    fn without_consent_nothing_is_kept_and_taking_it_back_removes_all() {
        let folder = tempfile::tempdir().unwrap();
        let files = || std::fs::read_dir(folder.path()).unwrap().count();
        let telemetry = Telemetry::open(folder.path().into());
        telemetry.note(&entry());
        assert_eq!((telemetry.events().len(), files()), (0, 0));
        telemetry.agree(true).unwrap();
        telemetry.note(&entry());
        assert_eq!(telemetry.events().len(), 6);
        let again = Telemetry::open(folder.path().into());
        assert_eq!((again.consent(), again.events()), (true, telemetry.events()));
        again.trim(SystemClock.millis() + AGE_MAX + 2 * HOUR);
        assert_eq!(again.events(), []);
        telemetry.agree(false).unwrap();
        assert!(!folder.path().join("telemetry.jsonl").exists());
        let after = Telemetry::open(folder.path().into());
        assert_eq!((after.consent(), after.events().len()), (false, 0));
    }

    /// To a listener that takes one request; returns what was sent.
    #[tokio::test]
    async fn a_batch_is_posted_where_the_config_says_and_counts_as_sent() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let folder = tempfile::tempdir().unwrap();
        let telemetry = Arc::new(Telemetry::open(folder.path().into()));
        telemetry.agree(true).unwrap();
        telemetry.note(&HistoryEntry { at: SystemClock.millis() - 2 * HOUR, ..entry() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/here", listener.local_addr().unwrap());
        let sending = tokio::spawn(send(telemetry.clone(), url));
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = String::new();
        while !request.ends_with("]}") && !request.ends_with("}") {
            let mut part = [0; 65_536];
            let count = stream.read(&mut part).await.unwrap();
            request.push_str(std::str::from_utf8(&part[..count]).unwrap());
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /here HTTP/1.1") && !head.to_lowercase().contains("authorization"), "{head}");
        let body: Json = serde_json::from_str(body).unwrap();
        assert_eq!((&body["schema"], body["events"].as_array().unwrap().len()), (&json!("homing.telemetry/1"), 6));
        while telemetry.due(SystemClock.millis()).is_some() {
            tokio::task::yield_now().await;
        }
        sending.abort();
    }

    #[test]
    fn what_was_sent_is_not_sent_again() {
        let folder = tempfile::tempdir().unwrap();
        let telemetry = Telemetry::open(folder.path().into());
        telemetry.agree(true).unwrap();
        telemetry.note(&entry());
        let now = SystemClock.millis();
        assert!(telemetry.due(now).is_none(), "the hour is not over");
        let (events, reach) = telemetry.due(now + HOUR).unwrap();
        assert_eq!(events.len(), 6);
        telemetry.sent(reach);
        assert!(telemetry.due(now + 2 * HOUR).is_none());
    }
}
