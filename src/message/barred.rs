//! Fields that no trailer section carries on.
use super::head::Fields;
use std::sync::Arc;

/// Names that a rule takes out of heads or says anew: behind a body they are not said either (RFC 9110
/// 6.5.1: who joins trailers to a head must not be led by them).
#[derive(Clone, Debug, Default)]
pub struct Barred(Option<Arc<[Box<str>]>>);

impl Barred {
    /// These names, compared case-insensitively.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let names: Arc<[Box<str>]> = names.into_iter().map(Box::from).collect();
        Self((!names.is_empty()).then_some(names))
    }

    /// Takes them out.
    #[inline]
    pub fn strip(&self, trailers: Option<&mut Fields>) {
        if let (Some(names), Some(trailers)) = (&self.0, trailers) {
            names.iter().for_each(|name| trailers.remove_named(name.as_bytes()));
        }
    }
}
