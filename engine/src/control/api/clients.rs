//! Clients: the methods on one client, or on all clients of a user.
//!
//! In:  requests that name a user, a connection or a session.
//! Out: commands for all shards: only a client's own shard can find it; the same for all other nodes.
//!
//! A request must name at least one of the three: if it lost its user by mistake, it must not select everybody.

use std::sync::Arc;

use holdfast_protocol::client::DisconnectCode;
use uuid::Uuid;

use super::{answer::Empty, channel::known, error::ApiError, request, state::Api};
use crate::{
    control::nodes::{Addressee, body_of},
    session::calls::{ApiCall, ClientCommand, ClientSelector, SubscribeCommand},
    time::UnixSeconds,
};

pub(super) async fn subscribe(api: &Api, request: request::Subscribe) -> Result<Empty, ApiError> {
    known(api, &request.channel)?;
    let wish = ClientCommand::Subscribe(SubscribeCommand {
        chan_info: request::bytes("b64info", &request.b64info, request.info.as_deref())?,
        data: request::bytes("b64data", &request.b64data, request.data.as_deref())?,
        expires_at: UnixSeconds::from_field(request.expire_at),
        since: request.recover_since.map(|since| (since.offset, since.epoch.into())),
        overrides: request.overrides,
        channel: request.channel.into(),
    });
    let to = (request.user, request.client, request.session);
    tell(api, to, wish).await
}

pub(super) async fn unsubscribe(api: &Api, request: request::Unsubscribe) -> Result<Empty, ApiError> {
    let channel = match request.channel {
        all if all.is_empty() => None,
        channel => {
            known(api, &channel)?;
            Some(channel.into())
        }
    };
    let to = (request.user, request.client, request.session);
    tell(api, to, ClientCommand::Unsubscribe { channel }).await
}

pub(super) async fn disconnect(api: &Api, request: request::Disconnect) -> Result<Empty, ApiError> {
    let default = DisconnectCode::FORCE_DISCONNECT;
    let (code, reason) = match request.disconnect {
        None => (default.code, default.reason.into()),
        Some(with) => (with.code, with.reason.into_boxed_str()),
    };
    if !(3000..=4999).contains(&code) {
        let why = format_args!("disconnect.code is {code}; it must be from 3000 to 4999");
        return Err(ApiError::bad_request(why));
    }
    let except = request.whitelist.iter().filter_map(|client| client.parse().ok()).collect();
    let to = (request.user, request.client, request.session);
    tell(api, to, ClientCommand::Disconnect { code, reason, except }).await
}

pub(super) async fn refresh(api: &Api, request: request::Refresh) -> Result<Empty, ApiError> {
    let wish = if request.expired {
        ClientCommand::Expire
    } else {
        let info = request::bytes("info", "", request.info.as_deref())?;
        ClientCommand::Refresh { expires_at: UnixSeconds::from_field(request.expire_at), info }
    };
    tell(api, (request.user, request.client, request.session), wish).await
}

/// Carries a command out here, and tells all other nodes of it. `to` is the user, the client and the session.
async fn tell(
    api: &Api,
    to: (Option<String>, String, String),
    wish: ClientCommand,
) -> Result<Empty, ApiError> {
    let (user, client, session) = to;
    let whom = whom(user.clone(), &client, &session)?;
    let wish = Arc::new(wish);
    let here = async {
        let Some(whom) = whom.map(Arc::new) else { return Ok(()) };
        let call = |done| ApiCall::Clients { whom: Arc::clone(&whom), wish: Arc::clone(&wish), done };
        for outcome in api.reach.ask_all(call).await? {
            outcome?;
        }
        Ok(())
    };
    let elsewhere = async {
        let Some(nodes) = &api.nodes else { return Ok(()) };
        // An empty user beside a client means any, as here.
        let is_one = !client.is_empty() || !session.is_empty();
        let user = user.as_deref().filter(|user| !is_one || !user.is_empty());
        match body_of(Addressee { user, client: &client, session: &session }, &wish, &api.channels) {
            Some(body) => nodes.tell(body).await.map_err(ApiError::not_told),
            None => Ok(()),
        }
    };
    // Who is on other nodes is told whatever becomes of it here.
    let (here, elsewhere): (Result<(), ApiError>, _) = tokio::join!(here, elsewhere);
    here.and(elsewhere).map(|()| Empty {})
}

/// Builds the selector of a request; `None` if no client can match. A session has the same ID as its client. An
/// explicitly empty user selects anonymous clients; together with a client it means nothing.
fn whom(user: Option<String>, client: &str, session: &str) -> Result<Option<ClientSelector>, ApiError> {
    let mut named = [client, session].into_iter().filter(|id| !id.is_empty());
    let Some(first) = named.next() else {
        let Some(user) = user else {
            return Err(ApiError::bad_request("one of user, client and session is required"));
        };
        return Ok(Some(ClientSelector { user: Some(user.into()), client: None }));
    };
    let user = user.filter(|user| !user.is_empty()).map(String::into_boxed_str);
    let is_one = named.all(|other| other == first);
    let client = first.parse::<Uuid>().ok().filter(|_| is_one);
    Ok(client.map(|client| ClientSelector { user, client: Some(client) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_names_nobody_does_not_mean_everybody() {
        let ann = || Some("ann".to_owned());
        assert_eq!(whom(None, "", "").unwrap_err().code, 107);
        assert!(whom(ann(), "no id", "").unwrap().is_none());
        let (one, other) = (Uuid::from_u128(1).to_string(), Uuid::from_u128(2).to_string());
        assert!(whom(None, &one, &other).unwrap().is_none());
        let found = whom(ann(), &one, &one).unwrap().unwrap();
        assert_eq!((found.user.as_deref(), found.client), (Some("ann"), Some(Uuid::from_u128(1))));
        let found = whom(Some(String::new()), "", "").unwrap().unwrap();
        assert_eq!((found.user.as_deref(), found.client), (Some(""), None), "the anonymous user has a name");
        let found = whom(Some(String::new()), &one, "").unwrap().unwrap();
        assert_eq!((found.user, found.client), (None, Some(Uuid::from_u128(1))));
    }
}
