//! The examples of RFC 7541 C, and whatever else can be said.
use super::*;
use crate::message::Known;
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn said(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, Wrong> {
    let mut all = Vec::new();
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    decoder.decode(block, |name, value, _| {
        all.push(format!("{}: {}", text(name), text(value)));
        Ok(())
    })?;
    Ok(all)
}

const REQUESTS: [&[&str]; 3] = [
    &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
    &[
        ":method: GET",
        ":scheme: http",
        ":path: /",
        ":authority: www.example.com",
        "cache-control: no-cache",
    ],
    &[
        ":method: GET",
        ":scheme: https",
        ":path: /index.html",
        ":authority: www.example.com",
        "custom-key: custom-value",
    ],
];

const ANSWERS: [&[&str]; 3] = [
    &[
        ":status: 302",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ],
    &[
        ":status: 307",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ],
    &[
        ":status: 200",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:22 GMT",
        "location: https://www.example.com",
        "content-encoding: gzip",
        "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    ],
];

#[test]
fn the_examples_of_the_rfc_say_what_they_should() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let coded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::default();
        for (block, wanted) in blocks.iter().zip(REQUESTS) {
            assert_eq!(said(&mut decoder, &bytes(block)).unwrap(), wanted);
        }
    }
    // With a table of 256 bytes, which pushes out.
    let plain = [
        "3fe1 01 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 \
         303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 \
         677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 \
         553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    let coded = [
        "3fe1 01 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b \
         ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 \
         821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed \
         4ee5 b106 3d50 07",
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::default();
        for (block, wanted) in blocks.iter().zip(ANSWERS) {
            assert_eq!(said(&mut decoder, &bytes(block)).unwrap(), wanted);
        }
    }
}

#[test]
fn what_is_no_block_is_refused() {
    for bad in [
        "80",             // number 0
        "be",             // of an empty table
        "82ff7f",         // far beyond it
        "ffffffffffffff", // a number without an end
        "ff8080808080",
        "0014 78",       // a name that is cut
        "0001 7805 61",  // a value that is cut
        "00",            // nothing behind it
        "0084 ffffffff", // Huffman's end inside
        "0081 00",       // filled with zeros
        "0082 1fff",     // filled with more than seven bits
        "3fe1ff03",      // a table above its bound
        "823f e11f",     // a bound behind a field
        "7f",
    ] {
        let mut decoder = Decoder::default();
        assert_eq!(said(&mut decoder, &bytes(bad)), Err(Wrong::Block), "{bad}");
    }
    let mut decoder = Decoder::default();
    assert_eq!(decoder.decode(&[0x82], |_, _, _| Err(Stop)), Err(Wrong::Stopped));
}

#[test]
fn every_byte_has_a_code() {
    let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    for from in 0..all.len() {
        let mut coded = Vec::new();
        huffman::encode(&all[from..], &mut coded);
        assert_eq!(coded.len(), huffman::len(&all[from..]));
        let mut again = b"x".to_vec();
        assert!(huffman::decode(&coded, &mut again));
        assert_eq!(again[1..], all[from..]);
    }
}

#[test]
fn what_is_said_twice_is_kept_and_what_changes_is_not() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let mut lens = Vec::new();
    for n in 0..100 {
        encoder.begin();
        encoder.status(200);
        encoder.field(b"Server", Some(Known::Server), b"nginx", Keep::Again);
        encoder.field(b"X-Odd", None, b"the same each time", Keep::Again);
        let unique = format!("{n:032}");
        encoder.field(b"X-Unique", None, unique.as_bytes(), Keep::Again);
        encoder.field(b"Cookie", Some(Known::Cookie), b"secret", Keep::Secret);
        encoder.length(n);
        lens.push(encoder.block().len());
        assert!(encoder.block().windows(7).any(|w| w == b"\x1f\x11\x06secr"), "never indexed");
        let fields = said(&mut decoder, encoder.block()).unwrap();
        let unique = format!("x-unique: {unique}");
        let length = format!("content-length: {n}");
        let odd = "x-odd: the same each time";
        assert_eq!(
            fields,
            [":status: 200", "server: nginx", odd, &unique, "cookie: secret", &length]
        );
    }
    // Two of one byte, one that is written out with its name, two secrets and a number.
    assert!(lens[2] < lens[0] - 24 && lens[99] <= lens[2] + 1, "{lens:?}");
}

#[test]
fn a_smaller_table_is_told_before_the_next_block() {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let mut block = |encoder: &mut Encoder| {
        encoder.begin();
        encoder.field(b"x-a", None, b"1", Keep::Again);
        let block = encoder.block().to_vec();
        assert_eq!(said(&mut decoder, &block).unwrap(), ["x-a: 1"]);
        block
    };
    block(&mut encoder);
    block(&mut encoder);
    assert_eq!(block(&mut encoder), [0xbe]);
    encoder.bound(0);
    encoder.bound(100);
    let told = block(&mut encoder);
    assert_eq!(told[..3], [0x20, 0x3f, 100 - 31]);
    assert_eq!(block(&mut encoder), [0xbe]);
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..8)) {
        let mut decoder = Decoder::default();
        for block in blocks {
            let mut total = 0;
            let _ = decoder.decode(&block, |name, value, _| {
                total += name.len() + value.len();
                if total > 100_000 { Err(Stop) } else { Ok(()) }
            });
        }
    }

    #[test]
    fn whatever_is_encoded_is_decoded_as_the_same(
        blocks in prop::collection::vec(
            prop::collection::vec((0usize..12, prop::collection::vec(any::<u8>(), 0..60), 0u8..3, 0u8..40), 0..12),
            1..20,
        ),
        bounds in prop::collection::vec((0usize..20, 0usize..300), 0..3),
    ) {
        let names = ["server", "date", "x-a", "x-b", "te", "cookie", "vary", "x-request-id",
            "a-much-longer-name-than-those", "accept", "content-type", "via"];
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for (at, fields) in blocks.iter().enumerate() {
            for (_, most) in bounds.iter().filter(|(when, _)| *when == at) {
                encoder.bound(*most);
            }
            encoder.begin();
            let mut wanted = Vec::new();
            for (name, value, keep, repeated) in fields {
                let name = names[*name];
                // Some that are said again.
                let value = if *repeated < 20 { vec![b'r'; usize::from(*repeated)] } else { value.clone() };
                let keep = [Keep::Again, Keep::Never, Keep::Secret][usize::from(*keep)];
                encoder.field(name.to_ascii_uppercase().as_bytes(), Known::of(name.as_bytes()), &value, keep);
                wanted.push((name.as_bytes().to_vec(), value));
            }
            let mut seen = Vec::new();
            decoder.decode(encoder.block(), |name, value, _| {
                seen.push((name.to_vec(), value.to_vec()));
                Ok(())
            }).unwrap();
            prop_assert_eq!(seen, wanted);
        }
    }
}
