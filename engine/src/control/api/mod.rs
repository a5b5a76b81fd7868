//! Api: the server API, for the application's backend.
//!
//! In:  `POST /api/{method}` with a JSON body and a key; the older `POST /api` with `{method, params}`.
//! Out: `{"result":…}` or `{"error":{code, message}}`; work for the shards in between.
//!
//! Names, fields and codes are those of Centrifugo v6. The files: `key` (who may call), `request` (what a body says),
//! `channel`, `clients`, `node` and `penalties` (the methods), `reach` (the way to the shards and back), `answer` (what is said).

mod answer;
mod channel;
mod clients;
mod counts;
mod key;
mod node;
mod penalties;
mod reach;
mod request;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State as Extract},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use holdfast_protocol::client::ErrorCode;
use http_body_util::LengthLimitError;
use serde::Deserialize;
use serde_json::value::RawValue;

use self::{
    answer::{ApiError, Outcome, Said, raw, respond},
    key::Keys,
    reach::Reach,
};
pub(super) use self::{counts::ApiCounts, node::Node};
use super::drain::Drain;
use crate::{
    channel::Channels,
    config::{ApiErrorMode, Config},
    peers::Shared,
    supervise,
};

/// The description of all this, which is also part of the documentation.
const OPENAPI: &str = include_str!("../../../../docs/openapi.json");

/// A whole request: enough for a batch of a thousand messages of a kilobyte.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// What the methods work with.
#[derive(Debug)]
pub(super) struct Api {
    reach: Reach,
    channels: Channels,
    keys: Keys,
    error_mode: ApiErrorMode,
    node: Node,
    counts: Arc<ApiCounts>,
    drain: Arc<Drain>,
}

impl Api {
    pub(super) fn new(config: &Config, shared: Arc<Shared>, drain: Arc<Drain>, node: Node) -> Self {
        Self {
            reach: Reach::new(shared),
            channels: Channels::new(&config.channel),
            keys: Keys::new(&config.http_api),
            error_mode: config.http_api.error_mode,
            node,
            counts: Arc::default(),
            drain,
        }
    }

    pub(super) fn counts(&self) -> Arc<ApiCounts> {
        Arc::clone(&self.counts)
    }
}

/// Defines the methods of one command each: their names, and what runs them.
macro_rules! methods {
    ($($name:literal => $method:ident $run:path,)*) => {
        /// A method, but for `batch`, which is made of the others.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Method {
            $($method,)*
        }

        impl Method {
            const ALL: &[(&str, Self)] = &[$(($name, Self::$method),)*];

            async fn run(self, api: &Api, params: &[u8]) -> Outcome {
                let outcome = self.run_uncounted(api, params).await;
                api.counts.ended(self, outcome.is_err());
                outcome
            }

            async fn run_uncounted(self, api: &Api, params: &[u8]) -> Outcome {
                match self {
                    $(Self::$method => raw(&$run(api, request::read(params)?).await?),)*
                }
            }
        }
    };
}

methods! {
    "publish" => Publish channel::publish,
    "broadcast" => Broadcast channel::broadcast,
    "subscribe" => Subscribe clients::subscribe,
    "unsubscribe" => Unsubscribe clients::unsubscribe,
    "disconnect" => Disconnect clients::disconnect,
    "refresh" => Refresh clients::refresh,
    "presence" => Presence channel::presence,
    "presence_stats" => PresenceStats channel::presence_stats,
    "history" => History channel::history,
    "history_remove" => HistoryRemove channel::history_remove,
    "channels" => Channels node::channels,
    "info" => Info node::info,
    "rpc" => Rpc node::rpc,
    "penalties" => Penalties penalties::list,
    "penalties_clear" => PenaltiesClear penalties::clear,
    "drain" => Drain node::drain,
}

impl Method {
    fn named(name: &str) -> Result<Self, ApiError> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, method)| *method).ok_or(ApiError::from(ErrorCode::METHOD_NOT_FOUND))
    }
}

pub(super) fn router(api: Arc<Api>) -> Router {
    let one = |method: Method| {
        post(async move |Extract(api): Extract<Arc<Api>>, request: Request| {
            answer_one(&api, method, request).await
        })
    };
    let methods = Method::ALL
        .iter()
        .fold(Router::new(), |router, (name, method)| router.route(&format!("/api/{name}"), one(*method)));
    methods
        .route("/api/batch", post(answer_batch))
        .route("/api", post(answer_named))
        .route("/api/openapi.json", get(openapi))
        .route("/api/{*unknown}", any(answer_unknown))
        .with_state(api)
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

async fn answer_unknown() -> Response {
    let outcome = Err(ErrorCode::METHOD_NOT_FOUND.into());
    (StatusCode::NOT_FOUND, respond(&outcome, ApiErrorMode::Body)).into_response()
}

async fn answer_one(api: &Api, method: Method, request: Request) -> Response {
    match admit(api, request).await {
        Ok((body, mode)) => respond(&method.run(api, &body).await, mode),
        Err(refused) => refused,
    }
}

/// `{"commands": [{"publish": {…}}, …], "parallel": true}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Batch {
    commands: Vec<BTreeMap<String, Box<RawValue>>>,
    parallel: bool,
}

async fn answer_batch(Extract(api): Extract<Arc<Api>>, request: Request) -> Response {
    let (body, mode) = match admit(&api, request).await {
        Ok(admitted) => admitted,
        Err(refused) => return refused,
    };
    let outcome = match request::read::<Batch>(&body) {
        Ok(batch) => raw(&BTreeMap::from([("replies", replies(&api, batch).await)])),
        Err(error) => Err(error),
    };
    // The replies are not wrapped in a result, since none of them is the batch's own.
    match outcome {
        Ok(replies) => answer::json(StatusCode::OK, replies.get().to_owned()),
        Err(error) => respond(&Err(error), mode),
    }
}

/// One reply a command, in their order, whatever became of the others.
async fn replies(api: &Arc<Api>, batch: Batch) -> Vec<BTreeMap<String, Said>> {
    let mut replies = Vec::with_capacity(batch.commands.len());
    if !batch.parallel {
        for command in batch.commands {
            replies.push(reply(api, command).await);
        }
        return replies;
    }
    let running = batch.commands.into_iter().map(|command| {
        let api = Arc::clone(api);
        supervise::task("API", async move { reply(&api, command).await })
    });
    for task in running.collect::<Vec<_>>() {
        replies.push(task.await.unwrap_or_else(|_| failed(ErrorCode::INTERNAL.into())));
    }
    replies
}

async fn reply(api: &Api, command: BTreeMap<String, Box<RawValue>>) -> BTreeMap<String, Said> {
    let mut methods = command.into_iter();
    let (Some((name, params)), None) = (methods.next(), methods.next()) else {
        return failed(ApiError::bad_request("a command has one field, named after its method"));
    };
    let outcome = match Method::named(&name) {
        Ok(method) => method.run(api, params.get().as_bytes()).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(result) => BTreeMap::from([(name, Said::Result(result))]),
        Err(error) => failed(error),
    }
}

fn failed(error: ApiError) -> BTreeMap<String, Said> {
    BTreeMap::from([("error".to_owned(), Said::Error(error))])
}

/// `{"method": "publish", "params": {…}}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    method: String,
    params: Option<Box<RawValue>>,
}

async fn answer_named(Extract(api): Extract<Arc<Api>>, request: Request) -> Response {
    let (body, mode) = match admit(&api, request).await {
        Ok(admitted) => admitted,
        Err(refused) => return refused,
    };
    let outcome = match request::read::<Named>(&body) {
        Ok(named) => {
            let params = named.params.as_ref().map_or("{}", |params| params.get());
            match Method::named(&named.method) {
                Ok(method) => method.run(&api, params.as_bytes()).await,
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    };
    respond(&outcome, mode)
}

/// Lets a caller in that has a key, and reads the body: nothing of a stranger's is read.
async fn admit(api: &Api, request: Request) -> Result<(Bytes, ApiErrorMode), Response> {
    if !api.keys.admit(request.headers(), request.uri()) {
        let outcome = Err(ErrorCode::UNAUTHORIZED.into());
        return Err((StatusCode::UNAUTHORIZED, respond(&outcome, ApiErrorMode::Body)).into_response());
    }
    let asked = request.headers().get("x-centrifugo-error-mode");
    let mode = match asked.and_then(|mode| mode.to_str().ok()) {
        Some("transport") => ApiErrorMode::Transport,
        _ => api.error_mode,
    };
    let body = read_body(request.into_body()).await?;
    Ok((body, mode))
}

async fn read_body(body: Body) -> Result<Bytes, Response> {
    to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| {
        let is_long = std::error::Error::source(&error).is_some_and(|source| source.is::<LengthLimitError>());
        let (status, words) = if is_long {
            (StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {BODY_BYTES_MAX} bytes"))
        } else {
            (StatusCode::BAD_REQUEST, "the body did not come whole".to_owned())
        };
        (status, respond(&Err(ApiError::bad_request(words)), ApiErrorMode::Body)).into_response()
    })
}
