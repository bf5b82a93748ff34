//! What a seed says: a pool's section as an operator would write it, backends and what befalls them,
//! and who comes.
use super::dice::Dice;
use super::server::{Mood, Server};
use crate::config::{self, Effective, Hedge, HedgeAfter};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// A scene to be played.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) seed: u64,
    /// What stands in `[pool.app]`, but for the backends.
    pub(super) section: String,
    pub(super) servers: Vec<Server>,
    /// The tier of each.
    pub(super) tiers: Vec<u8>,
    /// What befalls whom, and when.
    pub(super) turns: Vec<(Duration, usize, Mood)>,
    /// From when on which share of pages takes how many times as long, everywhere.
    pub(super) mixes: Vec<(Duration, (f64, u32))>,
    /// From when on which share of requests asks for a page that is broken: 500 at once, everywhere.
    pub(super) broken: (Duration, f64),
    /// Whoever asks for it is one and the same client.
    pub(super) alone: bool,
    /// Of the others' requests this share asks for it, too,
    pub(super) slips: f64,
    /// and all of this share, which come without a cookie.
    pub(super) strangers: f64,
    /// So many keys there are; 0: each request has one of its own.
    pub(super) keys: u64,
    /// Requests a second,
    pub(super) rate: f64,
    /// or clients of whom each asks again as soon as it was answered; 0: there are none.
    pub(super) crowd: usize,
    /// They come for so long.
    pub(super) time: Duration,
    /// The share of requests that can be repeated.
    pub(super) repeatable: f64,
    /// A client waits for about so long.
    pub(super) patience: Option<Duration>,
    /// Its route hedges.
    pub(super) hedge: Option<Hedge>,
    /// So many clients come back to whom they were answered by; 0: none does.
    pub(super) clients: usize,
    /// When the section is applied again, with other words.
    pub(super) reloads: Vec<(Duration, String)>,
}

pub(super) const POLICIES: [&str; 6] =
    ["round_robin", "least_connections", "random", "p2c", "peak_ewma", "consistent_hash"];

/// The words of a policy.
pub(super) fn balance(policy: &str) -> String {
    match policy {
        "consistent_hash" => {
            "balance = { policy = \"consistent_hash\", key = \"client_ip\", size = 251 }".into()
        }
        policy => format!("balance = \"{policy}\""),
    }
}

impl Scene {
    /// Whatever a seed says.
    pub(super) fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let n = dice.within(2, 6) as usize;
        let mut servers = Vec::new();
        for _ in 0..n {
            let (width, work) = (dice.within(1, 8) as usize, MS * dice.within(2, 20));
            let room = dice.one_of(&[4, 64, 1000]);
            servers.push(Server::new(width, work, room, dice.happens(0.7)));
        }
        let capacity: f64 = servers.iter().map(|s| s.width as f64 / s.work.as_secs_f64()).sum();
        let rate = capacity * dice.one_of(&[0.1, 0.3, 0.5, 0.7, 1.0, 2.0]);
        let time = Duration::from_secs_f64((400.0 / rate).clamp(0.3, 8.0));
        let section = section(&mut dice, n);
        let mut turns = Vec::new();
        // The first one may stay well all the time.
        let first = usize::from(dice.happens(0.8));
        for server in first..n {
            if dice.happens(0.6) {
                befall(&mut dice, server, time, &mut turns);
            }
        }
        let reloads = match dice.happens(0.2) {
            true => (1..3).map(|k| (time * k / 3, self::section(&mut dice, n))).collect(),
            false => Vec::new(),
        };
        let mut scene = Self {
            seed,
            section,
            tiers: vec![1; n],
            servers,
            turns,
            mixes: Vec::new(),
            broken: (Duration::MAX, 0.0),
            alone: false,
            slips: 0.0,
            strangers: 0.0,
            keys: 0,
            rate,
            crowd: 0,
            time,
            repeatable: dice.one_of(&[1.0, 0.9, 0.5]),
            patience: dice.happens(0.3).then(|| MS * dice.within(50, 1000)),
            hedge: hedge(&mut dice),
            clients: if dice.happens(0.2) { 20 } else { 0 },
            reloads,
        };
        if dice.happens(0.4) {
            scene.tiers.iter_mut().for_each(|tier| *tier = dice.one_of(&[1, 1, 2, 2, 3]));
        }
        scene
    }

    /// So many equal backends of eight times 10 ms, and a load in shares of what they can do.
    pub(super) fn plain(seed: u64, n: usize, section: String, load: f64, time: Duration) -> Self {
        let servers: Vec<_> = (0..n).map(|_| Server::new(8, 10 * MS, 1000, true)).collect();
        Self {
            seed,
            section,
            tiers: vec![1; n],
            servers,
            turns: Vec::new(),
            mixes: Vec::new(),
            broken: (Duration::MAX, 0.0),
            alone: false,
            slips: 0.0,
            strangers: 0.0,
            keys: 0,
            rate: n as f64 * 800.0 * load,
            crowd: 0,
            time,
            repeatable: 1.0,
            patience: None,
            hedge: None,
            clients: 0,
            reloads: Vec::new(),
        }
    }

    /// The config of a section.
    pub(super) fn config(&self, section: &str) -> (config::Pool, Effective) {
        let mut text =
            "[listener.web]\nbind = \"127.0.0.1:1\"\npool = \"app\"\n[pool.app]\n".to_owned();
        let names = (0..self.servers.len())
            .map(|i| {
                let tier = self.tiers[i];
                format!("{{ name = \"b{i}\", addr = \"unix:/b{i}\", tier = {tier} }}")
            })
            .collect::<Vec<_>>()
            .join(", ");
        let _ = write!(text, "backends = [{names}]\n{section}");
        let config = config::parse(&text, Path::new("scene.toml"))
            .unwrap_or_else(|problems| panic!("{}\n{text}", problems[0]));
        let mut pool = config.pools.values().next().expect("it is there").clone();
        pool.sticky = (self.clients > 0).then(cookie);
        let effective = Effective::layered([&config.defaults, &pool.over]);
        (pool, effective)
    }
}

/// What is said of a cookie is the proxy's affair.
fn cookie() -> config::Sticky {
    config::Sticky {
        cookie: "evenkeel".into(),
        ttl: Duration::from_secs(3600),
        secrets: Vec::new(),
        same_site: config::SameSite::Lax,
        secure: None,
    }
}

/// One scene of four hedges.
fn hedge(dice: &mut Dice) -> Option<Hedge> {
    let after = match dice.within(0, 7) {
        0 => HedgeAfter::Quantile(0.95),
        1 => HedgeAfter::Time(MS * dice.within(1, 30)),
        _ => return None,
    };
    let budget = config::Percent::new(dice.one_of(&[0.05, 1.0])).expect("a share");
    Some(Hedge { after, budget, ..Hedge::default() })
}

/// What an operator may have written.
fn section(dice: &mut Dice, n: usize) -> String {
    let mut text = balance(dice.one_of(&POLICIES));
    text.push('\n');
    let mut say = |is: bool, words: String| {
        if is {
            text.push_str(&words);
            text.push('\n');
        }
    };
    let (rise, fall) = (dice.within(1, 2), dice.within(1, 3));
    let probed = dice.happens(0.7);
    say(
        probed,
        format!(
            "health = {{ http = \"/\", interval = \"50ms\", timeout = \"40ms\", rise = {rise}, fall = {fall} }}"
        ),
    );
    let row = dice.within(2, 6);
    let judged = dice.happens(0.5);
    say(
        judged,
        format!(
            "outlier = {{ consecutive_failures = {row}, eject = \"200ms\", eject_max = \"2s\", max_ejected = \"{}%\", success_rate = {{ window = \"300ms\", requests = 10, deviation = 1.9 }}, silence = {} }}",
            dice.one_of(&[10, 50, 100]),
            dice.one_of(&["\"off\"", "{ wait = \"30ms\", factor = 4, hold = \"100ms\" }"])
        ),
    );
    say(dice.happens(0.3), "slow_start = \"300ms\"".into());
    let panics = dice.happens(0.3) && (probed || judged);
    say(panics, "panic_threshold = \"50%\"".into());
    let limit = dice.within(1, 12);
    let limited = match dice.within(0, 3) {
        0 => false,
        1 => {
            say(true, "max_active = { min = 2, max = 64 }".into());
            true
        }
        _ => {
            say(true, format!("max_active = {limit}"));
            true
        }
    };
    let request = dice.one_of(&["off", "off", "1s", "100ms"]);
    let most = if request == "off" { 2000 } else { 100 };
    let (size, timeout) = (dice.one_of(&[1, 10, 100]), dice.one_of(&[20, 200, 2000]).min(most));
    say(
        limited && dice.happens(0.7),
        format!("queue = {{ size = {size}, timeout = \"{timeout}ms\" }}"),
    );
    let attempts = dice.one_of(&[1, 2, n as u32, n as u32]);
    let on = dice.one_of(&["", ", \"timeout\"", ", \"timeout\", 500"]);
    let (budget, floor) = (dice.one_of(&[10, 100]), dice.one_of(&[5, 100]));
    let further = format!(
        "on = [\"connect\", \"reset\"{on}], budget = \"{budget}%\", floor = \"{floor}/s\", \
         window = \"2s\", backoff = {{ base = \"5ms\", max = \"50ms\" }}"
    );
    let further = if attempts > 1 { format!(", {further}") } else { String::new() };
    say(true, format!("retry = {{ attempts = {attempts}{further} }}"));
    let first = if request == "100ms" { "100ms" } else { "400ms" };
    say(
        true,
        format!(
            "timeout = {{ connect = \"100ms\", first_byte = \"{first}\", request = \"{request}\" }}"
        ),
    );
    text
}

/// What befalls a backend in its time.
fn befall(
    dice: &mut Dice,
    server: usize,
    time: Duration,
    turns: &mut Vec<(Duration, usize, Mood)>,
) {
    let begin = time.mul_f64(dice.share() * 0.5);
    let long = time.mul_f64(0.1 + dice.share() * 0.5);
    let ill = [
        Mood::Fails,
        Mood::Sheds,
        Mood::Resets,
        Mood::Slow(10),
        Mood::Frozen,
        Mood::Gone,
        Mood::Full,
    ];
    let mut at = begin;
    let mut spells: Vec<(Mood, Duration)> = vec![(dice.one_of(&ill), long)];
    match dice.within(0, 3) {
        // It flaps.
        0 => spells = (0..6).map(|_| (dice.one_of(&ill), long / 12)).collect(),
        // It is started again and again.
        1 => spells = (0..5).map(|_| (Mood::Gone, long / 10)).collect(),
        _ => {}
    }
    for (mood, spell) in spells {
        turns.push((at, server, mood));
        at += spell;
        turns.push((at, server, Mood::Well));
        at += spell;
    }
}
