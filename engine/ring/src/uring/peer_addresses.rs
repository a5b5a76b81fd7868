//! Peer addresses: where the kernel writes whose the connections are that it accepts.
//!
//! In:  single accepts, as they begin and end.
//! Out: memory for each of them, and the address that has been written there.
//!
//! A multishot accept has one place for all of its connections, so nobody knows whose an address in it is; several single
//! ones, each with a place of its own, do. Worst case: 136 bytes for each accept that was ever in the kernel at one time.
//!
//! Of a connection that was accepted without, the address is asked of the system, for which the socket is in the process's own
//! table for a moment ([`of_descriptor`]).
//!
//! What never happens here: a place that goes away while an accept is in the kernel that may write to it. Where one still
//! is when everything ends, its place stays allocated.

use std::{
    mem::size_of,
    net::SocketAddr,
    os::fd::{FromRawFd as _, OwnedFd, RawFd},
    ptr::NonNull,
};

use socket2::{SockAddr, SockAddrStorage, Socket};

/// What a single accept writes to: the address, and its length, which is first that of the place (accept(2)).
struct Place {
    storage: SockAddrStorage,
    len: libc::socklen_t,
}

/// The places of one lane.
#[derive(Default)]
pub(crate) struct PeerAddresses {
    /// Never moved: allocated one by one, and touched through their pointers only. Beside each, true exactly when an accept is
    /// in the kernel, or queued for it, that points there.
    places: Vec<(NonNull<Place>, bool)>,
}

impl PeerAddresses {
    /// A place for an accept: its number, and what the kernel is to be given. They stay valid until [`Self::end`].
    pub(crate) fn begin(&mut self) -> (u32, *mut libc::sockaddr, *mut libc::socklen_t) {
        let number = self.places.iter().position(|&(_, is_used)| !is_used).unwrap_or_else(|| {
            let place = Box::new(Place { storage: SockAddrStorage::zeroed(), len: 0 });
            self.places.push((NonNull::from(Box::leak(place)), false));
            self.places.len() - 1
        });
        let (place, is_used) = &mut self.places[number];
        *is_used = true;
        let place = place.as_ptr();
        let len = libc::socklen_t::try_from(size_of::<SockAddrStorage>()).expect("128 bytes");
        // SAFETY: the place was allocated above, or in an earlier call, and is let go of by `drop` alone. It was free, so no
        // accept points to it, and no reference to it is ever made.
        let (storage, len) = unsafe {
            (&raw mut (*place).len).write(len);
            (&raw mut (*place).storage, &raw mut (*place).len)
        };
        (u32::try_from(number).expect("far fewer accepts than 2^24"), storage.cast(), len)
    }

    /// The accept with this place has completed. Returns the address that it wrote, if it did.
    pub(crate) fn end(&mut self, number: u32, is_accepted: bool) -> Option<SocketAddr> {
        let (place, is_used) = &mut self.places[number as usize];
        *is_used = false;
        if !is_accepted {
            return None;
        }
        // SAFETY: the accept is over, so the kernel does not write here any more. It has written an address, and its length
        // (accept(2)); before that all of the place was written by us, so every byte is initialized.
        let Place { storage, len } = unsafe { place.as_ptr().read() };
        let whole = libc::socklen_t::try_from(size_of::<SockAddrStorage>()).expect("128 bytes");
        // SAFETY: all of the storage is initialized, so as much of it is as `len` says, which is cut to it.
        unsafe { SockAddr::new(storage, len.min(whole)) }.as_socket()
    }

    /// The numbers of all accepts that have not completed.
    pub(crate) fn in_kernel(&self) -> Vec<u32> {
        let numbered = self.places.iter().zip(0..);
        numbered.filter(|((_, is_used), _)| *is_used).map(|(_, number)| number).collect()
    }
}

/// The address of the other end of the socket that the kernel has just given this descriptor, which is closed. `None` where
/// the connection is broken.
pub(crate) fn of_descriptor(descriptor: u32) -> Option<SocketAddr> {
    let descriptor = RawFd::try_from(descriptor).ok()?;
    // SAFETY: the kernel has made this descriptor for an operation of ours (`IORING_OP_FIXED_FD_INSTALL`), whose completion
    // is taken once; nobody else knows of it.
    let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    socket.peer_addr().ok()?.as_socket()
}

impl Drop for PeerAddresses {
    fn drop(&mut self) {
        for &(place, is_used) in &self.places {
            if !is_used {
                // SAFETY: it came from a box, and is let go of once, here. It is free, so no accept points to it.
                drop(unsafe { Box::from_raw(place.as_ptr()) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel does.
    fn write(place: (u32, *mut libc::sockaddr, *mut libc::socklen_t), address: &str) {
        let address = SockAddr::from(address.parse::<SocketAddr>().unwrap());
        // SAFETY: `begin` gave out a place of 128 bytes and its length, and no address is longer.
        unsafe {
            assert!(*place.2 >= address.len());
            let to = place.1.cast::<u8>();
            address.as_ptr().cast::<u8>().copy_to_nonoverlapping(to, address.len() as usize);
            *place.2 = address.len();
        }
    }

    #[test]
    fn each_accept_has_a_place_of_its_own_that_the_next_one_may_have() {
        let mut addresses = PeerAddresses::default();
        let (first, second) = (addresses.begin(), addresses.begin());
        write(second, "[2001:db8::1]:443");
        write(first, "192.0.2.1:80");
        assert_eq!(addresses.end(second.0, true), "[2001:db8::1]:443".parse().ok());
        let third = addresses.begin();
        assert_eq!(third.0, second.0);
        assert_eq!(addresses.in_kernel(), [first.0, third.0]);
        assert_eq!(addresses.end(first.0, true), "192.0.2.1:80".parse().ok());
        assert_eq!(addresses.end(third.0, false), None);
        assert!(addresses.in_kernel().is_empty());
    }
}
