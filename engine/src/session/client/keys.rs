//! Keys: tokens that name a key which is not known here yet.
//!
//! In:  commands with such tokens; what the JWKS endpoint says.
//! Out: an ask for the control thread; the same commands once more, and then their refusal.
//!
//! Until keys have come for the first time, nobody can say whether a token is genuine: clients are told to try again.

use holdfast_protocol::client::{Command, ErrorCode, Request};
use holdfast_ring::Kernel;

use super::{
    Stage,
    command::Refused,
    event::{decoded, encoded},
    pending::{Awaits, Pending},
};
use crate::{
    backend::{Fetched, KeysAsk},
    hub::message::ClientKey,
    shard::{Shard, cost},
    token::{Endpoint, TokenError, TokenUse, Verifier},
};

/// Who waits for keys on this core.
#[derive(Debug, Default)]
pub(crate) struct KeyWaits {
    /// Endpoints that are being asked.
    asked: Vec<Endpoint>,
    clients: Vec<ClientKey>,
}

/// For which tokens keys have come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeysCame {
    for_connects: bool,
    for_subscribes: bool,
}

impl KeysCame {
    fn are_for(self, pending: &Pending) -> bool {
        match pending.awaits {
            Awaits::ConnectKeys => self.for_connects,
            Awaits::SubscribeKeys => self.for_subscribes,
            Awaits::Backend => false,
        }
    }
}

impl Awaits {
    const fn keys_for(carried_by: TokenUse) -> Self {
        match carried_by {
            TokenUse::Connect | TokenUse::Refresh => Self::ConnectKeys,
            TokenUse::Subscribe | TokenUse::SubRefresh => Self::SubscribeKeys,
        }
    }
}

impl<K: Kernel> Shard<K> {
    fn verifier(&mut self, awaits: Awaits) -> &mut Verifier {
        match awaits {
            Awaits::SubscribeKeys => &mut self.rules.subscribe_tokens,
            _ => &mut self.rules.connect_tokens,
        }
    }

    /// A command's token names an unknown key: it waits until the endpoint was asked.
    pub(super) fn wait_for_keys(
        &mut self,
        key: ClientKey,
        carried_by: TokenUse,
        command: &Command<'_>,
    ) -> Result<(), ErrorCode> {
        let awaits = Awaits::keys_for(carried_by);
        let ticket = self.next_ticket();
        let Some(endpoint) = self.verifier(awaits).jwks_endpoint().cloned() else {
            unreachable!("keys are unknown only where they come from an endpoint")
        };
        if !self.key_waits.asked.contains(&endpoint) {
            if !self.peers.asker().keys(KeysAsk { endpoint: endpoint.clone() }) {
                return Err(ErrorCode::INTERNAL);
            }
            self.key_waits.asked.push(endpoint);
        }
        let Some(client) = self.clients.get(key) else { return Ok(()) };
        let channel = match &command.request {
            Request::Subscribe(subscribe) => subscribe.channel.as_ref().into(),
            _ => Box::default(),
        };
        let bytes = encoded(client.format, command.id, command.request.clone());
        client.wait(Pending { ticket, awaits, command: bytes, channel })?;
        if let Request::Connect(_) = command.request {
            client.begin_connecting(command.id);
        }
        self.key_waits.clients.push(key);
        Ok(())
    }

    /// What answers a token whose key is still not known.
    pub(super) fn key_stays_unknown(&mut self, key: ClientKey, carried_by: TokenUse) -> Refused {
        if self.verifier(Awaits::keys_for(carried_by)).has_keys() {
            self.judged(key, TokenError::KeyUnknown { kid: String::new() }.verdict(carried_by))
        } else {
            ErrorCode::INTERNAL.into()
        }
    }

    /// An endpoint was asked.
    pub(crate) fn keys_fetched(&mut self, fetched: &Fetched) {
        let mut is_meant = |awaits: Awaits| {
            let verifier = self.verifier(awaits);
            let is_its = verifier.jwks_endpoint() == Some(&fetched.endpoint);
            if is_its && let Some(keys) = &fetched.keys {
                *verifier = verifier.with_keys(keys.clone());
            }
            is_its
        };
        let came = KeysCame {
            for_connects: is_meant(Awaits::ConnectKeys),
            for_subscribes: is_meant(Awaits::SubscribeKeys),
        };
        self.key_waits.asked.retain(|endpoint| *endpoint != fetched.endpoint);
        for key in std::mem::take(&mut self.key_waits.clients) {
            let Some(client) = self.clients.get(key) else { continue };
            if client.is_pending(|pending| came.are_for(pending)) {
                // As many may wait as there are clients, and each has a signature to be checked: they have their parts of
                // the turns.
                self.retry_later(key, came);
            } else if client.is_pending(|pending| pending.awaits != Awaits::Backend) {
                self.key_waits.clients.push(key);
            }
        }
    }

    /// Keys have come, and the client has its part of a turn: one command that waits for them is tried again.
    pub(crate) fn retry(&mut self, key: ClientKey, came: KeysCame) {
        let Some(client) = self.clients.get(key) else { return };
        let format = client.format;
        if let Some(pending) = client.take_pending_if(|pending| came.are_for(pending)) {
            let command = decoded(format, &pending.command);
            self.meter.add(cost::of_command(&command.request, pending.command.len()));
            self.try_again(key, &command);
        }
    }

    fn try_again(&mut self, key: ClientKey, command: &Command<'_>) {
        if let (Request::Connect(_), Some(client)) = (&command.request, self.clients.get(key)) {
            client.stage = Stage::Fresh;
        }
        let handled = self.handle(key, command);
        self.conclude_late(key, command, handled);
    }
}
