//! `GET /v1/config`: the configuration in force, defaults applied, by the words of `proxy.toml`.
//! Files are named and never shown; values of header rules that may be secrets are masked.
use crate::config::{
    Action, Bind, Blob, Check, Compat, Config, Effective, HeaderRules, HedgeAfter, HostMatch,
    HostSent, KeyPart, LineFormat, Listener, MASK, MaxActive, Memory, Overrides, PathMatch,
    PathRewrite, Pool, PoolHttp, Protocol, ProxyProtocol, PutIn, RateKey, Route, SameSite,
    SniRoute, Statuses, Timeout, ValueMatch, may_be_secret,
};
use crate::server::State;
use serde_json::{Map, Value, json};
use std::time::Duration;

pub(super) fn config(state: &State) -> Value {
    match state.plan.load_full() {
        Some(plan) => {
            let mut shown = view(&plan.config);
            hide(&mut shown, &plan.config.put_in);
            shown
        }
        None => json!({}),
    }
}

/// Puts the names of variables in place of what the environment put in.
fn hide(value: &mut Value, put_in: &PutIn) {
    match value {
        Value::String(text) => *text = put_in.hide(text),
        Value::Array(all) => all.iter_mut().for_each(|one| hide(one, put_in)),
        Value::Object(all) => {
            for (key, mut one) in std::mem::take(all) {
                hide(&mut one, put_in);
                all.insert(put_in.hide(&key), one);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// One object as a report names it: `pool app` but for its backends, `defaults`.
pub(super) fn object(config: &Config, name: &str) -> Option<Value> {
    let (kind, name) = name.split_once(' ').unwrap_or(("table", name));
    let mut shown = match kind {
        "listener" => of_listener(config, config.listeners.get(name)?),
        "pool" => {
            let mut pool = of_pool(config, config.pools.get(name)?);
            pool.as_object_mut()?.remove("backends");
            pool
        }
        "route" => {
            let named = config.routes.iter().find(|route| &*route.name == name);
            let sni = || config.sni_routes.iter().find(|route| &*route.name == name);
            named.map(|route| of_route(config, route)).or_else(|| sni().map(of_sni_route))?
        }
        _ => tables(config).get_mut(name)?.take(),
    };
    hide(&mut shown, &config.put_in);
    Some(shown)
}

fn view(config: &Config) -> Value {
    let objects = json!({
        "listener": config.listeners.iter().map(|(name, listener)| {
            (name.to_string(), of_listener(config, listener))
        }).collect::<Map<_, _>>(),
        "route": config.routes.iter().map(|route| of_route(config, route))
            .chain(config.sni_routes.iter().map(of_sni_route)).collect::<Vec<_>>(),
        "pool": config.pools.iter().map(|(name, pool)| {
            (name.to_string(), of_pool(config, pool))
        }).collect::<Map<_, _>>(),
    });
    with(tables(config), objects)
}

fn tables(config: &Config) -> Value {
    let server = &config.server;
    let limits = &config.admin.limits;
    let memory = match server.memory {
        Memory::Share(share) => json!(format!("{}%", share.get() * 100.0)),
        Memory::Bytes(bytes) => json!(bytes.0),
    };
    json!({
        "server": {
            "workers": server.workers.map_or(json!("auto"), |n| json!(n)),
            "grace": time(server.grace),
            "shutdown_delay": time(server.shutdown_delay),
            "hand_over": time(server.hand_over),
            "max_connections": server.max_connections,
            "memory": memory,
            "state": server.state.display().to_string(),
        },
        "log": {
            "level": config.log.level,
            "format": word(&config.log.format),
            "access": config.log.access.as_ref().map(|access| json!({
                "to": access.to.to_string(), "format": line(&access.format),
                "sample": format!("{}%", access.sample.get() * 100.0),
                "only": if access.only_errors { "errors" } else { "all" },
            })),
            "slow": timeout(config.log.slow),
            "errors": config.log.errors,
        },
        "trace": config.trace.as_ref().map(|trace| json!({
            "otlp": trace.otlp.written,
            "sample": format!("{}%", trace.sample.get() * 100.0),
            "queue": trace.queue,
            "service": trace.service,
        })),
        "admin": {
            "bind": config.admin.bind.as_ref().map_or("off".into(), bind),
            "hosts": config.admin.hosts,
            "token_file": config.admin.token.as_ref().map(file),
            "limits": {
                "body": limits.body,
                "time": time(limits.time),
                "rate": limits.rate.map_or("off".into(), |rate| {
                    format!("{}/s", 1.0 / rate.interval().as_secs_f64())
                }),
                "connections": limits.connections,
                "streams": limits.streams,
                "words": limits.words,
                "answers": limits.answers,
            },
        },
        "metrics": {
            "bind": config.metrics.as_ref().map_or("off".into(), bind),
            "compat": compat(config.compat),
        },
        "defaults": effective([&config.defaults]),
    })
}

fn compat(compat: Compat) -> Vec<&'static str> {
    let all = [("haproxy", compat.haproxy), ("traefik", compat.traefik)];
    all.iter().filter(|(_, is_on)| *is_on).map(|(word, _)| *word).collect()
}

fn word(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}").to_lowercase()
}

fn line(format: &LineFormat) -> String {
    match format {
        LineFormat::Text => "text".into(),
        LineFormat::Json => "json".into(),
        LineFormat::Template(template) => template.to_string(),
    }
}

fn bind(bind: &Bind) -> String {
    bind.addr.to_string()
}

fn file(blob: &Blob) -> String {
    blob.path.display().to_string()
}

/// A time as it is written.
fn time(time: Duration) -> String {
    match (time.as_secs(), time.subsec_micros()) {
        (s, 0) => format!("{s}s"),
        (_, us) if us % 1000 == 0 => format!("{}ms", time.as_millis()),
        _ => format!("{}us", time.as_micros()),
    }
}

fn timeout(limit: Timeout) -> String {
    limit.get().map_or("off".into(), time)
}

fn or_off<T: Into<Value>>(value: Option<T>) -> Value {
    value.map_or("off".into(), Into::into)
}

/// Times, limits and retries once these places have spoken.
fn effective<'a>(places: impl IntoIterator<Item = &'a Overrides>) -> Value {
    let Effective { timeout: t, limits: l, retry: r } = Effective::layered(places);
    let mut on: Vec<Value> =
        [("connect", r.on.connect), ("reset", r.on.reset), ("timeout", r.on.timeout)]
            .into_iter()
            .filter(|(_, is)| *is)
            .map(|(word, _)| word.into())
            .collect();
    let (first, last) = Statuses::RANGE;
    on.extend((first..=last).filter(|status| r.on.statuses.has(*status)).map(Value::from));
    json!({
        "timeout": {
            "connect": timeout(t.connect), "first_byte": timeout(t.first_byte),
            "idle": timeout(t.idle), "request": timeout(t.request), "header": timeout(t.header),
            "keep_alive": timeout(t.keep_alive), "tunnel": timeout(t.tunnel),
            "tunnel_max": timeout(t.tunnel_max),
        },
        "limits": {
            "head": l.head, "fields": l.fields, "target": l.target, "body": or_off(l.body),
            "body_rate": or_off(l.body_rate), "per_client": or_off(l.per_client),
            "interim": l.interim, "trailers": l.trailers, "drain": l.drain,
        },
        "retry": {
            "attempts": r.attempts, "on": on, "budget": r.budget.get(), "floor": r.floor,
            "window": time(r.window), "body": r.body,
            "backoff": { "base": time(r.backoff.base), "max": time(r.backoff.max) },
        },
    })
}

/// One object out of two.
fn with(mut one: Value, other: Value) -> Value {
    if let (Some(one), Value::Object(other)) = (one.as_object_mut(), other) {
        one.extend(other);
    }
    one
}

fn of_listener(config: &Config, listener: &Listener) -> Value {
    let tls = listener.tls.as_ref().map(|tls| {
        json!({
            "certificates": tls.certificates.iter().map(|pair| json!({
                "cert": file(&pair.cert), "key": file(&pair.key), "ocsp": pair.ocsp.as_ref().map(file),
            })).collect::<Vec<_>>(),
            "alpn": tls.alpn.iter().map(|alpn| String::from_utf8_lossy(alpn.id())).collect::<Vec<_>>(),
            "min_version": match tls.min_version {
                crate::config::TlsVersion::V12 => "1.2",
                crate::config::TlsVersion::V13 => "1.3",
            },
            "client_ca": tls.clients.as_ref().map(|clients| file(&clients.ca)),
            "client_auth": tls.clients.as_ref().map(|c| if c.required { "require" } else { "request" }),
            "client_headers": tls.clients.as_ref().map(|clients| clients.headers),
            "tickets_file": tls.tickets.as_ref().map(file),
        })
    });
    let passes = listener.passthrough.then(|| json!("passthrough"));
    let nets = |all: &[ipnet::IpNet]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    let one = json!({
        "bind": listener.bind.iter().map(bind).collect::<Vec<_>>(),
        "protocol": listener.protocol.word(),
        "pool": listener.pool.as_ref().map(|pool| pool.name.to_string()),
        "tls": passes.or(tls),
        "max_connections": listener.max_connections,
        "proxy_protocol": { "from": nets(&listener.proxy_protocol) },
        "trusted_proxies": nets(&listener.trusted_proxies),
    });
    let of_protocol = match listener.protocol {
        Protocol::Http => {
            let http2 = &listener.http2;
            json!({ "http2": {
                "streams": http2.streams, "connection_window": http2.connection_window,
                "send_buffer": http2.send_buffer, "resets": http2.resets,
                "local_resets": http2.local_resets,
            }})
        }
        Protocol::Tcp => json!({}),
        Protocol::Udp => json!({ "udp": {
            "sessions": listener.udp.most, "per_client": or_off(listener.udp.per_client),
            "idle": time(listener.udp.idle),
        }}),
    };
    with(with(one, of_protocol), effective([&config.defaults, &listener.over]))
}

fn host(host: &HostMatch) -> String {
    match host {
        HostMatch::Exact(host) => host.clone(),
        HostMatch::Wildcard(host) => format!("*.{host}"),
    }
}

fn values(all: &[(String, ValueMatch)]) -> Value {
    let one = |(name, value): &(String, ValueMatch)| {
        let value = match value {
            ValueMatch::Exact(_) if may_be_secret(name) => json!(MASK),
            ValueMatch::Exact(text) => json!(text),
            ValueMatch::Regex(_) if may_be_secret(name) => json!({ "regex": MASK }),
            ValueMatch::Regex(regex) => json!({ "regex": regex.as_str() }),
            ValueMatch::Present(present) => json!({ "present": present }),
        };
        (name.clone(), value)
    };
    Value::Object(all.iter().map(one).collect())
}

fn rules(rules: &HeaderRules) -> Value {
    let all = |pairs: &[(String, String)]| {
        let value = |(name, value): &(String, String)| {
            let shown = if may_be_secret(name) { MASK } else { value };
            json!({ "name": name, "value": shown })
        };
        pairs.iter().map(value).collect::<Vec<_>>()
    };
    json!({ "remove": rules.remove, "set": all(&rules.set), "add": all(&rules.add) })
}

fn path(rewrite: &PathRewrite) -> Value {
    match rewrite {
        PathRewrite::Full(path) => json!(path),
        PathRewrite::Prefix(path) => json!({ "prefix": path }),
        PathRewrite::Regex(regex, to) => json!({ "regex": regex.as_str(), "to": to }),
    }
}

pub(super) fn key(part: &KeyPart) -> String {
    match part {
        KeyPart::Header(name) => format!("header:{name}"),
        KeyPart::Cookie(name) => format!("cookie:{name}"),
        KeyPart::Query(name) => format!("query:{name}"),
        KeyPart::Path => "path".into(),
        KeyPart::ClientIp => "client_ip".into(),
        KeyPart::ClientAddr => "client_addr".into(),
    }
}

fn action(action: &Action) -> Value {
    match action {
        Action::Pool(pool) => json!({ "pool": pool.name.to_string() }),
        Action::Pools(pools) => {
            let one = |(pool, weight): &(crate::config::PoolRef, u32)| {
                (pool.name.to_string(), json!(weight))
            };
            json!({ "pools": pools.iter().map(one).collect::<Map<_, _>>() })
        }
        Action::Redirect(to) => json!({ "redirect": {
            "status": to.status, "scheme": to.scheme, "host": to.host, "port": to.port,
            "path": to.path.as_ref().map(path),
        }}),
        Action::Respond(with) => json!({ "respond": {
            "status": with.status, "body": with.body,
            "headers": rules(&HeaderRules { set: with.headers.clone(), ..HeaderRules::default() })["set"],
        }}),
    }
}

fn of_route(config: &Config, route: &Route) -> Value {
    let matched = match &route.path {
        PathMatch::Prefix(path) => json!(path),
        PathMatch::Exact(path) => json!({ "exact": path }),
        PathMatch::Regex(regex) => json!({ "regex": regex.as_str() }),
    };
    let one = json!({
        "name": route.name.to_string(),
        "listener": route.listeners.iter().map(|l| l.name.to_string()).collect::<Vec<_>>(),
        "host": route.hosts.iter().map(host).collect::<Vec<_>>(),
        "path": matched,
        "method": route.methods,
        "header": values(&route.headers),
        "query": values(&route.query),
        "split_by": route.split_by.iter().map(key).collect::<Vec<_>>(),
        "request_headers": rules(&route.request_headers),
        "response_headers": rules(&route.response_headers),
        "rewrite": { "host": route.rewrite.host, "path": route.rewrite.path.as_ref().map(path) },
        "upgrade": if route.websocket { vec!["websocket"] } else { Vec::new() },
        "encoded_slash": if route.refuse_encoded_slash { "refuse" } else { "pass" },
        "hedge": route.hedge.map(|hedge| json!({
            "after": match hedge.after {
                HedgeAfter::Quantile(share) => format!("p{}", share * 100.0),
                HedgeAfter::Time(after) => time(after),
            },
            "min": time(hedge.min), "budget": hedge.budget.get(),
        })),
        "mirror": route.mirror.as_ref().map(|mirror| json!({
            "pool": mirror.pool.name.to_string(), "share": mirror.share.get(),
            "body": mirror.body.0, "in_flight": mirror.in_flight, "timeout": time(mirror.timeout),
        })),
        "rate_limit": route.rate_limit.as_ref().map(|limit| json!({
            "key": match &limit.key {
                RateKey::ClientIp { .. } => "client_ip".to_string(),
                RateKey::Route => "route".into(),
                RateKey::Header(name) => format!("header:{name}"),
            },
            "prefix": match limit.key {
                RateKey::ClientIp { v4, v6 } => json!({ "v4": v4, "v6": v6 }),
                _ => Value::Null,
            },
            "rate": format!("{}/s", 1.0 / limit.rate.interval().as_secs_f64()),
            "burst": limit.burst, "keys": limit.keys,
        })),
    });
    with(with(one, action(&route.action)), effective([&config.defaults, &route.over]))
}

fn of_sni_route(route: &SniRoute) -> Value {
    json!({
        "name": route.name.to_string(),
        "listener": route.listeners.iter().map(|l| l.name.to_string()).collect::<Vec<_>>(),
        "sni": route.names.iter().map(host).collect::<Vec<_>>(),
        "pools": route.pools.iter().map(|(pool, weight)| {
            (pool.name.to_string(), json!(weight))
        }).collect::<Map<_, _>>(),
    })
}

fn balance(pool: &Pool) -> Value {
    let Some(hash) = &pool.balance.hash else { return json!({ "policy": pool.balance.policy }) };
    json!({
        "policy": pool.balance.policy,
        "key": hash.key.iter().map(key).collect::<Vec<_>>(),
        "combine": if hash.first { "first" } else { "all" },
        "fallback": hash.fallback,
        "table": match hash.table {
            crate::config::Table::Maglev(_) => "maglev",
            crate::config::Table::Ring => "ring",
        },
        "size": match hash.table {
            crate::config::Table::Maglev(Some(size)) => json!(size),
            _ => json!("auto"),
        },
        "bounded_load": or_off(hash.bounded_load),
    })
}

/// The target of a probe: what its query says may be a secret.
fn probed(target: &str) -> String {
    target.split_once('?').map_or_else(|| target.into(), |(path, _)| format!("{path}?{MASK}"))
}

fn health(pool: &Pool) -> Value {
    let Some(health) = &pool.health else { return json!("off") };
    let shown =
        |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|b| String::from_utf8_lossy(b).into_owned());
    let check = match &health.check {
        Check::Tcp { send, expect } => {
            json!({ "tcp": { "send": send.as_ref().map(|_| MASK), "expect": shown(expect) } })
        }
        Check::Udp { send: _, expect } => {
            json!({ "udp": { "send": MASK, "expect": shown(expect) } })
        }
        Check::Http { path, host, status, body } => json!({
            "http": probed(path), "host": host,
            "expect": {
                "status": status.iter().map(|(a, b)| format!("{a}-{b}")).collect::<Vec<_>>(),
                "body": body,
            },
        }),
        Check::Grpc { service, host } => json!({ "grpc": service, "host": host }),
    };
    with(
        check,
        json!({
            "port": health.port, "interval": time(health.interval), "timeout": time(health.timeout),
            "rise": health.rise, "fall": health.fall, "proxy_protocol": health.proxy_protocol,
        }),
    )
}

fn of_pool(config: &Config, pool: &Pool) -> Value {
    let one = json!({
        "http": match pool.http {
            Some(PoolHttp::One) => json!("1.1"),
            Some(PoolHttp::Two) => json!("2"),
            Some(PoolHttp::Auto) => json!("auto"),
            None => Value::Null,
        },
        "host": match &pool.host {
            HostSent::Preserve => "preserve",
            HostSent::Backend => "backend",
            HostSent::Name(name) => name,
        },
        "balance": balance(pool),
        "tls": pool.tls.as_ref().map(|tls| json!({
            "verify": tls.verify, "ca_file": tls.ca.as_ref().map(file), "sni": tls.sni,
            "cert": tls.own.as_ref().map(|own| file(&own.cert)),
            "key": tls.own.as_ref().map(|own| file(&own.key)),
        })),
        "send_proxy_protocol": pool.send_proxy_protocol.map(|version| match version {
            ProxyProtocol::V1 => "v1",
            ProxyProtocol::V2 => "v2",
        }),
        "sticky": pool.sticky.as_ref().map(|sticky| json!({
            "cookie": sticky.cookie, "ttl": time(sticky.ttl),
            "secret_files": sticky.secrets.iter().map(file).collect::<Vec<_>>(),
            "same_site": match sticky.same_site {
                SameSite::Lax => "lax",
                SameSite::Strict => "strict",
                SameSite::None => "none",
            },
            "secure": sticky.secure.map_or(json!("auto"), Value::from),
        })),
        "health": health(pool),
        "outlier": pool.outlier.map(|outlier| json!({
            "consecutive_failures": or_off(outlier.consecutive_failures),
            "success_rate": outlier.success_rate.map(|rate| json!({
                "window": time(rate.window), "requests": rate.requests, "deviation": rate.deviation,
            })),
            "silence": outlier.silence.map(|_| "on"),
            "eject": time(outlier.eject), "eject_max": time(outlier.eject_max),
            "max_ejected": outlier.max_ejected.get(),
        })),
        "slow_start": pool.slow_start.map(|slow| json!({
            "window": time(slow.window), "from": slow.from.get(), "curve": word(&slow.curve),
        })),
        "panic_threshold": or_off(pool.panic_threshold.map(|share| share.get())),
        "max_active": match pool.max_active {
            None => json!("off"),
            Some(MaxActive::Fixed(most)) => json!(most),
            Some(MaxActive::Adaptive { min, max }) => json!({ "min": min, "max": max }),
        },
        "queue": pool.queue.map(|queue| json!({
            "size": queue.size,
            "timeout": time(queue.timeout),
            "abort_on_close": queue.abort_on_close,
        })),
        "keep_alive": {
            "idle": timeout(pool.keep_alive.idle), "max_idle": pool.keep_alive.max_idle,
            "max_age": timeout(pool.keep_alive.max_age),
            "renew": pool.keep_alive.renew.map_or("off".into(), |rate| {
                format!("{}/s", 1.0 / rate.interval().as_secs_f64())
            }),
        },
        "resolve": { "interval": time(pool.resolve.interval), "family": word(&pool.resolve.family) },
        "drain": timeout(pool.drain),
        "backends": pool.backends.iter().map(|backend| json!({
            "name": backend.name.to_string(), "addr": backend.addr.to_string(),
            "weight": backend.weight.get(), "tier": backend.tier,
        })).collect::<Vec<_>>(),
    });
    with(one, effective([&config.defaults, &pool.over]))
}
