//! Probes against real sockets that answer, refuse, stand still and lie.
