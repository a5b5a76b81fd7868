//! Connection: one connection to one Redis server, from its name to its first PONG.
//!
//! In:  where the server is, and who we are.
//! Out: a connection that counts as up, or why there is none.
//!
//! Every step has a deadline of its own. The name is resolved anew each time, because a failover or a new container has
//! another address.

use std::{
    fmt,
    future::{Future as _, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    cause::{Cause, printable},
    reader::{Item, ReadOptions, Reader, Reply},
    resp::{Protocol, append_command},
    stream::{self, Stream},
};

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// A name, or an IP address without brackets.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Who we are.
#[derive(Clone)]
pub struct Credentials {
    /// Of an ACL; none: `default`.
    pub user: Option<String>,
    /// Its password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// How TLS is spoken.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Roots, client certificate, versions.
    pub config: Arc<ClientConfig>,
    /// For whom the certificate has to be. In a cluster it is the configured name, though its slots come as addresses.
    pub name: ServerName<'static>,
}

/// How connections come about.
#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    /// Where the server is.
    pub address: Address,
    /// None: no TLS.
    pub tls: Option<Tls>,
    /// None: the server lets in everybody.
    pub credentials: Option<Credentials>,
    /// For `CLIENT LIST`; none: no name. It has no spaces.
    pub client_name: Option<String>,
    /// True exactly when `ROLE` must say master.
    pub is_master_wanted: bool,
    /// For each step: the name, each of its addresses, TLS, each command. 2 s.
    pub step_within: Duration,
    /// For all steps together. 10 s.
    pub up_within: Duration,
    /// How long the kernel waits for a peer that acknowledges nothing. 10 s.
    pub quiet_at_most: Duration,
    /// How it is read.
    pub read: ReadOptions,
}

impl ConnectionOptions {
    /// To this server, without TLS and password.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            address: Address { host: host.into(), port },
            tls: None,
            credentials: None,
            client_name: None,
            is_master_wanted: true,
            step_within: Duration::from_secs(2),
            up_within: Duration::from_secs(10),
            quiet_at_most: Duration::from_secs(10),
            read: ReadOptions::default(),
        }
    }
}

/// What a turn of a connection brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Bytes are in the reader.
    Read,
    /// All that was to be written is with the kernel.
    Written,
}

/// A connection that is up.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    reader: Reader,
    /// What is still to be written.
    out: BytesMut,
    /// TLS holds some of what was written.
    is_flush_due: bool,
    /// The server's.
    pub(super) address: SocketAddr,
    /// Agreed to by `HELLO`.
    pub(super) protocol: Protocol,
}

impl Connection {
    /// Connects, logs in, and asks what is needed to know that this is the right place.
    ///
    /// # Errors
    ///
    /// The step that failed.
    pub(crate) async fn open(options: &ConnectionOptions) -> Result<Self, Cause> {
        match timeout(options.up_within, Self::try_open(options)).await {
            Ok(opened) => opened,
            Err(_) => Err(Cause::Deadline("all of connecting")),
        }
    }

    async fn try_open(options: &ConnectionOptions) -> Result<Self, Cause> {
        let socket = connect(options).await?;
        stream::set_options(&socket, options.quiet_at_most).map_err(Cause::Connect)?;
        let address = socket.peer_addr().map_err(Cause::Connect)?;
        let stream = match &options.tls {
            None => Stream::Plain(socket),
            Some(tls) => {
                let handshake = TlsConnector::from(tls.config.clone()).connect(tls.name.clone(), socket);
                match timeout(options.step_within, handshake).await {
                    Ok(stream) => Stream::Tls(Box::new(stream.map_err(Cause::Tls)?)),
                    Err(_) => return Err(Cause::Deadline("the TLS handshake")),
                }
            }
        };
        let reader = Reader::new(options.read);
        let (out, protocol) = (BytesMut::new(), Protocol::Resp2);
        let mut connection = Self { stream, reader, out, is_flush_due: false, address, protocol };
        connection.introduce(options).await?;
        Ok(connection)
    }

    /// HELLO 3 with AUTH and SETNAME, or AUTH and CLIENT SETNAME; ROLE; PING.
    async fn introduce(&mut self, options: &ConnectionOptions) -> Result<(), Cause> {
        let within = options.step_within;
        let credentials = options.credentials.as_ref();
        let mut hello = vec!["HELLO", "3"];
        if let Some(Credentials { user, password }) = credentials {
            hello.extend(["AUTH", user.as_deref().unwrap_or("default"), password]);
        }
        if let Some(name) = &options.client_name {
            hello.extend(["SETNAME", name]);
        }
        // The answer to HELLO is of the new protocol already; that to its refusal looks alike in both.
        self.reader.speak(Protocol::Resp3);
        match self.ask("HELLO", &hello, within).await? {
            Reply::Array(_) => self.protocol = Protocol::Resp3,
            Reply::Error(error) if is_hello_unknown(&error, credentials.is_some()) => {
                self.reader.speak(Protocol::Resp2);
                self.introduce_in_resp2(options).await?;
            }
            Reply::Error(error) => return Err(Cause::of_answer("HELLO", &error)),
            other => return Err(unexpected("HELLO", &other)),
        }
        if options.is_master_wanted {
            match self.ask("ROLE", &["ROLE"], within).await? {
                Reply::Array(Some(role)) if role == "master" => {}
                Reply::Array(Some(role)) => return Err(Cause::NotMaster(printable(&role))),
                Reply::Error(error) => return Err(Cause::of_answer("ROLE", &error)),
                other => return Err(unexpected("ROLE", &other)),
            }
        }
        match self.ask("PING", &["PING"], within).await? {
            Reply::Pong => Ok(()),
            // Redis cannot save, and says so to whoever pings it. It delivers all the same.
            Reply::Error(error) if error.starts_with(b"MISCONF") => Ok(()),
            Reply::Error(error) => Err(Cause::of_answer("PING", &error)),
            other => Err(unexpected("PING", &other)),
        }
    }

    async fn introduce_in_resp2(&mut self, options: &ConnectionOptions) -> Result<(), Cause> {
        if let Some(Credentials { user, password }) = &options.credentials {
            let mut words = vec!["AUTH"];
            words.extend(user.as_deref());
            words.push(password);
            match self.ask("AUTH", &words, options.step_within).await? {
                Reply::Text(_) => {}
                Reply::Error(error) => return Err(Cause::of_answer("AUTH", &error)),
                other => return Err(unexpected("AUTH", &other)),
            }
        }
        if let Some(name) = &options.client_name {
            // A server that knows no names does as well.
            self.ask("CLIENT SETNAME", &["CLIENT", "SETNAME", name], options.step_within).await?;
        }
        Ok(())
    }

    /// One command and its answer, before anything else is on the connection.
    pub(super) async fn ask(
        &mut self,
        step: &'static str,
        words: &[&str],
        within: Duration,
    ) -> Result<Reply, Cause> {
        append_command(&mut self.out, words.iter().map(|word| word.as_bytes()));
        let answer = async {
            let mut items = Vec::new();
            loop {
                if self.turn().await? == Turn::Read {
                    self.take(&mut items)?;
                }
                let mut replies = items.drain(..).filter_map(|item| match item {
                    Item::Reply(reply) => Some(reply),
                    Item::Messages(_) => None,
                });
                if let Some(reply) = replies.next() {
                    return Ok(reply);
                }
            }
        };
        timeout(within, answer).await.map_err(|_| Cause::Deadline(step))?
    }

    /// What was agreed to be spoken.
    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// One command, and its whole answer: `read` finds that in what came, and its length. Only for a connection that nothing
    /// else is on.
    ///
    /// # Errors
    ///
    /// The connection is over.
    pub(crate) async fn exchange<T>(
        &mut self,
        words: &[&str],
        within: Duration,
        read: impl Fn(&[u8]) -> Result<Option<(T, usize)>, Cause>,
    ) -> Result<T, Cause> {
        append_command(&mut self.out, words.iter().map(|word| word.as_bytes()));
        let answer = async {
            loop {
                if self.turn().await? == Turn::Read
                    && let Some((answer, length)) = read(self.reader.buffer())?
                {
                    self.reader.buffer().advance(length);
                    return Ok(answer);
                }
            }
        };
        timeout(within, answer).await.map_err(|_| Cause::Deadline("an answer"))?
    }

    /// What is to be written goes here.
    pub(super) fn out(&mut self) -> &mut BytesMut {
        &mut self.out
    }

    /// Appends what is complete of what was read.
    ///
    /// # Errors
    ///
    /// It is not RESP, or beyond the limits.
    pub(super) fn take(&mut self, items: &mut Vec<Item>) -> Result<(), Cause> {
        Ok(self.reader.take(items)?)
    }

    /// Writes and reads as much as goes. Can be dropped at any time.
    ///
    /// # Errors
    ///
    /// The connection is over.
    pub(super) async fn turn(&mut self) -> Result<Turn, Cause> {
        poll_fn(|cx| {
            let mut is_written = false;
            while !self.out.is_empty() {
                match Pin::new(&mut self.stream).poll_write(cx, &self.out) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(Cause::Closed)),
                    Poll::Ready(Ok(count)) => self.out.advance(count),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(broken(error))),
                    Poll::Pending => break,
                }
                (self.is_flush_due, is_written) = (true, self.out.is_empty());
            }
            if self.is_flush_due {
                match Pin::new(&mut self.stream).poll_flush(cx) {
                    Poll::Ready(Ok(())) => self.is_flush_due = false,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(broken(error))),
                    Poll::Pending => {}
                }
            }
            match self.poll_read(cx) {
                Poll::Pending if is_written => Poll::Ready(Ok(Turn::Written)),
                read => read,
            }
        })
        .await
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Turn, Cause>> {
        // This future holds nothing between two polls.
        pin!(self.stream.read_buf(self.reader.buffer())).poll(cx).map(|read| match read {
            Ok(0) => Err(Cause::Closed),
            Ok(_) => Ok(Turn::Read),
            Err(error) => Err(broken(error)),
        })
    }
}

/// A reset is how a server that was killed, or that killed us, closes.
fn broken(error: io::Error) -> Cause {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            Cause::Closed
        }
        _ => Cause::Broken(error),
    }
}

/// Connects to the first address that takes us.
async fn connect(options: &ConnectionOptions) -> Result<TcpStream, Cause> {
    let Address { host, port } = &options.address;
    let lookup = timeout(options.step_within, lookup_host((host.as_str(), *port)));
    let addresses = match lookup.await {
        Ok(addresses) => addresses.map_err(Cause::Resolve)?,
        Err(_) => return Err(Cause::Deadline("resolving the host name")),
    };
    let mut last = Cause::Resolve(io::Error::other("the name has no address"));
    for address in addresses {
        last = match timeout(options.step_within, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => Cause::Connect(io::Error::new(error.kind(), format!("{address}: {error}"))),
            Err(_) => Cause::Deadline("connecting"),
        };
    }
    Err(last)
}

/// Redis before 6, a proxy, or a renamed command. Whoever may not run it may still run AUTH; and a server that wants AUTH
/// though HELLO had it did not know HELLO.
fn is_hello_unknown(error: &Bytes, had_credentials: bool) -> bool {
    let starts = |with: &[u8]| error.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    starts(b"NOPROTO")
        || starts(b"ERR unknown command")
        || starts(b"NOPERM")
        || had_credentials && starts(b"NOAUTH")
}

fn unexpected(step: &'static str, reply: &Reply) -> Cause {
    let answer = match reply {
        Reply::Text(text) | Reply::Array(Some(text)) => printable(text),
        other => format!("{other:?}").chars().take(200).collect(),
    };
    Cause::Handshake { step, answer }
}
