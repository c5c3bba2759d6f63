//! What a client may do, by the user it runs as.
//!
//! The agent's own user and root may do everything. With others the socket is shared only
//! where the config says so; then the owner of a database may do everything about that
//! database, and those of the group may look at everything. An agent that is not asked to
//! share turns others away before they have said a word.

use super::method::Request;
use super::service::{CallError, Peer, Role};
use crate::model::ReasonCode;

/// Which role a peer has with an agent of user `own`; `None`: it is turned away. `guests`
/// is what the config gives those whom the socket's mode lets in.
pub fn role_of(own: u32, peer: u32, guests: Option<Role>) -> Option<Role> {
    if peer == own || peer == 0 { Some(Role::Full) } else { guests }
}

/// `owner` tells whose file a replica's database is.
pub fn may_call(peer: &Peer, request: &Request, owner: impl Fn(&str) -> Option<u32>) -> Result<(), CallError> {
    if peer.role == Role::Full || (peer.role == Role::Reader && request.only_looks()) {
        return Ok(());
    }
    match request.replica() {
        Some(replica) if owner(&replica) == Some(peer.uid) => Ok(()),
        Some(_) => Err(refused("this is for the owner of the database, and for the agent's own user")),
        None => Err(refused("without the name of a replica this is for the agent's own user")),
    }
}

/// Events are about all replicas at once.
pub fn may_listen(peer: &Peer) -> Result<(), CallError> {
    match peer.role {
        Role::Full | Role::Reader => Ok(()),
        Role::Owner => Err(refused("events are for those who may look at all replicas")),
    }
}

fn refused(text: &str) -> CallError {
    CallError::new(
        ReasonCode::NotAllowed,
        text,
        "name a replica whose database is yours, or run the command as the user whose agent this is",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::method::{MetricsGet, QueueDiscard, ReplicaStatus, SyncNow};

    #[test]
    fn only_the_own_user_and_root_get_in_unless_the_socket_is_shared() {
        for (own, peer, guests, role) in [
            (1000, 1000, None, Some(Role::Full)),
            (1000, 0, None, Some(Role::Full)),
            (1000, 1001, None, None),
            (1000, 65534, None, None),
            (0, 1000, None, None),
            (1000, 1001, Some(Role::Reader), Some(Role::Reader)),
            (1000, 1001, Some(Role::Owner), Some(Role::Owner)),
            (1000, 1000, Some(Role::Owner), Some(Role::Full)),
        ] {
            assert_eq!(role_of(own, peer, guests), role, "{own} {peer} {guests:?}");
        }
    }

    #[test]
    fn each_role_may_do_what_is_written() {
        let named = || Some("notes".to_owned());
        let requests: [Request; 5] = [
            ReplicaStatus { replica: named() }.into(),
            ReplicaStatus { replica: None }.into(),
            MetricsGet {}.into(),
            SyncNow { replica: named() }.into(),
            QueueDiscard { replica: "stock".into(), table: "t".into(), key: "1".into() }.into(),
        ];
        // The database of `notes` is user 7's, that of `stock` user 8's.
        let owner = |replica: &str| if replica == "notes" { Some(7) } else { Some(8) };
        for (uid, role, allowed) in [
            (1000, Role::Full, [true; 5]),
            (6, Role::Reader, [true, true, true, false, false]),
            (7, Role::Reader, [true, true, true, true, false]),
            (7, Role::Owner, [true, false, false, true, false]),
            (6, Role::Owner, [false; 5]),
        ] {
            let peer = Peer { uid, pid: None, role };
            let got: Vec<bool> = requests.iter().map(|request| may_call(&peer, request, owner).is_ok()).collect();
            assert_eq!(got, allowed, "{uid} {role:?}");
            assert_eq!(may_listen(&peer).is_ok(), role != Role::Owner);
        }
    }

    /// Every method there is, by what it takes: a look, or a change; of one replica or of all.
    #[test]
    fn each_method_is_for_those_it_is_written_for() {
        use Role::*;
        const LOOKS: [&str; 11] = [
            "replica.list",
            "replica.status",
            "queue.list",
            "row.explain",
            "plan.get",
            "conflicts.list",
            "conflicts.get",
            "history.list",
            "metrics.get",
            "network.status",
            "telemetry.get",
        ];
        const NO_REPLICA: [&str; 6] =
            ["replica.list", "metrics.get", "network.status", "telemetry.get", "telemetry.on", "telemetry.off"];
        let owner = |replica: &str| if replica == "x" { Some(7) } else { None };
        let mut seen = 0;
        for method in Request::METHODS {
            let looks = LOOKS.contains(&method.name);
            let named = method.params.iter().any(|param| param.name == "replica");
            assert_eq!(named, !NO_REPLICA.contains(&method.name), "{}", method.name);
            let must_name = method.params.iter().any(|param| param.name == "replica" && param.required);
            // Once with every parameter, once with those it insists on.
            for all in [true, false] {
                let about_one = named && (all || must_name);
                let params =
                    serde_json::value::RawValue::from_string(method.sample(|param| all || param.required)).unwrap();
                let request = Request::decode(method.name, &params).unwrap();
                for (role, uid, allowed) in [
                    (Full, 1000, true),
                    (Reader, 6, looks),
                    (Reader, 7, looks || about_one),
                    (Owner, 7, about_one),
                    (Owner, 6, false),
                ] {
                    let peer = Peer { uid, pid: None, role };
                    let got = may_call(&peer, &request, owner);
                    assert_eq!(got.is_ok(), allowed, "{} {role:?} {uid} {about_one}", method.name);
                    if let Err(error) = got {
                        assert_eq!((error.reason, error.hint.is_empty()), (ReasonCode::NotAllowed, false));
                    }
                    seen += 1;
                }
            }
        }
        assert_eq!(seen, Request::METHODS.len() * 10);
    }
}
