//! Members through every change: who is up, why, and who is usable.
