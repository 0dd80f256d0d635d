//! The keys that the user may press while the demo runs.

use console::Term;
use std::io::IsTerminal as _;
use tokio::sync::mpsc;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// `k`: Syncline and the script are killed and started again.
    Kill,
    /// `s`: Salesforce answers Syncline and the script with status 503 for 20 seconds.
    Outage,
    /// `c`: a pair of people edits one field of one record on both sides.
    Conflict,
    /// `q`: the teams stop editing, and the judge is asked.
    Quit,
}

/// The keys as they are pressed. Without a terminal on standard input and output, no key ever comes.
pub(crate) fn listen() -> mpsc::UnboundedReceiver<Key> {
    let (pressed, keys) = mpsc::unbounded_channel();
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        // The sender is never dropped, so that waiting for a key never ends instead of ending at once.
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
