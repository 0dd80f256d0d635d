//! What the documents name is there: tests, files, and the headings that links lead to.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The files of these folders whose names end so.
fn files(folders: &[&str], end: &str) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| Path::new(ROOT).join(folder)).collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && name != "target" && name != "node_modules" {
                folders.push(path);
            } else if name.ends_with(end) {
                found.push(path);
            }
        }
    }
    found
}

fn documents() -> Vec<PathBuf> {
    let top = std::fs::read_dir(ROOT).unwrap().map(|entry| entry.unwrap().path());
    let top = top.filter(|path| path.extension().is_some_and(|end| end == "md"));
    top.chain(files(&["docs", "infra", "tests"], ".md")).collect()
}

/// What stands between two marks, wherever the text has it within one line.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut rest = line;
        while let Some((inner, after)) = rest.split_once(open).and_then(|(_, inner)| inner.split_once(close))
        {
            found.push(inner);
            rest = after;
        }
    }
    found
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_test_that_evidence_names_is_there() {
    let sources: Vec<String> = files(&["cli", "shared", "functions", "tests"], ".rs")
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let words: BTreeSet<&str> = sources
        .iter()
        .flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .collect();
    let evidence = std::fs::read_to_string(Path::new(ROOT).join("docs/evidence.md")).unwrap();
    let names: Vec<&str> = between(&evidence, "`", "`")
        .into_iter()
        .filter(|name| name.matches('_').count() >= 2)
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
        .collect();
    assert!(names.len() > 100, "evidence.md names {} tests only", names.len());
    let gone: Vec<&&str> = names.iter().filter(|name| !words.contains(**name)).collect();
    assert!(gone.is_empty(), "docs/evidence.md names tests that are not there: {gone:?}");
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for link in between(&text, "](", ")").into_iter().filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                _ => document.parent().unwrap().join(file),
            };
            let there = target.is_dir() || {
                let text = std::fs::read_to_string(&target);
                text.is_ok_and(|text| {
                    heading.is_empty()
                        || text.lines().any(|line| line.starts_with('#') && anchor(line) == heading)
                })
            };
            if !there {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere: {broken:#?}");
}

/// A path is what stands between backticks, has a slash, begins with a folder of the top level and has no placeholder.
/// It leads on from the top level or from the document's own folder.
#[test]
fn every_path_that_a_document_names_is_there() {
    let tops: BTreeSet<String> = std::fs::read_dir(ROOT)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name != "target")
        .collect();
    let mut gone = Vec::new();
    let mut there = 0;
    for document in documents().iter().filter(|path| !path.ends_with("CHANGELOG.md")) {
        let text = std::fs::read_to_string(document).unwrap();
        for name in between(&text, "`", "`").into_iter().filter(|name| name.contains('/')) {
            let path = name.split([':', '#']).next().unwrap().trim_end_matches('/');
            let top = path.split('/').next().unwrap();
            let plain = !path.contains([' ', '{', '*', '<', '$', '…']);
            if tops.contains(top) && plain {
                let beside = document.parent().unwrap();
                match Path::new(ROOT).join(path).exists() || beside.join(path).exists() {
                    true => there += 1,
                    false => gone.push(format!("{}: {name}", document.display())),
                }
            }
        }
    }
    assert!(there > 30, "the documents name {there} paths only");
    assert!(gone.is_empty(), "documents name files that are not there: {gone:#?}");
}
