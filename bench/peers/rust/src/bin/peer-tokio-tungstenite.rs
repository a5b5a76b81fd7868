//! The tokio-tungstenite peer: `/echo` and `/broadcast` on its `WebSocketStream`.
//!
//! In:  TCP connections from `holdfast_peers::run`.
//! Out: every message back as it came, or to all clients of the room, the sender included.
//!
//! One task a connection, which both reads and writes: no lock and no second task. What has gathered in a
//! client's queue goes out with one flush. A client that falls more than `QUEUE_MESSAGES_MAX` behind is dropped;
//! no client is given a stream with a hole in it.
#![forbid(unsafe_code)]

use anyhow::Context;
use futures_util::{SinkExt, StreamExt};
use holdfast_peers::{BUFFER_BYTES, QUEUE_MESSAGES_MAX};
use tokio::net::TcpStream;
use tokio::sync::broadcast::{self, error::TryRecvError};
use tokio_tungstenite::tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

type Room = broadcast::Sender<Message>;
type Socket = WebSocketStream<TcpStream>;

fn main() -> anyhow::Result<()> {
    let room = Room::new(QUEUE_MESSAGES_MAX);
    holdfast_peers::run(move |stream| {
        let room = room.clone();
        async move {
            // An error is the end of one connection, often a client that left without a close handshake.
            let _ = serve(stream, room).await;
        }
    })
}

async fn serve(stream: TcpStream, room: Room) -> anyhow::Result<()> {
    let config = WebSocketConfig::default().read_buffer_size(BUFFER_BYTES);
    let mut path = None;
    let socket = accept_hdr_async_with_config(stream, Router { path: &mut path }, Some(config)).await?;
    match path.context("the handshake succeeded without a path")? {
        Path::Echo => echo(socket).await,
        Path::Broadcast => broadcast(socket, room).await,
    }
}

async fn echo(mut socket: Socket) -> anyhow::Result<()> {
    while let Some(message) = socket.next().await.transpose()? {
        if is_data(&message) {
            socket.send(message).await?;
        }
    }
    Ok(())
}

async fn broadcast(mut socket: Socket, room: Room) -> anyhow::Result<()> {
    let mut queue = room.subscribe();
    loop {
        tokio::select! {
            incoming = socket.next() => match incoming.transpose()? {
                Some(message) if is_data(&message) => {
                    room.send(message)?;
                }
                Some(_) => {}
                None => return Ok(()),
            },
            first = queue.recv() => {
                socket.feed(first?).await?;
                loop {
                    match queue.try_recv() {
                        Ok(message) => socket.feed(message).await?,
                        Err(TryRecvError::Empty) => break,
                        Err(error) => return Err(error.into()),
                    }
                }
                socket.flush().await?;
            }
        }
    }
}

/// Pings and closes are the library's work.
fn is_data(message: &Message) -> bool {
    message.is_text() || message.is_binary()
}

#[derive(Clone, Copy)]
enum Path {
    Echo,
    Broadcast,
}

/// Notes which path the handshake asked for; refuses any other.
struct Router<'a> {
    path: &'a mut Option<Path>,
}

impl Callback for Router<'_> {
    fn on_request(self, request: &Request, response: Response) -> Result<Response, ErrorResponse> {
        *self.path = match request.uri().path() {
            "/echo" => Some(Path::Echo),
            "/broadcast" => Some(Path::Broadcast),
            _ => None,
        };
        if self.path.is_some() {
            return Ok(response);
        }
        let mut refusal = ErrorResponse::new(None);
        *refusal.status_mut() = StatusCode::NOT_FOUND;
        Err(refusal)
    }
}
