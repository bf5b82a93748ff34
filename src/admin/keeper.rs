//! Which of several proxies one is: the folder in which it keeps what it was told.
use crate::net;
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

/// The field of `/readyz` that says which folder `server.state` is.
pub const KEEPER: &str = "evenkeel-state";

/// Names a folder by whatever path it is reached: two proxies do not share one. `None` where nothing is there, or
/// that cannot be told.
pub fn keeper(folder: &Path) -> Option<String> {
    let (device, inode) = net::file(folder)?;
    let both = [device.to_le_bytes(), inode.to_le_bytes()].concat();
    Some(format!("{:016x}", xxh3_64(&both)))
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
    }
}
