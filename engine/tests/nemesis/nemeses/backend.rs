//! Backend: the application's backend takes longer than the daemon waits for it.

use std::{
    thread,
    time::{Duration, Instant},
};

use holdfast_testkit::{PATIENCE, app::Reply};
use serde_json::json;

use crate::{
    transport::{Heard, Kind, Transport},
    world::World,
};

/// How many clients ask, and how many questions each of them has at the same time.
const CLIENTS: usize = 4;
const QUESTIONS: usize = 16;

pub(super) fn come(world: &World, lasts: Duration) {
    let answers_after = |after| {
        let body = json!({ "result": { "data": "yes" } }).to_string();
        world.app.answer_with("/rpc", Reply { status: 200, body, after });
    };
    answers_after(Duration::from_secs(3));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| ask(world, lasts));
        }
    });
    answers_after(Duration::ZERO);
}

/// Each question has an answer: that of the backend, or that there is none now.
fn ask(world: &World, lasts: Duration) {
    let began = Instant::now();
    while began.elapsed() < lasts {
        let moment = world.moment();
        let mut commands = vec![json!({ "id": 1, "connect": { "token": world.token("asker") } })];
        commands
            .extend((0..QUESTIONS).map(|at| json!({ "id": at + 2, "rpc": { "method": "m", "data": 1 } })));
        let Ok(mut transport) = Transport::open(Kind::WebSocket, world.address(), &commands) else {
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        let (mut answered, asked) = (0, Instant::now());
        while answered <= QUESTIONS {
            match transport.next() {
                Heard::Message(message) => {
                    answered += usize::from(message["id"].as_u64().is_some());
                    let code = message["error"]["code"].as_u64();
                    if code.is_some_and(|code| !matches!(code, 100 | 111)) {
                        world.oracle.broken(format!("a question for a slow backend has {message}"));
                    }
                }
                Heard::Nothing if asked.elapsed() < PATIENCE => {}
                Heard::Nothing => {
                    world.oracle.broken(format!("{answered} of {QUESTIONS} questions have an answer"));
                    return;
                }
                end => {
                    world.judge_end("who asks a slow backend", &moment, &end);
                    break;
                }
            }
        }
    }
}
