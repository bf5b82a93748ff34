//! Which of several proxies one is: the folder in which it keeps what it was told, and the file it runs by.
use crate::net;
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

/// The field of `/readyz` that says which folder `server.state` is.
pub const KEEPER: &str = "evenkeel-state";

/// The field of `/readyz` that says which file the configuration is.
pub const FILE: &str = "evenkeel-config";

/// Names a folder by whatever path it is reached: two proxies do not share one. `None` where nothing is there, or
/// that cannot be told.
pub fn keeper(folder: &Path) -> Option<String> {
    let (device, inode) = net::file(folder)?;
    let both = [device.to_le_bytes(), inode.to_le_bytes()].concat();
    Some(format!("{:016x}", xxh3_64(&both)))
}

/// Names a file by its folder, whatever path that is reached by, and its name there: whoever edits it may put
/// another one in its place. `None` where the folder cannot be looked at.
pub fn file(path: &Path) -> Option<String> {
    let name = path.file_name()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let (device, inode) = net::file(folder.unwrap_or(Path::new(".")))?;
    let all = [&device.to_le_bytes()[..], &inode.to_le_bytes(), name.as_encoded_bytes()].concat();
    Some(format!("{:016x}", xxh3_64(&all)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_name_by_whatever_path() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let link = two.path().join("link");
        std::os::unix::fs::symlink(one.path(), &link).unwrap();
        let name = keeper(one.path());
        assert!(name.as_ref().is_some_and(|name| name.len() == 16));
        assert_eq!(keeper(&link), name);
        assert_ne!(keeper(two.path()), name);
        assert_eq!(keeper(&two.path().join("none")), None);
        // So has a file in it, be it there or not.
        let named = file(&one.path().join("a"));
        assert!(
            named.as_ref().is_some_and(|named| named.len() == 16 && Some(named) != name.as_ref())
        );
        assert_eq!(file(&link.join("a")), named);
        assert_ne!(file(&one.path().join("b")), named);
        assert_ne!(file(&two.path().join("a")), named);
        assert_eq!(file(&two.path().join("none/a")), None);
        assert_eq!(file(Path::new("a")), file(Path::new("./a")));
    }
}
