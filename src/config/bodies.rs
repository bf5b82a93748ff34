//! Bytes of bodies that would be held and never come, since no request may bring so many.
use super::chains::{Chain, Held, Owner, chains};
use super::draft::Draft;
use super::faults::Faults;
use super::problem::Problem;

/// What is said of more bytes than a body may have on each way that it is of.
pub(super) fn bodies_in_vain(draft: &Draft, faults: &mut Faults) {
    let all = chains(draft);
    for (owner, said) in &draft.retries {
        for (held, said) in &said.held {
            let here = all.iter().filter(|chain| holds(chain, owner, *held));
            let vain: Option<Vec<_>> = here.map(|chain| shorter(chain, owner, *held)).collect();
            let first = vain.and_then(|vain| vain.into_iter().next());
            let Some((bytes, whose, most)) = first else { continue };
            let what = format!("{bytes} bytes are never there: {whose}.limits.body is {most}");
            let problem = Problem::new(&said.at, said.key.clone(), what);
            faults.push(problem.hint("leave it out, or write no more than limits.body"));
        }
    }
}

/// Whether the word of this place holds on this way.
fn holds(chain: &Chain<'_>, owner: &Owner, held: Held) -> bool {
    match held {
        Held::Again => {
            chain.last(|over| over.retry.body.is_some()).is_some_and(|(_, last)| last == owner)
        }
        Held::Copied => chain.layers.iter().any(|(one, _)| one == owner),
    }
}

/// How many bytes are said, whose word makes all bodies shorter, and how long that lets them be. A
/// word nearer to the request is no contradiction, it is what places are for.
fn shorter<'c>(chain: &'c Chain<'_>, owner: &Owner, held: Held) -> Option<(u64, &'c Owner, u64)> {
    let effective = chain.effective();
    let bytes = match held {
        Held::Again => effective.retry.body as u64,
        Held::Copied => chain.route?.mirror.as_ref()?.body.0,
    };
    let most = effective.limits.body.filter(|most| *most < bytes)?;
    let own = chain.layers.iter().position(|(one, _)| one == owner)?;
    let (at, whose) = chain.last(|over| over.limits.body.is_some())?;
    (at <= own).then_some((bytes, whose, most))
}
