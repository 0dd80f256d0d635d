//! Keys that somebody presses while the demo runs.

use console::Term;
use std::io::IsTerminal as _;
use tokio::sync::mpsc;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// `k`: SIGKILL to Syncline, and start it again.
    Kill,
    /// `s`: Salesforce answers 503 for 20 seconds.
    Outage,
    /// `c`: both teams edit one field of one record.
    Conflict,
    /// `q`: the teams stop.
    Quit,
}

/// Keys, as they are pressed; none where nobody looks at a terminal.
pub(crate) fn listen() -> mpsc::UnboundedReceiver<Key> {
    let (pressed, keys) = mpsc::unbounded_channel();
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        // The sender stays, so that waiting for a key is waiting for ever.
        std::mem::forget(pressed);
        return keys;
    }
    std::thread::spawn(move || {
        let terminal = Term::stdout();
        while let Ok(character) = terminal.read_char() {
            let key = match character {
                'k' => Key::Kill,
                's' => Key::Outage,
                'c' => Key::Conflict,
                'q' => Key::Quit,
                _ => continue,
            };
            if pressed.send(key).is_err() {
                return;
            }
        }
    });
    keys
}
