//! What can be wrong with a pool's `balance`, said before anything is built.
use super::policies::{HASH, Policies};
use crate::config::{self, Balance, Hash, Problem, Table};

/// Slots of a Maglev table at the most: 20 MB and a third of a second to build.
const MOST_SLOTS: u32 = 5_000_011;

/// Every problem of a pool's `balance`.
pub(in crate::pool) fn check(pool: &config::Pool, policies: &Policies) -> Vec<Problem> {
    let balance = &pool.balance;
    let key = |member: &str| format!("pool.{}.balance{member}", pool.name);
    let mut problems = Vec::new();
    if !policies.words().contains(&balance.policy.as_str()) {
        problems.push(unknown(balance, &balance.policy, key(""), policies, ""));
    }
    match &balance.hash {
        Some(hash) => problems.extend(check_hash(pool, hash, policies)),
        None if balance.policy == HASH => problems.push(
            Problem::new(&balance.at, key(""), "consistent_hash needs a key")
                .hint(r#"write { policy = "consistent_hash", key = ["client_ip"] }"#),
        ),
        None => {}
    }
    problems
}

fn check_hash(pool: &config::Pool, hash: &Hash, policies: &Policies) -> Vec<Problem> {
    let balance = &pool.balance;
    let key = |member: &str| format!("pool.{}.balance.{member}", pool.name);
    let problem = |member: &str, what: String| Problem::new(&balance.at, key(member), what);
    let mut problems = Vec::new();
    let word = hash.fallback.as_str();
    if word == HASH {
        let what = "consistent_hash cannot be its own fallback".to_string();
        problems.push(problem("fallback", what).hint(r#"write "random""#));
    } else if !policies.words().contains(&word) {
        problems.push(unknown(balance, word, key("fallback"), policies, HASH));
    }
    if let Some(factor) = hash.bounded_load.filter(|f| !(*f > 1.0 && *f <= 100.0)) {
        let what = format!("{factor} is not above 1 and at most 100");
        problems.push(problem("bounded_load", what).hint("1.25 is usual"));
    }
    if let Table::Maglev(Some(size)) = hash.table {
        let few = pool.backends.len() as u32 + 2;
        if !(few..=MOST_SLOTS).contains(&size) {
            let what = format!("{size} slots are not between {few} and {MOST_SLOTS}");
            problems.push(problem("size", what).hint(r#"write "auto""#));
        } else if !is_prime(size) {
            let next = (size..).find(|n| is_prime(*n)).unwrap_or(MOST_SLOTS);
            let what = format!("{size} is not a prime");
            problems.push(problem("size", what).hint(format!("the next one is {next}")));
        }
    }
    problems
}

fn unknown(
    balance: &Balance,
    word: &str,
    key: String,
    policies: &Policies,
    except: &str,
) -> Problem {
    let words: Vec<&str> = policies.words().into_iter().filter(|w| *w != except).collect();
    let near = words.iter().map(|w| (distance(word, w), *w)).min();
    let hint = match near {
        Some((far, near)) if far <= near.len().min(word.len()) / 3 => {
            format!("did you mean {near:?}?")
        }
        _ => format!("there are {}", words.join(", ")),
    };
    Problem::new(&balance.at, key, format!("no policy named {word:?}")).hint(hint)
}

/// Edits from one word to another (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let swapped = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = swapped.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

fn is_prime(n: u32) -> bool {
    n > 1 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::testing::{hashed, pool};

    fn said(change: impl FnOnce(&mut Balance)) -> Vec<String> {
        let mut config = pool("app", &["a", "b"]);
        change(&mut config.balance);
        check(&config, &Policies::default())
            .iter()
            .map(|p| format!("{}: {}; {}", p.key, p.what, p.hint.as_deref().unwrap_or("")))
            .collect()
    }

    #[test]
    fn good_words_pass() {
        for word in Policies::default().words() {
            assert_eq!(
                said(|b| {
                    if word == HASH {
                        b.hash = Some(hashed());
                    }
                    b.policy = word.into();
                }),
                [""; 0],
                "{word}"
            );
        }
    }

    #[test]
    fn problems_say_what_was_meant() {
        assert_eq!(
            said(|b| b.policy = "least_connection".into()),
            [
                r#"pool.app.balance: no policy named "least_connection"; did you mean "least_connections"?"#
            ]
        );
        assert_eq!(
            said(|b| b.policy = "fastest".into()),
            ["pool.app.balance: no policy named \"fastest\"; there are consistent_hash, \
              least_connections, p2c, peak_ewma, random, round_robin"]
        );
        assert_eq!(said(|b| b.policy = HASH.into()).len(), 1, "no key");
    }

    #[test]
    fn every_member_of_a_hash_is_looked_at() {
        let all = said(|b| {
            b.policy = HASH.into();
            let mut hash = hashed();
            hash.fallback = HASH.into();
            hash.bounded_load = Some(1.0);
            hash.table = Table::Maglev(Some(1000));
            b.hash = Some(hash);
        });
        assert_eq!(
            all,
            [
                r#"pool.app.balance.fallback: consistent_hash cannot be its own fallback; write "random""#,
                "pool.app.balance.bounded_load: 1 is not above 1 and at most 100; 1.25 is usual",
                "pool.app.balance.size: 1000 is not a prime; the next one is 1009",
            ]
        );
        let size = |size| {
            said(|b| {
                b.policy = HASH.into();
                b.hash = Some(Hash { table: Table::Maglev(Some(size)), ..hashed() });
            })
        };
        assert_eq!(size(2).len(), 1);
        assert_eq!(size(6_000_000).len(), 1);
        assert_eq!(size(5), [""; 0]);
    }
}
