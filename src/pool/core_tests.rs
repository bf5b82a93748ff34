//! What holds of a whole pool: reload, publication, leases among threads.
