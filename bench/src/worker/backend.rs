//! Backend: publishes through the server API, as an application's backend does, instead of by clients.
//!
//! In:  the plan's rate; the phase.
//! Out: HTTP requests over one connection that is kept; its own tally at the end.
//!
//! One thread and one request at a time: what became due while the server answered goes out in the next request, up to
//! `REQUEST_MESSAGES_MAX`. This is an open loop all the same, since latencies count from when a message was due. What is
//! not sent when the run is over counts as withheld.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::shared::{Phase, SLEEP_NS_MAX, Shared};
use crate::clock::Clock;
use crate::dialect::backend::{Addressees, Calls};
use crate::message::{MessageCodec, Stamp};
use crate::plan::Plan;
use crate::scenario::{PublishApi, Scenario};
use crate::schedule::{Due, Schedule};
use crate::tally::Tally;

const REQUEST_MESSAGES_MAX: usize = 256;
/// A request takes no more messages when it is this long: bodies of the servers that we know may have a MiB.
const REQUEST_BYTES_MAX: usize = 256 << 10;
/// What is read of an answer; one that is longer is not understood.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Publishes until the run is over. `run` marks this run's messages.
pub(crate) fn publish(plan: &Plan, api: &PublishApi, clock: Clock, shared: &Shared, run: u16) -> Tally {
    super::sharpen_timers();
    let mut backend = Backend::new(plan, api, clock, shared, run);
    backend.work();
    shared.publishing.fetch_sub(1, Ordering::Release);
    backend.tally
}

struct Backend<'r> {
    plan: &'r Plan,
    api: &'r PublishApi,
    clock: Clock,
    shared: &'r Shared,
    mint: MessageCodec,
    agent: ureq::Agent,
    /// For each stream, to whom it speaks: in commands of their own where one cannot name all.
    addressees: Vec<Vec<Addressees>>,
    /// How many messages each stream has sent.
    sent: Vec<u32>,
    rate_per_s: f64,
    burst: u32,
    /// What is left of the burst that is due.
    rest: Option<(Due, u32)>,
    /// Streams in the request that is being made.
    named: HashSet<u32>,
    calls: Calls,
    messages: usize,
    /// When the last request was answered: what was due before could not go out sooner.
    answered_ns: u64,
    tally: Tally,
}

impl<'r> Backend<'r> {
    fn new(plan: &'r Plan, api: &'r PublishApi, clock: Clock, shared: &'r Shared, run: u16) -> Self {
        let Scenario::Broadcast { rate_per_s, burst, .. } = plan.scenario else {
            unreachable!("the plan publishes through the API in broadcasts alone")
        };
        let name = |channel: u32| format!("{}:{channel}", plan.channel_prefix);
        let streams = plan.streams();
        let addressees = if api.every_channel {
            vec![Addressees::several((0..plan.channels).map(name))]
        } else {
            (0..streams).map(|stream| vec![Addressees::one(&name(stream))]).collect()
        };
        Self {
            plan,
            api,
            clock,
            shared,
            mint: MessageCodec::new(run, plan.size, plan.seed),
            agent: agent(plan.drain_timeout_ns),
            addressees,
            sent: vec![0; streams as usize],
            rate_per_s,
            burst,
            rest: None,
            named: HashSet::new(),
            calls: Calls::new(if api.every_channel { "broadcast" } else { "publish" }),
            messages: 0,
            answered_ns: 0,
            tally: Tally::new(),
        }
    }

    fn work(&mut self) {
        let Some((start_ns, end_ns)) = self.shared.await_run(self.clock) else { return };
        self.answered_ns = start_ns;
        let bursts_per_s = self.rate_per_s / f64::from(self.burst);
        let mut schedule = Schedule::new(start_ns, bursts_per_s, self.plan.streams(), 0, 1);
        while self.shared.phase() != Phase::Stop {
            let now_ns = self.clock.now_ns();
            self.gather(&mut schedule, now_ns, end_ns);
            if self.messages > 0 {
                self.send();
                continue;
            }
            match schedule.peek() {
                Some(due) if due.at_ns < end_ns => {
                    self.clock.sleep_until(due.at_ns.min(now_ns + SLEEP_NS_MAX));
                }
                _ => return,
            }
        }
        let mut unsent = u64::from(self.rest.take().map_or(0, |(_, left)| left));
        while schedule.take_due(end_ns, end_ns).is_some() {
            unsent += u64::from(self.burst);
        }
        self.tally.messages.withheld += unsent;
    }

    /// Puts what is due into a request, as far as it fits.
    fn gather(&mut self, schedule: &mut Schedule, now_ns: u64, end_ns: u64) {
        self.calls.clear();
        self.named.clear();
        self.messages = 0;
        while self.messages < REQUEST_MESSAGES_MAX && self.calls.bytes() < REQUEST_BYTES_MAX {
            let Some((due, left)) = self.rest.take().or_else(|| self.take_due(schedule, now_ns, end_ns))
            else {
                return;
            };
            self.rest = (left > 1).then_some((due, left - 1));
            self.named.insert(due.member);
            let stream = due.member as usize;
            let stamp = Stamp { publisher: due.member, sequence: self.sent[stream], intended_ns: due.at_ns };
            for addressees in &self.addressees[stream] {
                self.calls.push(addressees, &self.mint, stamp);
            }
            self.messages += 1;
            self.sent[stream] += 1;
            // Before it is sent: who looks for what is missing must not find more than there is.
            self.shared.published[stream].store(self.sent[stream], Ordering::Relaxed);
        }
    }

    fn take_due(&mut self, schedule: &mut Schedule, now_ns: u64, end_ns: u64) -> Option<(Due, u32)> {
        let due = schedule.take_due(now_ns, end_ns)?;
        // Waiting for an answer is the server's time, not ours.
        let possible_ns = due.at_ns.max(self.answered_ns);
        self.tally.lateness.saturating_record(now_ns.saturating_sub(possible_ns));
        Some((due, self.burst))
    }

    fn send(&mut self) {
        let messages = self.messages as u64;
        self.tally.messages.sent += messages;
        self.shared.backend.show(&self.tally, 0);
        // Messages of one stream are to stay in their order; several commands of one message need none.
        let (path, body) = self.calls.request(self.named.len() == self.messages);
        let answer = post(&self.agent, &format!("{}/{path}", self.api.urls[0]), &self.api.key, body);
        self.answered_ns = self.clock.now_ns();
        match answer.and_then(|answer| self.calls.refusals(&answer)) {
            Ok(refusals) => {
                self.tally.messages.refused += (refusals.len() as u64).min(messages);
                refusals.into_iter().for_each(|refusal| self.tally.reason(refusal, 1));
            }
            Err(why) => {
                self.tally.messages.refused += messages;
                self.tally.reason(format!("the server API: {why}"), 1);
            }
        }
    }
}

/// An agent whose requests take so long at most.
pub(super) fn agent(timeout_ns: u64) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_nanos(timeout_ns.max(1))))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .build()
        .into()
}

/// The body of the answer to a call.
///
/// # Errors
/// In words: nobody answered, or with another status than success.
pub(super) fn post(agent: &ureq::Agent, url: &str, key: &str, body: &[u8]) -> Result<Vec<u8>, String> {
    let mut request = agent.post(url).header("Content-Type", "application/json");
    if !key.is_empty() {
        request = request.header("X-API-Key", key);
    }
    let mut response = request.send(body).map_err(|error| error.to_string())?;
    if !response.status().is_success() {
        return Err(format!("answered {}", response.status()));
    }
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
    body.map_err(|error| error.to_string())
}
