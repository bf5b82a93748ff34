//! A pool as a whole: leases, publication, the waits of the first verdict.
