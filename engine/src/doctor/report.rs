//! Report: checks as text for people or JSON for scripts.
//!
//! In:  the checks and the plan.
//! Out: text, with colors if the caller asks for them.

use super::plan::Plan;
use super::{Check, Status, can_serve};
use serde_json::json;
use std::fmt::Write as _;

/// One line a check, with the command below it where something is to mend, and the verdict.
pub(crate) fn text(checks: &[Check], plan: &Plan, colors: bool) -> String {
    let mut out = String::new();
    for check in checks {
        out.push_str(&line(check, colors));
    }
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let verdict = if can_serve(checks) { "can serve" } else { "cannot serve" };
    let mut lines = format!(
        "{verdict} {} connections on {} shards: {} ok, {} warn, {} fail\n",
        plan.connections,
        plan.shards,
        count(Status::Ok),
        count(Status::Warn),
        count(Status::Fail),
    );
    let settings = plan.profile.settings();
    let is_setting = |check: &Check| settings.iter().any(|setting| setting.key == check.what);
    if checks.iter().any(|check| check.status != Status::Ok && is_setting(check)) {
        let name = plan.profile.name();
        writeln!(
            lines,
            "all kernel settings at once: make sysctl PROFILE={name} APPLY=1 (without APPLY=1: only shown)"
        )
        .expect("writing to a String cannot fail");
    }
    out + &lines
}

/// One check with its command, as `serve` shows it too when it refuses to start.
pub(crate) fn line(check: &Check, colors: bool) -> String {
    let (color, reset) = match (colors, check.status) {
        (false, _) => ("", ""),
        (true, Status::Ok) => ("\x1b[32m", "\x1b[0m"),
        (true, Status::Warn) => ("\x1b[33m", "\x1b[0m"),
        (true, Status::Fail) => ("\x1b[31m", "\x1b[0m"),
    };
    let status = check.status.name();
    let mut line =
        format!("{color}{status:4}{reset}  {}: {} (needs {})\n", check.what, check.found, check.needs);
    if let Some(mend) = &check.mend {
        writeln!(line, "      fix: {mend}").expect("writing to a String cannot fail");
    }
    line
}

/// The same as one JSON object.
pub(crate) fn json(checks: &[Check], plan: &Plan) -> String {
    let rows = checks.iter().map(|check| {
        json!({
            "status": check.status.name(),
            "what": check.what,
            "found": check.found,
            "needs": check.needs,
            "mend": check.mend,
        })
    });
    let report = json!({
        "can_serve": can_serve(checks),
        "connections": plan.connections,
        "shards": plan.shards,
        "profile": plan.profile.name(),
        "checks": rows.collect::<Vec<_>>(),
    });
    format!("{report:#}\n")
}
