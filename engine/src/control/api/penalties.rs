//! Penalties: the methods on misbehaving addresses. Centrifugo has no such methods.
//!
//! In:  the penalties of every shard.
//! Out: one list, highest points first; or an order to all shards to clear points.

use serde::Serialize;

use super::{
    answer::{Empty, Weight},
    error::ApiError,
    request,
    state::Api,
};
use crate::{config::Network, limits, session::calls::ApiCall};

#[derive(Debug, Serialize)]
pub(super) struct Penalties {
    penalties: Vec<Penalty>,
}

impl Weight for Penalties {
    fn weight(&self) -> usize {
        self.penalties.len()
    }
}

#[derive(Debug, Serialize)]
struct Penalty {
    /// An address, or a /64.
    address: String,
    /// Rounded to the nearest integer.
    points: u64,
    refusals: u32,
    /// In seconds.
    refused_for: u64,
}

impl From<limits::Penalty> for Penalty {
    fn from(penalty: limits::Penalty) -> Self {
        let suffix = if penalty.address.is_ipv6() { "/64" } else { "" };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "points are few and never negative"
        )]
        let points = penalty.points.round() as u64;
        Self {
            address: format!("{}{suffix}", penalty.address),
            points,
            refusals: penalty.refusals,
            refused_for: penalty.refused_for_ms.div_ceil(1_000),
        }
    }
}

pub(super) async fn list(api: &Api, _: request::Penalties) -> Result<Penalties, ApiError> {
    let parts = api.reach.ask_all(ApiCall::Penalties).await?;
    let addresses = parts.iter().map(Vec::len).sum();
    let listing = move || {
        let mut penalties: Vec<Penalty> = parts.into_iter().flatten().map(Penalty::from).collect();
        penalties.sort_unstable_by(|a, b| b.points.cmp(&a.points).then_with(|| a.address.cmp(&b.address)));
        Penalties { penalties }
    };
    Ok(api.apart.run(addresses, listing).await?)
}

pub(super) async fn clear(api: &Api, request: request::PenaltiesClear) -> Result<Empty, ApiError> {
    let address = match (request.address.as_str(), request.all) {
        ("", true) => None,
        ("", false) => {
            return Err(ApiError::bad_request("address is missing; set all to true to clear all addresses"));
        }
        (_, true) => return Err(ApiError::bad_request("address and all exclude each other")),
        (text, false) => {
            let network: Network =
                text.parse().map_err(|why| ApiError::bad_request(format_args!("address: {why}")))?;
            Some(network.bounds().0)
        }
    };
    api.reach.ask_all(|done| ApiCall::ClearPenalties { address, done }).await?;
    Ok(Empty {})
}
