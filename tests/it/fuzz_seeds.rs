//! The seeds of the fuzz targets hold on every run of the tests, not only while somebody fuzzes.
use crate::oracle;
use std::path::Path;

fn every_seed(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let seeds = std::fs::read_dir(&folder).unwrap().flatten();
    let count = seeds.map(|seed| check(&std::fs::read(seed.path()).unwrap())).count();
    assert!(count >= 5, "{} holds {count} seeds", folder.display());
}

#[test]
fn requests_are_cut_anywhere_and_go_out_strictly_valid() {
    every_seed("request", oracle::request);
}

#[test]
fn responses_are_cut_anywhere_and_go_out_strictly_valid() {
    every_seed("response", oracle::response);
}

#[test]
fn configurations_end_with_a_configuration_or_with_placed_problems() {
    every_seed("config", oracle::config);
}

#[test]
fn proxy_headers_are_cut_anywhere_and_said_again() {
    every_seed("proxy_header", oracle::proxy_header);
}

#[test]
fn client_hellos_are_cut_anywhere() {
    every_seed("client_hello", oracle::client_hello);
}

#[test]
fn paths_have_one_normal_form() {
    every_seed("path", oracle::path);
}
