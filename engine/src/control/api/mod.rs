//! API: the server API, for the application's backend.
//!
//! In:  `POST /api/{method}` with a JSON body and a key; the older `POST /api` with `{method, params}`.
//! Out: `{"result":…}` or `{"error":{code, message}}`; messages to the shards.
//!
//! Names, fields and codes are those of Centrifugo v6. The files: `key` (authorization), `request` (parsing of bodies),
//! `browser` (protection of an API without keys), `channel`, `clients`, `node` and `penalties` (the methods), `room`
//! (memory of calls), `text` (serialization of an answer), `answer` (responses).

mod answer;
mod browser;
mod channel;
mod clients;
mod counts;
mod error;
mod key;
mod node;
mod penalties;
mod request;
mod room;
mod state;
#[cfg(test)]
mod tests;
mod text;

use std::{
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State as Extract},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use bytes::BytesMut;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use holdfast_protocol::client::ErrorCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;
use serde_json::value::RawValue;

use self::{
    answer::{Outcome, respond},
    counts::Denial,
    error::ApiError,
    request::{Command, CommandMethod},
    room::{Hold, Room},
    text::{SHORT_BYTES_MAX, Text},
};
pub(super) use self::{
    counts::ApiCounts,
    state::{Api, Node},
};
use super::{connection::words, drain::Drain, nodes::Nodes, share::Slices};
use crate::{
    config::{ApiErrorMode, Config},
    log::refusal,
    session::message::Shared,
    time::patience::timeout,
};

/// The OpenAPI description; also part of the documentation.
const OPENAPI: &str = include_str!("../../../../docs/openapi.json");

/// Timeout for a body. Worst case: `http_server.internal_connection_limit` concurrent bodies, each for this long.
const BODY_MAX: Duration = Duration::from_secs(30);

/// Concurrent commands of a parallel batch.
const PARALLEL_MAX: usize = 256;

/// Defines the methods of single commands: their names and functions.
macro_rules! methods {
    ($($name:literal => $method:ident $run:path,)*) => {
        /// A method of a single command: every method except `batch`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Method {
            $($method,)*
        }

        impl Method {
            const ALL: &[(&str, Self)] = &[$(($name, Self::$method),)*];

            /// The names of all methods, by index.
            fn names() -> Vec<&'static str> {
                Self::ALL.iter().map(|(name, _)| *name).collect()
            }

            const fn name(self) -> &'static str {
                Self::ALL[self as usize].0
            }

            /// Executes the method. The reply has the result under `name`.
            async fn run(self, api: &Api, params: Bytes, name: &'static str) -> Outcome {
                let running = AssertUnwindSafe(self.run_unguarded(api, params, name)).catch_unwind();
                let outcome = running.await.unwrap_or_else(|panic| {
                    let panic = words(&*panic);
                    tracing::error!(method = self.name(), panic, "a call of the server API panicked and got error 100: this is a bug, please report it with this line");
                    Err(ErrorCode::INTERNAL.into())
                });
                api.counts.ended(self as usize, outcome.is_err());
                if let Err(error) = &outcome {
                    let (method, code, error) = (self.name(), error.code, error.words());
                    refusal!(method, method, code, error, "a call of the server API was refused");
                }
                outcome
            }

            async fn run_unguarded(self, api: &Api, params: Bytes, name: &'static str) -> Outcome {
                match self {
                    $(Self::$method => {
                        let params = api.read(params).await?;
                        api.written(name, $run(api, params).await?).await
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

/// Creates the API.
pub(super) fn open(
    config: &Config,
    shared: Arc<Shared>,
    drain: Arc<Drain>,
    node: Node,
    nodes: Option<Nodes>,
) -> Arc<Api> {
    Arc::new(Api::new(config, shared, drain, node, nodes, &Method::names()))
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
    (StatusCode::NOT_FOUND, respond(outcome, ApiErrorMode::Body)).into_response()
}

async fn answer_one(api: &Api, method: Method, request: Request) -> Response {
    match admit(api, request).await {
        Ok(Admitted { body, mode, hold: _hold }) => respond(method.run(api, body, RESULT).await, mode),
        Err(refused) => refused,
    }
}

/// The name of a result in the reply to a single call.
const RESULT: &str = "result";

/// `{"commands": [{"publish": {…}}, …], "parallel": true}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Batch {
    #[serde(deserialize_with = "request::list::<_, _, { request::COMMANDS_MAX }>")]
    commands: Vec<Command>,
    parallel: bool,
}

async fn answer_batch(Extract(api): Extract<Arc<Api>>, request: Request) -> Response {
    let Admitted { body, mode, hold: _hold } = match admit(&api, request).await {
        Ok(admitted) => admitted,
        Err(refused) => return refused,
    };
    let outcome = match api.read::<Batch>(body).await {
        Ok(batch) => replies(&api, batch).await,
        Err(error) => Err(error),
    };
    respond(outcome, mode)
}

/// Builds one reply per command, in order, regardless of the other outcomes. `replies` is not wrapped in a result,
/// since the batch has none of its own. Once the answer is full, no further commands are executed.
async fn replies(api: &Api, batch: Batch) -> Outcome {
    let bytes_max = api.room.answer_bytes_max;
    let at_a_time = if batch.parallel { PARALLEL_MAX } else { 1 };
    let written_bytes = AtomicUsize::new(0);
    let running = batch.commands.into_iter().map(|command| {
        let written_bytes = &written_bytes;
        async move {
            if written_bytes.load(Ordering::Relaxed) >= bytes_max {
                Err(api.room.too_long())
            } else {
                reply(api, command).await
            }
        }
    });
    let mut running = pin!(stream::iter(running).buffered(at_a_time));
    let mut text = Text::of_batch(api.room.hold());
    text.push(b"{\"replies\":[")?;
    let mut slices = Slices::new();
    let mut is_first = true;
    while let Some(outcome) = running.next().await {
        if !std::mem::take(&mut is_first) {
            text.push_short(b",");
        }
        let appended = outcome.and_then(|reply| match reply.as_bytes() {
            // The outcome of an executed command is always reported. Only answers to queries are long.
            short if short.len() <= SHORT_BYTES_MAX => {
                text.push_short(short);
                Ok(())
            }
            long => text.push(long),
        });
        if let Err(error) = appended {
            text.push_short(error.reply().as_bytes());
        }
        written_bytes.store(text.len(), Ordering::Relaxed);
        slices.step().await;
    }
    text.push_short(b"]}");
    Ok(text)
}

async fn reply(api: &Api, command: Command) -> Outcome {
    let (name, params) = match command.method {
        CommandMethod::One(name, params) => (name, params),
        CommandMethod::Missing => return Err(ErrorCode::METHOD_NOT_FOUND.into()),
        CommandMethod::Null | CommandMethod::Several => {
            return Err(ApiError::bad_request("a command has one field, named after its method"));
        }
    };
    let method = Method::named(&name)?;
    method.run(api, bytes_of(params), method.name()).await
}

/// `{"method": "publish", "params": {…}}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    method: String,
    params: Option<Box<RawValue>>,
}

async fn answer_named(Extract(api): Extract<Arc<Api>>, request: Request) -> Response {
    let Admitted { body, mode, hold: _hold } = match admit(&api, request).await {
        Ok(admitted) => admitted,
        Err(refused) => return refused,
    };
    let outcome = match api.read::<Named>(body).await {
        Ok(Named { method, params }) => match Method::named(&method) {
            Ok(method) => method.run(&api, params.map_or_else(Bytes::new, bytes_of), RESULT).await,
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    respond(outcome, mode)
}

/// Converts to bytes without a copy.
fn bytes_of(json: Box<RawValue>) -> Bytes {
    Bytes::from(Box::<str>::from(json).into_string())
}

/// An authorized call.
#[derive(Debug)]
struct Admitted {
    body: Bytes,
    mode: ApiErrorMode,
    /// The memory of the body, reserved during the call.
    hold: Hold,
}

/// Checks the key, and then reads the body: nothing is read from an unauthorized caller.
async fn admit(api: &Api, request: Request) -> Result<Admitted, Response> {
    let deny = |denial: Denial, mut answer: Response| {
        api.counts.denied(denial);
        answer.extensions_mut().insert(denial.told());
        answer
    };
    if let Err(denial) = api.keys.check(request.headers(), request.uri()) {
        let answer = answer::refuse(StatusCode::UNAUTHORIZED, ErrorCode::UNAUTHORIZED.into());
        return Err(deny(denial, answer));
    }
    if api.keys.are_not_asked_for() {
        api.hosts.check(request.method(), request.uri(), request.headers()).map_err(|foreign| {
            let answer = answer::refuse(foreign.status(), ApiError::bad_request(foreign.words()));
            deny(foreign.denial(), answer)
        })?;
    }
    let asked = request.headers().get("x-centrifugo-error-mode");
    let mode = match asked.and_then(|mode| mode.to_str().ok()) {
        Some("transport") => ApiErrorMode::Transport,
        _ => api.error_mode,
    };
    let read = read_body(&api.room, request.into_body()).await;
    let (body, hold) = read.map_err(|answer| deny(Denial::Body, answer))?;
    Ok(Admitted { body, mode, hold })
}

async fn read_body(room: &Arc<Room>, body: Body) -> Result<(Bytes, Hold), Response> {
    let refused = |status: StatusCode, words: String| answer::refuse(status, ApiError::bad_request(words));
    let bytes_max = room.body_bytes_max;
    let reading = async {
        let mut body = Limited::new(body, bytes_max);
        let (mut bytes, mut hold) = (BytesMut::new(), room.hold());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    let words = format!(
                        "the body is longer than http_api.request_body_limit, {bytes_max} bytes here"
                    );
                    return refused(StatusCode::PAYLOAD_TOO_LARGE, words);
                }
                refused(StatusCode::BAD_REQUEST, "the body did not come whole".to_owned())
            })?;
            if let Ok(data) = frame.into_data() {
                hold.grow_by_body(data.len()).map_err(|full| respond(Err(full), ApiErrorMode::Body))?;
                bytes.extend_from_slice(&data);
            }
        }
        Ok((bytes.freeze(), hold))
    };
    let Ok(read) = timeout(BODY_MAX, reading).await else {
        let words = format!("the body did not come within {} s", BODY_MAX.as_secs());
        return Err(refused(StatusCode::REQUEST_TIMEOUT, words));
    };
    read
}
