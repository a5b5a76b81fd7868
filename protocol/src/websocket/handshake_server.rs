//! The opening handshake, the server's side (RFC 6455 §4.2).
//!
//! In:  a complete request head, and the subprotocols that are spoken here.
//! Out: the upgrade with its 101 response; or the refusal to answer with.
//!
//! Path, origin and authentication are the caller's to check.

use bytes::{Bytes, BytesMut};

use super::deflate::{self, Agreement, Preferences};
use super::{
    extension::{self, Extension},
    key,
};
use crate::http::{Body, Refusal, RequestHead, Response, Status, Version};

/// A handshake that may be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade<'h, 's> {
    accept: String,
    subprotocol: Option<&'s str>,
    /// What the client offers.
    extensions: Vec<Extension<'h>>,
    deflate: Option<Agreement>,
}

/// Checks the request in the order of RFC 6455 §4.2.1 and chooses the first subprotocol of the client's list
/// that is also in `supported_subprotocols`; none in common is no fault (§4.2.2 item 5).
pub fn upgrade<'h, 's>(
    head: &RequestHead<'h>,
    supported_subprotocols: &[&'s str],
) -> Result<Upgrade<'h, 's>, Refusal> {
    check_request_line(head)?;
    head.check_host()?;
    if !head.header_has_token("Upgrade", "websocket") {
        return Err(Refusal::UpgradeMissing);
    }
    if !head.header_has_token("Connection", "upgrade") {
        return Err(Refusal::ConnectionUpgradeMissing);
    }
    let key = check_key(head)?;
    check_version(head)?;
    // What follows the head are frames: a body would be taken for them.
    Body::check_none(head)?;
    // §9.1: what does not fit the grammar fails the connection, whether or not we would agree to any of it.
    let extensions = extension::parse(head.headers("Sec-WebSocket-Extensions"))?;
    let subprotocol = choose_subprotocol(head, supported_subprotocols);
    Ok(Upgrade { accept: key::accept(key), subprotocol, extensions, deflate: None })
}

impl<'s> Upgrade<'_, 's> {
    /// The subprotocol that both sides speak from here on.
    pub const fn subprotocol(&self) -> Option<&'s str> {
        self.subprotocol
    }

    /// Agrees to the first offer of permessage-deflate that can be met, if there is one (RFC 7692 §5.1).
    pub fn agree_to_deflate(&mut self, preferences: &Preferences) -> Option<Agreement> {
        self.deflate = deflate::accept(&self.extensions, preferences);
        self.deflate
    }

    /// Appends the 101 response to `out`; frames may follow at once.
    pub fn write(&self, out: &mut BytesMut) {
        let mut headers = vec![
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", self.accept.as_str()),
        ];
        headers.extend(self.subprotocol.map(|name| ("Sec-WebSocket-Protocol", name)));
        let deflate = self.deflate.map(|agreement| agreement.to_string());
        headers.extend(deflate.as_deref().map(|answer| ("Sec-WebSocket-Extensions", answer)));
        Response { status: Status::SwitchingProtocols, headers: &headers, body: b"" }.write(out);
    }

    /// The 101 response.
    pub fn response(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(256);
        self.write(&mut out);
        out.freeze()
    }
}

/// §4.2.1 item 1.
fn check_request_line(head: &RequestHead<'_>) -> Result<(), Refusal> {
    if head.method != "GET" {
        return Err(Refusal::MethodNotGet);
    }
    if head.version < Version::Http11 {
        return Err(Refusal::HttpTooOld);
    }
    Ok(())
}

/// §4.2.1 item 5.
fn check_key<'b>(head: &RequestHead<'b>) -> Result<&'b [u8], Refusal> {
    let mut keys = head.headers("Sec-WebSocket-Key");
    let key = keys.next().ok_or(Refusal::KeyMissing)?;
    if keys.next().is_some() {
        return Err(Refusal::KeyRepeated);
    }
    if key::is_well_formed(key) { Ok(key) } else { Err(Refusal::KeyMalformed) }
}

/// §4.2.1 item 6.
fn check_version(head: &RequestHead<'_>) -> Result<(), Refusal> {
    let mut versions = head.headers("Sec-WebSocket-Version");
    match (versions.next(), versions.next()) {
        (Some(b"13"), None) => Ok(()),
        _ => Err(Refusal::VersionUnsupported),
    }
}

/// §4.2.1 item 8: the client's list is in the order of its preference; names are case-sensitive.
fn choose_subprotocol<'s>(head: &RequestHead<'_>, supported: &[&'s str]) -> Option<&'s str> {
    head.header_list("Sec-WebSocket-Protocol")
        .find_map(|offered| supported.iter().copied().find(|name| name.as_bytes() == offered))
}
