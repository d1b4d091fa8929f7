// SPDX-License-Identifier: Apache-2.0
//! Tests of [`super`], in a file of their own for length.

use http::uri::Authority;
use proptest::prelude::*;

use super::*;

/// What grpcio 1.85.3, on the C core 58.0.0, sent first for two calls of `GetGpu` at `unix:///tmp/cw.sock`.
const GRPCIO: &[u8] = include_bytes!("../tests/recorded/grpcio-1.85.bin");

/// `:authority: %2Ftmp%2Fx.sock` and `:authority: /tmp/x.sock`, as Python's hpack 4 encodes them.
const CODED: [&[u8]; 2] = [
    &[0x41, 0x8b, 0x54, 0x58, 0x53, 0x4d, 0x6a, 0x8b, 0x0f, 0x95, 0xd0, 0x72, 0x75],
    &[0x41, 0x88, 0x61, 0x34, 0xd6, 0xc7, 0x95, 0xd0, 0x72, 0x75],
];

fn passed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    Scan::new().pass(&mut bytes);
    bytes
}

/// A frame of this kind and these flags on the first stream.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags, 0, 0, 0, 1]);
    frame.extend(payload);
    frame
}

/// A connection of these frames.
fn connection(frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    std::iter::once(preface).chain(frames).flatten().collect()
}

/// A text as HPACK has it, not coded.
fn text(text: &[u8]) -> Vec<u8> {
    let length = text.len();
    let mut bytes = match length {
        0..127 => vec![length as u8],
        _ => {
            let rest = length - 127;
            vec![127, (rest & 0x7f) as u8 | 0x80, (rest >> 7) as u8]
        }
    };
    bytes.extend(text);
    bytes
}

/// A literal authority, in one of the ways in which it can be written.
fn authority(way: usize, value: &[u8]) -> Vec<u8> {
    let name: &[&[u8]] = &[
        &[0x41],
        &[0x01],
        &[0x11],
        b"\x40\x0a:authority",
        b"\x00\x0a:authority",
        b"\x10\x88\xb8\x3b\x53\x39\xec\x32\x7d\x7f",
    ];
    [name[way % name.len()], &text(value)].concat()
}

/// HPACK's Huffman code for what paths are made of, as far as the tests need it: character, code, length.
fn coded(value: &str) -> Vec<u8> {
    const COMMON: [(char, u32, u32); 16] = [
        ('0', 0, 5),
        ('2', 2, 5),
        ('a', 3, 5),
        ('c', 4, 5),
        ('e', 5, 5),
        ('o', 7, 5),
        ('s', 8, 5),
        ('t', 9, 5),
        (' ', 0x14, 6),
        ('%', 0x15, 6),
        ('.', 0x17, 6),
        ('/', 0x18, 6),
        ('3', 0x19, 6),
        ('F', 97, 7),
        ('x', 0x79, 7),
        ('&', 0xf8, 8),
    ];
    let mut bits = String::new();
    for character in value.chars() {
        let (_, code, length) = COMMON.into_iter().find(|(known, ..)| *known == character).unwrap();
        bits.push_str(&format!("{code:0length$b}", length = length as usize));
    }
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    (0..bits.len()).step_by(8).map(|at| u8::from_str_radix(&bits[at..at + 8], 2).unwrap()).collect()
}

#[test]
fn what_the_c_core_sends_is_mended_and_all_else_is_passed_on() {
    let mended = passed(GRPCIO);
    let changed: Vec<_> = (0..GRPCIO.len()).filter(|at| mended[*at] != GRPCIO[*at]).collect();
    assert_eq!(changed.len(), 1, "one character of one authority: the second request says that it is as before");
    let start = GRPCIO.windows(13).position(|bytes| bytes == b"tmp%2Fcw.sock").unwrap();
    assert_eq!(&mended[start..start + 13], b"tmp-2Fcw.sock");
}

#[test]
fn huffman_code_is_mended_bit_by_bit() {
    for (block, expected) in CODED.into_iter().zip([&b".2Ftmp.2Fx.sock"[..], b"3tmp3x.sock"]) {
        let sent = connection([frame(HEADERS, 4, block)]);
        let mended = passed(&sent);
        assert_eq!(mended.len(), sent.len());
        let block = &mended[mended.len() - block.len() + 2..];
        assert_eq!(decoded(block), expected);
    }
}

/// Decodes Huffman code, as far as its codes have five to seven bits: by the order of the characters by code.
fn decoded(bytes: &[u8]) -> Vec<u8> {
    const FIVE: &[u8] = b"012aceiost";
    const SIX: &[u8] = b" %-./3456789=A_bdfghlmnpru";
    const SEVEN: &[u8] = b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz";
    let (mut text, mut code, mut length) = (Vec::new(), 0_usize, 0);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |place| usize::from(byte >> place & 1))) {
        code = code << 1 | bit;
        length += 1;
        let found = match length {
            5 => FIVE.get(code),
            6 => code.checked_sub(20).and_then(|index| SIX.get(index)),
            7 => code.checked_sub(92).and_then(|index| SEVEN.get(index)),
            _ => None,
        };
        if let Some(character) = found {
            text.push(*character);
            (code, length) = (0, 0);
        }
    }
    text
}

#[test]
fn each_way_to_write_an_authority_is_known_and_no_other_field_is_touched() {
    for way in 0..6 {
        // Before it and after it other literals, indexed fields and a new size of the table.
        let before: &[u8] = b"\x83\x40\x05:path\x0a/a%2Fb/c?d\x3f\xe1\x1f\x86";
        let after: &[u8] = b"\x00\x04host\x03a%b\x0f\x00\x03a%b\xff\x80\x01";
        let block = |value| [before, &authority(way, value), after].concat();
        let sent = connection([frame(HEADERS, 4, &block(b"run%2Fa b/c:d:e@f.sock"))]);
        let expected = connection([frame(HEADERS, 4, &block(b"run-2Fa-b-c:d-e-f.sock"))]);
        assert_eq!(passed(&sent), expected, "{way}");
    }
}

#[test]
fn padding_priority_and_continuations_are_walked_over() {
    let (value, expected) = (authority(3, b"a%2Fb"), authority(3, b"a-2Fb"));
    let frames = |value: &[u8]| {
        let padded = [&[3, b'%', 0, 0, 0, 9][..], &value[..7], b"%%%"].concat();
        let settings = frame(4, 0, b"\x00\x03\x00\x00\x00\x64");
        let data = frame(0, PADDED, &[&[1], &b"\x41\x03a%b"[..]].concat());
        // An empty frame of each kind, too.
        connection([
            settings,
            frame(HEADERS, PADDED | PRIORITY, &padded),
            frame(CONTINUATION, 0, b""),
            frame(CONTINUATION, 0, &value[7..14]),
            frame(CONTINUATION, 4, &value[14..]),
            data,
            frame(0, 1, b""),
            frame(HEADERS, 5, value),
        ])
    };
    assert_eq!(passed(&frames(&value)), frames(&expected));
}

#[test]
fn after_what_cannot_be_understood_nothing_is_touched() {
    let endless = frame(HEADERS, 4, b"\x7f\xff\xff\xff\xff\xff\xff\xff\x7f");
    let sent = connection([endless, frame(HEADERS, 4, &authority(0, b"a%b"))]);
    assert_eq!(passed(&sent), sent);
}

#[test]
fn huffman_code_is_canonical() {
    let kraft: f64 =
        CODES.iter().enumerate().map(|(length, codes)| f64::from(*codes) / 2_f64.powi(length as i32)).sum();
    assert!((kraft - 1.0).abs() < 1e-9 && CODES.iter().sum::<u32>() == 257, "{kraft}");
}

/// Any bytes, cut anywhere, give what they give at once.
fn in_pieces(sent: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut scan = Scan::new();
    let mut out = sent.to_vec();
    let mut rest = &mut out[..];
    for cut in cuts {
        let (piece, after) = rest.split_at_mut(cut % (rest.len() + 1));
        scan.pass(piece);
        rest = after;
    }
    scan.pass(rest);
    out
}

/// A field that is no authority, or a good one.
fn clean_field() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..300);
    let literal = (prop::sample::select(vec![0x42_u8, 0x7e, 0x04, 0x14, 0x1e]), any::<bool>(), bytes()).prop_map(
        |(name, coded, value)| {
            let mut value = text(&value);
            value[0] |= u8::from(coded) << 7;
            [&[name], &value[..]].concat()
        },
    );
    let named = (bytes(), bytes()).prop_filter("another name", |(name, _)| name != NAME);
    let good = prop::sample::select(vec!["localhost", "[::]:50051", "a.b:1", "x", "run-2Fa.sock"]);
    prop_oneof![
        (0x81_u8..=0xfe).prop_map(|indexed| vec![indexed]),
        (0x20_u8..=0x3e).prop_map(|size| vec![size]),
        literal,
        named.prop_map(|(name, value)| [&[0x40], &text(&name)[..], &text(&value)].concat()),
        (0..6_usize, good).prop_map(|(way, value)| authority(way, value.as_bytes())),
        good_code().prop_map(|value| [&[0x41, 0x80 | value.len() as u8], &value[..]].concat()),
    ]
}

fn good_code() -> impl Strategy<Value = Vec<u8>> {
    "[02aceost.3Fx&]{1,40}".prop_map(|value| coded(&value))
}

/// A connection of frames that are in order, with header blocks cut into frames.
fn clean_connection() -> impl Strategy<Value = Vec<u8>> {
    let block = (prop::collection::vec(clean_field(), 0..6), any::<prop::sample::Index>()).prop_map(|(fields, cut)| {
        let block = fields.concat();
        let (first, second) = block.split_at(cut.index(block.len() + 1));
        [frame(HEADERS, 0, first), frame(CONTINUATION, 4, second)].concat()
    });
    let other = (
        prop::sample::select(vec![0_u8, 2, 3, 4, 6, 7, 8, 200]),
        any::<u8>(),
        prop::collection::vec(any::<u8>(), 0..200),
    )
        .prop_map(|(kind, flags, payload)| frame(kind, flags, &payload));
    prop::collection::vec(prop_oneof![block, other], 0..8).prop_map(connection)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_clean_connection_is_passed_on_byte_for_byte(sent in clean_connection(), cuts in prop::collection::vec(any::<usize>(), 0..20)) {
        prop_assert_eq!(&in_pieces(&sent, &cuts), &sent);
    }

    #[test]
    fn it_does_not_matter_how_the_bytes_are_cut(
        value in prop::collection::vec(any::<u8>(), 0..200),
        way in 0..6_usize,
        cuts in prop::collection::vec(any::<usize>(), 0..40),
    ) {
        let sent = connection([frame(HEADERS, 4, &authority(way, &value)), frame(HEADERS, 4, &authority(way, &value))]);
        prop_assert_eq!(in_pieces(&sent, &cuts), passed(&sent));
    }

    #[test]
    fn what_comes_out_is_an_authority(value in "[^\\[]{1,60}", way in 0..6_usize) {
        let sent = connection([frame(HEADERS, 4, &authority(way, value.as_bytes()))]);
        let mended = passed(&sent);
        let mended = &mended[mended.len() - value.len()..];
        prop_assert!(Authority::try_from(mended).is_ok(), "{:?}", String::from_utf8_lossy(mended));
    }

    #[test]
    fn a_path_in_huffman_code_comes_out_as_an_authority(
        value in "[02aceost.3Fx%/ ]{1,40}",
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let code = coded(&value);
        let block = [&[0x41, 0x80 | code.len() as u8], &code[..]].concat();
        let mended = in_pieces(&connection([frame(HEADERS, 4, &block)]), &cuts);
        let text = decoded(&mended[mended.len() - code.len()..]);
        prop_assert_eq!(text.len(), value.len());
        prop_assert!(Authority::try_from(&text[..]).is_ok(), "{:?}", String::from_utf8_lossy(&text));
        let kept = value.bytes().zip(&text).all(|(sent, got)| sent == *got || b"%/ ".contains(&sent));
        prop_assert!(kept, "nothing else is replaced: {:?}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn garbage_is_survived(sent in prop::collection::vec(any::<u8>(), 0..600), cuts in prop::collection::vec(any::<usize>(), 0..20)) {
        let sent = connection([sent]);
        let passed = in_pieces(&sent, &cuts);
        prop_assert_eq!(&passed[..24 + 9.min(sent.len() - 24)], &sent[..24 + 9.min(sent.len() - 24)]);
        // Frames of which most bytes are in header blocks.
        let headers = connection([frame(HEADERS, 4, &sent)]);
        prop_assert_eq!(in_pieces(&headers, &cuts).len(), headers.len());
    }
}
