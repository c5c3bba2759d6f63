//! The client to a hub against servers that are not one, or not a good one.
//!
//! The servers here speak raw bytes over real sockets, so that they can do what no HTTP
//! library would: break off, trickle, never end, lie about lengths. Each test says what
//! came back and checks what the client made of it: the kind of fault, its reason code,
//! and that nothing else was sent.

mod server;

use std::io::{BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use homing::model::settings::{Remote as Settings, TokenSource};
use homing::model::{Cursor, FaultKind, ReasonCode, Revision};
use homing::protocol::body::Packing;
use homing::remote::homing::HomingRemote;
use homing::remote::{Hint, Remote, RemoteError};
use tokio::sync::watch;

pub use self::server::tls_server;
use self::server::*;

const LONG: Duration = Duration::from_secs(20);
const EMPTY_PAGE: &str =
    r#"{"protocol":1,"epoch":"e","head":7,"time":1,"cursor":"c","more":false,"covers":[],"groups":[]}"#;

// ---- what a hub may do, and what is no hub -------------------------------------------

#[test]
fn a_good_answer_is_taken_and_the_request_says_all_it_must() {
    let server = Server::answering(|_, out| hub(out, "200 OK", "", EMPTY_PAGE));
    let mut client = server.client();
    let page = client.remote.pull(&ask(Some("before"))).unwrap();
    assert_eq!((page.cursor, page.more), (Cursor("c".to_owned()), false));
    let request = server.only_request();
    assert_eq!(request.line, "POST /v1/scopes/@me/pull HTTP/1.1");
    for (name, value) in [
        ("authorization", "Bearer s3cret"),
        ("homing-protocol", "1"),
        ("accept-encoding", "zstd, gzip"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(request.header(name), Some(value));
    }
    let asked: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(asked["cursor"], "before");
    let (up, down) = client.remote.traffic();
    assert_eq!((up, down), (request.body.len() as u64, EMPTY_PAGE.len() as u64));
    assert_eq!(client.remote.traffic(), (0, 0));
}

#[test]
fn packed_answers_are_unpacked_and_long_requests_are_packed() {
    for packing in [Packing::Gzip, Packing::Zstd] {
        let server = Server::answering(move |_, out| {
            let body = packing.pack(EMPTY_PAGE.as_bytes()).unwrap();
            hub_bytes(out, "200 OK", &format!("content-encoding: {}\r\n", packing.word()), &body);
        });
        let long = "x".repeat(5_000);
        server.client().remote.pull(&ask(Some(&long))).unwrap();
        let request = server.only_request();
        assert_eq!(request.header("content-encoding"), Some("zstd"));
        assert!(request.body.len() < 1_000);
        let body = Packing::Zstd.unpack(&request.body, 1 << 20).unwrap();
        assert!(String::from_utf8(body).unwrap().contains(&long));
    }
}

#[test]
fn whatever_lacks_the_protocols_header_is_not_the_hub() {
    let flood = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(100_000));
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(2 << 20));
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 20\r\n\r\n<html>log in!</html>".to_owned(),
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{EMPTY_PAGE}", EMPTY_PAGE.len()),
        format!("HTTP/1.1 200 OK\r\nhoming-protocol: yes\r\ncontent-length: {}\r\n\r\n{EMPTY_PAGE}", EMPTY_PAGE.len()),
        "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 304 Not Modified\r\nhoming-protocol: 1\r\n\r\n".to_owned(),
        "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
        flood,
        endless,
    ] {
        let shown = answer[..answer.len().min(60)].to_owned();
        let server = Server::answering(move |_, out| drop(out.write_all(answer.as_bytes())));
        let fault = pull_fault(&mut server.client());
        assert_eq!((fault.kind, fault.reason.code), (FaultKind::Network, ReasonCode::OfflineNotTheHub), "{shown}");
        assert_eq!(server.requests().len(), 1, "{shown}");
    }
}

#[test]
fn a_redirect_is_not_followed_and_the_token_goes_nowhere_else() {
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        for header in ["", "homing-protocol: 1\r\n"] {
            let elsewhere = Server::answering(|_, out| hub(out, "200 OK", "", EMPTY_PAGE));
            let target = elsewhere.address;
            let server = Server::answering(move |_, out| {
                let head =
                    format!("HTTP/1.1 {status}\r\nlocation: http://{target}/\r\n{header}content-length: 0\r\n\r\n");
                drop(out.write_all(head.as_bytes()));
            });
            let fault = pull_fault(&mut server.client());
            assert_eq!(fault.reason.code, ReasonCode::OfflineNotTheHub, "{status}");
            assert!(fault.reason.text.contains("redirect"), "{}", fault.reason.text);
            assert!(elsewhere.requests().is_empty(), "{status}: the redirect was followed");
        }
    }
}

#[test]
fn a_proxys_503_is_no_hub_but_its_time_is_kept() {
    let server = Server::answering(|_, out| {
        drop(out.write_all(b"HTTP/1.1 503 Busy\r\nretry-after: 9\r\ncontent-length: 4\r\n\r\nbusy"));
    });
    let fault = pull_fault(&mut server.client());
    assert_eq!((fault.kind, fault.retry_after), (FaultKind::Network, Some(9_000)));
}

#[test]
fn a_time_to_stay_away_is_obeyed_and_never_longer_than_an_hour() {
    for (said, expected) in [
        ("retry-after: 7\r\n", Some(7_000)),
        ("retry-after: 1000000000\r\n", Some(3_600_000)),
        ("retry-after: -1\r\n", None),
        ("retry-after: Thu, 01 Jan 1970 00:00:00 GMT\r\n", None),
        ("retry-after: soon\r\n", None),
        ("", None),
    ] {
        for status in ["429 Too Many Requests", "503 Service Unavailable"] {
            let server = Server::answering(move |_, out| hub(out, status, said, ""));
            let fault = pull_fault(&mut server.client());
            assert_eq!((fault.kind, fault.retry_after), (FaultKind::Throttled, expected), "{status} {said}");
        }
    }
}

#[test]
fn a_hubs_refusals_arrive_with_their_words() {
    let refusal = r#"{"error":{"code":"CODE","message":"because\u001b[31m of this","hint":"do that"}}"#;
    for (status, code, kind, reason) in [
        ("403 Forbidden", "forbidden", FaultKind::Permission, ReasonCode::AuthForbidden),
        ("404 Not Found", "not_found", FaultKind::Permission, ReasonCode::ScopeGone),
        ("400 Bad Request", "malformed", FaultKind::Protocol, ReasonCode::ProtocolError),
        ("500 Oops", "internal", FaultKind::Server, ReasonCode::RemoteTrouble),
    ] {
        let server = Server::answering(move |_, out| hub(out, status, "", &refusal.replace("CODE", code)));
        let fault = pull_fault(&mut server.client());
        assert_eq!((fault.kind, fault.reason.code), (kind, reason), "{status}");
        assert!(fault.reason.text.contains("because\\u{1b}[31m of this"), "{}", fault.reason.text);
        assert_eq!(fault.reason.next, "do that");
    }
    let server = Server::answering(|_, out| hub(out, "409 Conflict", "", &refusal.replace("CODE", "epoch_over")));
    assert_eq!(server.client().remote.pull(&ask(None)).unwrap_err(), RemoteError::EpochOver);
    let server = Server::answering(|_, out| {
        drop(out.write_all(b"HTTP/1.1 200 OK\r\nhoming-protocol: 2\r\ncontent-length: 2\r\n\r\n{}"));
    });
    assert_eq!(pull_fault(&mut server.client()).kind, FaultKind::Version);
}

#[test]
fn a_refusal_whose_body_never_comes_keeps_its_status() {
    let server = Server::answering(|_, out| {
        drop(out.write_all(b"HTTP/1.1 403 Forbidden\r\nhoming-protocol: 1\r\ncontent-length: 999999999\r\n\r\n{"));
    });
    assert_eq!(pull_fault(&mut server.client()).kind, FaultKind::Permission);
}

// ---- answers that are wrong -----------------------------------------------------------

#[test]
fn half_an_answer_is_a_network_fault() {
    let half = &EMPTY_PAGE[..40];
    let packed = Packing::Zstd.pack(EMPTY_PAGE.as_bytes()).unwrap();
    let answers: Vec<(&str, Vec<u8>)> = vec![
        ("less than was promised", format!("{HEAD}content-length: 94\r\n\r\n{half}").into_bytes()),
        ("chunks without the last", format!("{HEAD}transfer-encoding: chunked\r\n\r\n28\r\n{half}\r\n").into_bytes()),
        ("ended by closing, too early", format!("{HEAD}\r\n{half}").into_bytes()),
        ("packed, cut short", {
            let mut bytes = format!("{HEAD}content-encoding: zstd\r\n\r\n").into_bytes();
            bytes.extend(&packed[..packed.len() - 10]);
            bytes
        }),
        ("nothing at all", Vec::new()),
        ("half a head", b"HTTP/1.1 200".to_vec()),
    ];
    for (what, answer) in answers {
        let server = Server::answering(move |_, out| drop(out.write_all(&answer)));
        let fault = pull_fault(&mut server.client());
        assert_eq!((fault.kind, fault.reason.code), (FaultKind::Network, ReasonCode::OfflineHubDown), "{what}");
        assert!(fault.reason.text.contains("all changes stay in the outbox"), "{what}: {}", fault.reason.text);
    }
}

#[test]
fn an_answer_that_breaks_the_protocol_is_refused_whole_and_its_rows_are_not_quoted() {
    let page = |change: &str, to: &str| EMPTY_PAGE.replace(change, to);
    let rows = |rows: &str| {
        page(
            "\"groups\":[]",
            &format!("\"groups\":[{{\"table\":\"t\",\"columns\":[\"id\",\"a\"],\"key\":[\"id\"],\"rows\":[{rows}]}}]"),
        )
    };
    for answer in [
        "<html>".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "null".to_owned(),
        "[".repeat(100_000) + &"]".repeat(100_000),
        page("\"head\":7", "\"head\":\"pr1vate\""),
        page("\"covers\":[]", "\"covers\":[{\"table\":\"t\",\"from\":\"zz\",\"to\":null}]"),
        page("\"more\":false", "\"more\":true"),
        rows("[1,1,-1,5]"),
        rows("[1,1,-1,5,6,7]"),
        rows("[0,1,-1,5,6]"),
        rows("[\"pr1vate\",1,-1,5,6]"),
        rows("[]"),
        rows("[1,1,-1,5,6]").replace("\"key\":[\"id\"]", "\"key\":[\"no\"]"),
        rows("[1,1,-1,5,6]").replace("\"key\":[\"id\"]", "\"key\":[]"),
    ] {
        let shown = answer[..answer.len().min(120)].to_owned();
        let server = Server::answering(move |_, out| hub(out, "200 OK", "", &answer));
        let error = server.client().remote.pull(&ask(Some("c"))).expect_err(&shown);
        let fault = fault_of(error);
        assert_eq!((fault.kind, fault.reason.code), (FaultKind::Protocol, ReasonCode::ProtocolError), "{shown}");
        assert!(!format!("{fault:?}").contains("pr1vate"), "{shown}");
    }
}

#[test]
fn outcomes_are_believed_only_one_for_each_change() {
    let pushed = |outcomes: &str| format!(r#"{{"protocol":1,"epoch":"e","head":7,"time":1,"outcomes":[{outcomes}]}}"#);
    for (outcomes, good) in [
        ("6,7", true),
        ("", false),
        ("7", false),
        ("5,6,7", false),
        ("0,7", false),
        ("7,8", false),
        ("7,-1", false),
        (r#"7,{"conflict":"moved_on","row":{"revision":3,"stamp":1,"values":[1],"columns":["a"]}}"#, true),
        (r#"7,{"conflict":"moved_on","row":{"revision":3,"stamp":1,"values":[1],"columns":["a","b"]}}"#, false),
        (r#"7,{"conflict":"moved_on","row":{"revision":0,"stamp":1,"values":[1],"columns":["a"]}}"#, false),
        (r#"7,{"refused":"constraint","text":"no"}"#, true),
        (r#"7,{"refused":"nonsense","text":"no"}"#, false),
    ] {
        let answer = pushed(outcomes);
        let server = Server::answering(move |_, out| hub(out, "200 OK", "", &answer));
        let mut client = server.client();
        let body = client.remote.encode(&batch(), &|_| vec!["id".to_owned()]);
        let changes: Vec<_> = batch().changes.into_iter().map(|change| (change.table, change.key)).collect();
        match client.remote.push(&body, &changes) {
            Ok(answer) => assert!(good && answer.outcomes.len() == 2, "{outcomes}"),
            Err(error) => assert!(!good && fault_of(error).kind == FaultKind::Protocol, "{outcomes}"),
        }
    }
}

#[test]
fn the_same_batch_travels_as_the_same_bytes() {
    let server = Server::answering(|_, out| hub(out, "503 Busy", "", ""));
    let mut client = server.client();
    let body = client.remote.encode(&batch(), &|_| vec!["id".to_owned()]);
    for _ in 0..2 {
        client.remote.push(&body, &[]).unwrap_err();
    }
    let sent: Vec<_> = server.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(sent, [body.clone(), body]);
}

#[test]
fn a_hub_that_began_a_new_log_between_two_calls_is_found_out() {
    let welcome = r#"{"protocol":1,"epoch":"old","head":7,"time":1,"batch":0,"tables":[],"refused":[],
        "limits":{"batch_rows_max":10,"body_bytes_max":1000,"row_bytes_max":100}}"#;
    let server = Server::answering(move |request, out| {
        hub(out, "200 OK", "", if request.line.contains("/hello ") { welcome } else { EMPTY_PAGE })
    });
    let mut client = server.client();
    let greeted = client.remote.greet(&greeting()).unwrap();
    assert_eq!((greeted.epoch.as_str(), greeted.batch_bytes_max), ("old", 500));
    assert_eq!(client.remote.pull(&ask(None)).unwrap_err(), RemoteError::EpochOver);
}

#[test]
fn the_page_after_one_that_has_more_is_asked_for_ahead_and_used_for_nothing_else() {
    let server = Server::answering(|request, out| {
        let asked: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let (next, more) = match asked["cursor"].as_str() {
            Some("a") => ("b", true),
            Some("b") => ("c", true),
            _ => ("d", false),
        };
        let page = EMPTY_PAGE.replace("\"cursor\":\"c\"", &format!("\"cursor\":\"{next}\""));
        hub(out, "200 OK", "", &page.replace("\"more\":false", &format!("\"more\":{more}")));
    });
    let asked = || -> Vec<String> {
        let bodies = server.requests().into_iter().map(|request| request.body);
        let questions = bodies.map(|body| serde_json::from_slice::<serde_json::Value>(&body).unwrap());
        questions.map(|asked| asked["cursor"].as_str().unwrap().to_owned()).collect()
    };
    let mut client = server.client();
    let mut pull = |cursor| client.remote.pull(&ask(Some(cursor))).unwrap().cursor.0;
    assert_eq!(pull("a"), "b");
    server.wait_for_requests(3);
    assert_eq!(asked(), ["a", "b", "c"], "the one after that is asked for while it is read");
    assert_eq!(pull("b"), "c");
    assert_eq!(asked(), ["a", "b", "c"], "what came ahead is used");
    // Something else than what came ahead: that is thrown away, and this asked for.
    assert_eq!(pull("elsewhere"), "d");
    server.wait_for_requests(1);
    assert_eq!(asked(), ["a", "b", "c", "elsewhere"]);
}

#[test]
fn a_page_that_came_ahead_of_a_push_is_asked_for_again_after_it() {
    let server = Server::answering(|request, out| match request.line.contains("/pull ") {
        true => hub(out, "200 OK", "", &EMPTY_PAGE.replace("\"more\":false", "\"more\":true")),
        false => hub(out, "503 Busy", "", ""),
    });
    let mut client = server.client();
    client.remote.pull(&ask(Some("before"))).unwrap();
    server.wait_for_requests(2);
    client.remote.push(b"{}", &[]).unwrap_err();
    // A page that moves nowhere is refused; what matters is that it was asked for.
    client.remote.pull(&ask(Some("c"))).unwrap_err();
    let places: Vec<String> = server.requests().into_iter().map(|request| request.line).collect();
    let places: Vec<&str> =
        places.iter().filter_map(|line| line.split(['/', ' ']).rfind(|part| ["pull", "push"].contains(part))).collect();
    assert_eq!(places, ["pull", "pull", "push", "pull"]);
}

#[test]
fn a_hint_of_what_was_pulled_is_no_news_and_any_other_has_the_next_page_asked_for_ahead() {
    let server = Server::answering(|_, out| hub(out, "200 OK", "", EMPTY_PAGE));
    let mut client = server.client();
    assert!(!client.remote.has_pulled(Revision(1)), "nothing was pulled yet");
    client.remote.hurry();
    let page = client.remote.pull(&ask(Some("a"))).unwrap();
    let newer = Revision(page.head.0 + 1);
    assert!(client.remote.has_pulled(page.head) && !client.remote.has_pulled(newer));
    assert_eq!(server.requests().len(), 1, "before a first page nobody knows what to ask");
    client.remote.hurry();
    client.remote.hurry();
    client.remote.pull(&ask(Some("c"))).unwrap();
    let asked: Vec<serde_json::Value> =
        server.requests().iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect();
    assert_eq!(asked.iter().map(|asked| &asked["cursor"]).collect::<Vec<_>>(), ["a", "c"], "asked for once");
}

#[test]
fn a_welcome_that_would_stop_all_sending_is_refused() {
    for limits in [
        r#""batch_rows_max":0,"body_bytes_max":9,"row_bytes_max":9"#,
        r#""batch_rows_max":9,"body_bytes_max":0,"row_bytes_max":9"#,
    ] {
        let answer = format!(
            r#"{{"protocol":1,"epoch":"e","head":7,"time":1,"batch":0,"tables":[],"refused":[],"limits":{{{limits}}}}}"#
        );
        let server = Server::answering(move |_, out| hub(out, "200 OK", "", &answer));
        assert_eq!(fault_of(server.client().remote.greet(&greeting()).unwrap_err()).kind, FaultKind::Protocol);
    }
}

// ---- answers without end --------------------------------------------------------------

#[test]
fn an_answer_too_long_is_not_held() {
    let endless = Server::answering(|_, out| {
        let piece = vec![b' '; 1 << 20];
        let _ = out.write_all(format!("{HEAD}transfer-encoding: chunked\r\n\r\n").as_bytes());
        // Twice what is taken, so that a client without measure fails and does not fill the memory.
        for _ in 0..128 {
            let _ = write!(out, "{:x}\r\n", piece.len()).and_then(|()| out.write_all(&piece));
            let _ = out.write_all(b"\r\n");
        }
    });
    let promised = Server::answering(|_, out| {
        let _ = out.write_all(format!("{HEAD}content-length: 10000000000\r\n\r\n").as_bytes());
    });
    for server in [endless, promised] {
        let fault = pull_fault(&mut server.client());
        assert_eq!(fault.kind, FaultKind::Protocol);
        assert!(fault.reason.text.contains("larger than"), "{}", fault.reason.text);
    }
}

#[test]
fn a_bomb_is_not_unpacked() {
    let zeros = vec![b' '; 80 << 20];
    for packing in [Packing::Gzip, Packing::Zstd] {
        let packed = packing.pack(&zeros).unwrap();
        let server = Server::answering(move |_, out| {
            hub_bytes(out, "200 OK", &format!("content-encoding: {}\r\n", packing.word()), &packed)
        });
        let fault = pull_fault(&mut server.client());
        assert_eq!(fault.kind, FaultKind::Protocol);
        assert!(fault.reason.text.contains("larger than"), "{}", fault.reason.text);
    }
}

#[test]
fn an_answer_packed_in_an_unknown_way_is_refused() {
    let server = Server::answering(|_, out| hub(out, "200 OK", "content-encoding: br\r\n", EMPTY_PAGE));
    assert_eq!(pull_fault(&mut server.client()).kind, FaultKind::Protocol);
}

#[test]
fn silence_before_and_within_an_answer_ends_the_call() {
    let (_hold, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    for head in ["", HEAD, &format!("{HEAD}content-length: 94\r\n\r\n{{")] {
        let (head, held) = (head.to_owned(), held.clone());
        let server = Server::answering(move |_, out| {
            let _ = out.write_all(head.as_bytes());
            let _ = held.lock().unwrap().recv();
        });
        let began = Instant::now();
        let fault = pull_fault(&mut server.client_with(|settings| settings.timeout = 200));
        assert_eq!((fault.kind, fault.reason.code), (FaultKind::Timeout, ReasonCode::OfflineTimeout));
        assert!(began.elapsed() < LONG);
    }
}

#[test]
fn a_trickle_is_cut_off_although_it_is_never_silent() {
    let server = Server::answering(|_, out| {
        let _ = out.write_all(format!("{HEAD}content-length: 10000\r\n\r\n").as_bytes());
        // The pace of the trickle is the thing under test.
        while out.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let fault = pull_fault(&mut server.client_with(|settings| settings.timeout = 1_500));
    assert_eq!(fault.kind, FaultKind::Timeout);
    assert!(fault.reason.text.contains("trickled"), "{}", fault.reason.text);
}

#[test]
fn a_large_body_is_given_the_time_a_slow_line_needs() {
    let server = Server::answering(|_, out| {
        // Longer than the timeout, which is the thing under test.
        std::thread::sleep(Duration::from_millis(600));
        hub(out, "503 Busy", "", "");
    });
    let mut client = server.client_with(|settings| settings.timeout = 200);
    let mut noise = 1u64;
    let large: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (noise >> 56) as u8
    })
    .take(256 << 10)
    .collect();
    assert_eq!(fault_of(client.remote.push(&large, &[]).unwrap_err()).kind, FaultKind::Throttled);
    assert_eq!(fault_of(client.remote.push(b"{}", &[]).unwrap_err()).kind, FaultKind::Timeout);
}

#[test]
fn a_call_ends_at_once_when_the_agent_stops() {
    let (asked, was_asked) = mpsc::channel();
    let (_hold, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let server = Server::answering(move |_, _| {
        asked.send(()).unwrap();
        let _ = held.lock().unwrap().recv();
    });
    let Client { mut remote, stop } = server.client_with(|settings| settings.timeout = 600_000);
    let (ended, has_ended) = mpsc::channel();
    std::thread::spawn(move || ended.send(remote.pull(&ask(None)).unwrap_err()));
    was_asked.recv_timeout(LONG).unwrap();
    stop.send(true).unwrap();
    assert_eq!(fault_of(has_ended.recv_timeout(LONG).unwrap()).kind, FaultKind::Interrupted);
}

/// As on a laptop that goes from one network to another.
#[test]
fn a_call_from_an_address_that_went_ends_at_once_and_the_next_begins_anew() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (came, has_come) = mpsc::channel();
    // Each connection has one good answer, and is silent from then on.
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let came = came.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                for at in 0.. {
                    let Some(_) = Request::read(&mut reader) else { return };
                    if at == 0 {
                        let head = HEAD.replace("connection: close\r\n", "");
                        let answer = format!("{head}content-length: {}\r\n\r\n{EMPTY_PAGE}", EMPTY_PAGE.len());
                        (&stream).write_all(answer.as_bytes()).unwrap();
                    }
                    came.send((number, at)).unwrap();
                }
            });
        }
    });
    let (_stop, stopped) = watch::channel(false);
    let (moves, moved) = watch::channel(0);
    let settings = Settings { timeout: 600_000, ..settings(&url) };
    let line = homing::remote::Line::new(stopped, moved);
    let mut remote = HomingRemote::new(settings, "laptop".to_owned(), runtime(), line).unwrap();
    remote.pull(&ask(None)).unwrap();
    assert_eq!(has_come.recv_timeout(LONG), Ok((0, 0)));

    let (ended, has_ended) = mpsc::channel();
    std::thread::spawn(move || {
        let answer = remote.pull(&ask(None));
        let _ = ended.send((remote, answer));
    });
    assert_eq!(has_come.recv_timeout(LONG), Ok((0, 1)));
    moves.send_modify(|moves| *moves += 1);
    let (mut remote, answer) = has_ended.recv_timeout(LONG).unwrap();
    let fault = fault_of(answer.unwrap_err());
    assert_eq!((fault.kind, fault.reason.code), (FaultKind::Network, ReasonCode::OfflineNoNetwork));
    assert!(fault.reason.text.contains("an address of this machine went"), "{}", fault.reason.text);
    remote.pull(&ask(None)).unwrap();
    assert_eq!(has_come.recv_timeout(LONG), Ok((1, 0)));

    // While nothing was asked: the connection that was kept open is not used again.
    moves.send_modify(|moves| *moves += 1);
    remote.pull(&ask(None)).unwrap();
    assert_eq!(has_come.recv_timeout(LONG), Ok((2, 0)));
}

// ---- no way there ---------------------------------------------------------------------

#[test]
fn each_way_of_not_getting_there_has_its_code_and_names_the_host() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // A label longer than DNS allows fails without asking anybody.
    let nowhere = format!("{}.example", "a".repeat(64));
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain_at = plain.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = plain.accept().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    for (url, host, reason) in [
        (format!("http://{free}"), free.to_string(), ReasonCode::OfflineHubDown),
        (format!("http://{nowhere}"), nowhere, ReasonCode::OfflineNoNetwork),
        (format!("https://{plain_at}"), plain_at.to_string(), ReasonCode::OfflineTls),
    ] {
        let mut client =
            Client::new(Settings { ca_file: Some(pem("authority.pem")), allow_plain_http: true, ..settings(&url) });
        let fault = pull_fault(&mut client);
        assert_eq!((fault.kind, fault.reason.code), (FaultKind::Network, reason), "{}", fault.reason.text);
        assert!(fault.reason.text.contains(&host), "{}", fault.reason.text);
        assert!(fault.reason.text.contains("all changes stay in the outbox") && !fault.reason.next.is_empty());
    }
}

#[test]
fn a_proxy_is_asked_for_the_hub() {
    let proxy = Server::answering(|_, out| hub(out, "200 OK", "", EMPTY_PAGE));
    let address = proxy.address;
    let mut client = Client::new(Settings {
        proxy: Some(format!("http://{address}")),
        allow_plain_http: true,
        ..settings("http://hub.example:4747")
    });
    client.remote.pull(&ask(None)).unwrap();
    assert_eq!(proxy.only_request().line, "POST http://hub.example:4747/v1/scopes/@me/pull HTTP/1.1");

    let deaf = Server::answering(|_, out| drop(out.write_all(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n")));
    let proxy = Some(format!("http://{}", deaf.address));
    let mut client =
        Client::new(Settings { proxy, ca_file: Some(pem("authority.pem")), ..settings("https://hub.example") });
    assert_eq!(pull_fault(&mut client).kind, FaultKind::Network);
    let asked = deaf.only_request();
    assert_eq!(asked.line, "CONNECT hub.example:443 HTTP/1.1");
    assert_eq!(asked.header("authorization"), None, "the token is for the hub alone");
}

#[test]
fn a_hub_on_this_machine_is_reached_past_the_environments_proxy() {
    // A process of its own, because the environment belongs to all tests of this one.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "remote::a_good_answer_is_taken_and_the_request_says_all_it_must"]);
    for name in ["http_proxy", "all_proxy"] {
        again.env(name, format!("http://{nobody}"));
    }
    let output = again.env_remove("no_proxy").env_remove("NO_PROXY").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

// ---- TLS ------------------------------------------------------------------------------

#[test]
fn a_private_authority_is_trusted_where_it_is_named_and_nowhere_else() {
    let hub_here = tls_server("hub");
    let named = Settings { ca_file: Some(pem("authority.pem")), ..settings(&format!("https://{hub_here}")) };
    Client::new(named.clone()).remote.pull(&ask(None)).unwrap();

    let unnamed = Settings { ca_file: None, ..named.clone() };
    let fault = pull_fault(&mut Client::new(unnamed));
    assert_eq!(fault.reason.code, ReasonCode::OfflineTls, "{}", fault.reason.text);
    assert!(fault.reason.next.contains("ca_file"), "{}", fault.reason.next);

    let stranger = Settings { url: format!("https://{}", tls_server("stranger")), ..named };
    let fault = pull_fault(&mut Client::new(stranger));
    assert_eq!(fault.reason.code, ReasonCode::OfflineTls);
    assert!(fault.reason.text.contains("another name"), "{}", fault.reason.text);
}

#[test]
fn a_ca_file_that_is_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let mut client = Client::new(Settings { ca_file: Some(path.clone()), ..settings("https://127.0.0.1:1") });
    for content in [None, Some(""), Some("nonsense")] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let fault = pull_fault(&mut client);
        assert_eq!(fault.reason.code, ReasonCode::OfflineTls);
        assert!(fault.reason.text.contains(&path.display().to_string()), "{}", fault.reason.text);
    }
    std::fs::copy(pem("authority.pem"), &path).unwrap();
    let fault = pull_fault(&mut client);
    assert_eq!(fault.reason.code, ReasonCode::OfflineHubDown, "read again, without a restart: {}", fault.reason.text);
}

// ---- tokens ---------------------------------------------------------------------------

#[test]
fn a_refused_token_is_renewed_once_and_the_call_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "old\n").unwrap();
    let rotated = path.clone();
    let server = Server::answering(move |request, out| match request.header("authorization") {
        Some("Bearer new") => hub(out, "200 OK", "", EMPTY_PAGE),
        _ => {
            std::fs::write(&rotated, "new\n").unwrap();
            hub(out, "401 Unauthorized", "", EXPIRED)
        }
    });
    let mut client = server.client_with(|settings| settings.token = TokenSource::File(path.clone()));
    client.remote.pull(&ask(None)).unwrap();
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_hub_that_refuses_every_token_makes_no_storm() {
    let dir = tempfile::tempdir().unwrap();
    let runs = dir.path().join("runs");
    let command = format!("echo run >> '{}'; echo token-$$", runs.display());
    let server = Server::answering(|_, out| hub(out, "401 Unauthorized", "", EXPIRED));
    let mut client = server.client_with(|settings| settings.token = TokenSource::Command(command.clone()));
    for _ in 0..10 {
        let fault = pull_fault(&mut client);
        assert_eq!((fault.kind, fault.reason.code), (FaultKind::SignedOut, ReasonCode::AuthExpired));
    }
    assert_eq!(std::fs::read_to_string(&runs).unwrap().lines().count(), 2, "fetched once, renewed once");
    assert_eq!(server.requests().len(), 11, "one try a call, and one more for the renewed token");
}

#[test]
fn without_a_token_nothing_is_sent_and_the_file_is_named() {
    let server = Server::answering(|_, out| hub(out, "200 OK", "", EMPTY_PAGE));
    let mut client = server.client_with(|settings| settings.token = TokenSource::File("/nowhere/token".into()));
    let fault = pull_fault(&mut client);
    assert_eq!((fault.kind, fault.reason.code), (FaultKind::SignedOut, ReasonCode::AuthMissing));
    assert!(fault.reason.text.contains("/nowhere/token"), "{}", fault.reason.text);
    assert!(server.requests().is_empty());
}

// ---- the live channel -----------------------------------------------------------------

#[test]
fn hints_are_heard_and_a_broken_channel_is_opened_again() {
    let server = Server::answering(|_, out| {
        let _ = out.write_all(format!("{HEAD}content-type: text/event-stream\r\n\r\n: beat\n\n").as_bytes());
        let _ = out.write_all(b"event: hint\ndata: 7\n\nevent: other\ndata: x\n\n");
    });
    let client = server.client();
    let (_listening, heard) = client.listen();
    let heard: Vec<Hint> = (0..5).map(|_| heard.recv_timeout(LONG).unwrap()).collect();
    let more = Hint::More(Some(Revision(7)));
    assert_eq!(heard, [Hint::Open, more.clone(), Hint::Lost, Hint::Open, more]);
    let request = &server.requests()[0];
    assert_eq!(request.line, "GET /v1/scopes/@me/live?device=desk+%26+lamp HTTP/1.1");
    assert_eq!(request.header("authorization"), Some("Bearer s3cret"));
}

#[test]
fn a_flood_of_hints_is_heard_at_a_measured_pace() {
    let flood = Server::answering(|_, out| {
        let _ = out.write_all(format!("{HEAD}content-type: text/event-stream\r\n\r\n").as_bytes());
        let _ = out.write_all("event: hint\ndata: 7\n\n".repeat(20_000).as_bytes());
    });
    let client = flood.client();
    let (_listening, heard) = client.listen();
    assert_eq!(heard.recv_timeout(LONG), Ok(Hint::Open));
    let began = Instant::now();
    let hints =
        std::iter::from_fn(|| heard.recv_timeout(LONG).ok()).take_while(|hint| matches!(hint, Hint::More(_))).count();
    let most = began.elapsed().as_millis() as usize / 20 + 2;
    assert!((1..=most).contains(&hints), "{hints} hints heard, {most} at most in that time");
}

#[test]
fn a_line_without_end_closes_the_channel() {
    let (closed, was_closed) = mpsc::channel();
    let server = Server::answering(move |_, out| {
        let _ = out.write_all(format!("{HEAD}content-type: text/event-stream\r\n\r\ndata: ").as_bytes());
        while out.write_all(&[b'x'; 4_096]).is_ok() {}
        let _ = closed.send(());
    });
    let client = server.client();
    let (_listening, heard) = client.listen();
    assert_eq!(heard.recv_timeout(LONG), Ok(Hint::Open));
    assert_eq!(heard.recv_timeout(LONG), Ok(Hint::Lost));
    was_closed.recv_timeout(LONG).unwrap();
}

#[test]
fn a_channel_ends_when_nobody_listens_any_more() {
    let (closed, was_closed) = mpsc::channel();
    let server = Server::answering(move |_, out| {
        let _ = out.write_all(format!("{HEAD}content-type: text/event-stream\r\n\r\n").as_bytes());
        let _ = out.read(&mut [0]);
        let _ = closed.send(());
    });
    let client = server.client();
    let (listening, heard) = client.listen();
    assert_eq!(heard.recv_timeout(LONG), Ok(Hint::Open));
    drop(listening);
    was_closed.recv_timeout(LONG).unwrap();

    let (_listening, heard) = client.listen();
    assert_eq!(heard.recv_timeout(LONG), Ok(Hint::Open));
    client.stop.send(true).unwrap();
    was_closed.recv_timeout(LONG).unwrap();
}

#[test]
fn a_channel_whose_token_was_refused_is_opened_with_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "old").unwrap();
    let rotated = path.clone();
    let server = Server::answering(move |request, out| match request.header("authorization") {
        Some("Bearer new") => {
            let _ = out.write_all(format!("{HEAD}content-type: text/event-stream\r\n\r\n").as_bytes());
        }
        _ => {
            std::fs::write(&rotated, "new").unwrap();
            hub(out, "401 Unauthorized", "", EXPIRED)
        }
    });
    let client = server.client_with(|settings| settings.token = TokenSource::File(path.clone()));
    let (_listening, heard) = client.listen();
    assert_eq!(heard.recv_timeout(LONG), Ok(Hint::Open));
}

#[test]
fn a_page_that_is_no_event_stream_is_never_a_channel() {
    let server = Server::answering(|_, out| hub(out, "200 OK", "content-type: text/html\r\n", "event: hint\n\n"));
    let client = server.client();
    let (_listening, heard) = client.listen();
    server.wait_for_requests(2);
    assert_eq!(heard.try_recv(), Err(mpsc::TryRecvError::Empty));
}
