//! Steer: which of the sockets that listen on one address get the connections that are new.
//!
//! In:  one of those sockets, and the places of the chosen ones in the kernel's list of all of them.
//! Out: a program of four instructions that the kernel asks for a place, for each new connection.
//!
//! So a daemon that leaves has its successor on the same port take all that is new, while it empties its own queues:
//! a queue that is closed with connections in it resets them. The kernel keeps such sockets in the order in which they
//! began to listen; one that is closed leaves its place to the last one of the list (`reuseport_detach_sock`).

use std::{
    io,
    ops::Range,
    os::fd::{AsRawFd, BorrowedFd},
};

/// linux/filter.h: instructions of the classic packet filter.
const LOAD_WORD: u16 = 0x20;
const MODULO: u16 = 0x94;
const ADD: u16 = 0x04;
const RETURN_RESULT: u16 = 0x16;

/// linux/filter.h: where the classic filter finds a random number (`SKF_AD_OFF + SKF_AD_RANDOM`).
const RANDOM: u32 = 0xffff_f000 + 56;

/// Has connections to the address of `listener` go to the sockets at these places, evenly; all that listen there obey.
/// Where a place is not taken, the kernel chooses among all, as it does without any of this (`SO_REUSEPORT`, socket(7)).
///
/// # Errors
/// Where the kernel refuses the program.
pub(crate) fn steer(listener: BorrowedFd<'_>, places: Range<u32>) -> io::Result<()> {
    let instruction = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let mut program = [
        instruction(LOAD_WORD, RANDOM),
        instruction(MODULO, places.len().max(1).try_into().unwrap_or(u32::MAX)),
        instruction(ADD, places.start),
        instruction(RETURN_RESULT, 0),
    ];
    let filter = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
    // SAFETY: the descriptor is open; the option reads one sock_fprog, whose address and size are given, and the four
    // instructions that it points to, all of which live until the call returns. The kernel copies them.
    let done = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast(),
            libc::socklen_t::try_from(size_of_val(&filter)).expect("16 bytes"),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{SocketAddr, TcpListener, TcpStream},
        os::fd::AsFd,
    };

    use super::*;
    use crate::open::listener;

    fn pending(listener: &TcpListener) -> usize {
        listener.set_nonblocking(true).unwrap();
        std::iter::from_fn(|| listener.accept().ok()).count()
    }

    #[test]
    fn what_is_new_goes_to_the_chosen_sockets_alone_and_to_all_where_none_is_there() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (first, address) = listener(any, 128).unwrap();
        let others = [(); 3].map(|()| listener(address, 128).unwrap().0);
        let sockets: Vec<TcpListener> = std::iter::once(first).chain(others).map(TcpListener::from).collect();
        let connect = || (0..40).map(|_| TcpStream::connect(address).unwrap()).collect::<Vec<_>>();

        steer(sockets[0].as_fd(), 2..4).unwrap();
        let clients = connect();
        let counts: Vec<usize> = sockets.iter().map(pending).collect();
        assert_eq!((counts[0], counts[1], counts[2] + counts[3]), (0, 0, clients.len()), "{counts:?}");

        steer(sockets[0].as_fd(), 7..8).unwrap();
        let clients = connect();
        assert_eq!(sockets.iter().map(pending).sum::<usize>(), clients.len());
    }
}
