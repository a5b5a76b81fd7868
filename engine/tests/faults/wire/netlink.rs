//! Netlink: interfaces and their addresses (rtnetlink(7)), without a program that would have to be installed.
//!
//! In:  the index of an interface in the namespace of the calling thread.
//! Out: the interface up, with an address.

use std::{io, net::Ipv4Addr};

use rustix::{
    io::Errno,
    net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with},
};

/// The loopback interface is the first one of every namespace.
pub(super) const LOOPBACK: u32 = 1;

/// Its number is 0.
const NETLINK_ROUTE: Option<Protocol> = None;

// <linux/rtnetlink.h>, <linux/netlink.h>, <linux/if_addr.h>
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 0x01;
const NLM_F_ACK: u16 = 0x04;
const NLM_F_CREATE: u16 = 0x400;
const IFF_UP: u32 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const AF_INET: u8 = 2;

/// Bytes before a message's own: its length, type, flags, number and sender.
const HEADER_BYTES: u32 = 16;

/// Brings an interface up.
pub(super) fn bring_up(interface: u32) -> io::Result<()> {
    // struct ifinfomsg: family, padding, type, index, flags, which flags change.
    let mut body = vec![0; 4];
    body.extend(interface.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    ask(RTM_NEWLINK, 0, &body)
}

/// Gives an interface an address in a network of 254.
pub(super) fn give_address(interface: u32, address: Ipv4Addr) -> io::Result<()> {
    // struct ifaddrmsg: family, length of the network's prefix, flags, scope, index.
    let mut body = vec![AF_INET, 24, 0, 0];
    body.extend(interface.to_ne_bytes());
    for kind in [IFA_LOCAL, IFA_ADDRESS] {
        body.extend(8_u16.to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(address.octets());
    }
    ask(RTM_NEWADDR, NLM_F_CREATE, &body)
}

/// Sends one request and waits for its answer.
fn ask(kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, NETLINK_ROUTE)?;
    let length = HEADER_BYTES + u32::try_from(body.len()).expect("it is short");
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    // The number, and the sender, whom the kernel knows.
    message.extend([0; 8]);
    message.extend(body);
    send(&socket, &message, SendFlags::empty())?;

    let mut answer = [0; 512];
    recv(&socket, &mut answer, RecvFlags::empty())?;
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    assert_eq!(kind, NLMSG_ERROR, "it acknowledges or refuses");
    // Behind the header: 0, or the number of an error, negative.
    match -i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 => Ok(()),
        error => Err(Errno::from_raw_os_error(error).into()),
    }
}
