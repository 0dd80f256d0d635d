//! `serve` is killed 200 times at random moments while two teams edit. Afterwards the judge has to find every
//! edit.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::process::Command;

#[test]
fn two_hundred_sigkills_at_random_moments_lose_nothing_and_double_nothing() {
    let seed = std::process::id().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_syncline"))
        .args(["demo", "--for", "60s", "--kills", "200", "--seed", &seed])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    let last: Vec<&str> = words.lines().rev().take(60).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    assert!(
        output.status.success(),
        "seed {seed}:\n{}\n{}",
        last.join("\n"),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(words.contains("200 times SIGKILL"), "{words}");
}
