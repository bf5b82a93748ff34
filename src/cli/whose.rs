//! Whether a proxy that answers is the one of a file, by what it says of itself.
use crate::admin::{self, FILE, KEEPER};
use hyper::HeaderMap;
use std::io::ErrorKind;
use std::path::PathBuf;

/// What a file says of its proxy.
#[derive(Clone, Debug)]
pub(super) struct Whose {
    /// The file, as it was named.
    pub(super) file: PathBuf,
    /// The folder that it keeps its words in, where that can be told.
    pub(super) folder: Option<PathBuf>,
    /// The file does not say where its proxy is: it is who says that it runs by it, and nobody else.
    pub(super) is_sure: bool,
}

impl Whose {
    /// Whether what a proxy says of itself tells that it is another one: it runs by another file and has another
    /// folder. Its own file may have another `server.state` by now, and another file may name the same folder.
    pub(super) fn is_other(&self, said: &HeaderMap) -> bool {
        let said = |field| said.get(field).and_then(|value| value.to_str().ok());
        let (folder, file) = (said(KEEPER), said(FILE));
        if file.is_some_and(|said| admin::is_file(said, &self.file)) {
            return false;
        }
        let Some(own) = self.folder.as_deref().filter(|_| !self.is_sure) else {
            return self.is_sure || file.is_some();
        };
        match own.metadata() {
            // Who may not look whether it is there cannot tell.
            Err(error) if error.kind() != ErrorKind::NotFound => false,
            // The folder of one may have been removed.
            _ if folder.is_none() => file.is_some(),
            _ => folder != admin::keeper(own).as_deref(),
        }
    }

    /// What tells it from this one.
    pub(super) fn unlike(&self) -> String {
        let file = self.file.display();
        match &self.folder {
            Some(folder) => format!(
                "does not run by {file} and keeps what it was told in another folder than {} (server.state)",
                folder.display()
            ),
            None => format!("does not run by {file}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn of(at: &Path) -> Whose {
        Whose { file: at.join("p"), folder: Some(at.join("state")), is_sure: false }
    }

    /// What the proxy of a folder says, and of a file.
    fn says(folder: Option<&Whose>, file: Option<&str>) -> HeaderMap {
        let folder = folder.and_then(|of| admin::keeper(of.folder.as_deref()?));
        let file = file.map(|it| (FILE, it.to_string()));
        let all = folder.map(|it| (KEEPER, it)).into_iter().chain(file);
        all.map(|(name, it)| (name.parse().unwrap(), it.parse().unwrap())).collect()
    }

    #[test]
    fn who_has_neither_the_file_nor_the_folder_is_another_one() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (whose, other) = (of(one.path()), of(two.path()));
        let (own, state) = (admin::file(&whose.file), whose.folder.as_deref().unwrap());
        let foreign = admin::file(&other.file);
        let (own, foreign) = (own.as_deref(), foreign.as_deref());
        fs::create_dir(other.folder.as_ref().unwrap()).unwrap();
        let is_other = |whose: &Whose, folder, file| whose.is_other(&says(folder, file));
        // The own folder is not there, then is.
        for _ in 0..2 {
            for (folder, file, is) in [
                (None, None, false),
                (None, own, false),
                (None, foreign, true),
                (Some(&other), None, true),
                (Some(&other), foreign, true),
                (Some(&other), own, false),
            ] {
                assert_eq!(is_other(&whose, folder, file), is, "{folder:?} {file:?}");
            }
            fs::create_dir_all(state).unwrap();
        }
        assert!(!is_other(&whose, Some(&whose), foreign), "another file names the same folder");
        // By whatever way, and where the way cannot be gone.
        fs::remove_dir(state).unwrap();
        symlink(other.folder.as_ref().unwrap(), state).unwrap();
        assert!(!is_other(&whose, Some(&other), foreign));
        fs::remove_file(state).unwrap();
        symlink("state", state).unwrap();
        assert!(!is_other(&whose, Some(&other), foreign), "a link to itself: nobody can look");
        // Where the folder cannot be told, the file alone tells; where nothing can be, it must.
        let untold = Whose { folder: None, ..whose.clone() };
        let sure = Whose { is_sure: true, ..untold.clone() };
        for (file, is, is_sure) in [(own, false, false), (None, false, true), (foreign, true, true)]
        {
            assert_eq!(is_other(&untold, Some(&other), file), is, "{file:?}");
            assert_eq!(is_other(&sure, Some(&other), file), is_sure, "{file:?}");
        }
        assert!(!untold.unlike().contains("server.state"));
    }
}
