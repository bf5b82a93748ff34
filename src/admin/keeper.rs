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
    Some(digest(net::file(folder)?, b""))
}

/// Names a file twice: by its folder, whatever path that is reached by, and its name there, since whoever edits it
/// may put another one in its place; and by what it is at this moment, since a link may lead to it. `None` where the
/// folder cannot be looked at.
pub fn file(path: &Path) -> Option<String> {
    let name = path.file_name()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let named = digest(net::file(folder.unwrap_or(Path::new(".")))?, name.as_encoded_bytes());
    Some(net::file(path).map_or(named.clone(), |it| format!("{named} {}", digest(it, b""))))
}

/// Whether a file is the one that was named so, by one of its names.
pub fn is_file(said: &str, path: &Path) -> bool {
    let is_said = |one: &str| said.split(' ').any(|said| said == one);
    file(path).is_some_and(|own| own.split(' ').any(is_said))
}

fn digest((device, inode): (u64, u64), name: &[u8]) -> String {
    let all = [&device.to_le_bytes()[..], &inode.to_le_bytes(), name].concat();
    format!("{:016x}", xxh3_64(&all))
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
        assert!(named.as_ref().is_some_and(|n| n.len() == 16 && Some(n) != name.as_ref()));
        assert_eq!(file(&link.join("a")), named);
        assert_ne!(file(&one.path().join("b")), named);
        assert_ne!(file(&two.path().join("a")), named);
        assert_eq!(file(&two.path().join("none/a")), None);
        assert_eq!(file(Path::new("a")), file(Path::new("./a")));
        // One that is there is known by a link to it, too, and by another name.
        let (a, other) = (one.path().join("a"), two.path().join("other"));
        std::fs::write(&a, "").unwrap();
        std::os::unix::fs::symlink(&a, &other).unwrap();
        std::fs::hard_link(&a, one.path().join("c")).unwrap();
        for other in [other, one.path().join("c")] {
            assert_ne!(file(&a), file(&other));
            assert!(is_file(&file(&a).unwrap(), &other) && is_file(&file(&other).unwrap(), &a));
        }
        // Whoever edits it puts another in its place.
        std::fs::write(one.path().join("new"), "").unwrap();
        let before = file(&a).unwrap();
        std::fs::rename(one.path().join("new"), &a).unwrap();
        assert!(file(&a).unwrap() != before && is_file(&before, &a));
        assert!(!is_file(&before, &one.path().join("b")) && !is_file("", &a));
    }
}
