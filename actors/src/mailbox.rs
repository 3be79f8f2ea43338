//! How many messages wait in the actors' mailboxes, by kind of actor.
//!
//! ractor's mailboxes do not tell their length. So what is posted is counted, and what is taken out; the difference
//! waits. An actor that ends with messages in its mailbox takes them along, and they stay counted: rare, as idle devices
//! answer for a while before they go.

use std::sync::atomic::{AtomicU64, Ordering};

use ractor::{ActorRef, Message, MessagingErr};

use crate::chirpstack_pool::PoolMessage;
use crate::device::DeviceMessage;
use crate::gateway_monitor::MonitorMessage;
use crate::job::JobMessage;
use crate::queue_cleaner::CleanerMessage;
use crate::shard::ShardMessage;
use crate::supervisor::RootMessage;
use crate::synchronizer::SyncMessage;
use crate::writer::WriterMessage;

/// The mailboxes of one kind of actor.
pub(crate) struct Mailboxes {
    actor: &'static str,
    posted: AtomicU64,
    taken: AtomicU64,
}

impl Mailboxes {
    const fn of(actor: &'static str) -> Self {
        Self {
            actor,
            posted: AtomicU64::new(0),
            taken: AtomicU64::new(0),
        }
    }

    /// Messages that wait.
    fn waiting(&self) -> u64 {
        // In this order, so that one that is taken in between does not make it negative.
        let taken = self.taken.load(Ordering::Acquire);
        self.posted.load(Ordering::Acquire).saturating_sub(taken)
    }
}

/// A message, and the kind of actor that it is for.
pub(crate) trait Mail: Message {
    /// Where it is counted.
    fn mailboxes() -> &'static Mailboxes;
}

/// Declares the kinds of actors, each by its messages and the name of its metrics.
macro_rules! mailboxes {
    ($($message:ty => $actor:literal),+ $(,)?) => {
        $(
            impl Mail for $message {
                fn mailboxes() -> &'static Mailboxes {
                    static MAILBOXES: Mailboxes = Mailboxes::of($actor);
                    &MAILBOXES
                }
            }
        )+

        fn all() -> Vec<&'static Mailboxes> {
            vec![$(<$message as Mail>::mailboxes()),+]
        }
    };
}

mailboxes! {
    DeviceMessage => "device",
    JobMessage => "jobs",
    MonitorMessage => "gateway_monitor",
    PoolMessage => "chirpstack_pool",
    CleanerMessage => "queue_cleaner",
    RootMessage => "root",
    ShardMessage => "shard",
    SyncMessage => "synchronizer",
    WriterMessage => "writer",
}

/// `cast`, counted.
pub(crate) trait Post<M: Mail> {
    /// Puts a message into the actor's mailbox. Fails when the actor is gone.
    fn post(&self, message: M) -> Result<(), MessagingErr<M>>;
}

impl<M: Mail> Post<M> for ActorRef<M> {
    fn post(&self, message: M) -> Result<(), MessagingErr<M>> {
        let mailboxes = M::mailboxes();
        // Before it is there: it could be taken out before it is counted.
        mailboxes.posted.fetch_add(1, Ordering::AcqRel);
        let posted = self.cast(message);
        if posted.is_err() {
            mailboxes.posted.fetch_sub(1, Ordering::AcqRel);
        }
        posted
    }
}

/// An actor took a message of this kind out of its mailbox.
pub(crate) fn taken<M: Mail>() {
    M::mailboxes().taken.fetch_add(1, Ordering::AcqRel);
}

/// Messages that wait, by kind of actor.
pub(crate) fn backlogs() -> Vec<(&'static str, u64)> {
    let mailboxes = all().into_iter();
    mailboxes.map(|it| (it.actor, it.waiting())).collect()
}

/// Brings the metrics up to date; called before they are shown.
pub fn measure() {
    for mailboxes in all() {
        let actor = mailboxes.actor;
        metrics::counter!("downbeat_mailbox_messages_total", "actor" => actor)
            .absolute(mailboxes.taken.load(Ordering::Acquire));
        let waiting = u32::try_from(mailboxes.waiting()).unwrap_or(u32::MAX);
        metrics::gauge!("downbeat_mailbox_waiting", "actor" => actor).set(waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ractor::{Actor, ActorProcessingErr};
    use tokio::sync::oneshot;

    /// A message that is answered, and what lets the next one be looked at.
    struct Letter(oneshot::Sender<u64>);

    impl Mail for Letter {
        fn mailboxes() -> &'static Mailboxes {
            static MAILBOXES: Mailboxes = Mailboxes::of("reader");
            &MAILBOXES
        }
    }

    struct Reader;

    impl Actor for Reader {
        type Msg = Letter;
        type State = Option<oneshot::Receiver<()>>;
        type Arguments = oneshot::Receiver<()>;

        async fn pre_start(
            &self,
            _myself: ActorRef<Letter>,
            begin: oneshot::Receiver<()>,
        ) -> Result<Self::State, ActorProcessingErr> {
            Ok(Some(begin))
        }

        async fn handle(
            &self,
            _myself: ActorRef<Letter>,
            Letter(reply): Letter,
            state: &mut Self::State,
        ) -> Result<(), ActorProcessingErr> {
            taken::<Letter>();
            if let Some(begin) = state.take() {
                begin.await?;
            }
            let _ = reply.send(Letter::mailboxes().waiting());
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_is_posted_waits_until_it_is_taken_out() {
        let (begin, gate) = oneshot::channel();
        let (reader, task) = Actor::spawn(None, Reader, gate).await.unwrap();
        let mut answers = Vec::new();
        for _ in 0..3 {
            let (reply, answer) = oneshot::channel();
            assert!(reader.post(Letter(reply)).is_ok());
            answers.push(answer);
        }
        begin.send(()).unwrap();
        for waiting in [2, 1, 0] {
            assert_eq!(answers.remove(0).await.unwrap(), waiting);
        }
        reader.stop(None);
        task.await.unwrap();
        let (reply, _) = oneshot::channel();
        assert!(reader.post(Letter(reply)).is_err());
        assert_eq!(Letter::mailboxes().waiting(), 0);
    }

    #[test]
    fn every_message_is_posted_and_none_is_cast_past_the_count() {
        let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("mailbox.rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let (shipped, _) = text.split_once("#[cfg(test)]\nmod ").unwrap_or((&text, ""));
                    assert!(!shipped.contains(".cast("), "{} casts", path.display());
                }
            }
        }
    }
}
