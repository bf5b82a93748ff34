//! Keys that nobody asked for and that may be meant to say where the proxy is: below a header that is not
//! their own, in a table that nobody knows, misspelt.
use super::hint::is_near;
use toml::de::DeValue;

/// Keys that say where a proxy is, or what it says that does. One of them may stand below a header that is not its own.
const WHERE: [&str; 5] = ["include", "server", "state", "admin", "bind"];
/// Those of them that nothing else is one letter away from.
const MISSPELT: [&str; 4] = ["include", "server", "state", "admin"];

/// Whether a key that nobody asked for, or one in it, may be one of those. `known` are the keys of its table.
pub(super) fn may_be(name: &str, value: &DeValue<'_>, known: &[&str]) -> bool {
    let meant = MISSPELT.iter().filter(|key| !known.contains(key));
    is_one(name) || meant.into_iter().any(|key| is_near(name, key)) || holds_one(value)
}

fn holds_one(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Array(all) => all.iter().any(|one| holds_one(one.get_ref())),
        DeValue::Table(table) => {
            table.iter().any(|(key, value)| may_be(key.get_ref(), value.get_ref(), &[]))
        }
        _ => false,
    }
}

/// Also one that was quoted with its section (`"server.state"`).
fn is_one(name: &str) -> bool {
    name.split('.').any(|part| WHERE.contains(&part.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::Spanned;
    use toml::de::DeTable;

    #[test]
    fn what_says_where_a_proxy_is_is_seen_wherever_it_stands() {
        for (text, is) in [
            ("state = 1", true),
            ("includes = 1", true),
            ("inclde = 1", true),
            ("'server.state' = 1", true),
            ("x.y.include = 1", true),
            ("x = [{ y = [{ admin = 1 }] }]", true),
            ("bnd = 1", false),
            ("status = 1", false),
            ("x.y = [{ z = 'state' }]", false),
        ] {
            let table = DeTable::parse(text).map(Spanned::into_inner).unwrap();
            let (key, value) = table.iter().next().unwrap();
            assert_eq!(may_be(key.get_ref(), value.get_ref(), &[]), is, "{text}");
        }
        let (none, far) = (DeValue::Boolean(true), ["state"]);
        assert!(!may_be("stat", &none, &far), "it is a fault of the table's own key");
    }
}
