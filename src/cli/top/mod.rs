//! `evenkeel top`: pools and backends live on a terminal, with keys to drain and undrain.

mod chosen;
mod layout;
mod screen;
mod seen;
mod signals;

use super::args::Client;
use super::ask::{Asker, Error};
use super::ops::path;
use chosen::Chosen;
use rustix::process::Signal;
use screen::{Key, Screen};
use seen::{Seen, View};
use serde_json::json;
use signals::Signals;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// From one look to the next.
const EVERY: Duration = Duration::from_secs(1);

/// What is shown between two looks.
struct Top {
    asker: Asker,
    seen: Seen,
    view: View,
    chosen: Chosen,
    /// What the last key or look brought.
    said: String,
}

pub(in crate::cli) async fn top(client: &Client) -> Result<ExitCode, Error> {
    let asker = Asker::find(client).await?;
    let view = View::default();
    let chosen = Chosen::first(&view);
    let mut top = Top { asker, seen: Seen::default(), view, chosen, said: String::new() };
    top.look().await?;
    top.chosen = Chosen::first(&top.view);
    if client.json || !std::io::stdout().is_terminal() {
        // Rates need two looks.
        tokio::time::sleep(EVERY).await;
        top.look().await?;
        match client.json {
            true => say!("{}", top.view.json()),
            false => put!("{}", top.view.lines(None, usize::MAX, usize::MAX).join("\n") + "\n"),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let failed = |error: std::io::Error| Error::Usage(format!("use the terminal: {error}"));
    // Before the terminal is taken: whoever ends this gets it back as it was.
    let mut ends = Signals::of_end().map_err(failed)?;
    tokio::select! {
        biased;
        // As a shell says who was ended so.
        signal = ends.recv() => Ok(ExitCode::from(128 + signal.as_raw() as u8)),
        done = live(&mut top) => done.map_err(failed).map(|()| ExitCode::SUCCESS),
    }
}

/// Shows it until the terminal says enough.
async fn live(top: &mut Top) -> io::Result<()> {
    let mut stops = Signals::of_stop()?;
    let (mut screen, mut keys) = Screen::open()?;
    let mut tick = tokio::time::interval(EVERY);
    loop {
        screen.draw(|wide, high| top.frame(wide, high))?;
        tokio::select! {
            _ = tick.tick() => {
                // A proxy that restarts comes back; what is shown until then is said to be old.
                if let Err(error) = top.look().await {
                    top.said = format!("{error}");
                }
            }
            signal = stops.recv() => match signal {
                Signal::TSTP => screen.stop()?,
                _ => screen.take()?,
            },
            key = keys.recv() => match key {
                None | Some(Key::Quit) => return Ok(()),
                Some(Key::Stop) => screen.stop()?,
                Some(key) => top.press(key).await,
            },
        }
    }
}

impl Top {
    async fn look(&mut self) -> Result<(), Error> {
        let status = self.asker.get("/v1/status").await?.body;
        let pools = self.asker.get("/v1/pools").await?.body;
        self.view = self.seen.look(&status, &pools, Instant::now());
        self.chosen.look(&self.view);
        self.said.clear();
        Ok(())
    }

    fn frame(&self, wide: usize, high: usize) -> Vec<String> {
        let mark = Some(self.chosen.mark());
        let mut lines = self.view.lines(mark, wide, high.saturating_sub(1));
        let last = match self.chosen.who() {
            _ if !self.said.is_empty() => self.said.clone(),
            Ok(_) => "up/down choose  d drain  u undrain  q quit".into(),
            Err(gone) => gone,
        };
        lines.push(seen::cut(&last, wide));
        lines
    }

    async fn press(&mut self, key: Key) {
        let state = match key {
            Key::Up => return self.chosen.step(&self.view, false),
            Key::Down => return self.chosen.step(&self.view, true),
            Key::Drain => "drain",
            Key::Undrain => "up",
            Key::Stop | Key::Quit => return,
        };
        // Nobody is chosen: that is said already.
        let Ok(place) = self.chosen.who().cloned() else { return };
        let asked = self.asker.ask("PATCH", &path(&place), Some(json!({ "state": state }))).await;
        let looked = self.look().await;
        self.said = match asked.and(looked) {
            Ok(()) => format!("{}/{}: {state}", place.pool, place.backend),
            Err(error) => error.to_string(),
        };
    }
}
