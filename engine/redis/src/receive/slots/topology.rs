//! Topology: which server of a cluster owns which slot.
//!
//! In:  what servers answer to CLUSTER NODES, each as it sees the cluster.
//! Out: the owner of each slot, by the newest of these claims.
//!
//! A server that was away, or that has not heard of a change yet, names an old owner. Every claim has the configuration
//! epoch of its owner, and the greatest one is right (cluster specification, "Hash slots configuration propagation").
//! No I/O, no clock.

use std::collections::HashMap;

use crate::{layout::SLOTS, receive::connection::Address};

/// The owners of all slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    servers: Vec<Address>,
    /// For each slot the epoch of the claim, and a place in `servers`.
    slots: Vec<Option<(u64, usize)>>,
}

impl Default for Topology {
    fn default() -> Self {
        Self { servers: Vec::new(), slots: vec![None; usize::from(SLOTS)] }
    }
}

impl Topology {
    /// Adds what the server at `asked` answered to CLUSTER NODES. Lines that are none of a primary with slots are passed
    /// over. True exactly when there was such a line.
    pub fn add(&mut self, answer: &str, asked: &Address) -> bool {
        let mut places: HashMap<Address, usize> =
            self.servers.iter().cloned().enumerate().map(|(place, server)| (server, place)).collect();
        let mut is_any = false;
        for line in answer.lines() {
            let Some(Claim { server, epoch, slots }) = Claim::of(line, asked) else { continue };
            let place = *places.entry(server.clone()).or_insert_with(|| {
                self.servers.push(server);
                self.servers.len() - 1
            });
            for (from, to) in slots {
                for slot in self.slots.iter_mut().take(usize::from(to) + 1).skip(usize::from(from)) {
                    if slot.is_none_or(|(known, _)| epoch > known) {
                        *slot = Some((epoch, place));
                    }
                }
            }
            is_any = true;
        }
        is_any
    }

    /// Who owns a slot; none where nobody does.
    pub fn owner(&self, slot: u16) -> Option<&Address> {
        let (_, place) = (*self.slots.get(usize::from(slot))?)?;
        self.servers.get(place)
    }

    /// All primaries with slots that were told of.
    pub fn servers(&self) -> &[Address] {
        &self.servers
    }
}

/// What one line says of one primary.
struct Claim {
    server: Address,
    epoch: u64,
    slots: Vec<(u16, u16)>,
}

impl Claim {
    /// `id ip:port@cport[,hostname] flags master ping pong epoch link slot slot…`
    fn of(line: &str, asked: &Address) -> Option<Self> {
        let mut words = line.split(' ');
        let (_, address, flags, _, _, _, epoch, _) = (
            words.next()?,
            words.next()?,
            words.next()?,
            words.next()?,
            words.next()?,
            words.next()?,
            words.next()?,
            words.next()?,
        );
        if !flags.split(',').any(|flag| flag == "master") {
            return None;
        }
        // What is between brackets is on its way, and still its owner's.
        let slots: Vec<(u16, u16)> =
            words.filter(|word| !word.starts_with('[')).map(range).collect::<Option<_>>()?;
        if slots.is_empty() {
            return None;
        }
        let (host, port) = address.split(['@', ',']).next()?.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        // A server that nobody has called yet does not know its own address.
        let host = if host.is_empty() { &asked.host } else { host };
        Some(Self { server: Address { host: host.to_owned(), port }, epoch: epoch.parse().ok()?, slots })
    }
}

fn range(word: &str) -> Option<(u16, u16)> {
    let (from, to) = word.split_once('-').unwrap_or((word, word));
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    (from <= to && to < SLOTS).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, port: u16) -> Address {
        Address { host: host.to_owned(), port }
    }

    fn of(answers: &[&str]) -> Topology {
        let mut topology = Topology::default();
        for answer in answers {
            topology.add(answer, &address("seed.test", 1));
        }
        topology
    }

    #[test]
    fn primaries_own_the_slots_of_their_lines() {
        let topology = of(&["\
            a 10.0.0.1:7000@17000,one.test myself,master - 0 0 1 connected 0-99 200 [300->-b] [200-<-b]\n\
            b ::1:7001@17001 master - 0 1 2 connected 100-199\n\
            c 10.0.0.3:7002@17002 slave b 0 1 2 connected\n\
            d 10.0.0.4:7003@17003 master - 0 1 0 connected\n\
            e :0@0 master,noaddr - 0 1 9 disconnected 0-16383\n"]);
        let owner = |slot| topology.owner(slot).map(ToString::to_string);
        assert_eq!(owner(0).as_deref(), Some("10.0.0.1:7000"));
        assert_eq!(owner(99).as_deref(), Some("10.0.0.1:7000"));
        assert_eq!(owner(100).as_deref(), Some("[::1]:7001"));
        assert_eq!((owner(200).as_deref(), owner(201)), (Some("10.0.0.1:7000"), None));
        assert_eq!((owner(300), owner(16_384)), (None, None));
        assert_eq!(topology.servers().len(), 2, "replicas, and primaries without slots, own nothing");
    }

    #[test]
    fn the_newest_claim_counts_whoever_is_heard_first() {
        let (old, new) = (
            "a 10.0.0.1:1@2 master - 0 0 5 connected 0-9\nb 10.0.0.2:1@2 master - 0 0 3 connected 10-19",
            "a 10.0.0.1:1@2 master - 0 0 5 connected 0-4\nb 10.0.0.2:1@2 myself,master - 0 0 8 connected 5-19",
        );
        for answers in [[old, new], [new, old]] {
            let topology = of(&answers);
            assert_eq!(topology.owner(4), Some(&address("10.0.0.1", 1)));
            assert_eq!(topology.owner(5), Some(&address("10.0.0.2", 1)));
        }
    }

    #[test]
    fn a_server_that_does_not_know_its_address_is_where_it_was_asked() {
        let topology = of(&["a :7000@17000 myself,master - 0 0 0 connected 0-16383"]);
        assert_eq!(topology.owner(7), Some(&address("seed.test", 7000)));
    }

    #[test]
    fn what_is_no_answer_says_nothing() {
        for answer in [
            "",
            "\n\n",
            "ERR This instance has cluster support disabled",
            "a 10.0.0.1:1@2 master - 0 0 x connected 0-9",
            "a 10.0.0.1:1@2 master - 0 0 1 connected 9-3",
            "a 10.0.0.1:1@2 master - 0 0 1 connected 0-16384",
            "a 10.0.0.1 master - 0 0 1 connected 0-9",
            "a 10.0.0.1:70000@2 master - 0 0 1 connected 0-9",
        ] {
            let mut topology = Topology::default();
            assert!(!topology.add(answer, &address("seed.test", 1)), "{answer}");
            assert_eq!(topology, Topology::default());
        }
    }
}
