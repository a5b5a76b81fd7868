//! App: an application's backend, with real sockets, that answers as a test wants it.
//!
//! In:  answers, by the path of the request.
//! Out: what it was asked.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::oneshot};

use crate::eventually;

/// What it was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The path of its request.
    pub path: String,
    /// The header fields of its request.
    pub headers: HeaderMap,
    /// The body of its request; null where that is not JSON.
    pub body: Value,
    /// When the whole request had come.
    pub at: Instant,
}

/// How it answers.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status of HTTP.
    pub status: u16,
    /// The whole body, which need not be JSON.
    pub body: String,
    /// How long the question waits for its answer.
    pub after: Duration,
}

impl Reply {
    /// This JSON, at once.
    fn of(body: &Value) -> Self {
        Self { status: 200, body: body.to_string(), after: Duration::ZERO }
    }
}

/// What a path answers.
#[derive(Clone, Debug)]
enum Answer {
    Always(Reply),
    /// The first question is 1. What depends on the time is made when it is asked for.
    Each(fn(usize) -> Value),
}

#[derive(Clone, Debug, Default)]
struct Script {
    asked: Arc<Mutex<Vec<Asked>>>,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
}

impl Script {
    /// Notes a question, and how it is answered. A test that sees the question may change the answer to the next one.
    fn reply(&self, question: Asked) -> Option<Reply> {
        let mut asked = self.asked.lock().expect("no test has failed");
        let answer = self.answers.lock().expect("no test has failed").get(&question.path).cloned();
        let path = question.path.clone();
        asked.push(question);
        Some(match answer? {
            Answer::Always(reply) => reply,
            Answer::Each(make) => Reply::of(&make(asked.iter().filter(|asked| asked.path == path).count())),
        })
    }
}

/// A running backend.
#[derive(Debug)]
pub struct App {
    script: Script,
    address: SocketAddr,
    _end: oneshot::Sender<()>,
}

impl App {
    /// Starts a backend that answers every path with 404, until it is told more.
    pub fn start() -> Self {
        let script = Script::default();
        let router = Router::new().fallback(answer).with_state(script.clone());
        let (opened, opens) = mpsc::channel();
        let (end, ends) = oneshot::channel::<()>();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be made").block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
                opened.send(listener.local_addr().expect("it is bound")).expect("the test waits");
                tokio::select! {
                    served = async { axum::serve(listener, router).await } => served.expect("it serves"),
                    _ = ends => {}
                }
            });
        });
        Self { script, address: opens.recv().expect("it listens"), _end: end }
    }

    /// Its address with this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on a path is answered with this JSON.
    pub fn answer(&self, path: &str, body: &Value) {
        self.answer_with(path, Reply::of(body));
    }

    /// From now on a path is answered with this.
    pub fn answer_with(&self, path: &str, reply: Reply) {
        self.set(path, Answer::Always(reply));
    }

    /// From now on a path is answered with the JSON that `make` gives for the number of the question.
    pub fn answer_each(&self, path: &str, make: fn(usize) -> Value) {
        self.set(path, Answer::Each(make));
    }

    fn set(&self, path: &str, answer: Answer) {
        self.script.answers.lock().expect("no test has failed").insert(path.to_owned(), answer);
    }

    /// Everything that a path was asked.
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        let asked = self.script.asked.lock().expect("no test has failed");
        asked.iter().filter(|asked| asked.path == path).cloned().collect()
    }

    /// Waits until a path was asked so often.
    pub fn await_asked(&self, path: &str, count: usize) {
        eventually(&format!("{path} is asked {count} times"), || self.asked(path).len() >= count);
    }
}

async fn answer(State(script): State<Script>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let body = to_bytes(Body::new(body), usize::MAX).await.unwrap_or_default();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let asked = Asked { path: path.clone(), headers: head.headers, body, at: Instant::now() };
    let Some(Reply { status, body, after }) = script.reply(asked) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    tokio::time::sleep(after).await;
    (StatusCode::from_u16(status).expect("a status"), body).into_response()
}
