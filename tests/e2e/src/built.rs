//! Packages the functions and the template for `sam deploy`, with the debug binaries of this build, stripped.

use crate::local_aws::root;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The functions. Each has the name of its crate.
pub const FUNCTIONS: [&str; 3] = ["ingest", "poll", "applier"];

/// The folder in which cargo put the binaries of this build.
#[must_use]
pub fn binaries() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().unwrap();
    if folder.ends_with("deps") { folder.parent().unwrap().to_owned() } else { folder.to_owned() }
}

/// Puts the functions in the folder `binaries` and the template together in the folder `into`. Returns the
/// path of the template to deploy.
///
/// # Panics
/// When a function is not built, or when the template builds it in another way than expected.
#[must_use]
pub fn package(binaries: &Path, template: &str, into: &Path) -> PathBuf {
    let mut staged = template.to_owned();
    for function in FUNCTIONS {
        let folder = into.join(function);
        std::fs::create_dir_all(&folder).unwrap();
        let (from, to) = (binaries.join(function), folder.join("bootstrap"));
        let stripped = Command::new("strip").arg("-o").arg(&to).arg(&from).output().unwrap();
        let words = String::from_utf8_lossy(&stripped.stderr).into_owned();
        assert!(
            stripped.status.success(),
            "{} is not built (cargo build --workspace): {words}",
            from.display()
        );
        let built = format!(
            "Metadata: {{ BuildMethod: rust-cargolambda, BuildProperties: {{ Binary: {function} }} }}\n    Properties:\n"
        );
        assert!(staged.contains(&built), "template.yaml builds no function {function} in the known way");
        let ready = format!("Properties:\n      CodeUri: {}\n", folder.display());
        staged = staged.replace(&built, &ready);
    }
    let path = into.join("template.yaml");
    std::fs::write(&path, staged).unwrap();
    path
}

/// The text of `template.yaml` in this repository.
///
/// # Panics
/// When the file cannot be read.
#[must_use]
pub fn template() -> String {
    std::fs::read_to_string(root().join("template.yaml")).unwrap()
}
