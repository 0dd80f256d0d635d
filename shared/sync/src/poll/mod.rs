//! What a poll does: it makes touches from the sources that Syncline has to ask (the capture log, catch-up,
//! first scans and deferred touches), looks whether capture is whole, and does the housekeeping.

mod capture_check;
mod capture_log;
mod due;
mod housekeeping;
mod scan;

pub use capture_check::{check_capture, note_gap, note_whole};
pub use capture_log::capture_log;
pub use due::due;
pub use housekeeping::housekeeping;
pub use scan::scan;
pub(crate) use scan::{WELL_AFTER, late};
