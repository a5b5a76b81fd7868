//! Open: the few sockets that are made the ordinary way, before a ring takes them over.
//!
//! In:  addresses.
//! Out: a listening socket, or one ready to be connected.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
};

use socket2::{Domain, Protocol, Socket, Type};

/// A listening TCP socket. Every shard has one of its own on the same address (`SO_REUSEPORT`, socket(7)): the kernel
/// spreads connections over them by a hash of the addresses.
///
/// # Errors
/// Where the address is in use, forbidden or not this machine's.
pub fn listener(address: SocketAddr, backlog: u32) -> io::Result<(OwnedFd, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit it: a small message goes out at once (TCP_NODELAY, tcp(7)).
    socket.set_tcp_nodelay(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    let bound = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok((socket.into(), bound))
}

/// A TCP socket to be connected to `remote`, from `local` if given. The port is chosen when it connects
/// (`IP_BIND_ADDRESS_NO_PORT`, ip(7)), so one local address serves as many connections as there are free port pairs.
///
/// # Errors
/// Where no file descriptor is left, or the local address is not this machine's.
pub fn stream(local: Option<IpAddr>, remote: SocketAddr) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(local) = local {
        if remote.is_ipv4() {
            bind_without_port(&socket)?;
        }
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    Ok(socket.into())
}

fn bind_without_port(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, and the option reads one c_int, whose address and size are given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            libc::socklen_t::try_from(size_of_val(&on)).expect("4 bytes"),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
