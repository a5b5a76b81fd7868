//! Progress: what a person sees while the run goes on.
//!
//! In:  how far the run is.
//! Out: one bar on standard error, when that is a terminal and quiet was not asked for; else nothing at all.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar for the phase that is under way.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Shows nothing yet.
    pub fn new(is_quiet: bool) -> Self {
        let is_shown = !is_quiet && std::io::stderr().is_terminal();
        let target =
            if is_shown { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
        Self { bar: ProgressBar::with_draw_target(Some(0), target) }
    }

    /// Begins a phase that ends at `end`, in whatever unit.
    pub fn begin(&self, phase: &'static str, end: u64) {
        let style = ProgressStyle::with_template("{prefix:>10} {wide_bar:.cyan/dim} {msg}")
            .expect("the template is legal")
            .progress_chars("━╸─");
        self.bar.set_style(style);
        self.bar.reset();
        self.bar.set_prefix(phase);
        self.bar.set_length(end);
    }

    /// Says how far the phase is.
    pub fn at(&self, position: u64, message: String) {
        self.bar.set_position(position);
        self.bar.set_message(message);
    }

    /// Clears the line for what is printed next.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
