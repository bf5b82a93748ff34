//! `evenkeel top`: pools and backends live on a terminal, with keys to drain and undrain.

mod layout;
mod screen;
mod seen;

use super::args::{Client, Place};
use super::ask::{Asker, Error};
use super::ops::path;
use screen::{Key, Screen};
use seen::{Seen, View};
use serde_json::json;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// From one look to the next.
const EVERY: Duration = Duration::from_secs(1);

/// What is shown between two looks.
struct Top {
    asker: Asker,
    seen: Seen,
    view: View,
    /// Which backend the keys are for.
    chosen: usize,
    /// What the last key or look brought.
    said: String,
}

pub(in crate::cli) async fn top(client: &Client) -> Result<ExitCode, Error> {
    let asker = Asker::find(client).await?;
    let mut top =
        Top { asker, seen: Seen::default(), view: View::default(), chosen: 0, said: String::new() };
    top.look().await?;
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
    let (mut screen, mut keys) = Screen::open().map_err(failed)?;
    let mut tick = tokio::time::interval(EVERY);
    loop {
        screen.draw(|wide, high| top.frame(wide, high)).map_err(failed)?;
        tokio::select! {
            _ = tick.tick() => {
                // A proxy that restarts comes back; what is shown until then is said to be old.
                if let Err(error) = top.look().await {
                    top.said = format!("{error}");
                }
            }
            key = keys.recv() => match key {
                None | Some(Key::Quit) => return Ok(ExitCode::SUCCESS),
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
        self.chosen = self.chosen.min(self.view.backends().count().saturating_sub(1));
        self.said.clear();
        Ok(())
    }

    fn frame(&self, wide: usize, high: usize) -> Vec<String> {
        let mut lines = self.view.lines(Some(self.chosen), wide, high.saturating_sub(1));
        let help = "up/down choose  d drain  u undrain  q quit";
        let last = if self.said.is_empty() { help } else { &self.said };
        lines.push(seen::cut(last, wide));
        lines
    }

    async fn press(&mut self, key: Key) {
        let all = self.view.backends().count();
        let state = match key {
            Key::Up => return self.chosen = self.chosen.saturating_sub(1),
            Key::Down => return self.chosen = (self.chosen + 1).min(all.saturating_sub(1)),
            Key::Drain => "drain",
            Key::Undrain => "up",
            Key::Quit => return,
        };
        let Some(row) = self.view.backends().nth(self.chosen) else { return };
        let place = Place { pool: row.pool.clone(), backend: row.name.clone() };
        let asked = self.asker.ask("PATCH", &path(&place), Some(json!({ "state": state }))).await;
        let looked = self.look().await;
        self.said = match asked.and(looked) {
            Ok(()) => format!("{}/{}: {state}", place.pool, place.backend),
            Err(error) => error.to_string(),
        };
    }
}
