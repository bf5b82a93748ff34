//! Every document of `tests/config/valid` is right; every one of `invalid` gives exactly the
//! problems of the text beside it.
use super::say::{examples, problems};

#[test]
fn valid_examples_have_no_problem() {
    for path in examples("valid") {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(problems(&text), [""; 0], "{}", path.display());
    }
}

#[test]
fn invalid_examples_say_exactly_what_is_wrong() {
    for path in examples("invalid") {
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = path.with_extension("txt");
        let said = problems(&text).join("\n") + "\n";
        let expect = std::fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(said, expect, "{}", path.display());
    }
}

#[test]
fn the_first_file_of_a_user_is_right() {
    let path = super::say::folder("../../proxy.toml");
    assert_eq!(problems(&std::fs::read_to_string(path).unwrap()), [""; 0]);
}
