//! What of an object is masked, or stands in the files it names: compared, and never told.
use crate::config::{
    Action, Blob, Certificate, Check, Config, HeaderRules, Listener, MASK, Pool, Route, ValueMatch,
    may_be_secret,
};
use std::collections::BTreeMap;

/// A key of the configuration, and the path where the value stands in a file.
type Key = (String, Option<String>);

#[derive(Default)]
struct Unshown(BTreeMap<Key, Vec<u8>>);

/// Keys whose values differ and are not shown, each with what may be said of it. Of what is in one of
/// the two alone, or in another file, the view itself tells.
pub(super) fn differs(object: &str, (before, after): (&Config, &Config)) -> Vec<(String, String)> {
    let (before, now) = (of(before, object), of(after, object));
    let changed =
        before.0.into_iter().filter(|(key, was)| now.0.get(key).is_some_and(|n| n != was));
    let said = |((key, file), _): (Key, Vec<u8>)| match file {
        Some(file) => (format!("{key} "), format!("{key}: what {} says", after.put_in.hide(&file))),
        None => (key.clone(), format!("{key} {MASK} to {MASK}")),
    };
    changed.map(said).collect()
}

fn of(config: &Config, object: &str) -> Unshown {
    let mut all = Unshown::default();
    match object.split_once(' ').unwrap_or((object, "")) {
        ("listener", name) => config.listeners.get(name).into_iter().for_each(|l| all.listener(l)),
        ("pool", name) => config.pools.get(name).into_iter().for_each(|pool| all.pool(pool)),
        ("route", name) => {
            let named = config.routes.iter().filter(|route| &*route.name == name);
            named.for_each(|route| all.route(route));
        }
        ("admin", _) => all.files("token_file", &config.admin.token),
        _ => {}
    }
    all
}

impl Unshown {
    fn secret(&mut self, key: String, value: impl AsRef<[u8]>) {
        // A name may be there more than once.
        let bytes = self.0.entry((key, None)).or_default();
        bytes.extend(value.as_ref());
        bytes.push(0);
    }

    fn files<'a>(&mut self, key: &str, blobs: impl IntoIterator<Item = &'a Blob>) {
        for blob in blobs {
            let at = (key.to_string(), Some(blob.path.display().to_string()));
            self.0.insert(at, blob.bytes.to_vec());
        }
    }

    fn certificates<'a>(&mut self, key: &str, all: impl IntoIterator<Item = &'a Certificate>) {
        let files =
            all.into_iter().flat_map(|one| [&one.cert, &one.key].into_iter().chain(&one.ocsp));
        self.files(key, files);
    }

    fn listener(&mut self, listener: &Listener) {
        if let Some(tls) = &listener.tls {
            self.certificates("tls.certificates", &tls.certificates);
            self.files("tls.client_ca", tls.clients.as_ref().map(|clients| &clients.ca));
            self.files("tls.tickets_file", &tls.tickets);
        }
    }

    fn pool(&mut self, pool: &Pool) {
        if let Some(tls) = &pool.tls {
            self.files("tls.ca_file", &tls.ca);
            self.certificates("tls.cert", &tls.own);
        }
        self.files("sticky.secret_files", pool.sticky.iter().flat_map(|sticky| &sticky.secrets));
        match pool.health.as_ref().map(|health| &health.check) {
            Some(Check::Tcp { send: Some(send), .. }) => {
                self.secret("health.tcp.send".into(), send)
            }
            Some(Check::Udp { send, .. }) => self.secret("health.udp.send".into(), send),
            Some(Check::Http { path, .. }) => self.secret("health.http".into(), path),
            _ => {}
        }
    }

    fn route(&mut self, route: &Route) {
        for (key, all) in [("header", &route.headers), ("query", &route.query)] {
            for (name, value) in all {
                self.named(
                    key,
                    name,
                    match value {
                        ValueMatch::Exact(text) => text,
                        ValueMatch::Regex(regex) => regex.as_str(),
                        ValueMatch::Present(_) => continue,
                    },
                );
            }
        }
        self.rules("request_headers", &route.request_headers);
        self.rules("response_headers", &route.response_headers);
        if let Action::Respond(with) = &route.action {
            self.pairs("respond.headers", &with.headers);
        }
    }

    fn rules(&mut self, key: &str, rules: &HeaderRules) {
        self.pairs(&format!("{key}.set"), &rules.set);
        self.pairs(&format!("{key}.add"), &rules.add);
    }

    fn pairs(&mut self, key: &str, all: &[(String, String)]) {
        all.iter().for_each(|(name, value)| self.named(key, name, value));
    }

    fn named(&mut self, key: &str, name: &str, value: &str) {
        if may_be_secret(name) {
            self.secret(format!("{key}.{name}"), value);
        }
    }
}
