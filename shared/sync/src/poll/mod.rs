//! What a poll does: it makes touches from the sources that Syncline has to ask (the capture log, catch-up,
//! first scans and deferred touches), and it does the housekeeping.

mod capture_log;
mod due;
mod housekeeping;
mod scan;

pub use capture_log::capture_log;
pub use due::due;
pub use housekeeping::housekeeping;
pub use scan::scan;
pub(crate) use scan::{WELL_AFTER, late};
