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
    /// The folder that it keeps its words in.
    pub(super) folder: PathBuf,
}

impl Whose {
    /// Whether what a proxy says of itself tells that it is another one: it runs by another file and has another
    /// folder. Its own file may have another `server.state` by now, and another file may name the same folder.
    pub(super) fn is_other(&self, said: &HeaderMap) -> bool {
        let said = |field| said.get(field).and_then(|value| value.to_str().ok());
        let (folder, file) = (said(KEEPER), said(FILE));
        if file.is_some() && file == admin::file(&self.file).as_deref() {
            return false;
        }
        match self.folder.metadata() {
            // Who may not look whether it is there cannot tell.
            Err(error) if error.kind() != ErrorKind::NotFound => false,
            // The folder of one may have been removed.
            _ if folder.is_none() => file.is_some(),
            _ => folder != admin::keeper(&self.folder).as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn who_has_neither_the_file_nor_the_folder_is_another_one() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let of = |at: &std::path::Path| Whose { file: at.join("p"), folder: at.join("state") };
        let (whose, other) = (of(one.path()), of(two.path()));
        let says = |folder: Option<&Whose>, file: Option<&Whose>| {
            let folder = folder.and_then(|of| admin::keeper(&of.folder)).map(|it| (KEEPER, it));
            let file = file.and_then(|of| admin::file(&of.file)).map(|it| (FILE, it));
            let all = folder.into_iter().chain(file);
            let said: HeaderMap =
                all.map(|(name, it)| (name.parse().unwrap(), it.parse().unwrap())).collect();
            whose.is_other(&said)
        };
        fs::create_dir(&other.folder).unwrap();
        // The own folder is not there, then is.
        for _ in 0..2 {
            for (folder, file, is) in [
                (None, None, false),
                (None, Some(&whose), false),
                (None, Some(&other), true),
                (Some(&other), None, true),
                (Some(&other), Some(&other), true),
                (Some(&other), Some(&whose), false),
            ] {
                assert_eq!(says(folder, file), is, "{folder:?} {file:?}");
            }
            fs::create_dir_all(&whose.folder).unwrap();
        }
        assert!(!says(Some(&whose), Some(&other)), "another file names the same folder");
        // By whatever way, and where the way cannot be gone.
        fs::remove_dir(&whose.folder).unwrap();
        symlink(&other.folder, &whose.folder).unwrap();
        assert!(!says(Some(&other), Some(&other)));
        fs::remove_file(&whose.folder).unwrap();
        symlink("state", &whose.folder).unwrap();
        assert!(!says(Some(&other), Some(&other)), "a link to itself: nobody can look");
    }
}
