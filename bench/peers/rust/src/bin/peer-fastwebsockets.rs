//! The fastwebsockets peer: `/echo` and `/broadcast` behind hyper's upgrade, as its README shows.
//!
//! In:  TCP connections from `holdfast_peers::run`.
//! Out: every message back as it came, or to all clients of the room, the sender included.
//!
//! Unmasking, vectored writes, automatic pongs and closes are the library's, switched on as its README does. An
//! echo client is one unsplit socket. A broadcast client is split, since the library's reads must not be
//! canceled half-way; both halves run in one task, and what has gathered in the queue goes out with one flush. A
//! client that falls more than `QUEUE_MESSAGES_MAX` behind is dropped; none is given a stream with a hole in it.
#![forbid(unsafe_code)]

use std::convert::Infallible;

use bytes::Bytes;
use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use fastwebsockets::{
    FragmentCollector, FragmentCollectorRead, Frame, OpCode, Payload, WebSocket, WebSocketError,
    WebSocketRead, WebSocketWrite,
};
use holdfast_peers::{BUFFER_BYTES, QUEUE_MESSAGES_MAX};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{BufWriter, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::broadcast::{self, error::TryRecvError};
use tokio::sync::mpsc;

/// Pongs and a close that the reader owes the client and the writer has not sent yet.
const REPLIES_MAX: usize = 4;

type Room = broadcast::Sender<Shared>;
type Stream = TokioIo<Upgraded>;
type Reader = WebSocketRead<ReadHalf<Stream>>;
type Writer = WebSocketWrite<BufWriter<WriteHalf<Stream>>>;

/// A message on its way to all clients; its bytes are shared.
#[derive(Clone)]
struct Shared {
    opcode: OpCode,
    payload: Bytes,
}

impl Shared {
    fn frame(&self) -> Frame<'_> {
        Frame::new(true, self.opcode, None, Payload::Borrowed(&self.payload))
    }
}

fn main() -> anyhow::Result<()> {
    let room = Room::new(QUEUE_MESSAGES_MAX);
    holdfast_peers::run(move |stream| serve(stream, room.clone()))
}

async fn serve(stream: TcpStream, room: Room) {
    let service = service_fn(move |request| {
        let room = room.clone();
        async move { Ok::<_, Infallible>(route(request, &room)) }
    });
    // An error is the end of one connection, often a client that left without a close handshake.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

fn route(mut request: Request<Incoming>, room: &Room) -> Response<Empty<Bytes>> {
    let path = request.uri().path().to_owned();
    if path != "/echo" && path != "/broadcast" {
        return refusal(StatusCode::NOT_FOUND);
    }
    let Ok((response, upgraded)) = upgrade(&mut request) else {
        return refusal(StatusCode::BAD_REQUEST);
    };
    let room = room.clone();
    tokio::spawn(async move {
        let _ = if path == "/echo" { echo(upgraded).await } else { broadcast(upgraded, room).await };
    });
    response
}

fn refusal(status: StatusCode) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    response
}

async fn echo(upgraded: UpgradeFut) -> anyhow::Result<()> {
    let mut socket = FragmentCollector::new(connect(upgraded).await?);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            OpCode::Close => return Ok(()),
            _ => {}
        }
    }
}

async fn broadcast(upgraded: UpgradeFut, room: Room) -> anyhow::Result<()> {
    let queue = room.subscribe();
    let (reader, writer) = connect(upgraded).await?.split(|stream| {
        let (read, write) = tokio::io::split(stream);
        (read, BufWriter::with_capacity(BUFFER_BYTES, write))
    });
    // The reader's end closes `replies`, and that ends the writer once it has sent them.
    let (replies, owed) = mpsc::channel(REPLIES_MAX);
    tokio::try_join!(read_all(reader, room, replies), write_all(writer, queue, owed))?;
    Ok(())
}

async fn connect(upgraded: UpgradeFut) -> Result<WebSocket<Stream>, WebSocketError> {
    let mut socket = upgraded.await?;
    socket.set_auto_apply_mask(true);
    socket.set_writev(true);
    socket.set_auto_close(true);
    socket.set_auto_pong(true);
    Ok(socket)
}

async fn read_all(reader: Reader, room: Room, replies: mpsc::Sender<Frame<'static>>) -> anyhow::Result<()> {
    let mut reader = FragmentCollectorRead::new(reader);
    loop {
        let frame = reader.read_frame(&mut |reply| replies.send(reply)).await?;
        match frame.opcode {
            OpCode::Text | OpCode::Binary => {
                let payload = Bytes::from(Vec::from(frame.payload));
                // No receiver is left only when our own writer has failed, which ends us through `try_join`.
                let _ = room.send(Shared { opcode: frame.opcode, payload });
            }
            OpCode::Close => return Ok(()),
            _ => {}
        }
    }
}

async fn write_all(
    mut writer: Writer,
    mut queue: broadcast::Receiver<Shared>,
    mut owed: mpsc::Receiver<Frame<'static>>,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            reply = owed.recv() => match reply {
                Some(reply) => writer.write_frame(reply).await?,
                None => return Ok(()),
            },
            first = queue.recv() => {
                writer.write_frame(first?.frame()).await?;
                loop {
                    match queue.try_recv() {
                        Ok(message) => writer.write_frame(message.frame()).await?,
                        Err(TryRecvError::Empty) => break,
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        writer.flush().await?;
    }
}
