//! What is wrong with the service itself, and with what it leans on.

use downbeat_actors::Health;

use crate::http::AppState;

use super::{OpenProblem, Severity};

/// More messages than a burst of a whole fleet leaves for a moment.
const BEHIND: u64 = 1_000;

/// How much there is to do, and what could not be taken on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Webhook events that were not stored at the first try and wait.
    held: u64,
    /// Messages that wait in mailboxes, by kind of actor.
    backlogs: Vec<(&'static str, u64)>,
    /// Webhook events that were refused of late, because too many were held.
    events_refused: u64,
    /// Requests that were refused of late, because too many were under way.
    requests_refused: u64,
}

impl Load {
    pub(super) fn of(state: &AppState) -> Self {
        Self {
            held: state.holding().waiting() as u64,
            backlogs: state.system().backlogs(),
            events_refused: state.holding().refused_lately(),
            requests_refused: state.admission().refused_lately(),
        }
    }
}

pub(super) fn of_network_server(health: Health) -> Option<OpenProblem> {
    let problem =
        |kind, title: &str| OpenProblem::new(kind, Severity::Error, title).at("/settings");
    if !health.network_server_configured {
        let problem = problem("chirpstack_not_configured", "No ChirpStack is configured");
        return Some(problem.saying(
            "Commands are accepted and wait until there is one.",
            "Set its address and an API key: chirpstack.url and chirpstack.api_key, or the tenant's own in the settings.",
        ));
    }
    if !health.network_server_takes_key {
        let problem = problem("chirpstack_key_refused", "ChirpStack refuses the API key");
        return Some(problem.saying(
            "It answers, and does not take the key. Commands are accepted and wait.",
            "Make a new API key in ChirpStack and set it here.",
        ));
    }
    if !health.network_server_ok {
        let problem = problem("chirpstack_unavailable", "ChirpStack does not answer");
        return Some(problem.saying(
            "Commands are accepted and wait; it is asked again and again.",
            "See whether ChirpStack runs, and whether its address can be reached from here.",
        ));
    }
    None
}

/// The service, where it cannot keep up.
pub(super) fn of_load(load: Load) -> Vec<OpenProblem> {
    let refused = OpenProblem::of_several(
        "events_refused",
        Severity::Error,
        load.events_refused,
        ("An event was refused", "events were refused"),
    );
    let refused = refused.map(|problem| {
        problem.saying(
            "As many as may be held were held already. What they told is lost: proofs of commands may be missing.",
            "See why the database does not keep up; limits.held_events says how many are held meanwhile.",
        )
    });
    let held = OpenProblem::of_several(
        "events_held",
        Severity::Warning,
        load.held,
        ("An event is held", "events are held"),
    );
    let held = held.map(|problem| {
        problem.saying(
            "The database, or a device's mailbox, did not take them. They are tried again, and proofs come late.",
            "See whether the database is slow or full; /metrics tells more.",
        )
    });
    let turned_away = OpenProblem::of_several(
        "requests_refused",
        Severity::Warning,
        load.requests_refused,
        ("A request was refused", "requests were refused"),
    );
    let turned_away = turned_away.map(|problem| {
        problem.saying(
            "More were under way at once than may be. Callers were told to come again.",
            "Look for a caller that asks too often, or allow more: limits.requests.",
        )
    });
    let longest = load
        .backlogs
        .into_iter()
        .max_by_key(|(_, waiting)| *waiting);
    let behind = longest.filter(|(_, waiting)| *waiting >= BEHIND);
    let behind = behind.map(|(actor, waiting)| {
        let title = "The service falls behind";
        let problem = OpenProblem::new("mailboxes_behind", Severity::Warning, title);
        problem.of(waiting).saying(
            format!("{waiting} messages wait in the mailboxes of \"{actor}\": commands and proofs come late."),
            "See whether the machine is short of CPU or the database is slow: downbeat_mailbox_waiting in /metrics.",
        )
    });
    [refused, held, turned_away, behind]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_keeps_up_has_no_problem_and_one_that_does_not_says_where() {
        let kinds = |load: Load| -> Vec<_> {
            let problems = of_load(load).into_iter();
            problems.map(|it| (it.kind, it.title, it.count)).collect()
        };
        let at_ease = Load {
            backlogs: vec![("device", BEHIND - 1), ("writer", 3)],
            ..Load::default()
        };
        assert_eq!(kinds(at_ease), []);
        let drowning = Load {
            held: 7,
            backlogs: vec![("device", BEHIND), ("writer", 3), ("shard", 0)],
            events_refused: 1,
            requests_refused: 2,
        };
        let counted = |kind, title: &str, count| (kind, title.to_owned(), Some(count));
        assert_eq!(
            kinds(drowning),
            [
                counted("events_refused", "An event was refused", 1),
                counted("events_held", "7 events are held", 7),
                counted("requests_refused", "2 requests were refused", 2),
                counted("mailboxes_behind", "The service falls behind", BEHIND),
            ]
        );
    }
}
