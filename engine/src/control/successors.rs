//! Successors: detects another daemon on our client port, which takes the clients that we disconnect.
//!
//! In:  the clients' address; the kernel's table of TCP sockets (`/proc/net/tcp`, proc(5)).
//! Out: the number of sockets that listen on this address.
//!
//! The kernel lists listening sockets before all others. So reading stops after them, however many connections there
//! are.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    net::SocketAddr,
};

/// The kernel's state `TCP_LISTEN`, in the table's notation.
const LISTENS: &str = "0A";

/// The number of sockets that listen on exactly this address; 0 if the table cannot be read.
pub(super) fn listeners(address: SocketAddr) -> usize {
    let table = if address.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    let Ok(file) = File::open(table) else { return 0 };
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    count(lines, &written(address))
}

fn count(lines: impl Iterator<Item = String>, address: &str) -> usize {
    let sockets = lines.skip(1).map_while(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = fields.next()?.to_owned();
        (fields.nth(1)? == LISTENS).then_some(local)
    });
    sockets.filter(|local| local == address).count()
}

/// Formats an address like the kernel: words in the machine's byte order, then the port.
fn written(address: SocketAddr) -> String {
    let octets = match address {
        SocketAddr::V4(v4) => v4.ip().octets().to_vec(),
        SocketAddr::V6(v6) => v6.ip().octets().to_vec(),
    };
    let words = octets.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().expect("four bytes")));
    let words: String = words.map(|word| format!("{word:08X}")).collect();
    format!("{words}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn those_that_listen_on_one_address_are_counted() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(any) else { continue };
            let address = listener.local_addr().unwrap();
            let _client = std::net::TcpStream::connect(address).unwrap();
            assert_eq!(listeners(address), 1, "{address}");
            drop(listener);
            assert_eq!(listeners(address), 0, "{address}");
        }
    }

    #[test]
    fn an_address_is_written_as_the_kernel_writes_it() {
        if cfg!(target_endian = "little") {
            assert_eq!(written("127.0.0.1:8000".parse().unwrap()), "0100007F:1F40");
            assert_eq!(written("[::1]:80".parse().unwrap()), "00000000000000000000000001000000:0050");
        }
    }
}
