//! Rings: how many descriptors and buffers a worker asks the kernel for.
//!
//! In:  the plan, and RLIMIT_NOFILE.
//! Out: the sizes of the worker's rings, or the sentence that says which limit is in the way.
//!
//! A ring's table of direct descriptors holds up to RLIMIT_NOFILE entries, and each ring has its own: so a worker
//! takes as many rings (lanes) as its connections need, and a small limit does not limit the load.

use holdfast_ring::{LANES_MAX, UringConfig, descriptors_max};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::plan::Plan;
use crate::scenario::Scenario;

/// Receive buffers are at least so large: an answer to a handshake mostly fits.
const BUFFER_BYTES_MIN: usize = 512;
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// Receive buffers of one ring together.
const POOL_BYTES_MAX: usize = 16 << 20;
const BUFFERS_MIN: usize = 64;
const BUFFERS_MAX: usize = 8192;
/// A WebSocket frame's header is at most this long.
const HEADER_BYTES: usize = 14;

/// Raises this process's soft limit of descriptors to its hard limit, which needs no privilege.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Should it fail, the rings are made smaller: nothing to report.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// The rings for one worker's share of the connections.
pub(super) fn for_share(plan: &Plan, thread: u32) -> Result<UringConfig, String> {
    // What is to be recovered is published over one connection more.
    let publishes_apart = matches!(plan.scenario, Scenario::Storm { recover: 1.. });
    let share = plan.share(plan.connections, thread) + u32::from(publishes_apart);
    let slots_max = u32::try_from(descriptors_max()).unwrap_or(u32::MAX).min(holdfast_ring::LANE_SLOTS_MAX);
    let lanes = share.div_ceil(slots_max.max(1)).max(1);
    if lanes as usize > LANES_MAX {
        return Err(format!(
            "RLIMIT_NOFILE is {slots_max}: {share} connections a thread would need {lanes} rings, {LANES_MAX} are \
             possible; raise it with `ulimit -n` or use more --threads"
        ));
    }
    let slots = share.div_ceil(lanes);
    let buffer_bytes = buffer_bytes(plan);
    let buffers = (slots as usize).next_power_of_two().min(POOL_BYTES_MAX / buffer_bytes);
    let buffers = buffers.clamp(BUFFERS_MIN, BUFFERS_MAX);
    let buffers = u32::try_from(buffers).expect("at most BUFFERS_MAX");
    Ok(UringConfig {
        lanes: lanes as usize,
        slots_per_lane: slots,
        submission_entries: slots.next_power_of_two().clamp(64, 4096),
        receive_buffers: buffers,
        receive_buffers_max: buffers,
        receive_buffer_bytes: u32::try_from(buffer_bytes).expect("at most BUFFER_BYTES_MAX"),
    })
}

/// Large enough for what comes at once, as far as it is known.
fn buffer_bytes(plan: &Plan) -> usize {
    let burst = match plan.scenario {
        Scenario::Broadcast { burst, .. } => burst as usize,
        Scenario::Storm { recover } => recover.max(1) as usize,
        _ => 1,
    };
    let expected = (plan.size + HEADER_BYTES).saturating_mul(burst).min(BUFFER_BYTES_MAX);
    expected.next_power_of_two().clamp(BUFFER_BYTES_MIN, BUFFER_BYTES_MAX)
}
