//! What holds of a pool's members: each row of the state table for itself, and a random walk.
use super::*;
use crate::config::{Check, Percent, Timeout, Weight};
use crate::pool::change::Reason;
use crate::pool::testing::{name, pool};
use std::net::SocketAddr;
use std::time::Duration;

#[path = "members_model.rs"]
mod model;
#[path = "members_walk.rs"]
mod walk;

const SECOND: Duration = Duration::from_secs(1);

fn health(rise: u32, fall: u32) -> Option<config::Health> {
    let check = Check::Tcp { send: None, expect: None };
    Some(config::Health {
        check,
        port: None,
        interval: SECOND,
        timeout: SECOND,
        rise,
        fall,
        proxy_protocol: false,
    })
}

/// Ejects for 10 s and each time 10 s longer, up to 30; never by rate.
fn outlier(share: f64) -> Option<config::Outlier> {
    Some(config::Outlier {
        consecutive_failures: Some(5),
        success_rate: None,
        silence: Some(config::Silence { wait: SECOND, factor: 4.0, hold: 10 * SECOND }),
        eject: 10 * SECOND,
        eject_max: 30 * SECOND,
        max_ejected: Percent::new(share)?,
    })
}

fn endpoint(text: &str) -> Endpoint {
    Endpoint {
        name: name(text),
        addr: Addr::Unix(format!("/{text}").into()),
        weight: Weight::DEFAULT,
        tier: 1,
    }
}

fn by_name(text: &str) -> Endpoint {
    Endpoint { addr: Addr::Host(format!("{text}.internal").into(), 80), ..endpoint(text) }
}

fn weighted(text: &str, weight: u16) -> Endpoint {
    Endpoint { weight: Weight::new(weight).unwrap(), ..endpoint(text) }
}

fn backup(text: &str) -> Endpoint {
    Endpoint { tier: 2, ..endpoint(text) }
}

fn addr() -> SocketAddr {
    "10.0.0.1:80".parse().unwrap()
}

/// Members under a clock that stands still until it is moved.
struct Play {
    members: Members,
    now: Instant,
    config: config::Pool,
}

impl Play {
    fn new(health: Option<config::Health>, endpoints: &[Endpoint]) -> Self {
        let config = config::Pool { health, ..pool("app", &[]) };
        let members = Members::new(name("app"), Arc::new(config.clone()));
        let mut play = Self { members, now: Instant::now(), config };
        assert_eq!(play.name(endpoints), [], "a first state is no turn");
        play
    }
    fn apply(&mut self, change: Change) -> Vec<Turn> {
        self.members.apply(change, self.now)
    }
    fn name(&mut self, endpoints: &[Endpoint]) -> Vec<Turn> {
        self.apply(Change::Endpoints(endpoints.to_vec()))
    }
    fn set(&mut self, change: impl FnOnce(&mut config::Pool)) -> Vec<Turn> {
        change(&mut self.config);
        self.members.set(Arc::new(self.config.clone()), self.now)
    }
    fn id(&self, text: &str) -> BackendId {
        let found =
            self.show().into_iter().find(|m| m.removed.is_none() && &*m.backend.name == text);
        found.unwrap_or_else(|| panic!("{text} is not named")).backend.id
    }
    fn probed(&mut self, text: &str, good: bool) -> Vec<Turn> {
        let id = self.id(text);
        self.apply(Change::Probed { id, verdict: good.then_some(()).ok_or("refused".into()) })
    }
    /// Probes in a row: `+` a good one, `-` a bad one; the state after each.
    fn probes(&mut self, text: &str, row: &str) -> Vec<&'static str> {
        let one = |c| {
            self.probed(text, c == '+');
            self.state(text).0.word()
        };
        row.chars().map(one).collect()
    }
    fn unreached(&mut self, text: &str) -> Vec<Turn> {
        let id = self.id(text);
        self.apply(Change::Unreached { id, detail: "refused".into() })
    }
    fn resolved(&mut self, text: &str, addrs: &[SocketAddr]) -> Vec<Turn> {
        let id = self.id(text);
        self.apply(Change::Resolved { id, addrs: addrs.to_vec() })
    }
    fn wish(&mut self, text: &str, wish: Wish) -> Vec<Turn> {
        self.apply(Change::Operator { name: name(text), wish })
    }
    fn show(&self) -> Vec<Member> {
        self.members.show(|_| SystemTime::UNIX_EPOCH)
    }
    fn member(&self, text: &str) -> Member {
        let id = self.id(text);
        self.show().into_iter().find(|m| m.backend.id == id).unwrap()
    }
    fn state(&self, text: &str) -> (State, Reason) {
        let member = self.member(text);
        (member.state, member.reason)
    }
    /// Who gets new work by the next set.
    fn usable(&mut self) -> Vec<String> {
        let set = self.members.snapshot().candidates;
        set.iter().map(|c| c.backend.name.to_string()).collect()
    }
    fn pending(&mut self) -> bool {
        self.members.snapshot().pending
    }
}

#[test]
fn with_a_health_check_a_new_backend_is_unknown_and_gets_no_traffic() {
    let mut play = Play::new(health(2, 3), &[endpoint("a"), endpoint("b")]);
    assert_eq!(play.state("a"), (State::Unknown, Reason::NotProbed));
    assert_eq!(play.usable(), [""; 0]);
    let turns = play.probed("a", true);
    assert_eq!((turns.len(), turns[0].from, turns[0].to), (1, State::Unknown, State::Up));
    assert_eq!(play.usable(), ["a"], "its first good probe suffices, whatever rise says");
}

#[test]
fn without_a_health_check_a_new_backend_is_up() {
    let mut play = Play::new(None, &[endpoint("a")]);
    assert_eq!(play.state("a"), (State::Up, Reason::None));
    assert_eq!(play.usable(), ["a"]);
    assert!(play.member("a").backend.is_usable());
}

#[test]
fn a_first_bad_probe_decides_too() {
    let mut play = Play::new(health(2, 3), &[endpoint("a"), endpoint("b")]);
    let turns = play.probed("a", false);
    assert_eq!((turns[0].to, turns[0].reason), (State::Down, Reason::Probe));
    assert_eq!(turns[0].detail, "refused");
}

#[test]
fn requests_wait_only_while_nobody_was_ever_up_and_a_word_is_to_come() {
    let mut play = Play::new(health(2, 3), &[endpoint("a"), endpoint("b")]);
    assert!(play.pending());
    play.probed("a", false);
    assert!(play.pending(), "b is still to be heard of");
    play.probed("b", false);
    assert!(!play.pending(), "all have spoken");
    // One that comes later: nobody was up yet.
    play.name(&[endpoint("a"), endpoint("b"), endpoint("c")]);
    assert!(play.pending());
    play.probed("c", true);
    assert!(!play.pending());
    play.unreached("c");
    play.name(&[endpoint("a"), endpoint("b"), endpoint("c"), endpoint("d")]);
    assert!(!play.pending(), "c was up once: nobody waits for d");
}

#[test]
fn nobody_waits_for_one_who_gets_no_work_anyhow() {
    let mut play = Play::new(health(2, 3), &[endpoint("a"), weighted("b", 0)]);
    play.wish("a", Wish::Drain);
    assert!(!play.pending());
}

#[test]
fn a_name_that_does_not_resolve_is_a_down_backend() {
    for checked in [None, health(2, 3)] {
        let mut play = Play::new(checked.clone(), &[by_name("a")]);
        assert_eq!(play.state("a"), (State::Down, Reason::Unresolved));
        assert!(play.pending(), "the resolver has not answered yet");
        assert_eq!(play.resolved("a", &[]), []);
        assert!(play.members.is_stale(), "whoever waits for the first word must hear of it");
        assert!(!play.pending(), "it answered: there is no such name");
        let (state, reason) = match checked {
            None => (State::Up, Reason::None),
            Some(_) => (State::Unknown, Reason::NotProbed),
        };
        let turns = play.resolved("a", &[addr()]);
        assert_eq!((turns[0].from, turns[0].to), (State::Down, state));
        assert_eq!(play.state("a"), (state, reason));
        assert_eq!(play.member("a").backend.resolved().addrs(), [addr()]);
    }
}

#[test]
fn one_that_was_not_reached_is_down_at_once_and_a_connect_brings_it_back() {
    let mut play = Play::new(None, &[endpoint("a"), endpoint("b")]);
    let turns = play.unreached("a");
    assert_eq!((turns[0].to, turns[0].reason), (State::Down, Reason::Connect));
    assert!(!play.member("a").backend.is_usable(), "before any set is published");
    assert_eq!(play.unreached("a"), [], "said once");
    assert_eq!(play.probes("a", "-+"), ["down", "up"]);
    assert_eq!(play.usable(), ["a", "b"]);
}

#[test]
fn with_a_health_check_one_that_was_not_reached_must_rise_again() {
    let mut play = Play::new(health(2, 3), &[endpoint("a"), endpoint("b")]);
    play.probed("a", true);
    play.probed("b", true);
    play.unreached("a");
    assert_eq!(play.state("a"), (State::Down, Reason::Connect));
    assert_eq!(play.probes("a", "+-++"), ["down", "down", "down", "up"]);
}

#[test]
fn a_health_check_that_comes_by_a_reload_lets_no_bad_probe_bring_one_up() {
    let mut play = Play::new(None, &[endpoint("a"), endpoint("b")]);
    play.unreached("a");
    play.set(|config| config.health = health(2, 3));
    assert_eq!(play.state("a"), (State::Down, Reason::Connect));
    assert_eq!(play.probes("a", "-+-++"), ["down", "down", "down", "down", "up"]);
    assert_eq!(play.state("b"), (State::Up, Reason::None), "it was up and stays");
}

#[test]
fn a_health_check_that_goes_leaves_no_verdict_behind() {
    let mut play = Play::new(health(2, 3), &[endpoint("a"), endpoint("b"), endpoint("c")]);
    play.probed("a", false);
    play.unreached("b");
    let turns = play.set(|config| config.health = None);
    assert_eq!(turns.len(), 2, "a and c, of whom only probes spoke");
    assert_eq!(play.usable(), ["a", "c"]);
    assert_eq!(play.state("b"), (State::Down, Reason::Connect));
}

#[test]
fn while_nobody_is_usable_one_good_probe_suffices() {
    let mut play = Play::new(health(3, 1), &[endpoint("a"), endpoint("b")]);
    for name in ["a", "b"] {
        play.probes(name, "+-");
    }
    assert!(play.members.is_out());
    assert_eq!(play.probes("a", "+"), ["up"]);
    assert_eq!(play.probes("b", "+++"), ["down", "down", "up"], "rise counts again");
}

#[test]
fn one_with_a_weight_of_zero_gets_no_work_and_does_not_keep_the_pool_from_being_out() {
    let mut play = Play::new(None, &[weighted("a", 0)]);
    assert_eq!((play.state("a").0, play.usable()), (State::Up, vec![]));
    assert!(play.members.is_out());
    play.name(&[weighted("a", 2)]);
    assert_eq!(play.usable(), ["a"]);
    assert!(!play.members.is_out());
}

#[test]
fn a_backup_works_only_while_the_tier_before_has_nobody() {
    let mut play = Play::new(None, &[endpoint("a"), backup("b"), backup("c")]);
    assert_eq!(play.usable(), ["a"]);
    play.unreached("a");
    assert_eq!(play.usable(), ["b", "c"]);
    play.probed("a", true);
    assert_eq!(play.usable(), ["a"]);
}

#[test]
fn below_the_panic_threshold_only_those_whom_probes_speak_against_are_tried_too() {
    let all = ["a", "b", "c", "d", "e"].map(endpoint);
    let mut play = Play::new(health(1, 1), &all);
    play.set(|config| config.panic_threshold = Percent::new(0.5));
    for (name, good) in [("a", true), ("b", true), ("c", true), ("d", false), ("e", true)] {
        play.probed(name, good);
    }
    assert_eq!(play.usable(), ["a", "b", "c", "e"]);
    play.unreached("b");
    play.wish("c", Wish::Drain);
    assert_eq!(play.usable(), ["a", "e"], "2 of 4: not below");
    play.probed("e", false);
    assert!(!play.member("e").backend.is_usable(), "at once, though the next set takes it in");
    assert_eq!(play.usable(), ["a", "d", "e"], "1 of 4: the unhealthy, none refused or drained");
    assert!(play.member("d").backend.is_usable() && !play.member("b").backend.is_usable());
    play.probed("e", true);
    assert_eq!(play.usable(), ["a", "e"]);
    assert!(!play.member("d").backend.is_usable(), "the panic is over");
}

#[test]
fn a_panic_of_backups_calls_nobody_of_the_tier_before() {
    let mut play = Play::new(health(1, 1), &[endpoint("a"), backup("b"), backup("c"), backup("d")]);
    play.set(|config| config.panic_threshold = Percent::new(0.5));
    for (name, good) in [("a", false), ("b", true), ("c", false), ("d", false)] {
        play.probed(name, good);
    }
    assert_eq!(play.usable(), ["b", "c", "d"]);
    assert!(!play.member("a").backend.is_usable(), "nor does who comes back to it by a cookie");
    assert!(play.member("c").backend.is_usable());
}

#[test]
fn operators_come_before_health_and_stay_through_every_set() {
    let mut play = Play::new(health(1, 1), &[endpoint("a"), endpoint("b")]);
    play.probed("a", true);
    let turns = play.wish("a", Wish::Drain);
    assert_eq!((turns[0].to, turns[0].reason), (State::Drain, Reason::Operator));
    assert_eq!(play.probed("a", false), [], "health goes on unseen");
    assert_eq!(play.wish("a", Wish::Maintenance)[0].to, State::Maintenance);
    // Another address is another backend, and it goes and comes: the name counts.
    play.name(&[by_name("a"), endpoint("b")]);
    assert_eq!(play.state("a"), (State::Maintenance, Reason::Operator));
    play.name(&[endpoint("b")]);
    play.name(&[endpoint("b"), endpoint("a")]);
    assert_eq!(play.state("a"), (State::Maintenance, Reason::Operator));
    let turns = play.wish("a", Wish::Up);
    assert_eq!((turns[0].from, turns[0].to), (State::Maintenance, State::Down));
    assert_eq!(play.state("a"), (State::Down, Reason::Probe), "what the probe said meanwhile");
    assert_eq!(play.wish("nobody", Wish::Drain), []);
}

#[test]
fn a_backend_that_stays_keeps_its_counters_its_cost_and_its_health() {
    let mut play = Play::new(health(2, 3), &[endpoint("a"), endpoint("b")]);
    play.probes("a", "+--");
    let before = play.member("a");
    before.backend.picks().policy.add(7);
    before.backend.learn(Duration::from_millis(40), play.now);
    before.backend.hot.set_active(2);
    play.name(&[endpoint("c"), endpoint("b"), Endpoint { tier: 2, ..weighted("a", 9) }]);
    let after = play.member("a");
    assert!(Arc::ptr_eq(&before.backend, &after.backend));
    assert_eq!((after.weight, after.tier), (9, 2));
    assert_eq!((after.backend.picks().policy.get(), after.backend.active()), (7, 2));
    assert_eq!(after.backend.cost(play.now), Some(0.04));
    assert_eq!(play.probes("a", "-"), ["down"], "the third bad one in a row");
    // Another address under the name is another backend.
    play.name(&[by_name("a")]);
    assert_ne!(play.member("a").backend.id, before.backend.id);
    assert_eq!(play.member("a").backend.picks().policy.get(), 0);
    assert_eq!(play.member("a").backend.cost(play.now), None, "that is of another machine");
}

#[test]
fn what_was_counted_under_a_name_stays_told_at_whatever_address_it_is() {
    let mut play = Play::new(None, &[endpoint("a"), endpoint("b")]);
    play.set(|config| config.drain = Timeout::secs(60));
    let count = |backend: &Arc<Backend>, n| {
        backend.picks().policy.add(n);
        backend.cells.by_class[2].add(n);
        backend.cells.request_duration.observe(SECOND);
    };
    let told = |play: &Play| {
        let one = |m: &Member| {
            let cells = m.cells();
            let times: u64 = cells.request_duration.counts().iter().sum();
            (m.picks().policy.get(), cells.by_class[2].get(), times)
        };
        let all = play.show();
        let sum = all.iter().filter(|m| &*m.backend.name == "a").map(one);
        let sum = sum.fold((0, 0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2));
        let own = one(&play.member("a"));
        assert_eq!(own, sum, "who has the name tells all of it, once");
        let by_id = play.members.show_one(play.id("a"), |_| SystemTime::UNIX_EPOCH);
        assert_eq!(by_id.map(|m| one(&m)), Some(own));
        own
    };
    let first = play.member("a").backend;
    first.hot.set_active(1);
    count(&first, 10);
    play.name(&[by_name("a"), endpoint("b")]);
    assert_eq!(told(&play), (10, 10, 1));
    count(&first, 1);
    count(&play.member("a").backend, 5);
    assert_eq!(told(&play), (16, 16, 3), "both count on");
    // The first comes back while it drains, and goes again.
    play.name(&[endpoint("a"), endpoint("b")]);
    assert!(Arc::ptr_eq(&play.member("a").backend, &first));
    assert_eq!(told(&play), (16, 16, 3));
    play.name(&[by_name("a"), endpoint("b")]);
    first.hot.set_active(0);
    play.members.forget(play.now);
    assert_eq!(play.show().len(), 2, "the first is forgotten");
    count(&first, 1);
    assert_eq!(told(&play), (17, 17, 4), "and whoever still has it may count");
    drop(first);
    play.members.forget(play.now);
    assert_eq!(told(&play), (17, 17, 4));
    // The last one of a name that nobody names tells it still.
    let last = play.member("a").backend;
    last.hot.set_active(1);
    play.name(&[endpoint("b")]);
    let told =
        play.show().into_iter().find(|m| !m.is_told_elsewhere() && m.removed.is_some()).unwrap();
    assert_eq!((told.picks().policy.get(), told.line), (17, BackendId(0)));
    last.hot.set_active(0);
    play.members.forget(play.now);
    play.name(&[endpoint("a"), endpoint("b")]);
    assert_eq!(play.member("a").picks().policy.get(), 0, "a name that went begins anew");
}

#[test]
fn a_removed_one_drains_until_its_last_lease_or_its_time() {
    let mut play = Play::new(None, &["a", "b", "c"].map(endpoint));
    play.set(|config| config.drain = Timeout::secs(60));
    let all = ["a", "b", "c"].map(|text| play.member(text).backend);
    all.iter().for_each(|backend| backend.hot.set_active(1));
    let turns = play.name(&[endpoint("a")]);
    let said: Vec<_> = turns.iter().map(|t| (&*t.backend, t.to, t.reason)).collect();
    assert_eq!(said, [("b", State::Drain, Reason::Removed), ("c", State::Drain, Reason::Removed)]);
    assert!(!all[1].is_usable());
    let left = |play: &mut Play, seconds| {
        play.now += seconds * SECOND;
        play.members.forget(play.now);
        play.show().iter().map(|m| m.backend.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(left(&mut play, 59), ["a", "b", "c"]);
    all[1].hot.set_active(0);
    assert_eq!(left(&mut play, 0), ["a", "c"], "its last lease ended");
    assert!(!model::is_over(&all[2]));
    assert_eq!(left(&mut play, 1), ["a"], "its time is over");
    assert!(model::is_over(&all[2]), "what still runs on it is cut");
    assert!(play.members.show_one(all[2].id, |_| SystemTime::UNIX_EPOCH).is_none());
}

#[test]
fn one_that_comes_back_while_it_drains_goes_on_where_it_was() {
    let mut play = Play::new(health(2, 3), &[endpoint("a"), endpoint("b")]);
    play.probes("a", "+");
    let before = play.member("a").backend;
    before.hot.set_active(1);
    play.name(&[endpoint("b")]);
    play.members.forget(play.now);
    assert!(play.members.backend(before.id).is_none());
    let turns = play.name(&[endpoint("a"), endpoint("b")]);
    assert_eq!((turns[0].from, turns[0].to), (State::Drain, State::Up));
    assert!(Arc::ptr_eq(&before, &play.member("a").backend) && before.is_usable());
}

#[test]
fn a_drained_ones_time_ends_and_begins_again() {
    let mut play = Play::new(None, &[endpoint("a")]);
    let backend = play.member("a").backend;
    for _ in 0..2 {
        play.wish("a", Wish::Drain);
        play.now += 299 * SECOND;
        play.members.forget(play.now);
        assert!(!model::is_over(&backend));
        play.now += SECOND;
        play.members.forget(play.now);
        assert!(model::is_over(&backend), "pool.drain is five minutes");
        play.wish("a", Wish::Up);
        play.members.forget(play.now);
        assert!(!model::is_over(&backend));
    }
}

#[test]
fn of_two_with_one_name_the_first_counts() {
    let mut play = Play::new(None, &[weighted("a", 5), weighted("a", 7), endpoint("b")]);
    assert_eq!(play.show().len(), 2);
    assert_eq!(play.member("a").weight, 5);
    assert_eq!(play.usable(), ["a", "b"]);
}

#[test]
fn a_set_is_in_the_order_of_names_and_members_in_that_of_the_config() {
    let mut play = Play::new(None, &["c", "a", "b"].map(endpoint));
    assert_eq!(play.usable(), ["a", "b", "c"]);
    let shown: Vec<String> = play.show().iter().map(|m| m.backend.name.to_string()).collect();
    assert_eq!(shown, ["c", "a", "b"]);
    // Another order alone is no other set.
    play.name(&["a", "b", "c"].map(endpoint));
    assert!(!play.members.is_stale());
}

#[test]
fn sizes_of_tables_come_from_what_is_configured_and_never_from_health() {
    let all: Vec<Endpoint> = (0..656).map(|i| endpoint(&format!("b{i}"))).collect();
    let mut play = Play::new(None, &all);
    let before = play.members.snapshot().sizes;
    for i in 0..300 {
        play.unreached(&format!("b{i}"));
    }
    assert_eq!(play.usable().len(), 356);
    assert_eq!(play.members.snapshot().sizes, before);
}

#[test]
fn what_is_said_of_nobody_does_nothing() {
    let mut play = Play::new(None, &[endpoint("a")]);
    play.usable();
    let id = BackendId(77);
    assert_eq!(play.apply(Change::Probed { id, verdict: Err("gone".into()) }), []);
    assert_eq!(play.apply(Change::Unreached { id, detail: "gone".into() }), []);
    assert_eq!(play.apply(Change::Resolved { id, addrs: vec![] }), []);
    assert!(!play.members.is_stale());
    assert_eq!(play.usable(), ["a"]);
}

#[test]
fn turns_are_counted_by_their_new_state() {
    let mut play = Play::new(health(1, 1), &[endpoint("a")]);
    play.probes("a", "+-+-+");
    play.wish("a", Wish::Drain);
    play.wish("a", Wish::Maintenance);
    let turns = &play.member("a").backend.cells.turns;
    let counted = State::ALL.map(|state| turns[state as usize].get());
    assert_eq!(counted, [3, 2, 0, 1, 1, 0, 0], "in the order of `State::ALL`");
}

impl Play {
    /// Three backends with probes, all up, and passive health over half of them.
    fn watched() -> Self {
        let mut play = Self::new(health(1, 1), &["a", "b", "c"].map(endpoint));
        play.set(|config| config.outlier = outlier(0.5));
        for name in ["a", "b", "c"] {
            play.probed(name, true);
        }
        play
    }
    fn failing(&mut self, text: &str) -> Vec<Turn> {
        let id = self.id(text);
        self.apply(Change::Failing { id, detail: "5 in a row".into() })
    }
    fn silent(&mut self, text: &str) -> Vec<Turn> {
        let id = self.id(text);
        self.apply(Change::Silent { id, detail: "no byte".into() })
    }
    fn after(&mut self, seconds: u32) -> Vec<Turn> {
        self.now += seconds * SECOND;
        self.apply(Change::Tick)
    }
}

#[test]
fn ejections_and_probes_are_one_state() {
    let mut play = Play::watched();
    assert_eq!(play.failing("a")[0].to, State::Ejected);
    assert_eq!(play.state("a"), (State::Ejected, Reason::ConsecutiveFailures));
    assert!(!play.member("a").backend.is_usable());
    assert_eq!(play.failing("b"), [], "half of three is one");
    assert_eq!(play.probes("a", "++-+"), ["ejected", "ejected", "down", "ejected"]);
    assert_eq!(play.after(9), []);
    assert_eq!(play.after(1)[0].to, State::Up);
    play.failing("a");
    assert_eq!(play.after(19), [], "the second time is longer");
    assert_eq!(play.after(1)[0].to, State::Up);
}

#[test]
fn who_is_ejected_is_better_than_nobody() {
    let mut play = Play::watched();
    play.failing("a");
    play.probes("b", "-");
    assert_eq!(play.usable(), ["c"]);
    let turns: Vec<_> = play.unreached("c").into_iter().map(|t| (t.backend, t.to)).collect();
    assert_eq!(turns, [(name("a"), State::Up), (name("c"), State::Down)]);
    assert_eq!(play.usable(), ["a"]);
    assert_eq!(play.failing("a"), [], "the last one stays");
    // One that comes up alone is not held for what it did before it went down.
    let mut play = Play::watched();
    play.failing("a");
    play.probes("a", "-");
    play.probes("b", "-");
    play.probes("c", "-");
    assert_eq!(play.probes("a", "+"), ["up"]);
}

#[test]
fn silence_ends_by_a_word_or_by_a_probe_after_its_time_and_then_on_trial() {
    let mut play = Play::watched();
    let backend = play.member("a").backend;
    play.silent("a");
    assert!(backend.is_silent() && play.state("a") == (State::Ejected, Reason::Silence));
    let id = play.id("a");
    assert_eq!(play.apply(Change::Heard { id })[0].to, State::Up);
    assert!(!backend.is_silent());
    play.silent("a");
    assert_eq!(play.after(100), [], "its probes are not good");
    assert_eq!(play.probed("a", true)[0].to, State::Up);
    // One more than there is, until it answers.
    backend.hot.set_active(0);
    assert!(backend.hot.take(u32::MAX) && !backend.hot.take(u32::MAX));
    play.apply(Change::Heard { id });
    assert!(backend.hot.take(u32::MAX));
    // A good probe before its time is over counts when it is.
    play.silent("a");
    assert_eq!(play.probed("a", true), []);
    assert_eq!(play.after(100)[0].to, State::Up);
}

#[test]
fn whoever_is_silent_goes_but_the_last_one_and_for_longer_until_it_answers() {
    let all: Vec<Endpoint> = ["a", "b", "c"].map(endpoint).into();
    let mut play = Play::new(None, &all);
    play.set(|config| config.outlier = outlier(0.1));
    assert_eq!((play.silent("a").len(), play.silent("b").len()), (1, 1), "two of three");
    assert_eq!((play.silent("c"), play.failing("c")), (vec![], vec![]), "the last one");
    assert_eq!(play.after(10).len(), 2);
    // Nobody asked them for long: that is no time in which they worked.
    play.after(100);
    for name in ["a", "b"] {
        play.silent(name);
    }
    assert_eq!((play.after(19), play.after(1).len()), (vec![], 2), "twice as long");
    let id = play.id("a");
    play.apply(Change::Heard { id });
    play.after(20);
    play.silent("a");
    assert_eq!(play.after(10).len(), 1, "it answered, and worked");
}

#[test]
fn a_panic_tries_who_was_ejected_and_never_who_refused() {
    let mut play = Play::watched();
    play.set(|config| config.panic_threshold = Percent::new(0.7));
    play.failing("a");
    assert_eq!(play.usable(), ["a", "b", "c"]);
    play.unreached("b");
    assert_eq!(play.usable(), ["a", "c"]);
    play.wish("a", Wish::Maintenance);
    assert_eq!(play.usable(), ["c"]);
}

#[test]
fn who_returns_to_a_pool_in_service_comes_to_its_weight_by_and_by() {
    let mut play = Play::new(health(1, 1), &[weighted("a", 3), endpoint("b"), endpoint("c")]);
    let from = Percent::new(0.1).unwrap();
    let curve = config::Curve::Linear;
    play.set(|config| {
        config.slow_start = Some(config::SlowStart { window: 30 * SECOND, from, curve });
    });
    let weights = |play: &mut Play| -> Vec<u32> {
        play.members.snapshot().candidates.iter().map(|c| c.weight).collect()
    };
    for name in ["a", "b", "c"] {
        assert_eq!(play.probes(name, "+"), ["up"], "it was there from the beginning");
    }
    assert_eq!(weights(&mut play), [3, 1, 1]);
    assert_eq!(play.probes("a", "-+"), ["down", "slow_start"]);
    assert_eq!(weights(&mut play), [30, 100, 100]);
    assert!(play.member("a").backend.is_usable());
    play.after(15);
    assert_eq!(weights(&mut play), [150, 100, 100]);
    play.name(&[weighted("a", 3), endpoint("b"), endpoint("d")]);
    assert_eq!(play.probes("d", "+"), ["slow_start"], "one that is added, too");
    assert_eq!(weights(&mut play), [150, 100, 10]);
    assert_eq!(play.after(15)[0].to, State::Up);
    assert_eq!(weights(&mut play), [300, 100, 50]);
    assert_eq!(play.after(15)[0].to, State::Up);
    assert_eq!((weights(&mut play), play.members.due()), (vec![3, 1, 1], None));
    // Nobody else is there: it has all the work in any case.
    for name in ["a", "b", "d"] {
        play.probes(name, "-");
    }
    assert_eq!(play.probes("a", "+"), ["up"]);
    assert_eq!(play.probes("b", "+"), ["slow_start"]);
    play.set(|config| config.slow_start = None);
    assert_eq!(play.state("b").0, State::Up, "at once, and not at the next step");
}

#[test]
fn tables_keep_their_sizes_and_others_their_keys_while_somebody_ramps() {
    use crate::pool::balance::{Ask, Policies, Seeds};
    use crate::pool::testing::every_policy;
    let seeds = Seeds { shared: 7, own: 7 };
    for (word, balance) in every_policy() {
        let owners = |weights: &[u32], scale: u32| -> Vec<usize> {
            let set = crate::pool::testing::weighted(weights);
            let sizes = Sizes { scale, ..Sizes::of(std::iter::repeat_n(1, weights.len())) };
            let built = Policies::default().make(&balance, &set, seeds, sizes).unwrap();
            let now = Instant::now();
            let key = |seed: u64| (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let ask = |seed| Ask::new(now, key(seed)).hash(Some(key(seed)));
            (0..20_000).map(|seed| built.pick(&set, &ask(seed)).unwrap()).collect()
        };
        let (whole, half) = (owners(&[1, 1, 1, 1], 1), owners(&[100, 100, 100, 50], 100));
        let share = half.iter().filter(|i| **i == 3).count() as f64 / 20_000.0;
        // Idle backends are told apart by (active + 1) / weight: the smaller weight waits for load.
        let waits = ["least_connections", "p2c", "peak_ewma"].contains(&&*word);
        assert!(
            if waits { share < 0.15 } else { (share - 1.0 / 7.0).abs() < 0.02 },
            "{word}: {share}"
        );
        if balance.hash.is_some() {
            let moved = whole.iter().zip(&half).filter(|(a, b)| a != b && **a != 3).count();
            assert!(moved < 400, "{word}: {moved} of 20,000 moved between others");
        }
    }
}
