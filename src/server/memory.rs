//! How much memory there is: the machine's, or the cgroup's if that is less.
use crate::config::Memory;

/// The bytes that `server.memory` means here.
pub(super) fn bytes(memory: Memory) -> usize {
    match memory {
        Memory::Bytes(size) => usize::try_from(size.0).unwrap_or(usize::MAX),
        Memory::Share(share) => (available() as f64 * share.get()) as usize,
    }
}

fn available() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| text.lines().find_map(|l| l.strip_prefix("MemTotal:").map(str::to_string)))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok())
        .map_or(u64::MAX, |kib| kib * 1024);
    let limit = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let group = limit("/sys/fs/cgroup/memory.max")
        .or_else(|| limit("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    machine.min(group.unwrap_or(u64::MAX))
}
