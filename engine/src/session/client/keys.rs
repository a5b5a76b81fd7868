//! Keys: tokens that name a key we have not fetched yet.
//!
//! In:  commands with such tokens; news of the JWKS endpoint.
//! Out: requests to the control thread; retries of the commands, then their refusal.
//!
//! A token is refused permanently only if its key is missing from an answer that was requested after the token arrived.
//! Until then the token may still be genuine: its client waits. If that takes longer than the client's timeout, or the
//! endpoint fails, the client is told to try again.

use holdfast_protocol::client::{Command, ErrorCode, FromClient, Request, decode_commands};

use super::{
    Stage,
    command::{Handled, Outcome, Refused},
};
use crate::{
    backend::{KeyNews, KeysAre, KeysRequest},
    context::cost,
    ids::{ClientKey, CommandId},
    jose::KeySet,
    refusals::{CommandHead, Why},
    session::{
        Io, SessionCx,
        client::{
            KeysCame,
            deferred::{Awaited, KeyWait, Known, Pending, TokenCommand},
        },
    },
    token::{TokenError, TokenUse, Verifier},
    value::HttpUrl,
};

/// How long a client may wait for the next fetch: SDK commands time out after 5 seconds.
const WAIT_MS_MAX: u64 = 4_000;

/// True exactly when the key is one for subscription tokens.
const fn is_about_subscription(carried_by: TokenUse) -> bool {
    matches!(carried_by, TokenUse::Subscribe | TokenUse::SubRefresh)
}

impl<I: Io> SessionCx<'_, I> {
    fn verifier(&mut self, is_about_subscription: bool) -> &mut Verifier {
        if is_about_subscription {
            &mut self.sessions.tokens.subscribe
        } else {
            &mut self.sessions.tokens.connect
        }
    }

    /// A command's token names an unknown key: the command, with the bytes it was received in, waits until the endpoint
    /// was asked.
    pub(super) fn wait_for_keys(
        &mut self,
        key: ClientKey,
        carried_by: TokenUse,
        command: &Command<'_>,
        bytes: &[u8],
    ) -> Handled<'static> {
        // Only a `send` has no number, and it carries no token.
        let Some(id) = CommandId::new(command.id) else { return Ok(Outcome::NoReply) };
        let is_about_subscription = is_about_subscription(carried_by);
        let ticket = self.mesh.next_ticket();
        let Some(endpoint) = self.verifier(is_about_subscription).jwks_endpoint().cloned() else {
            unreachable!("keys are unknown only where they come from an endpoint")
        };
        self.sessions.key_waits.count += 1;
        let number = self.sessions.key_waits.count;
        self.ask_for_keys(&endpoint, number)?;
        let channel = match &command.request {
            Request::Subscribe(subscribe) => Some(subscribe.channel.as_ref().into()),
            _ => None,
        };
        let waiting_command = TokenCommand { id, is_about_subscription, channel, bytes: bytes.into() };
        self.wait_with(
            key,
            Pending { ticket, awaited: Awaited::Keys(Box::new(waiting_command)), told_bytes: 0 },
        )?;
        if let Request::Connect(_) = &command.request {
            self.begin_connecting(key, id);
        }
        self.sessions.key_waits.waiting.push(KeyWait { client: key, ticket, number });
        Ok(Outcome::Deferred)
    }

    /// At most one request per endpoint is under way; the next one covers every token that arrived in between.
    fn ask_for_keys(&mut self, endpoint: &HttpUrl, number: u64) -> Result<(), ErrorCode> {
        if self.sessions.key_waits.requests.iter().any(|(requested, _)| requested == endpoint) {
            return Ok(());
        }
        let ask = KeysRequest { endpoint: endpoint.clone(), shard: self.mesh.shard, number };
        if !self.sessions.backend.keys(ask) {
            return Err(ErrorCode::INTERNAL);
        }
        self.sessions.key_waits.requests.push((endpoint.clone(), number));
        Ok(())
    }

    /// The refusal of a token whose key is still unknown.
    pub(super) fn key_stays_unknown(&mut self, key: ClientKey, carried_by: TokenUse) -> Refused {
        if self.verifier(is_about_subscription(carried_by)).has_keys() {
            let error = TokenError::KeyUnknown { kid: String::new() };
            self.cx.why = Some(Why::of_token(&error, carried_by));
            self.judged(key, error.verdict(carried_by))
        } else {
            self.cx.why =
                Some(Why::new("jwks_without_answer", "an answer of client.token.jwks_public_endpoint"));
            ErrorCode::INTERNAL.into()
        }
    }

    /// Handles news of an endpoint.
    pub(crate) fn on_keys(&mut self, news: &KeyNews) {
        let keys = match &news.what {
            KeysAre::Fetched { keys, .. } => Some(keys.clone()),
            KeysAre::TooOld => Some(KeySet::default()),
            KeysAre::Failed { .. } | KeysAre::FetchedIn { .. } => None,
        };
        let mut is_meant = |is_about_subscription: bool| {
            let verifier = self.verifier(is_about_subscription);
            let is_its = verifier.jwks_endpoint() == Some(&news.endpoint);
            if is_its && let Some(keys) = &keys {
                *verifier = verifier.with_keys(keys.clone());
            }
            is_its
        };
        let for_connects = is_meant(false);
        let for_subscribes = is_meant(true);
        let answered_up_to = self.answered_ask(news);
        if matches!(news.what, KeysAre::FetchedIn { ms } if ms <= WAIT_MS_MAX) {
            return self.tell_of_others(&news.endpoint, answered_up_to);
        }
        for waiting in std::mem::take(&mut self.sessions.key_waits.waiting) {
            let Some(client) = self.sessions.clients.get(waiting.client) else { continue };
            let Some(command) = client.awaits_keys(waiting.ticket) else { continue };
            let is_meant = if command.is_about_subscription { for_subscribes } else { for_connects };
            let known = match news.what {
                KeysAre::Fetched { asked, .. } if waiting.number <= asked => Some(Known::Answer),
                KeysAre::Fetched { .. } => Some(Known::Older),
                KeysAre::Failed { asked } if waiting.number <= asked => Some(Known::Nothing),
                KeysAre::FetchedIn { .. } => Some(Known::Nothing),
                KeysAre::Failed { .. } | KeysAre::TooOld => None,
            };
            match known.filter(|_| is_meant) {
                // As many commands may wait as there are clients, and each needs a signature check: they are spread
                // over the turns.
                Some(known) => self.retry_later(waiting.client, KeysCame { ticket: waiting.ticket, known }),
                None => self.sessions.key_waits.waiting.push(waiting),
            }
        }
        self.tell_of_others(&news.endpoint, answered_up_to);
    }

    /// Forgets the request that the news answers. Returns the last token that the endpoint's fetcher knows of.
    fn answered_ask(&mut self, news: &KeyNews) -> u64 {
        let mut answered_up_to = match news.what {
            KeysAre::Fetched { asked, .. } | KeysAre::Failed { asked } => asked,
            KeysAre::FetchedIn { .. } => 0,
            KeysAre::TooOld => return self.sessions.key_waits.count,
        };
        self.sessions.key_waits.requests.retain(|(endpoint, number)| {
            if *endpoint != news.endpoint {
                return true;
            }
            let is_answer = matches!(news.what, KeysAre::FetchedIn { .. }) || *number <= answered_up_to;
            answered_up_to = answered_up_to.max(*number);
            // A request that arrived during the fetch gets its own answer.
            !is_answer
        });
        answered_up_to
    }

    /// Requests the keys for tokens that arrived since the last request.
    fn tell_of_others(&mut self, endpoint: &HttpUrl, answered_up_to: u64) {
        if let Some(last) = self.sessions.key_waits.waiting.last().map(|waiting| waiting.number)
            && last > answered_up_to
        {
            // If the request fails now, the waiting commands are answered with the next news.
            let _ = self.ask_for_keys(endpoint, last);
        }
    }

    /// It is the client's turn: retries one command that waited.
    pub(crate) fn retry(&mut self, key: ClientKey, came: KeysCame) {
        let Some(client) = self.sessions.clients.get(key) else { return };
        let format = client.format;
        let Some(pending) = self.take_pending(key, came.ticket) else { return };
        let Awaited::Keys(waiting_command) = pending.awaited else { return };
        // It was decoded on arrival, in the same format.
        let Some(Ok(FromClient::Command(command))) = decode_commands(format, &waiting_command.bytes).next()
        else {
            return;
        };
        self.cx.meter.add(cost::of_command(&command.request, waiting_command.bytes.len()));
        if came.known == Known::Nothing {
            return self.finish_deferred(key, &CommandHead::of(&command), Err(ErrorCode::INTERNAL.into()));
        }
        if let (Request::Connect(_), Some(client)) = (&command.request, self.sessions.clients.get(key)) {
            client.stage = Stage::Fresh;
        }
        // It was charged on arrival.
        let mut handled = self.perform(key, waiting_command.id, &command.request);
        if let (Known::Older, Ok(Outcome::NeedsKeys(carried_by))) = (came.known, &handled) {
            handled = self.wait_for_keys(key, *carried_by, &command, &waiting_command.bytes);
            if let Ok(Outcome::Deferred) = handled {
                return;
            }
        }
        self.finish_deferred(key, &CommandHead::of(&command), handled);
    }
}
