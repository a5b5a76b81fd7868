//! Orders: a mailbox and its bell in every order in which threads may take their steps.
//!
//! In:  `RUSTFLAGS="--cfg loom"`, as `make loom` has it.
//! Out: no message is lost or comes twice; a sleep ends when something was left; nobody rings more than once a sleep.

use loom::{sync::Notify, thread};

use super::Mailbox;
use crate::{doorbell::Doorbell, sync::Arc};

fn mailbox(capacity: usize) -> Arc<Mailbox<u32>> {
    Arc::new(Mailbox::new(capacity, Arc::new(Doorbell::new(None).expect("a descriptor is free"))))
}

#[test]
fn who_is_about_to_sleep_sees_what_was_left_or_is_rung() {
    loom::model(|| {
        let mailbox = mailbox(1);
        let sender = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || {
                mailbox.push(1).expect("there is room");
                mailbox.bell().needs_ringing()
            })
        };
        mailbox.bell().about_to_sleep();
        let sleeps = mailbox.is_empty();
        let is_rung = sender.join().expect("it does not fail");
        assert!(is_rung || !sleeps, "it sleeps on a message");
    });
}

#[test]
fn of_two_senders_one_ends_a_sleep_and_never_both() {
    loom::model(|| {
        let mailbox = mailbox(2);
        let senders = [1, 2].map(|message| {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || {
                mailbox.push(message).expect("there is room");
                mailbox.bell().needs_ringing()
            })
        });
        mailbox.bell().about_to_sleep();
        let sleeps = mailbox.is_empty();
        let rung = senders.into_iter().map(|sender| sender.join().expect("it does not fail"));
        let rung = rung.filter(|is_rung| *is_rung).count();
        assert!(rung <= 1, "rung {rung} times in one sleep");
        assert!(rung == 1 || !sleeps, "it sleeps on a message");
    });
}

/// A lost wake-up is a deadlock here, which loom reports.
#[test]
fn an_owner_that_sleeps_between_messages_gets_all_of_them_in_order() {
    loom::model(|| {
        const MESSAGES: u32 = 2;
        let (mailbox, wake) = (mailbox(1), Arc::new(Notify::new()));
        let sender = {
            let (mailbox, wake) = (Arc::clone(&mailbox), Arc::clone(&wake));
            thread::spawn(move || {
                for message in 0..MESSAGES {
                    while mailbox.push(message).is_err() {
                        thread::yield_now();
                    }
                    if mailbox.bell().needs_ringing() {
                        wake.notify();
                    }
                }
            })
        };
        for expected in 0..MESSAGES {
            let message = loop {
                if let Some(message) = mailbox.pop() {
                    break message;
                }
                mailbox.bell().about_to_sleep();
                if mailbox.is_empty() {
                    wake.wait();
                }
                mailbox.bell().awake();
            };
            assert_eq!(message, expected);
        }
        sender.join().expect("it does not fail");
        assert_eq!(mailbox.pop(), None);
    });
}

#[test]
fn a_sender_is_never_held_up_by_an_owner_that_has_gone() {
    loom::model(|| {
        let mailbox = mailbox(1);
        let sender = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || {
                for message in 0..2 {
                    while mailbox.push(message).is_err() {
                        thread::yield_now();
                    }
                }
            })
        };
        mailbox.abandon();
        sender.join().expect("it does not fail");
        assert_eq!(mailbox.push(3), Ok(()));
    });
}
