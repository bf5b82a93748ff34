//! Resolves the names of backends again and again; the last answer is kept on error.
use crate::pool::Pool;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

/// Looks a name up. Injected, so that tests script it.
pub trait Resolver: Send + Sync {
    /// Every address of a name.
    fn resolve(&self, name: &str) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send + '_>>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, name: &str) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send + '_>> {
        let _ = name;
        todo!()
    }
}

/// Keeps the names of a pool's backends resolved (`Change::Resolved`) for as long as the pool is wanted.
pub async fn run(pool: Arc<Pool>, resolver: Arc<dyn Resolver>) {
    let _ = (pool, resolver);
    todo!()
}
