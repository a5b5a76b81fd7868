//! Surveys: this node's answers to the questions of others.
//!
//! In:  a question.
//! Out: its answer, to the node that asked; a code where there is none, so that nobody waits for it.
//!
//! Worst case: [`UNDER_WAY_MAX`] answers of [`ANSWER_BYTES_MAX`].

use std::{collections::BTreeMap, sync::Arc};

use bytes::{Bytes, BytesMut};
use holdfast_redis::control::{
    To,
    channels::{self, decode_request, put_channel},
    message::{Body, SurveyRequest, SurveyResponse},
};
use tokio::sync::Semaphore;

use super::sender::Sender;
use crate::{
    control::{
        reach::ShardClient,
        share::{Apart, SMALL, Slices},
    },
    session::calls::ApiCall,
    supervise::task,
    value::Wildcard,
};

/// Answers that are gathered at a time.
const UNDER_WAY_MAX: usize = 4;

/// The longest answer.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// The longest pattern that is parsed on this thread.
const SHORT_PATTERN_BYTES_MAX: usize = 64;

/// The most that a channel takes in an answer, beside its name.
const CHANNEL_BYTES: usize = 24;

/// Centrifugo's codes.
const INTERNAL: u32 = 1;
const INVALID: u32 = 2;
const UNKNOWN: u32 = 3;

/// Answers questions.
#[derive(Clone, Debug)]
pub(super) struct Surveys {
    sender: Sender,
    reach: Arc<ShardClient>,
    apart: Arc<Apart>,
    under_way: Arc<Semaphore>,
}

impl Surveys {
    pub(super) fn new(sender: Sender, reach: Arc<ShardClient>) -> Self {
        Self {
            sender,
            reach,
            apart: Arc::new(Apart::new()),
            under_way: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
        }
    }

    /// A question of a node.
    pub(super) fn take(&self, node: &str, request: &SurveyRequest<'_>) {
        let (to, id) = (To::Node(node.to_owned()), request.id);
        if request.op != channels::OP {
            return self.answer(to, id, Err(UNKNOWN));
        }
        let Ok(place) = Arc::clone(&self.under_way).try_acquire_owned() else {
            return self.answer(to, id, Err(INTERNAL));
        };
        let (surveys, data) = (self.clone(), Bytes::copy_from_slice(request.data));
        task("nodes", async move {
            let answer = surveys.channels(&data).await;
            surveys.answer(to, id, answer);
            drop(place);
        });
    }

    /// Channels of this node that match the pattern.
    async fn channels(&self, request: &[u8]) -> Result<BytesMut, u32> {
        let pattern = match decode_request(request).map_err(|_| INVALID)? {
            "" => None,
            text => {
                let size = if text.len() > SHORT_PATTERN_BYTES_MAX { SMALL + 1 } else { 0 };
                let text = text.to_owned();
                let read = self.apart.run(size, move || Wildcard::new(&text)).await.map_err(|_| INTERNAL)?;
                Some(read.map_err(|_| INVALID)?)
            }
        };
        // A channel is in the list of each shard that has subscribers of it.
        let (mut found, mut bytes) = (BTreeMap::<Arc<str>, usize>::new(), 0);
        let add = |(name, clients): (Arc<str>, usize)| {
            if bytes > ANSWER_BYTES_MAX || pattern.as_ref().is_some_and(|pattern| !pattern.matches(&name)) {
                return;
            }
            let name_bytes = name.len();
            let of_channel = found.entry(name).or_insert_with(|| {
                bytes += name_bytes + CHANNEL_BYTES;
                0
            });
            *of_channel += clients;
        };
        let listed = self.reach.each_of_all(|from, answer| ApiCall::Channels { from, answer }, add).await;
        if listed.is_err() || bytes > ANSWER_BYTES_MAX {
            return Err(INTERNAL);
        }
        let (mut out, mut slices) = (BytesMut::with_capacity(bytes), Slices::new());
        for (name, clients) in &found {
            put_channel(&mut out, name, u32::try_from(*clients).unwrap_or(u32::MAX));
            slices.step().await;
        }
        Ok(out)
    }

    fn answer(&self, to: To, id: u64, answer: Result<BytesMut, u32>) {
        let (code, data) = answer.map_or_else(|code| (code, BytesMut::new()), |data| (0, data));
        let response = SurveyResponse { id, code, data: &data };
        self.sender.send(to, self.sender.bytes_of(Body::SurveyResponse(response)));
    }
}
