//! Agreeing on parameters (RFC 7692 §5, §7.1).
//!
//! In:  a client's offers in the order of its preference, and our preferences; or the server's answer to our offer.
//! Out: the agreement, and the header value that says it.
//!
//! An offer with a parameter that is unknown, repeated or wrong is declined, and the next one is looked at (§7.1). An
//! answer with such a parameter fails the connection.

use std::fmt;

use super::{NAME, WindowBits};
use crate::websocket::extension::{Extension, Parameter};

/// What a server would rather do, where the offer leaves it the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preferences {
    /// True exactly when we may refer to messages that we sent before. It costs a window a connection, and a message
    /// that goes to many is compressed for each.
    pub server_context_takeover: bool,
    /// True exactly when clients may refer to messages that they sent before. It costs a window a connection.
    pub client_context_takeover: bool,
    /// The largest window for what we send.
    pub server_max_window_bits: WindowBits,
    /// The largest window for what clients send, of those who let us choose.
    pub client_max_window_bits: WindowBits,
}

impl Default for Preferences {
    /// Nothing is kept for a connection.
    fn default() -> Self {
        Self {
            server_context_takeover: false,
            client_context_takeover: false,
            server_max_window_bits: WindowBits::MAX,
            client_max_window_bits: WindowBits::MAX,
        }
    }
}

/// The parameters of one connection, as both sides know them. As text it is the server's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    /// §7.1.1.1, turned round: the server may refer to its earlier messages.
    pub server_context_takeover: bool,
    /// §7.1.1.2, turned round: the client may refer to its earlier messages.
    pub client_context_takeover: bool,
    /// §7.1.2.1, where the answer says something of it.
    pub server_max_window_bits: Option<WindowBits>,
    /// §7.1.2.2, where the answer says something of it.
    pub client_max_window_bits: Option<WindowBits>,
}

impl Agreement {
    /// How far back the server refers.
    pub fn server_window(&self) -> WindowBits {
        self.server_max_window_bits.unwrap_or(WindowBits::MAX)
    }

    /// How far back the client refers.
    pub fn client_window(&self) -> WindowBits {
        self.client_max_window_bits.unwrap_or(WindowBits::MAX)
    }
}

/// What a client asks for. As text it is one offer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offer {
    /// The server must not refer to its earlier messages.
    pub server_no_context_takeover: bool,
    /// A hint that we will not refer to ours.
    pub client_no_context_takeover: bool,
    /// The server's window must not be larger.
    pub server_max_window_bits: Option<WindowBits>,
    /// The server may limit our window; with a number, a hint that it is not larger anyway.
    pub client_max_window_bits: Option<Option<WindowBits>>,
}

/// Why an answer is no agreement to our offer. Always the server's fault; the connection fails (§7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// A parameter that is unknown, repeated or has a wrong value.
    #[error("a parameter of permessage-deflate is wrong")]
    Parameter,
    /// §7.1.1.1, §7.1.2.1: we asked for a limit that the answer does not keep.
    #[error("the answer does not keep to a limit of the offer")]
    LimitNotKept,
    /// §7.1.2.2: we did not let the server choose.
    #[error("client_max_window_bits was not offered")]
    WindowNotOffered,
}

/// Agrees to the first offer that can be met. `None`: messages go uncompressed.
pub fn accept(offers: &[Extension<'_>], preferences: &Preferences) -> Option<Agreement> {
    offers
        .iter()
        .filter(|extension| extension.name == NAME)
        .find_map(|extension| Parameters::read(&extension.parameters))
        .map(|offer| agree(offer, preferences))
}

/// Checks the server's choice against what we offered.
pub fn check_answer(answer: &[Parameter<'_>], offer: &Offer) -> Result<Agreement, AnswerError> {
    let parameters = Parameters::read(answer).ok_or(AnswerError::Parameter)?;
    let server_bits = parameters.server_max_window_bits;
    if offer.server_no_context_takeover && !parameters.server_no_context_takeover
        || offer.server_max_window_bits.is_some_and(|offered| server_bits.is_none_or(|bits| bits > offered))
    {
        return Err(AnswerError::LimitNotKept);
    }
    let client_bits = match parameters.client_max_window_bits {
        // In an answer the value is not optional (§7.1.2.2).
        Some(None) => return Err(AnswerError::Parameter),
        Some(Some(_)) if offer.client_max_window_bits.is_none() => return Err(AnswerError::WindowNotOffered),
        Some(bits) => bits,
        None => None,
    };
    let own_bits = offer.client_max_window_bits.flatten();
    Ok(Agreement {
        server_context_takeover: !parameters.server_no_context_takeover,
        // The hints bind us, whatever the answer says of them.
        client_context_takeover: !parameters.client_no_context_takeover && !offer.client_no_context_takeover,
        server_max_window_bits: server_bits,
        client_max_window_bits: client_bits.into_iter().chain(own_bits).min(),
    })
}

fn agree(offer: Offer, preferences: &Preferences) -> Agreement {
    let limited = |bits: WindowBits| (bits < WindowBits::MAX).then_some(bits);
    let server_bits =
        offer.server_max_window_bits.into_iter().chain(limited(preferences.server_max_window_bits));
    let client_limit = limited(preferences.client_max_window_bits);
    let (client_bits, is_kept) = match offer.client_max_window_bits {
        Some(hint) => (hint.into_iter().chain(client_limit).min(), true),
        // We may not limit its window, but need not keep it (§7.1.2.2).
        None => (None, client_limit.is_none()),
    };
    Agreement {
        server_context_takeover: preferences.server_context_takeover && !offer.server_no_context_takeover,
        client_context_takeover: preferences.client_context_takeover
            && !offer.client_no_context_takeover
            && is_kept,
        server_max_window_bits: server_bits.min(),
        client_max_window_bits: client_bits,
    }
}

/// The parameters of an offer and of an answer are the same ones.
struct Parameters;

impl Parameters {
    /// `None` where one is unknown, repeated, or has a value that it may not have.
    fn read(parameters: &[Parameter<'_>]) -> Option<Offer> {
        let mut offer = Offer::default();
        for Parameter { name, value } in parameters {
            let value = value.as_deref();
            let is_new = match (*name, value) {
                ("server_no_context_takeover", None) => {
                    !std::mem::replace(&mut offer.server_no_context_takeover, true)
                }
                ("client_no_context_takeover", None) => {
                    !std::mem::replace(&mut offer.client_no_context_takeover, true)
                }
                ("server_max_window_bits", Some(value)) => {
                    offer.server_max_window_bits.replace(parse_bits(value)?).is_none()
                }
                ("client_max_window_bits", value) => {
                    let bits = match value {
                        Some(value) => Some(parse_bits(value)?),
                        None => None,
                    };
                    offer.client_max_window_bits.replace(bits).is_none()
                }
                _ => return None,
            };
            if !is_new {
                return None;
            }
        }
        Some(offer)
    }
}

/// §7.1.2: a decimal integer from 8 to 15 without leading zeroes.
fn parse_bits(text: &str) -> Option<WindowBits> {
    match text.as_bytes() {
        [digit @ b'8'..=b'9'] | [b'1', digit @ b'0'..=b'5'] => {
            WindowBits::new(digit - b'0' + if text.len() == 2 { 10 } else { 0 })
        }
        _ => None,
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offer = Offer {
            server_no_context_takeover: !self.server_context_takeover,
            client_no_context_takeover: !self.client_context_takeover,
            server_max_window_bits: self.server_max_window_bits,
            client_max_window_bits: self.client_max_window_bits.map(Some),
        };
        offer.fmt(out)
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(NAME)?;
        if self.server_no_context_takeover {
            out.write_str("; server_no_context_takeover")?;
        }
        if self.client_no_context_takeover {
            out.write_str("; client_no_context_takeover")?;
        }
        if let Some(bits) = self.server_max_window_bits {
            write!(out, "; server_max_window_bits={}", bits.bits())?;
        }
        match self.client_max_window_bits {
            Some(Some(bits)) => write!(out, "; client_max_window_bits={}", bits.bits()),
            Some(None) => out.write_str("; client_max_window_bits"),
            None => Ok(()),
        }
    }
}
