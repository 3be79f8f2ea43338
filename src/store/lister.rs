//! Who asks for the same page of devices at the same time gets the same reading of it.
//!
//! When the registry changes, everybody who looks at it asks for the list anew. While one reading of a page is under way,
//! those who come wait for the next one, all for the same.

use std::sync::Arc;

use dashmap::{DashMap, Entry};
use downbeat_actors::port::StoreError;
use tokio::sync::oneshot;

use super::{Backend, DeviceFilter, DeviceRevision, Page, PageRequest, Scope, on_backend};

/// Hands questions to the tasks that read, one for each page that is asked for. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Lister {
    backend: Backend,
    /// Who waits for the next reading, of pages that are being read.
    waiting: Arc<DashMap<Question, Vec<Reply>>>,
}

type Question = (Scope, DeviceFilter, PageRequest);
type Answer = Result<Page<DeviceRevision>, StoreError>;
type Reply = oneshot::Sender<Answer>;

#[derive(Debug, thiserror::Error)]
#[error("the reading was given up")]
struct GivenUp;

impl Lister {
    pub(super) fn new(backend: Backend) -> Self {
        Self {
            backend,
            waiting: Arc::default(),
        }
    }

    /// A page, as it was when this was asked or later.
    pub(super) async fn page(&self, question: Question) -> Answer {
        let (reply, answer) = oneshot::channel();
        match self.waiting.entry(question) {
            Entry::Occupied(mut read) => read.get_mut().push(reply),
            Entry::Vacant(unread) => {
                let reading = Reading {
                    lister: self.clone(),
                    question: unread.key().clone(),
                    is_over: false,
                };
                unread.insert(vec![reply]);
                tokio::spawn(reading.run());
            }
        }
        let given_up = |_| Err(StoreError::Unavailable(Box::new(GivenUp)));
        answer.await.unwrap_or_else(given_up)
    }
}

/// The readings of one page, one after the other while somebody waits.
struct Reading {
    lister: Lister,
    question: Question,
    is_over: bool,
}

impl Reading {
    async fn run(mut self) {
        while let Some(replies) = self.next() {
            let page = self.read().await.map_err(Arc::new);
            for reply in replies {
                // The caller may have gone away.
                let _ = reply.send(page.clone().map_err(shared));
            }
        }
    }

    /// Who waits; with nobody there it is over.
    fn next(&mut self) -> Option<Vec<Reply>> {
        let waiting = &self.lister.waiting;
        let nobody = |_: &Question, replies: &Vec<Reply>| replies.is_empty();
        self.is_over = waiting.remove_if(&self.question, nobody).is_some();
        if self.is_over {
            return None;
        }
        waiting
            .get_mut(&self.question)
            .map(|mut it| std::mem::take(it.value_mut()))
    }

    async fn read(&self) -> Answer {
        let (scope, filter, page) = &self.question;
        let lister = &self.lister;
        on_backend!(lister.list_device_revisions(*scope, filter, *page))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // Given up half-way: whoever waits is told, and whoever comes begins anew.
        if !self.is_over {
            self.lister.waiting.remove(&self.question);
        }
    }
}

/// Each alone would have found the same.
fn shared(error: Arc<StoreError>) -> StoreError {
    match *error {
        StoreError::Unavailable(_) => StoreError::Unavailable(Box::new(error)),
        StoreError::Corrupt { .. } | StoreError::Rejected(_) => {
            StoreError::Rejected(Box::new(error))
        }
    }
}
