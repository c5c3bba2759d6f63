//! Hints over MQTT: a message on the topic says "there is more", never what; and after a
//! push of one's own one is given, where the config says so.
//!
//! A broker that is away costs nothing but time: the timer goes on, what was to be said is
//! said when it is back, and to be connected again is itself a reason to pull. Messages
//! that it gave itself are not heard as hints. No more than one is given a second, and
//! none twice: a hint that is lost is the timer's.

mod packet;
mod way;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value as Json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::packet::{Hello, Packet, Packets, Rubbish, is_topic};
use self::way::{Stream, Way};
use super::http::live::{self, GOOD_AFTER, chance, delay};
use super::http::{Shared, read_small};
use super::{Hint, Listening};
use crate::model::Fault;
use crate::model::settings::{Mqtt, Remote as Settings};

/// How long the broker may take for a step of the greeting, or to take what is said.
const PATIENCE: Duration = Duration::from_secs(10);
/// A word is said after this long without one, so that the way stays open.
const PING_AFTER: Duration = Duration::from_secs(60);
/// A broker that did not say a word for so long is taken for gone.
const SILENCE_MAX: Duration = Duration::from_secs(150);
/// Between two hints that are heard: a flood of them costs a few pulls a second.
const HEARD_PAUSE: Duration = Duration::from_millis(250);
/// Between two hints that are given.
const GIVEN_PAUSE: Duration = Duration::from_millis(250);
const PASSWORD_BYTES_MAX: u64 = 64 << 10;

type Hear = Box<dyn Fn(Hint) + Send + Sync>;

/// One replica's broker.
pub struct Broker {
    way: Way,
    settings: Mqtt,
    /// What its own messages say, and nobody else's: a name would tell strangers who writes.
    mark: String,
    /// To be rung after a push.
    bell: Bell,
}

/// Says that a hint is to be given. Stays rung until one was.
#[derive(Default)]
struct Bell {
    rung: AtomicBool,
    heard: Notify,
}

impl Broker {
    /// `None` where the config names no broker.
    pub fn of(settings: &Settings) -> Result<Option<Arc<Broker>>, Fault> {
        let mqtt = &settings.backend.mqtt;
        let Some(url) = &mqtt.url else { return Ok(None) };
        let way = Way::new(settings, url)?;
        let mark = uuid::Uuid::new_v4().simple().to_string();
        Ok(Some(Arc::new(Broker { way, settings: mqtt.clone(), mark, bell: Bell::default() })))
    }

    /// Something was pushed: others should know.
    pub fn ring(&self) {
        if self.settings.publish {
            self.bell.rung.store(true, Ordering::Release);
            self.bell.heard.notify_one();
        }
    }
}

/// Listens until the answer is dropped, or the agent stops.
pub fn listen(broker: Arc<Broker>, connection: Shared, runtime: &Handle, hear: Hear) -> Listening {
    let channel = connection.clone();
    live::attend(connection, runtime, async move { keep_open(&broker, &channel, &hear).await })
}

async fn keep_open(broker: &Broker, connection: &Shared, hear: &Hear) {
    let mut failures = 0u32;
    loop {
        let began = Instant::now();
        let (opened, why) = attend(broker, connection, hear).await;
        failures = if opened && began.elapsed() >= GOOD_AFTER { 0 } else { failures.saturating_add(1) };
        let delay = delay(failures, chance());
        tracing::debug!(broker = broker.way.name(), why, ?delay, "the broker is away");
        hear(Hint::Away(format!(
            "the MQTT broker {} is away ({why}): what others write comes with the timer; tried again by itself",
            broker.way.name()
        )));
        sleep(delay).await;
    }
}

/// One connection from its beginning to its end: whether it was open, and how it ended.
async fn attend(broker: &Broker, connection: &Shared, hear: &Hear) -> (bool, String) {
    let greeted = async {
        let topic = topic(&broker.settings.topic, connection).await?;
        let mut talk = Talk::open(broker).await?;
        talk.say(&packet::subscribe(&topic)).await?;
        loop {
            match talk.next().await? {
                Packet::Subscribed(true) => return Ok((talk, topic)),
                Packet::Subscribed(false) => return Err(format!("it does not let `{topic}` be listened to")),
                _ => {}
            }
        }
    };
    match timeout(PATIENCE, greeted).await {
        Err(_) => (false, format!("it did not answer within {} s", PATIENCE.as_secs())),
        Ok(Err(why)) => (false, why),
        Ok(Ok((talk, topic))) => {
            hear(Hint::Open);
            (true, follow(talk, broker, connection, &topic, hear).await)
        }
    }
}

/// Hears and gives hints until the connection breaks; says how it broke.
async fn follow(mut talk: Talk, broker: &Broker, connection: &Shared, topic: &str, hear: &Hear) -> String {
    let mut line = connection.line();
    let name = broker.way.name();
    let mut heard_at = Instant::now();
    let mut said_at = Instant::now();
    let mut quiet_until = Instant::now();
    // The first of many is heard at once, and the others as one.
    let (mut deaf_until, mut more) = (Instant::now(), false);
    loop {
        tokio::select! {
            _ = line.cut(&name) => return "an address of this machine went".to_owned(),
            heard = talk.next() => {
                heard_at = Instant::now();
                match heard {
                    Ok(Packet::Message(said)) => more |= said != broker.mark.as_bytes(),
                    Ok(_) => {}
                    Err(why) => return why,
                }
            },
            () = sleep_until(deaf_until), if more => {
                hear(Hint::More(None));
                (deaf_until, more) = (Instant::now() + HEARD_PAUSE, false);
            }
            () = broker.bell.rung_after(quiet_until) => {
                if let Err(why) = talk.say(&packet::publish(topic, broker.mark.as_bytes())).await {
                    broker.bell.rung.store(true, Ordering::Release);
                    return why;
                }
                said_at = Instant::now();
                quiet_until = said_at + GIVEN_PAUSE;
            }
            () = sleep_until(said_at + PING_AFTER) => {
                if let Err(why) = talk.say(&packet::ping()).await {
                    return why;
                }
                said_at = Instant::now();
            }
            () = sleep_until(heard_at + SILENCE_MAX) => return "it fell silent".to_owned(),
        }
    }
}

impl Bell {
    /// Returns when it is rung, not before `at`, and takes the ring back.
    async fn rung_after(&self, at: Instant) {
        while !self.rung.load(Ordering::Acquire) {
            self.heard.notified().await;
        }
        sleep_until(at).await;
        self.rung.store(false, Ordering::Release);
    }
}

/// The topic with what the token says in the places that name its claims.
async fn topic(pattern: &str, connection: &Shared) -> Result<String, String> {
    let claims = match pattern.contains('{') {
        true => {
            let token = connection.tokens.current().await.map_err(|fault| fault.reason.text)?;
            token.and_then(|token| token.claims()).unwrap_or_default()
        }
        false => Json::Null,
    };
    filled(pattern, &claims)
}

fn filled(pattern: &str, claims: &Json) -> Result<String, String> {
    let mut topic = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((claim, after)) = after.split_once('}') else { break };
        let value = match claims.get(claim) {
            Some(Json::String(text)) => text.clone(),
            Some(Json::Number(number)) => number.to_string(),
            _ => return Err(format!("the token has no claim `{claim}`, which `mqtt_topic` names")),
        };
        // A claim is one level of the topic: not a way into somebody else's.
        if value.is_empty() || value.contains(['/', '+', '#', '\0']) {
            return Err(format!("the token's claim `{claim}` cannot be a part of a topic"));
        }
        topic.push_str(before);
        topic.push_str(&value);
        rest = after;
    }
    topic.push_str(rest);
    if is_topic(&topic) { Ok(topic) } else { Err("`mqtt_topic` is no topic".to_owned()) }
}

/// One open connection, greeted.
struct Talk {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    packets: Packets,
    /// Found, and not yet looked at.
    found: std::collections::VecDeque<Packet>,
}

impl Talk {
    async fn open(broker: &Broker) -> Result<Talk, String> {
        let settings = &broker.settings;
        let password = settings.password_file.as_deref().map(password).transpose()?;
        let (reader, writer) = tokio::io::split(broker.way.open().await?);
        let mut talk = Talk { reader, writer, packets: Packets::default(), found: Default::default() };
        // Nobody else's, or the broker would end that one's connection for ours.
        let client = format!("homing{}", &uuid::Uuid::new_v4().simple().to_string()[..16]);
        talk.say(&packet::connect(&Hello {
            client: &client,
            // A password needs a name before it.
            user: settings.user.as_deref().or(password.as_ref().map(|_| "")),
            password: password.as_deref(),
            silence_seconds_max: (SILENCE_MAX.as_secs()) as u16,
        }))
        .await?;
        match talk.next().await? {
            Packet::Connected(0) => Ok(talk),
            Packet::Connected(2) => Err("it refuses the name of this client".to_owned()),
            Packet::Connected(3) => Err("it says that it is not available".to_owned()),
            Packet::Connected(4 | 5) => Err("it refuses the user or the password".to_owned()),
            Packet::Connected(code) => Err(format!("it refuses the connection with code {code}")),
            _ => Err(not_mqtt()),
        }
    }

    async fn say(&mut self, bytes: &[u8]) -> Result<(), String> {
        let said = async {
            self.writer.write_all(bytes).await?;
            self.writer.flush().await
        };
        match timeout(PATIENCE, said).await {
            Ok(said) => said.map_err(|error| format!("the connection was cut: {error}")),
            Err(_) => Err("it does not take what is said".to_owned()),
        }
    }

    /// The next packet. Nothing is lost when this is given up half-way.
    async fn next(&mut self) -> Result<Packet, String> {
        let mut bytes = [0; 4096];
        loop {
            if let Some(packet) = self.found.pop_front() {
                return Ok(packet);
            }
            let count =
                self.reader.read(&mut bytes).await.map_err(|error| format!("the connection was cut: {error}"))?;
            if count == 0 {
                return Err("it closed the connection".to_owned());
            }
            let found = self.packets.feed(&bytes[..count]).map_err(|rubbish| match rubbish {
                Rubbish::NotMqtt => not_mqtt(),
                Rubbish::TooLarge(bytes) => format!("it sends a message of {bytes} bytes"),
            })?;
            self.found.extend(found);
        }
    }
}

fn not_mqtt() -> String {
    "what answers there does not speak MQTT 3.1.1".to_owned()
}

/// Read anew each time, so that a new one counts at once.
fn password(path: &Path) -> Result<String, String> {
    let unusable = |why: &str| format!("`mqtt_password_file` {} {why}", path.display());
    let bytes = read_small(path, PASSWORD_BYTES_MAX).map_err(|why| unusable(&why))?;
    let text = String::from_utf8(bytes).map_err(|_| unusable("is not text"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(unusable("is empty")),
        password => Ok(password.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_topic_is_filled_from_the_token_and_leads_nowhere_else() {
        let claims = json!({"farm": "f7", "n": 12, "bad": "x/#", "list": []});
        for (pattern, topic) in
            [("egglogu/{farm}/sync", "egglogu/f7/sync"), ("a/{n}/{farm}", "a/12/f7"), ("plain/topic", "plain/topic")]
        {
            assert_eq!(filled(pattern, &claims).as_deref(), Ok(topic));
        }
        for pattern in ["a/{none}", "a/{bad}", "a/{list}", "a/+", "#", ""] {
            assert!(filled(pattern, &claims).is_err(), "{pattern}");
        }
    }
}
