//! Leases: what is done about connections of other nodes, where a user has a limited number of them.
//!
//! In:  connections that a newer one has evicted; nodes that hold leases and may be dead.
//! Out: a command for the node that has the connection; the nodes that give no sign of life.

use std::collections::HashSet;

use holdfast_protocol::client::DisconnectCode;
use holdfast_redis::control::{
    message::{Body, Disconnect},
    survey::Outcome,
};
use tokio::sync::oneshot;
use uuid::Uuid;

/// The question: each node answers it, one that does not know it with a code.
pub(super) const ALIVE_OP: &str = "holdfast.alive";

/// Waits for the answers to the question, and tells which of `nodes` have given none. Without an outcome nobody knows, and
/// nothing is told.
pub(super) async fn tell_silent(
    nodes: HashSet<String>,
    outcome: oneshot::Receiver<Outcome>,
    answer: oneshot::Sender<HashSet<String>>,
) {
    let Ok(outcome) = outcome.await else { return };
    let alive: HashSet<String> = outcome.answers.into_iter().map(|answer| answer.uid).collect();
    // Whoever asked may have ended.
    let _ = answer.send(nodes.difference(&alive).cloned().collect());
}

/// The command that ends one connection of a user.
pub(super) fn eviction<'a>(user: &'a str, client: &Uuid) -> Body<'a> {
    Body::Disconnect(Disconnect {
        user: user.into(),
        client: client.to_string().into(),
        code: DisconnectCode::CONNECTION_LIMIT.code.into(),
        reason: DisconnectCode::CONNECTION_LIMIT.reason.into(),
        ..Disconnect::default()
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use holdfast_redis::control::survey::SurveyAnswer;

    use super::*;

    fn names(names: &[&str]) -> HashSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn outcome(alive: &[&str]) -> Outcome {
        let answer = |&uid: &&str| SurveyAnswer { uid: uid.to_owned(), code: 3, data: Bytes::new() };
        Outcome { id: 1, answers: alive.iter().map(answer).collect(), missing: Vec::new() }
    }

    #[tokio::test]
    async fn who_does_not_answer_is_silent_whatever_the_others_answer() {
        let (asked, answered) = (oneshot::channel(), oneshot::channel());
        asked.0.send(outcome(&["a", "c"])).expect("somebody waits for it");
        tell_silent(names(&["a", "b"]), asked.1, answered.0).await;
        assert_eq!(answered.1.await, Ok(names(&["b"])));
    }

    #[tokio::test]
    async fn where_nobody_could_be_asked_nobody_is_taken_for_dead() {
        let (asked, answered) = (oneshot::channel(), oneshot::channel());
        drop(asked.0);
        tell_silent(names(&["a"]), asked.1, answered.0).await;
        assert!(answered.1.await.is_err());
    }
}
