//! Touches from everything that does not call us: the capture log, catch-up, first scans, and deferred touches.

mod capture_log;
mod due;
mod scan;

pub use capture_log::capture_log;
pub use due::due;
pub(crate) use scan::late;
pub use scan::scan;
