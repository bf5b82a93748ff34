//! How much memory there is: the machine's, or that of the tightest cgroup around us if it is less.
use crate::config::Memory;
use std::path::Path;

/// The bytes that `server.memory` means here.
pub(super) fn bytes(memory: Memory) -> usize {
    match memory {
        Memory::Bytes(size) => usize::try_from(size.0).unwrap_or(usize::MAX),
        Memory::Share(share) => (available(Path::new("/")) as f64 * share.get()) as usize,
    }
}

/// Bytes of memory below `root`, which is `/` but in tests.
fn available(root: &Path) -> u64 {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let machine = read("proc/meminfo").and_then(|text| total(&text)).unwrap_or(u64::MAX);
    let groups = read("proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().flat_map(files).filter_map(|file| read(&file)?.trim().parse().ok());
    limits.fold(machine, u64::min)
}

/// `MemTotal` of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The files that may limit us by a line of `/proc/self/cgroup`: those of our group and of every
/// group around it (`cgroups(7)`). Inside a container ours is mounted as the outermost.
fn files(line: &str) -> Vec<String> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(kinds), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (mount, file) = match kinds {
        "" => ("sys/fs/cgroup", "memory.max"),
        kinds if kinds.split(',').any(|kind| kind == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let groups = Path::new(path.trim_start_matches('/')).ancestors();
    groups
        .map(|group| Path::new(mount).join(group).join(file).to_string_lossy().into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ByteSize, Percent};

    #[test]
    fn the_tightest_limit_counts() {
        let folder = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(available(folder.path()), u64::MAX);
        put("proc/meminfo", "MemTotal:       1000 kB\nMemFree: 1 kB\n");
        assert_eq!(available(folder.path()), 1_024_000);
        put("proc/self/cgroup", "4:memory:/old\n0::/a/b\n");
        put("sys/fs/cgroup/memory.max", "max\n");
        put("sys/fs/cgroup/a/memory.max", "5000\n");
        put("sys/fs/cgroup/a/b/memory.max", "7000\n");
        assert_eq!(available(folder.path()), 5000);
        put("sys/fs/cgroup/memory/old/memory.limit_in_bytes", "3000\n");
        assert_eq!(available(folder.path()), 3000);
    }

    #[test]
    fn a_share_is_of_this_machine() {
        assert_eq!(bytes(Memory::Bytes(ByteSize(7))), 7);
        let half = bytes(Memory::Share(Percent::new(0.5).unwrap()));
        assert!(half > 1 << 20 && half < usize::MAX / 2);
    }
}
