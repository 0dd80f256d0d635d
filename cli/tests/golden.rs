//! What commands print, word by word: the scripts in `golden/`. They connect to nothing. To write them anew after a
//! change on purpose, run `TRYCMD=overwrite cargo test -p syncline --test golden` and read the difference.
#![allow(missing_docs)]

#[test]
fn commands_print_what_the_scripts_say() {
    let syncline = std::path::Path::new(env!("CARGO_BIN_EXE_syncline"));
    trycmd::TestCases::new().register_bin("syncline", syncline).case("tests/golden/*.trycmd");
}
