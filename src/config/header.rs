//! Rules on header fields, and fields of own answers.
use super::field;
use super::model::HeaderRules;
use super::problem::Wrong;
use super::table::{Item, Table};

/// `{ set, add, remove }`
pub(super) fn rules(item: &Item<'_>) -> Option<HeaderRules> {
    item.table("rules", |t| {
        let set = t.take("set").map(|item| fields(&item)).unwrap_or_default();
        let add = t.take("add").map(|item| fields(&item)).unwrap_or_default();
        HeaderRules { remove: removed(t), set, add }
    })
}

fn removed(t: &mut Table<'_>) -> Vec<String> {
    let Some(item) = t.take("remove") else { return Vec::new() };
    let check = |text: &str| match text.eq_ignore_ascii_case("host") {
        true => Err(host()),
        false => field::rule_name(text).map(|()| text.to_ascii_lowercase()),
    };
    item.list().iter().filter_map(|item| item.checked(check)).collect()
}

fn host() -> Wrong {
    Wrong::new("every request has exactly one Host")
        .hint("change it with rewrite.host or the pool's host")
}

/// A table of names and values; a name may have a list of values.
pub(super) fn fields(item: &Item<'_>) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for (name, item) in item.entries() {
        let wrong =
            if name.eq_ignore_ascii_case("host") { Err(host()) } else { field::rule_name(name) };
        if let Err(wrong) = wrong {
            item.key_wrong(wrong);
            continue;
        }
        if all.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            item.key_wrong(
                Wrong::new("this header is said twice: case does not count")
                    .hint("write a list of its values"),
            );
            continue;
        }
        for item in item.list() {
            let value = item.checked(|text| field::field_value(text).map(|()| text.to_owned()));
            all.extend(value.map(|value| (name.to_owned(), value)));
        }
    }
    all
}
