//! Documents that were damaged at random: whatever stands in a file, reading it ends with a
//! configuration or with problems that have a place.
use super::say::{examples, parse};

#[test]
fn damaged_documents_never_panic() {
    for (n, path) in examples("valid").into_iter().chain(examples("invalid")).enumerate() {
        let text = std::fs::read(&path).unwrap();
        for seed in 0..150 {
            let mut rng = fastrand::Rng::with_seed(seed * 1000 + n as u64);
            let damaged = damage(text.clone(), &mut rng);
            let damaged = String::from_utf8_lossy(&damaged);
            let read = parse(&damaged);
            let lines = u32::try_from(damaged.lines().count() + 1).unwrap();
            for problem in read.err().into_iter().flatten() {
                assert!(problem.at.line <= lines, "{problem}");
                assert!(!problem.to_string().contains('\n'), "{problem}");
                assert!(problem.to_string().len() < 2000, "{problem}");
            }
        }
    }
}

/// Deletes, repeats, moves and garbles runs of bytes.
fn damage(mut text: Vec<u8>, rng: &mut fastrand::Rng) -> Vec<u8> {
    const ODD: &[u8] = b"\0\"'[]{}=.,#\n\r\t \\$-09aZ\x7f\xff\xc3";
    for _ in 0..rng.usize(1..6) {
        let start = rng.usize(..=text.len());
        let end = (start + rng.usize(..=24)).min(text.len());
        match rng.u8(..4) {
            0 => drop(text.drain(start..end)),
            1 => {
                let run = text[start..end].to_vec();
                let at = rng.usize(..=text.len());
                text.splice(at..at, run);
            }
            2 => text[start..end].iter_mut().for_each(|b| *b = rng.u8(..)),
            _ => text.insert(start, ODD[rng.usize(..ODD.len())]),
        }
    }
    text
}

#[test]
fn deep_and_long_documents_are_answered() {
    for text in [
        "a = ".to_owned() + &"[".repeat(100_000),
        "a = ".to_owned() + &"{a=".repeat(100_000),
        "a.".repeat(100_000) + "b = 1",
        "[".repeat(100_000),
        format!("[{}]", vec!["a"; 10_000].join(".")),
        "= \n".repeat(10_000),
        format!("{} = 1", "k".repeat(1_000_000)),
    ] {
        let all = parse(&text).unwrap_err();
        assert!(!all.is_empty() && all.len() <= 1001);
        assert!(all.iter().all(|problem| problem.to_string().len() < 1000));
    }
}
