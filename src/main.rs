//! The binary: chooses the allocator and hands over to the command line.
//!
//! mimalloc, because a proxy with hundreds of requests in work frees and asks for the same few
//! sizes all the time, of which glibc keeps only seven at hand; and because it gives memory back
//! when a crowd has gone, where glibc cannot.

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives back what the calling thread does not need. The one `unsafe` of the program beside `net::unsent`.
#[cfg(feature = "mimalloc")]
#[allow(unsafe_code)]
fn tidy() {
    // SAFETY: it has no precondition: it looks at the calling thread's own heap and gives pages
    // back that hold nothing.
    unsafe { libmimalloc_sys::mi_collect(false) }
}

#[cfg(not(feature = "mimalloc"))]
fn tidy() {}

fn main() -> std::process::ExitCode {
    // The allocator asks for huge pages, and the kernel would fill every hole between what lives with
    // one: measured, an idle connection then costs four times as much. Where it cannot be told, so be
    // it.
    let _ = nix::sys::prctl::set_thp_disable(true);
    evenkeel::cli::main(tidy)
}
