//! Browser sessions and one-time tickets, kept in memory: a restart signs everybody out.
//!
//! Only hashes of their secrets are kept, so that a look-up tells nothing by its duration.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use downbeat_core::time::Timestamp;

use crate::secret_key;
use crate::store::KeyHash;

/// A session ends when it was not used for this long.
const IDLE_MAX: Duration = Duration::from_hours(12);

/// And in any case after this long.
const AGE_MAX: Duration = Duration::from_hours(7 * 24);

/// A ticket works for this long.
const TICKET_AGE_MAX: Duration = Duration::from_mins(15);

/// Sessions there can be; the one unused for longest makes room.
const SESSIONS_MAX: usize = 1_000;

/// Tickets there can be; the oldest makes room.
const TICKETS_MAX: usize = 100;

/// What is kept of a session's secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::http) struct SessionId([u8; 32]);

impl SessionId {
    /// Of the cookie's value.
    pub(in crate::http) fn of(secret: &str) -> Self {
        Self(secret_key::hash(secret))
    }
}

/// Whose rights a session has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Grant {
    /// Those of the key that it was begun with.
    Key(KeyHash),
    /// Everything: it was begun with a ticket, which only who started the service gets.
    PlatformAdmin,
}

/// All sessions and tickets.
#[derive(Debug, Default)]
pub(in crate::http) struct Sessions {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    sessions: HashMap<SessionId, Session>,
    tickets: HashMap<SessionId, Timestamp>,
}

#[derive(Debug, Clone, Copy)]
struct Session {
    grant: Grant,
    began_at: Timestamp,
    used_at: Timestamp,
}

impl Session {
    fn holds(&self, now: Timestamp) -> bool {
        now.since(self.used_at) < IDLE_MAX && now.since(self.began_at) < AGE_MAX
    }
}

impl Sessions {
    /// Makes a ticket that signs in once, as platform admin, within a quarter of an hour: for the address that a
    /// local start opens in the browser.
    pub(in crate::http) fn mint_ticket(&self, now: Timestamp) -> String {
        let secret = random_text();
        let mut kept = self.kept();
        kept.tickets
            .retain(|_, minted_at| now.since(*minted_at) < TICKET_AGE_MAX);
        if kept.tickets.len() >= TICKETS_MAX {
            let oldest = kept.tickets.iter().min_by_key(|(_, minted_at)| **minted_at);
            if let Some(oldest) = oldest.map(|(ticket, _)| *ticket) {
                kept.tickets.remove(&oldest);
            }
        }
        kept.tickets.insert(SessionId::of(&secret), now);
        secret
    }

    /// Takes a ticket; whether it was one.
    pub(in crate::http) fn take_ticket(&self, ticket: &str, now: Timestamp) -> bool {
        let minted_at = self.kept().tickets.remove(&SessionId::of(ticket));
        minted_at.is_some_and(|minted_at| now.since(minted_at) < TICKET_AGE_MAX)
    }

    /// Begins a session and gives its secret, the cookie's value.
    pub(in crate::http) fn begin(&self, grant: Grant, now: Timestamp) -> String {
        let secret = random_text();
        let mut kept = self.kept();
        kept.sessions.retain(|_, session| session.holds(now));
        if kept.sessions.len() >= SESSIONS_MAX {
            let oldest = kept.sessions.iter().min_by_key(|(_, it)| it.used_at);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                kept.sessions.remove(&oldest);
            }
        }
        let session = Session {
            grant,
            began_at: now,
            used_at: now,
        };
        kept.sessions.insert(SessionId::of(&secret), session);
        secret
    }

    /// Whose rights a session has, if it holds.
    pub(in crate::http) fn find(&self, id: SessionId, now: Timestamp) -> Option<Grant> {
        let mut kept = self.kept();
        let session = kept.sessions.get_mut(&id)?;
        if !session.holds(now) {
            kept.sessions.remove(&id);
            return None;
        }
        session.used_at = now;
        Some(session.grant)
    }

    /// Ends a session.
    pub(in crate::http) fn end(&self, id: SessionId) {
        self.kept().sessions.remove(&id);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 256 random bits as text.
fn random_text() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system gives random bits");
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANT: Grant = Grant::Key([1; 32]);

    fn at(hours: u64) -> Timestamp {
        Timestamp::default() + Duration::from_hours(hours)
    }

    #[test]
    fn a_session_holds_while_it_is_used_and_a_week_at_most() {
        let sessions = Sessions::default();
        let id = SessionId::of(&sessions.begin(GRANT, at(0)));
        for hour in (0..7 * 24).step_by(11) {
            assert_eq!(sessions.find(id, at(hour)), Some(GRANT), "{hour}");
        }
        assert_eq!(sessions.find(id, at(7 * 24)), None);
        let idle = SessionId::of(&sessions.begin(GRANT, at(0)));
        assert_eq!(sessions.find(idle, at(12)), None);
        assert_eq!(sessions.find(SessionId::of("guessed"), at(0)), None);
    }

    #[test]
    fn a_session_that_was_ended_is_over() {
        let sessions = Sessions::default();
        let id = SessionId::of(&sessions.begin(GRANT, at(0)));
        sessions.end(id);
        assert_eq!(sessions.find(id, at(0)), None);
    }

    #[test]
    fn the_session_unused_for_longest_makes_room() {
        let sessions = Sessions::default();
        let begin = |hour| SessionId::of(&sessions.begin(GRANT, at(hour)));
        let (first, second) = (begin(0), begin(0));
        sessions.find(first, at(1));
        let rest: Vec<_> = (2..SESSIONS_MAX).map(|_| begin(2)).collect();
        begin(2);
        assert_eq!(sessions.find(second, at(3)), None);
        assert!(sessions.find(first, at(3)).is_some());
        assert!(
            rest.into_iter()
                .all(|id| sessions.find(id, at(3)).is_some())
        );
    }

    #[test]
    fn a_ticket_works_once_and_not_for_long() {
        let sessions = Sessions::default();
        let ticket = sessions.mint_ticket(at(0));
        assert!(!sessions.take_ticket("guessed", at(0)));
        assert!(sessions.take_ticket(&ticket, at(0)));
        assert!(!sessions.take_ticket(&ticket, at(0)));
        let late = sessions.mint_ticket(at(0));
        assert!(!sessions.take_ticket(&late, at(1)));
    }
}
