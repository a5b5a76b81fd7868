//! Api: the server API, for the application's backend.
//!
//! In:  `POST /api/{method}` with a JSON body and a key; the older `POST /api` with `{method, params}`.
//! Out: `{"result":…}` or `{"error":{code, message}}`; work for the shards in between.
//!
//! Names, fields and codes are those of Centrifugo v6. The files: `key` (who may call), `request` (what a body says),
//! `browser` (who may without a key),
//! `channel`, `clients`, `node` and `penalties` (the methods), `pattern` (which channels are meant), `reach` (the way to the
//! shards and back), `share` (how much of the thread a call gets), `answer` (what is said).

mod answer;
mod browser;
mod channel;
mod clients;
mod counts;
mod key;
mod node;
mod pattern;
mod penalties;
mod reach;
mod request;
mod share;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State as Extract},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use holdfast_protocol::client::ErrorCode;
use http_body_util::LengthLimitError;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::time::timeout;

use self::{
    answer::{ApiError, Outcome, Said, Weight, raw, respond},
    browser::Hosts,
    key::Keys,
    reach::Reach,
    share::{Apart, Slices},
};
pub(super) use self::{counts::ApiCounts, node::Node};
use super::{connection::words, drain::Drain};
use crate::{
    channel::Channels,
    config::{ApiErrorMode, Config},
    peers::Shared,
};

/// The description of all this, which is also part of the documentation.
const OPENAPI: &str = include_str!("../../../../docs/openapi.json");

/// A whole request: enough for a batch of a thousand messages of a kilobyte.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// How long a body may take to come. Worst case: this × `http_server.internal_connection_limit` bodies at a time.
const BODY_MAX: Duration = Duration::from_secs(30);

/// Commands of a parallel batch that are under way at a time.
const PARALLEL_MAX: usize = 256;

/// What the methods work with.
#[derive(Debug)]
pub(super) struct Api {
    reach: Reach,
    channels: Channels,
    keys: Keys,
    hosts: Hosts,
    apart: Apart,
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
            hosts: Hosts::new(&config.http_api.allowed_hosts),
            apart: Apart::new(),
            error_mode: config.http_api.error_mode,
            node,
            counts: Arc::default(),
            drain,
        }
    }

    /// What a body says. A long one is read on another thread.
    async fn read<T: DeserializeOwned + Default + Send + 'static>(&self, body: Bytes) -> Result<T, ApiError> {
        self.apart.run(body.len() / 1024, move || request::read(&body)).await?
    }

    /// A result as JSON. A long one is written on another thread.
    async fn written<T: Weight + Serialize + Send + 'static>(&self, result: T) -> Outcome {
        self.apart.run(result.weight(), move || raw(&result)).await?
    }

    async fn respond(&self, outcome: Outcome, mode: ApiErrorMode) -> Response {
        let bytes = outcome.as_ref().map_or(0, |result| result.get().len());
        let responding = self.apart.run(bytes / 1024, move || respond(&outcome, mode));
        responding.await.unwrap_or_else(|error| respond(&Err(error.into()), mode))
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

            const fn name(self) -> &'static str {
                Self::ALL[self as usize].0
            }

            async fn run(self, api: &Api, params: Bytes) -> Outcome {
                let running = AssertUnwindSafe(self.run_unguarded(api, params)).catch_unwind();
                let outcome = running.await.unwrap_or_else(|panic| {
                    let panic = words(&*panic);
                    tracing::error!(method = self.name(), panic, "a call of the server API failed");
                    Err(ErrorCode::INTERNAL.into())
                });
                api.counts.ended(self, outcome.is_err());
                outcome
            }

            async fn run_unguarded(self, api: &Api, params: Bytes) -> Outcome {
                match self {
                    $(Self::$method => {
                        let params = api.read(params).await?;
                        api.written($run(api, params).await?).await
                    })*
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
        Ok((body, mode)) => api.respond(method.run(api, body).await, mode).await,
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
    let outcome = match api.read::<Batch>(body).await {
        Ok(batch) => api.written(Replies { replies: replies(&api, batch).await }).await,
        Err(error) => Err(error),
    };
    // The replies are not wrapped in a result, since none of them is the batch's own.
    match outcome {
        Ok(replies) => answer::json(StatusCode::OK, Box::<str>::from(replies).into_string()),
        Err(error) => respond(&Err(error), mode),
    }
}

#[derive(Debug, Serialize)]
struct Replies {
    replies: Vec<BTreeMap<String, Said>>,
}

impl Weight for Replies {
    fn weight(&self) -> usize {
        self.replies.len()
    }
}

/// One reply a command, in their order, whatever became of the others.
async fn replies(api: &Api, batch: Batch) -> Vec<BTreeMap<String, Said>> {
    let mut all = Vec::with_capacity(batch.commands.len());
    let at_a_time = if batch.parallel { PARALLEL_MAX } else { 1 };
    let running = batch.commands.into_iter().map(|command| reply(api, command));
    let mut replies = stream::iter(running).buffered(at_a_time);
    let mut slices = Slices::new();
    while let Some(reply) = replies.next().await {
        all.push(reply);
        slices.step().await;
    }
    all
}

async fn reply(api: &Api, command: BTreeMap<String, Box<RawValue>>) -> BTreeMap<String, Said> {
    let mut methods = command.into_iter();
    let (Some((name, params)), None) = (methods.next(), methods.next()) else {
        return failed(ApiError::bad_request("a command has one field, named after its method"));
    };
    let outcome = match Method::named(&name) {
        Ok(method) => method.run(api, bytes_of(params)).await,
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
    let outcome = match api.read::<Named>(body).await {
        Ok(Named { method, params }) => match Method::named(&method) {
            Ok(method) => method.run(&api, params.map_or_else(Bytes::new, bytes_of)).await,
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    api.respond(outcome, mode).await
}

/// The same text, not copied.
fn bytes_of(json: Box<RawValue>) -> Bytes {
    Bytes::from(Box::<str>::from(json).into_string())
}

/// Lets a caller in that has a key, and reads the body: nothing of a stranger's is read.
async fn admit(api: &Api, request: Request) -> Result<(Bytes, ApiErrorMode), Response> {
    if !api.keys.admit(request.headers(), request.uri()) {
        let outcome = Err(ErrorCode::UNAUTHORIZED.into());
        return Err((StatusCode::UNAUTHORIZED, respond(&outcome, ApiErrorMode::Body)).into_response());
    }
    if api.keys.are_not_asked_for() {
        api.hosts.check(request.method(), request.uri(), request.headers()).map_err(|foreign| {
            let outcome = Err(ApiError::bad_request(foreign.words()));
            (foreign.status(), respond(&outcome, ApiErrorMode::Body)).into_response()
        })?;
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
    let refused = |status: StatusCode, words: String| {
        (status, respond(&Err(ApiError::bad_request(words)), ApiErrorMode::Body)).into_response()
    };
    let read = timeout(BODY_MAX, to_bytes(body, BODY_BYTES_MAX)).await.map_err(|_| {
        let words = format!("the body did not come within {} s", BODY_MAX.as_secs());
        refused(StatusCode::REQUEST_TIMEOUT, words)
    })?;
    read.map_err(|error| {
        if std::error::Error::source(&error).is_some_and(|source| source.is::<LengthLimitError>()) {
            let words = format!("the body is longer than {BODY_BYTES_MAX} bytes");
            return refused(StatusCode::PAYLOAD_TOO_LARGE, words);
        }
        refused(StatusCode::BAD_REQUEST, "the body did not come whole".to_owned())
    })
}
