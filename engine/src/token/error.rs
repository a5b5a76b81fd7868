//! Error: why a token is refused.
//!
//! In:  the error, as a variant. It is the fault of the client or its backend, never of the daemon.
//! Out: the answer on the wire ([`TokenError::verdict`]), and a reason for the log.
//!
//! A reason never repeats the token or its claims. From the header, it shows at most the algorithm and the key's name.

use std::fmt;

use holdfast_protocol::client::{DisconnectCode, ErrorCode, UnsubscribeCode};
use jsonwebtoken::Algorithm;

/// Why a token was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// Our limit, [`TOKEN_BYTES_MAX`](super::TOKEN_BYTES_MAX).
    #[error("the token has {bytes} bytes; the maximum is {}", super::TOKEN_BYTES_MAX)]
    TooLong {
        /// The token's length.
        bytes: usize,
    },
    /// RFC 7515 §7.1: three parts with dots between them.
    #[error("the token does not have three parts: header, claims and signature")]
    NotThreeParts,
    /// RFC 7515 §2: each part is base64url without padding.
    #[error("the token's {0} is not base64url")]
    NotBase64(Part),
    /// A part is not JSON, or a claim has the wrong type.
    #[error("the token's {part} is not a valid JSON object, near byte {column} of line {line}")]
    NotTheJson {
        /// Which part.
        part: Part,
        /// Which line of that part, from 1.
        line: usize,
        /// Which byte of that line, from 1.
        column: usize,
    },
    /// `b64info` and `b64data` must be base64; the user's claim must be a string or a number.
    #[error("the claim {0:?} cannot be read")]
    ClaimUnreadable(String),
    /// `none`, or an unknown algorithm.
    #[error("algorithm {alg:?} is not supported")]
    AlgorithmUnsupported {
        /// The start of the algorithm's name.
        alg: String,
    },
    /// A known algorithm of a family that has no key; also if a token uses a public key as an HMAC secret.
    #[error("there is no key for algorithm {alg:?}")]
    AlgorithmWithoutKey {
        /// The algorithm.
        alg: Algorithm,
    },
    /// RFC 7515 §4.1.11: critical extensions must be understood, and we support none.
    #[error("the token's header requires an extension (crit), which is not supported")]
    CriticalHeader,
    /// Forged, damaged, or signed with another key.
    #[error("the signature does not match")]
    Signature,
    /// With keys from a JWKS endpoint, the header must name the key.
    #[error("the token's header does not name its key (kid)")]
    KeyIdMissing,
    /// The key set has no such key. The JWKS endpoint may have published it since the last fetch.
    #[error("the key {kid:?} is not known")]
    KeyUnknown {
        /// The name of the key.
        kid: String,
    },
    /// The token is meant for another service.
    #[error("the audience (aud) does not match the configuration")]
    Audience,
    /// The token is from an issuer that is not trusted.
    #[error("the issuer (iss) does not match the configuration")]
    Issuer,
    /// RFC 7519 §4.1.4: not accepted on or after this time.
    #[error("it has expired: exp is {exp_s}, and the time is {now_s}")]
    Expired {
        /// The claim, in seconds since 1970.
        exp_s: u64,
        /// The time of the check.
        now_s: u64,
    },
    /// RFC 7519 §4.1.5: not accepted before this time.
    #[error("it is not valid yet: nbf is {nbf_s}, and the time is {now_s}")]
    NotYetValid {
        /// The claim, in seconds since 1970.
        nbf_s: u64,
        /// The time of the check.
        now_s: u64,
    },
    /// A subscription token does not open a connection.
    #[error("it names a channel, so it is a subscription token; a connection token is needed")]
    ChannelInConnectToken,
    /// A connection token does not open a channel.
    #[error("it names no channel, so it is not a subscription token")]
    ChannelMissing,
    /// The token was issued to another user.
    #[error("it is for another user")]
    OtherUser,
    /// The token was issued for another channel.
    #[error("it is for another channel")]
    OtherChannel,
    /// The token was issued for another connection.
    #[error("it is for another client")]
    OtherClient,
}

/// A part of a token, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The header.
    Header,
    /// The claims.
    Claims,
    /// The signature.
    Signature,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Claims => "claims",
            Self::Signature => "signature",
        })
    }
}

/// The command that carried the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenUse {
    /// `connect`.
    Connect,
    /// `refresh`.
    Refresh,
    /// `subscribe`.
    Subscribe,
    /// `sub_refresh`.
    SubRefresh,
}

/// The answer to a refused token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The reply to the command.
    Error(ErrorCode),
    /// The connection ends.
    Disconnect(DisconnectCode),
    /// The subscription ends, and the client subscribes again.
    Unsubscribe(UnsubscribeCode),
}

impl TokenError {
    /// A short name, for the log.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "token_too_long",
            Self::NotThreeParts => "token_not_three_parts",
            Self::NotBase64(_) => "token_not_base64",
            Self::NotTheJson { .. } => "token_not_the_json",
            Self::ClaimUnreadable(_) => "token_claim_unreadable",
            Self::AlgorithmUnsupported { .. } => "token_algorithm_unsupported",
            Self::AlgorithmWithoutKey { .. } => "token_algorithm_without_key",
            Self::CriticalHeader => "token_critical_header",
            Self::Signature => "token_signature",
            Self::KeyIdMissing => "token_key_id_missing",
            Self::KeyUnknown { .. } => "token_key_unknown",
            Self::Audience => "token_audience",
            Self::Issuer => "token_issuer",
            Self::Expired { .. } => "token_expired",
            Self::NotYetValid { .. } => "token_not_yet_valid",
            Self::ChannelInConnectToken => "token_channel_in_connect_token",
            Self::ChannelMissing => "token_channel_missing",
            Self::OtherUser => "token_other_user",
            Self::OtherChannel => "token_other_channel",
            Self::OtherClient => "token_other_client",
        }
    }

    /// The only place that maps this error to codes on the wire. They are Centrifugo's codes, so that every SDK
    /// requests a new token if that helps, and gives up otherwise.
    ///
    /// An unknown key gets the same verdict as a wrong signature: the caller has already asked the JWKS endpoint.
    pub(crate) const fn verdict(&self, carried_by: TokenUse) -> Verdict {
        let needs_new_token = matches!(self, Self::Expired { .. } | Self::NotYetValid { .. });
        let is_of_another = matches!(self, Self::OtherUser | Self::OtherChannel | Self::OtherClient);
        match carried_by {
            TokenUse::Connect | TokenUse::Subscribe if needs_new_token => {
                Verdict::Error(ErrorCode::TOKEN_EXPIRED)
            }
            TokenUse::Refresh if needs_new_token => Verdict::Disconnect(DisconnectCode::EXPIRED),
            TokenUse::SubRefresh if needs_new_token => Verdict::Unsubscribe(UnsubscribeCode::EXPIRED),
            TokenUse::Subscribe if !is_of_another => Verdict::Error(ErrorCode::PERMISSION_DENIED),
            _ => Verdict::Disconnect(DisconnectCode::INVALID_TOKEN),
        }
    }
}
