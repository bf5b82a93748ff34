//! The book against a plain list that does the same the slow way.
use super::*;
use std::net::SocketAddr;
use std::time::Duration;

fn flow(client: u8, port: u16) -> Flow {
    Flow { peer: SocketAddr::from(([10, 0, 0, client], port)), local: None }
}

#[test]
fn who_is_quiet_for_longest_gives_way_and_who_is_known_does_not() {
    let (now, mut book) = (Instant::now(), Book::default());
    let at = |s| now + Duration::from_secs(s);
    let (a, b) = (book.begin(flow(1, 1), at(0), 'a'), book.begin(flow(1, 2), at(1), 'b'));
    let c = book.begin(flow(2, 1), at(2), 'c');
    assert_eq!(book.quietest(Class::New), Some((a, at(0))));
    book.touch(a, Class::New, at(3));
    assert_eq!(book.quietest(Class::New), Some((b, at(1))));
    assert_eq!(
        (book.quietest_of(flow(1, 0).peer.ip()), book.quietest_of(flow(2, 0).peer.ip())),
        (Some(b), Some(c))
    );
    book.touch(b, Class::Known, at(4));
    book.touch(c, Class::Leaving, at(5));
    assert_eq!(
        (book.quietest_of(flow(1, 0).peer.ip()), book.quietest_of(flow(2, 0).peer.ip())),
        (Some(a), None)
    );
    assert_eq!(book.end(a), Some((flow(1, 1), 'a')));
    assert_eq!((book.quietest(Class::New), book.quietest(Class::Known)), (None, Some((b, at(4)))));
    assert_eq!((book.find(&flow(1, 1)), book.find(&flow(1, 2)), book.len()), (None, Some(b), 2));
    assert_eq!(book.begin(flow(3, 1), at(6), 'd'), a, "a number is used again");
    assert_eq!(book.all().count(), 3);
}

#[test]
fn a_long_walk_agrees_with_a_plain_list() {
    let (now, mut rng) = (Instant::now(), fastrand::Rng::with_seed(11));
    let mut book = Book::default();
    // (number, flow, class), the one that is quiet for longest first.
    let mut plain: Vec<(u32, Flow, Class)> = Vec::new();
    for step in 0..20_000u64 {
        let at = now + Duration::from_millis(step);
        let one = flow(rng.u8(0..5), rng.u16(0..20));
        let place = plain.iter().position(|(_, flow, _)| *flow == one);
        assert_eq!(book.find(&one), place.map(|place| plain[place].0));
        match place {
            None => plain.push((book.begin(one, at, step), one, Class::New)),
            Some(place) => {
                let (number, ..) = plain.remove(place);
                if rng.u8(0..3) == 0 {
                    assert_eq!(book.end(number).map(|(flow, _)| flow), Some(one));
                } else {
                    let class = classes()[rng.usize(0..3)];
                    book.touch(number, class, at);
                    plain.push((number, one, class));
                }
            }
        }
        for class in classes() {
            let first = plain.iter().find(|(.., of)| *of == class).map(|(number, ..)| *number);
            assert_eq!(book.quietest(class).map(|(number, _)| number), first);
        }
        for client in 0..5 {
            let ip = flow(client, 0).peer.ip();
            let first = plain.iter().find(|(_, f, of)| *of == Class::New && f.peer.ip() == ip);
            assert_eq!(book.quietest_of(ip), first.map(|(number, ..)| *number));
        }
        assert_eq!(book.len(), plain.len());
    }
    for (number, ..) in plain {
        assert!(book.end(number).is_some() && book.end(number).is_none());
    }
    assert!(book.clients.is_empty() && book.by_flow.is_empty());
}
