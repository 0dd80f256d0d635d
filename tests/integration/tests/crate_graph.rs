//! Dependencies between the crates point one way: functions and command line depend on adapters, adapters on
//! `syncline-sync`, and `syncline-sync` on `syncline-engine`. Only the demo of the command line depends on
//! crates in `tests/`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

#[derive(Debug)]
struct Member {
    folder: String,
    dependencies: BTreeSet<String>,
}

fn members() -> BTreeMap<String, Member> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let path = package["manifest_path"].as_str().unwrap();
            let parts: Vec<&str> = path.rsplit('/').collect();
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let normal = dependencies.filter(|dependency| dependency["kind"].is_null());
            let member = Member {
                folder: parts[2].to_owned(),
                dependencies: normal
                    .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
                    .collect(),
            };
            (package["name"].as_str().unwrap().to_owned(), member)
        })
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let members = members();
    let layer = |name: &str| match (name, members[name].folder.as_str()) {
        ("syncline-engine", _) => 0,
        ("syncline-sync", _) => 1,
        ("syncline-embedded" | "syncline-config", _) => 3,
        ("syncline-aws", _) => 4,
        (_, "shared") => 2,
        (_, "functions") => 5,
        _ => 6,
    };
    for (name, member) in members.iter().filter(|(_, member)| member.folder != "tests") {
        for dependency in member.dependencies.iter().filter(|dependency| members.contains_key(*dependency)) {
            let of_demo = name == "syncline" && members[dependency].folder == "tests";
            assert!(of_demo || layer(dependency) < layer(name), "{name} depends on {dependency}");
        }
    }
}

#[test]
fn the_engine_has_no_io_clock_or_randomness() {
    let members = members();
    let allowed: BTreeSet<String> =
        ["blake3", "jiff", "rust_decimal", "serde", "serde_json", "thiserror"].map(str::to_owned).into();
    assert_eq!(members["syncline-engine"].dependencies, allowed);
    let sync = &members["syncline-sync"].dependencies;
    assert!(
        !sync.contains("tokio") && !sync.contains("reqwest") && !sync.contains("tokio-postgres"),
        "{sync:?}"
    );
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/engine/src");
    for entry in std::fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for word in [
            "Timestamp::now",
            "SystemTime",
            "Instant::",
            "std::env",
            "std::fs",
            "std::net",
            "HashMap",
            "async ",
        ] {
            assert!(!text.contains(word), "{} has {word}", path.display());
        }
    }
}

#[test]
fn the_judge_shares_no_code_with_what_it_judges() {
    let ours = members()["judge"].dependencies.iter().filter(|name| name.starts_with("syncline")).count();
    assert_eq!(ours, 0);
}

/// The crates that a build of the command line with these arguments of `cargo tree` contains.
fn tree(features: &[&str]) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "-p", "syncline", "-e", "normal", "--prefix", "none", "--offline"])
        .args(features)
        .current_dir(root)
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    String::from_utf8(tree.stdout).unwrap()
}

#[test]
fn a_released_command_line_has_neither_the_simulator_nor_anything_else_of_the_tests() {
    let released = tree(&[]);
    assert!(released.contains("syncline-embedded") && released.contains("syncline-aws"), "{released}");
    for (name, _) in members().iter().filter(|(_, member)| member.folder == "tests") {
        assert!(!released.lines().any(|line| line.starts_with(&format!("{name} v"))), "{name} is linked");
    }
    assert!(tree(&["--features", "demo"]).contains("salesforce-sim"));
}

#[test]
fn the_demo_builds_no_aws_sdk_and_nothing_builds_a_second_tls() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let tree = tree(&["--no-default-features", "--features", "demo"]);
    assert!(tree.contains("syncline-embedded") && !tree.contains("aws"), "{tree}");
    let lock = std::fs::read_to_string(format!("{root}/Cargo.lock")).unwrap();
    for crate_name in ["aws-lc-sys", "openssl-sys", "native-tls"] {
        assert!(!lock.contains(&format!("name = \"{crate_name}\"")), "{crate_name} is built");
    }
}
