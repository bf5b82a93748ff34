//! Threads, sockets, reload, signals: the only floor with side effects on the process.
