//! Persistent: a publisher through the server API that goes on until each message is acknowledged.
//!
//! In:  the plan's rate; the APIs of several servers.
//! Out: each message acknowledged by one of them, in the order of its channel; what was acknowledged, for those who check
//! what arrives.
//!
//! One request at a time, with at most one message a channel, each with a key: whatever becomes of a request, it can be made
//! again, at the next server, and the message is there once. Latencies count from when a message was due, so that they tell
//! how long nothing could be published.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use super::backend::{agent, post};
use super::shared::{Phase, SLEEP_NS_MAX, Shared};
use crate::clock::Clock;
use crate::dialect::backend::{Addressees, Calls};
use crate::message::{MessageCodec, Stamp};
use crate::plan::Plan;
use crate::scenario::{PublishApi, Scenario};
use crate::schedule::{Due, Schedule};
use crate::tally::Tally;

const REQUEST_MESSAGES_MAX: usize = 256;
/// A server that does not answer in this time is left for the next one.
const REQUEST_NS_MAX: u64 = 2_000_000_000;
/// After a request that failed.
const PAUSE_NS: u64 = 50_000_000;

/// Publishes until the run is over. `run` marks this run's messages.
pub(crate) fn publish(plan: &Plan, api: &PublishApi, clock: Clock, shared: &Shared, run: u16) -> Tally {
    let mut publisher = Publisher::new(plan, api, clock, shared, run);
    publisher.work(plan);
    shared.publishing.fetch_sub(1, Ordering::Release);
    publisher.tally
}

struct Publisher<'r> {
    api: &'r PublishApi,
    clock: Clock,
    shared: &'r Shared,
    run: u16,
    mint: MessageCodec,
    agent: ureq::Agent,
    /// The server that is asked.
    server: usize,
    channels: Vec<Addressees>,
    /// The messages of the request that is being made.
    request: Vec<Due>,
    calls: Calls,
    tally: Tally,
}

impl<'r> Publisher<'r> {
    fn new(plan: &'r Plan, api: &'r PublishApi, clock: Clock, shared: &'r Shared, run: u16) -> Self {
        let name = |channel: u32| Addressees::one(&format!("{}:{channel}", plan.channel_prefix));
        Self {
            api,
            clock,
            shared,
            run,
            mint: MessageCodec::new(run, plan.size, plan.seed),
            agent: agent(REQUEST_NS_MAX),
            server: 0,
            channels: (0..plan.channels).map(name).collect(),
            request: Vec::new(),
            calls: Calls::new("publish"),
            tally: Tally::new(),
        }
    }

    fn work(&mut self, plan: &Plan) {
        let Scenario::Failover { rate_per_s } = plan.scenario else { return };
        let Some((start_ns, end_ns)) = self.shared.await_run(self.clock) else { return };
        let mut schedule = Schedule::new(start_ns, rate_per_s, plan.channels, 0, 1);
        loop {
            if self.shared.phase() == Phase::Stop {
                // What is due and was not acknowledged by now.
                self.tally.messages.withheld += self.request.len() as u64;
                return;
            }
            let now_ns = self.clock.now_ns();
            if self.request.is_empty() {
                self.gather(&mut schedule, now_ns, end_ns);
            }
            if !self.request.is_empty() {
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
    }

    /// Takes what is due into the request: of each channel one message.
    fn gather(&mut self, schedule: &mut Schedule, now_ns: u64, end_ns: u64) {
        let mut named = HashSet::new();
        self.calls.clear();
        while self.request.len() < REQUEST_MESSAGES_MAX
            && let Some(due) = schedule.peek().filter(|due| due.at_ns <= now_ns && due.at_ns < end_ns)
            && named.insert(due.member)
        {
            schedule.take();
            let sequence = self.shared.published[due.member as usize].load(Ordering::Relaxed);
            let stamp = Stamp { publisher: due.member, sequence, intended_ns: due.at_ns };
            let key = format!("{:x}-{}-{sequence}", self.run, due.member);
            self.calls.push_once(&self.channels[due.member as usize], &self.mint, stamp, &key);
            self.request.push(due);
        }
    }

    /// Makes the request. Where it fails, it is made again, at another server.
    fn send(&mut self) {
        let (path, body) = self.calls.request(true);
        let url = format!("{}/{path}", self.api.urls[self.server]);
        let answer = post(&self.agent, &url, &self.api.key, body);
        let refused = match answer.and_then(|answer| self.calls.refusals(&answer)) {
            Ok(refusals) => refusals.into_iter().next(),
            Err(why) => Some(format!("the server API: {why}")),
        };
        if let Some(why) = refused {
            self.calls.reopen();
            self.tally.recovery.requests_repeated += 1;
            self.tally.reason(format!("published again: {why}"), 1);
            self.server = (self.server + 1) % self.api.urls.len();
            return self.clock.sleep_until(self.clock.now_ns() + PAUSE_NS);
        }
        for due in self.request.drain(..) {
            self.shared.published[due.member as usize].fetch_add(1, Ordering::Relaxed);
            self.tally.messages.sent += 1;
        }
        self.shared.backend.show(&self.tally, 0);
    }
}
