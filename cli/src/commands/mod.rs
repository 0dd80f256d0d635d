//! One file for each command that is about an instance.

mod apply;
mod conflicts;
mod dead_letters;
mod first_link;
mod history;
mod inspect;
mod pause;
mod rejected;
mod state;
mod status;

pub(crate) use conflicts::conflicts;
pub(crate) use dead_letters::dead_letters;
pub(crate) use first_link::FirstLinks;
pub(crate) use history::history;
pub(crate) use pause::{pause, resume};
pub(crate) use rejected::rejected;
pub(crate) use status::status;
