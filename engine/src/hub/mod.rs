//! Hub: channels.
//!
//! In:  subscriptions, publications and questions, from this core's clients, from other cores and from the server API.
//! Out: publications to this core's subscribers; answers.
//!
//! Every channel has a home core, by a hash of its name: [`home`] orders its publications, keeps its history and its
//! presence, and knows which cores have subscribers. [`local`] knows the subscribers of this core. What passes between
//! the two is in [`message`], even where both are on one core. `/broadcast`, which has no home, is in [`broadcast`].
//!
//! No I/O, no clock.

pub(crate) mod broadcast;
pub(crate) mod history;
pub(crate) mod home;
pub(crate) mod local;
pub(crate) mod message;
pub(crate) mod presence;
pub(crate) mod publication;
