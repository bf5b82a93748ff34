//! Standard output. A pipe that is closed early, as by `head`, is no fault: the command goes on to its
//! exit code, unheard.
use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};

/// Writes to standard output.
///
/// # Errors
///
/// The kernel's, but for a closed pipe.
pub(super) fn write(out: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(out).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Writes text. Where that cannot be done, on a full disk, the process ends with 1: half an answer
/// must not look like a whole one.
pub(super) fn print(text: Arguments<'_>) {
    if let Err(error) = write(text.to_string().as_bytes()) {
        let _ = writeln!(io::stderr(), "evenkeel: write to standard output: {error}");
        std::process::exit(1);
    }
}

/// As [`println!`], but for a closed pipe.
macro_rules! say {
    ($($what:tt)*) => { $crate::cli::out::print(format_args!("{}\n", format_args!($($what)*))) };
}

/// As [`print!`], but for a closed pipe.
macro_rules! put {
    ($($what:tt)*) => { $crate::cli::out::print(format_args!($($what)*)) };
}
