//! Metrics, health and status over plain views.
