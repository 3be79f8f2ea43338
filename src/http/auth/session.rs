//! Browser sessions and one-time tickets.
//!
//! All are in memory, and sessions are stored as well, so that a restart signs nobody out ([`Sessions::restore`],
//! [`Sessions::take_unstored`]); tickets are not. Only hashes of their secrets are kept, so that a look-up tells nothing
//! by its duration.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use downbeat_core::id::Scope;
use downbeat_core::time::Timestamp;
use uuid::Uuid;

use crate::secret_key;
use crate::store::{ApiKeyId, BrowserSession, BrowserSessionId, KeyHash, Role, SessionKey};

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

    /// The hash itself, as it is stored.
    pub(in crate::http) fn hash(&self) -> &[u8; 32] {
        &self.0
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

/// Who begins a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::http) struct Beginning {
    /// The key; `None`: a ticket.
    pub(in crate::http) key: Option<SessionKey>,
    pub(in crate::http) address: Option<IpAddr>,
    pub(in crate::http) agent: Option<String>,
}

/// A session that was begun.
pub(in crate::http) struct Begun {
    /// The cookie's value.
    pub(in crate::http) secret: String,
    pub(in crate::http) id: SessionId,
    pub(in crate::http) session: BrowserSession,
}

/// What is still to be stored.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct Unstored {
    /// When sessions were used last.
    pub(in crate::http) used: Vec<(BrowserSessionId, Timestamp)>,
    /// Sessions that are over.
    pub(in crate::http) over: Vec<BrowserSessionId>,
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
    over: Vec<BrowserSessionId>,
}

#[derive(Debug)]
struct Session {
    session: BrowserSession,
    /// Used since that was stored.
    is_used: bool,
}

/// When a session ends if it is not used any more.
pub(in crate::http) fn ends_at(session: &BrowserSession) -> Timestamp {
    (session.used_at + IDLE_MAX).min(session.began_at + AGE_MAX)
}

/// Whether who has that key, or none, and may do and see that much, may see and end a session: their own, and
/// administrators all in their scope.
pub(in crate::http) fn is_seen(
    session: &BrowserSession,
    key: Option<ApiKeyId>,
    role: Role,
    scope: Scope,
) -> bool {
    let its_key = session.key.as_ref();
    let is_in_scope = match scope {
        Scope::Platform => true,
        Scope::Tenant(tenant) => its_key.is_some_and(|it| it.tenant_id == Some(tenant)),
    };
    let is_own = its_key.map(|key| key.id) == key;
    is_own || role == Role::Admin && is_in_scope
}

impl Kept {
    /// Drops sessions that are not to stay.
    fn retain(&mut self, stays: impl Fn(&BrowserSession) -> bool) {
        let over = &mut self.over;
        self.sessions.retain(|_, it| {
            let stays = stays(&it.session);
            if !stays {
                over.push(it.session.id);
            }
            stays
        });
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

    /// Takes up what was stored before a restart.
    pub(in crate::http) fn restore(&self, stored: Vec<([u8; 32], BrowserSession)>, now: Timestamp) {
        let mut kept = self.kept();
        for (hash, session) in stored {
            let is_used = false;
            kept.sessions
                .insert(SessionId(hash), Session { session, is_used });
        }
        kept.retain(|session| now < ends_at(session));
    }

    /// Begins a session.
    pub(in crate::http) fn begin(&self, beginning: Beginning, now: Timestamp) -> Begun {
        let secret = random_text();
        let id = SessionId::of(&secret);
        let mut kept = self.kept();
        kept.retain(|session| now < ends_at(session));
        if kept.sessions.len() >= SESSIONS_MAX {
            let oldest = kept.sessions.values().min_by_key(|it| it.session.used_at);
            if let Some(oldest) = oldest.map(|it| it.session.id) {
                kept.retain(|session| session.id != oldest);
            }
        }
        let session = BrowserSession {
            id: BrowserSessionId::from_uuid(Uuid::now_v7()),
            key: beginning.key,
            began_at: now,
            used_at: now,
            address: beginning.address,
            agent: beginning.agent,
        };
        let of_it = Session {
            session: session.clone(),
            is_used: false,
        };
        kept.sessions.insert(id, of_it);
        Begun {
            secret,
            id,
            session,
        }
    }

    /// Whose rights a session has, if it holds.
    pub(in crate::http) fn find(&self, id: SessionId, now: Timestamp) -> Option<Grant> {
        let mut kept = self.kept();
        let found = kept.sessions.get_mut(&id)?;
        if ends_at(&found.session) <= now {
            let over = found.session.id;
            kept.retain(|session| session.id != over);
            return None;
        }
        found.session.used_at = now;
        found.is_used = true;
        let key = found.session.key.as_ref();
        Some(key.map_or(Grant::PlatformAdmin, |key| Grant::Key(key.hash)))
    }

    /// Ends a session, if it is there; gives it.
    pub(in crate::http) fn end(&self, id: SessionId) -> Option<BrowserSession> {
        let mut kept = self.kept();
        let ended = kept.sessions.remove(&id)?.session;
        kept.over.push(ended.id);
        Some(ended)
    }

    /// Ends those sessions of which that holds; tells how many.
    pub(in crate::http) fn end_those(&self, ends: impl Fn(&BrowserSession) -> bool) -> usize {
        let mut kept = self.kept();
        let before = kept.sessions.len();
        kept.retain(|session| !ends(session));
        before - kept.sessions.len()
    }

    /// The sessions of which that holds, the one used last first, each with whether it is that one.
    pub(in crate::http) fn list(
        &self,
        own: Option<SessionId>,
        now: Timestamp,
        is_listed: impl Fn(&BrowserSession) -> bool,
    ) -> Vec<(BrowserSession, bool)> {
        let kept = self.kept();
        let listed = kept.sessions.iter().filter(|(_, it)| {
            let session = &it.session;
            now < ends_at(session) && is_listed(session)
        });
        let mut listed: Vec<_> = listed
            .map(|(id, it)| (it.session.clone(), Some(*id) == own))
            .collect();
        listed.sort_by_key(|(session, _)| (std::cmp::Reverse(session.used_at), session.id));
        listed
    }

    /// What is still to be stored; it counts as stored from now on.
    pub(in crate::http) fn take_unstored(&self) -> Unstored {
        let mut kept = self.kept();
        let used = kept.sessions.values_mut().filter(|it| it.is_used);
        let used = used.map(|it| {
            it.is_used = false;
            (it.session.id, it.session.used_at)
        });
        Unstored {
            used: used.collect(),
            over: std::mem::take(&mut kept.over),
        }
    }

    /// Sessions that are over could not be forgotten: they are still to be.
    pub(in crate::http) fn not_forgotten(&self, mut over: Vec<BrowserSessionId>) {
        self.kept().over.append(&mut over);
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
    use downbeat_core::id::TenantId;

    const GRANT: Grant = Grant::Key([1; 32]);

    fn at(hours: u64) -> Timestamp {
        Timestamp::default() + Duration::from_hours(hours)
    }

    fn key(number: u8, tenant: Option<u128>) -> SessionKey {
        SessionKey {
            id: ApiKeyId::from_uuid(Uuid::from_u128(number.into())),
            hash: [number; 32],
            tenant_id: tenant.map(|it| TenantId::from_uuid(Uuid::from_u128(it))),
            role: Role::Operator,
            name: "reception".to_owned(),
        }
    }

    fn by(key: SessionKey) -> Beginning {
        Beginning {
            key: Some(key),
            ..Beginning::default()
        }
    }

    fn begin(sessions: &Sessions, hour: u64) -> SessionId {
        sessions.begin(by(key(1, None)), at(hour)).id
    }

    #[test]
    fn a_session_holds_while_it_is_used_and_a_week_at_most() {
        let sessions = Sessions::default();
        let id = begin(&sessions, 0);
        for hour in (0..7 * 24).step_by(11) {
            assert_eq!(sessions.find(id, at(hour)), Some(GRANT), "{hour}");
        }
        assert_eq!(sessions.find(id, at(7 * 24)), None);
        let idle = begin(&sessions, 0);
        assert_eq!(sessions.find(idle, at(12)), None);
        assert_eq!(sessions.find(SessionId::of("guessed"), at(0)), None);
        let by_ticket = sessions.begin(Beginning::default(), at(0)).id;
        assert_eq!(sessions.find(by_ticket, at(1)), Some(Grant::PlatformAdmin));
    }

    #[test]
    fn a_session_that_was_ended_is_over() {
        let sessions = Sessions::default();
        let id = begin(&sessions, 0);
        let ended = sessions.end(id).unwrap();
        assert_eq!(sessions.find(id, at(0)), None);
        assert_eq!(sessions.end(id), None);
        assert_eq!(sessions.take_unstored().over, [ended.id]);
    }

    #[test]
    fn what_was_stored_is_taken_up_and_what_changed_is_told_once() {
        let sessions = Sessions::default();
        let begun = sessions.begin(by(key(1, None)), at(0));
        assert_eq!(sessions.take_unstored(), Unstored::default());
        sessions.find(begun.id, at(3));
        let used = Unstored {
            used: vec![(begun.session.id, at(3))],
            over: Vec::new(),
        };
        assert_eq!(sessions.take_unstored(), used);
        assert_eq!(sessions.take_unstored(), Unstored::default());

        let restarted = Sessions::default();
        let idle = BrowserSession {
            id: BrowserSessionId::from_uuid(Uuid::from_u128(9)),
            ..begun.session.clone()
        };
        let later = BrowserSession {
            used_at: at(3),
            ..begun.session
        };
        restarted.restore(
            vec![(*begun.id.hash(), later), ([9; 32], idle.clone())],
            at(13),
        );
        assert_eq!(restarted.find(begun.id, at(13)), Some(GRANT));
        assert_eq!(restarted.take_unstored().over, [idle.id]);
        restarted.not_forgotten(vec![idle.id]);
        assert_eq!(restarted.take_unstored().over, [idle.id]);
    }

    #[test]
    fn sessions_are_seen_by_who_has_their_key_and_by_administrators() {
        let sessions = Sessions::default();
        for beginning in [
            by(key(1, Some(1))),
            by(key(2, Some(1))),
            by(key(3, Some(2))),
            Beginning::default(),
        ] {
            sessions.begin(beginning, at(0));
        }
        let tenant = |number| Scope::Tenant(TenantId::from_uuid(Uuid::from_u128(number)));
        let id = |number: u8| Some(key(number, None).id);
        for (own, role, scope, seen) in [
            (id(1), Role::Operator, tenant(1), 1),
            (id(9), Role::Viewer, tenant(1), 0),
            (id(1), Role::Admin, tenant(1), 2),
            (id(9), Role::Admin, tenant(2), 1),
            (id(9), Role::Admin, Scope::Platform, 4),
            (id(9), Role::Viewer, Scope::Platform, 0),
            (None, Role::Admin, Scope::Platform, 4),
        ] {
            let listed = sessions.list(None, at(1), |it| is_seen(it, own, role, scope));
            assert_eq!(listed.len(), seen, "{own:?} {role:?} {scope:?}");
        }
        let of_first = |it: &BrowserSession| is_seen(it, id(1), Role::Operator, tenant(1));
        assert_eq!(sessions.end_those(of_first), 1);
        assert_eq!(sessions.end_those(of_first), 0);
    }

    #[test]
    fn the_session_unused_for_longest_makes_room() {
        let sessions = Sessions::default();
        let (first, second) = (begin(&sessions, 0), begin(&sessions, 0));
        sessions.find(first, at(1));
        let rest: Vec<_> = (2..SESSIONS_MAX).map(|_| begin(&sessions, 2)).collect();
        begin(&sessions, 2);
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
