//! Finds the proxy that a command is for: what is said, its socket, its address.
use super::args;
use super::ask::{Asker, Error, Place, place};
use super::find::Found;
use super::known::READY;
use super::whose::Whose;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// Where a proxy is that says nothing else.
const USUAL: &str = "127.0.0.1:9900";
/// Who is asked there only since a file does not say where its proxy is has so long to say whether it is that.
const GUESS: Duration = Duration::from_secs(5);

impl Asker {
    /// # Errors
    ///
    /// What is wrong with what was said, or nobody is there.
    pub(super) async fn find(client: &args::Client) -> Result<Self, Error> {
        let token = client.token_file.as_deref().map(token).transpose()?;
        if let Some(said) = &client.admin {
            return Ok(Self { place: place(said)?, token, whose: None });
        }
        let file = &client.config;
        let found = match Found::of(file) {
            Ok(found) => found,
            Err(why) => return guess(file, &[usual_socket(file), usual()], token).await.ok_or(why),
        };
        let socket = found.state.as_ref().map(|state| state.join(crate::admin::SOCKET));
        if let Some(socket) = &socket
            && UnixStream::connect(socket).await.is_ok()
        {
            return Ok(Self { place: Place::Unix(socket.clone()), token: None, whose: None });
        }
        let token =
            token.or_else(|| found.token.as_deref().and_then(|path| self::token(path).ok()));
        let mut guesses = Vec::new();
        if socket.is_none() {
            guesses.push(usual_socket(file));
        }
        if found.bind.is_none() && found.is_unclear {
            guesses.extend(found.maybe.iter().filter_map(|at| place(at).ok()).chain([usual()]));
        }
        if let Some(asker) = guess(file, &guesses, token.clone()).await {
            return Ok(asker);
        }
        let Some(at) = found.bind else {
            let file = file.display();
            let tried = match socket {
                Some(socket) => format!("nothing listens at {}", socket.display()),
                None => format!("{file} cannot be read as far as server.state"),
            };
            let why = if found.is_unclear { "cannot be read as far as" } else { "has no" };
            let guessed: Vec<_> = guesses.iter().map(ToString::to_string).collect();
            let guessed = match guessed.is_empty() {
                true => String::new(),
                false => format!("; nobody who runs by it answers at {}", guessed.join(" or ")),
            };
            let what = format!(
                "{tried}, and {file} {why} admin.bind{guessed}; --admin says where the proxy is"
            );
            return Err(Error::Unreached(what));
        };
        let whose = Whose { file: file.clone(), folder: found.state, is_sure: false };
        Ok(Self { place: place(&at)?, token, whose: found.is_whole.then_some(whose) })
    }
}

fn token(path: &Path) -> Result<String, Error> {
    let failed = |error| Error::Usage(format!("read {}: {error}", path.display()));
    std::fs::read_to_string(path).map(|text| text.trim().to_string()).map_err(failed)
}

fn usual() -> Place {
    Place::Tcp(USUAL.into())
}

fn usual_socket(file: &Path) -> Place {
    let folder: PathBuf = file.parent().unwrap_or(Path::new("")).join("state");
    Place::Unix(folder.join(crate::admin::SOCKET))
}

/// Who says at one of these places that it runs by this very file.
async fn guess(file: &Path, places: &[Place], token: Option<String>) -> Option<Asker> {
    for at in places {
        let whose = Whose { file: file.to_path_buf(), folder: None, is_sure: true };
        let asker = Asker { place: at.clone(), token: token.clone(), whose: Some(whose) };
        let asked = tokio::time::timeout(GUESS, asker.get(READY)).await;
        if matches!(asked, Ok(Ok(_) | Err(Error::No(..)))) {
            return Some(asker);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_place_is_that_of_a_file_that_says_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("proxy.toml");
        std::fs::write(&file, "").unwrap();
        let found = Found::of(&file).unwrap();
        assert_eq!(found.bind.as_deref(), Some(USUAL));
        let socket = found.state.unwrap().join(crate::admin::SOCKET);
        assert_eq!(usual_socket(&file), Place::Unix(socket));
    }
}
