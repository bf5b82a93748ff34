//! Answers of 503 by a backend that bears only so much, and by a page: played each millisecond.
use super::*;

const MS: Duration = Duration::from_millis(1);

/// A backend, and who asks it.
#[derive(Clone, Copy, Debug)]
struct Crowd {
    /// Who asks again this many ms after an answer, and what that takes.
    honest: usize,
    pause: u64,
    work: u64,
    /// It turns away at once what is more.
    bears: u32,
    /// Who asks for a page that turns everybody away, this many ms after its answer,
    page: usize,
    every: u64,
    /// and which takes so long.
    slow: u64,
    /// in the first part of so many ms: all the time with 0.
    pulse: (u64, u64),
}

const SITE: Crowd = Crowd {
    honest: 20,
    pause: 10,
    work: 50,
    bears: 1000,
    page: 4,
    every: 6,
    slow: 4,
    pulse: (0, 0),
};

/// What it came to each second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    good: u32,
    limit: u32,
}

/// When it asks next, or when it is answered and whether well.
#[derive(Clone, Copy, Debug)]
struct Client {
    asks: u64,
    done: Option<(u64, bool)>,
}

struct Play {
    adaptive: Adaptive,
    now: Instant,
    rng: fastrand::Rng,
    ms: u64,
}

impl Play {
    fn new(min: u32) -> Self {
        let now = Instant::now();
        let adaptive = Adaptive::new(Bounds { min, max: 200 }, 7, now);
        Self { adaptive, now, rng: fastrand::Rng::with_seed(7), ms: 0 }
    }

    fn run(&mut self, crowd: Crowd, seconds: u64) -> Vec<Second> {
        // When each asks next, and when what it asked for is done.
        let mut next: Vec<Client> = (0..crowd.honest + crowd.page)
            .map(|_| Client { asks: self.ms + self.rng.u64(..20), done: None })
            .collect();
        let mut seconds = vec![Second::default(); seconds as usize];
        let start = self.ms;
        for second in &mut seconds {
            for _ in 0..1000 {
                (self.ms, self.now) = (self.ms + 1, self.now + MS);
                self.step(crowd, start, &mut next, second);
            }
            second.limit = self.adaptive.limit();
        }
        seconds
    }

    fn step(&mut self, crowd: Crowd, start: u64, all: &mut [Client], second: &mut Second) {
        let first = self.rng.usize(..all.len());
        let (from, of) = crowd.pulse;
        let is_off = of > 0 && (self.ms - start) % of >= from;
        let is_good = |it: &&Client| it.done.is_some_and(|(_, good)| good);
        let mut active = all.iter().filter(|it| it.done.is_some()).count() as u32;
        let mut works = all.iter().filter(is_good).count() as u32;
        for n in (first..all.len()).chain(0..first) {
            let (client, is_page) = (&mut all[n], n >= crowd.honest);
            let pause = if is_page { crowd.every } else { crowd.pause };
            if let Some((_, good)) = client.done.filter(|(done, _)| *done <= self.ms) {
                *client = Client { asks: self.ms + pause, done: None };
                let took = End::Took(MS * crowd.work as u32);
                let (begun, end) = (self.now - MS * 50, if good { took } else { End::Turned });
                self.adaptive.learn(Heard { begun, end, active }, self.now);
                (active, works) = (active - 1, works - u32::from(good));
                second.good += u32::from(good);
            } else if client.done.is_none() && client.asks <= self.ms && !(is_page && is_off) {
                client.asks = self.ms + pause;
                if active < self.adaptive.limit() {
                    let good = !is_page && works < crowd.bears;
                    let takes =
                        if good { crowd.work } else { crowd.slow } * self.rng.u64(75..=125) / 100;
                    client.done = Some((self.ms + takes, good));
                    (active, works) = (active + 1, works + u32::from(good));
                }
            }
        }
    }
}

/// Of these seconds the share in which less than 70 % of this was answered.
fn low(seconds: &[Second], usual: u32) -> f64 {
    let low = seconds.iter().filter(|it| it.good * 10 < usual * 7).count();
    low as f64 / seconds.len() as f64
}

#[test]
fn a_page_that_turns_everybody_away_closes_a_backend_for_moments_only() {
    for (honest, page, every, slow, pulse) in [
        (6, 4, 6, 4, (0, 0)),
        (20, 3, 3, 4, (0, 0)),
        (60, 4, 6, 4, (0, 0)),
        (60, 40, 3, 4, (0, 0)),
        // What takes its time holds the places.
        (6, 12, 1, 50, (0, 0)),
        (20, 40, 1, 50, (0, 0)),
        (20, 20, 1, 200, (0, 0)),
        (20, 3, 3, 4, (500, 1000)),
        (20, 3, 3, 4, (1000, 6000)),
        (60, 10, 3, 4, (300, 1000)),
        (20, 3, 3, 4, (300, 1000)),
        (20, 3, 3, 4, (200, 400)),
        (20, 20, 1, 50, (500, 1000)),
    ] {
        for young in [false, true] {
            let crowd = Crowd { honest, page, every, slow, pulse, ..SITE };
            let mut play = Play::new(4);
            if !young {
                play.run(Crowd { page: 0, ..crowd }, 10);
            }
            let seconds = play.run(crowd, 200);
            let usual = honest as u32 * 1000 / 60;
            let (share, what) = (low(&seconds[5..], usual), format!("{crowd:?}, young: {young}"));
            println!("{share:.2} {what}");
            let most = if pulse.1 > 0 { 0.3 } else { 0.1 };
            assert!(share <= most, "{what}: low in {share} of all");
        }
    }
}

fn median(of: impl Iterator<Item = u32>) -> u32 {
    let mut all: Vec<u32> = of.collect();
    all.sort_unstable();
    all[all.len() / 2]
}

/// A backend that turns away whatever is beyond what it can do, at once.
#[test]
fn who_turns_away_what_is_too_much_gets_what_it_can_do() {
    let mut play = Play::new(4);
    for (bears, seconds) in [(40, 20), (180, 30), (10, 15), (40, 200), (4, 60)] {
        let crowd = Crowd { honest: 400, page: 0, bears, ..SITE };
        let seconds = play.run(crowd, seconds);
        let limit = median(seconds[seconds.len() / 2..].iter().map(|it| it.limit));
        let far = seconds[5..].iter().filter(|it| it.limit > bears * 3).count();
        println!("{limit} of {bears}, {far} seconds of {} far above", seconds.len());
        assert!((bears / 2..=bears * 2).contains(&limit), "{limit} of {bears}");
        assert!(far * 10 <= seconds.len(), "{bears}: {far} of {}", seconds.len());
    }
    // Less than the least limit.
    let seconds = play.run(Crowd { honest: 100, page: 0, bears: 2, ..SITE }, 120);
    let far = seconds[5..].iter().filter(|it| it.limit > 8).count();
    println!("{far} {:?}", seconds.iter().map(|it| it.limit).collect::<Vec<_>>());
    assert!(far <= 24, "{far} of 120");
}

/// It is found that a page turns everybody away; then the page is gone, and too much comes.
#[test]
fn an_overload_behind_such_a_page_is_heeded() {
    for gap in [0, 1, 4] {
        let mut play = Play::new(4);
        play.run(Crowd { page: 0, ..SITE }, 10);
        let found = play.run(SITE, 30).last().unwrap().limit;
        assert!(found > 25, "the page is known: {found}");
        play.run(Crowd { page: 0, ..SITE }, gap);
        let seconds = play.run(Crowd { honest: 100, page: 0, bears: 10, ..SITE }, 30);
        let limits: Vec<u32> = seconds.iter().map(|it| it.limit).collect();
        println!("{gap}: {limits:?}");
        let from = if gap > GONE_AFTER { 2 } else { 20 };
        assert!(median(limits[from..].iter().copied()) <= 20, "{gap}: {limits:?}");
    }
}

/// Seconds after which a page is no longer asked for.
const GONE_AFTER: u64 = 3;
