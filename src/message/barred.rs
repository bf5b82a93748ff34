//! Fields that no trailer section carries on.
use super::fields::Fields;
use std::sync::Arc;

/// Names that a rule takes out of heads or says anew: behind a body they are not said either (RFC 9110
/// 6.5.1: who joins trailers to a head must not be led by them).
#[derive(Clone, Debug)]
pub struct Barred(Arc<[Box<str>]>);

impl Barred {
    /// These names, compared case-insensitively; `None` where there are none.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let names: Arc<[Box<str>]> = names.into_iter().map(Box::from).collect();
        (!names.is_empty()).then_some(Self(names))
    }

    /// Takes them out.
    #[cold]
    pub fn strip(&self, trailers: Option<&mut Fields>) {
        if let Some(trailers) = trailers {
            self.0.iter().for_each(|name| trailers.remove_named(name.as_bytes()));
        }
    }
}
