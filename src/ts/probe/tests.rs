use proptest::{prelude::*, test_runner::RngSeed};

use super::*;

type Bytes = [u8; PACKET_BYTES];

/// A packet of `pid` with payload only; `number` makes it unlike all others.
fn packet(pid: u16, counter: u8, number: u32) -> Bytes {
    let mut bytes = [0; PACKET_BYTES];
    let mut noise = number.wrapping_mul(2_246_822_519) | 1;
    for byte in &mut bytes[8..] {
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        *byte = noise.to_be_bytes()[0];
    }
    let [high, low] = pid.to_be_bytes();
    bytes[..4].copy_from_slice(&[0x47, high, low, 0x10 | counter & 0x0F]);
    bytes[4..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// `count` packets of several PIDs, one of which is frequent, counters in order.
fn stream(count: u32) -> Vec<Bytes> {
    let mut counters = [0u8; 4];
    (0..count)
        .map(|number| {
            let which = [0, 0, 1, 0, 0, 2, 0, 3][number as usize % 8];
            let counter = &mut counters[usize::from(which)];
            *counter = (*counter + 1) & 0x0F;
            packet(256 + which, *counter, number)
        })
        .collect()
}

/// Feeds `input` in pieces of the given lengths (over and over) and collects what is delivered.
fn feed(input: &[u8], pieces: &[usize], finish: bool) -> (Vec<u8>, Counts, usize) {
    let mut probe = Probe::new();
    let (mut output, mut counts, mut held) = (Vec::new(), Counts::default(), Vec::new());
    let mut rest = input;
    let mut lengths = pieces.iter().cycle();
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(rest.len().min(*lengths.next().unwrap()));
        rest = later;
        held.extend_from_slice(piece);
        let aligned = probe.align(&mut held);
        assert!(aligned.held <= SYNC_HELD_BYTES_MAX, "held {}", aligned.held);
        output.extend_from_slice(&held[..aligned.whole]);
        counts += aligned.counts;
        held.truncate(aligned.whole + aligned.held);
        held.drain(..aligned.whole);
    }
    if finish {
        let aligned = probe.finish(&mut held);
        assert_eq!(aligned.held, 0);
        output.extend_from_slice(&held[..aligned.whole]);
        counts += aligned.counts;
        held.clear();
    }
    assert_eq!(count(output.len()), counts.packets * 188);
    assert_eq!(count(output.len() + held.len()) + counts.discarded_bytes, count(input.len()));
    (output, counts, held.len())
}

fn clean(packets: u64) -> Counts {
    Counts { packets, ..Counts::default() }
}

#[test]
fn a_clean_stream_passes_untouched() {
    let input = stream(500).concat();
    let (output, counts, held) = feed(&input, &[10_000], false);
    assert_eq!((output == input, counts, held), (true, clean(500), 0));
}

#[test]
fn packets_of_known_pids_are_not_delayed() {
    let input = stream(100).concat();
    let mut probe = Probe::new();
    let mut start = input[..188 * 32].to_vec();
    assert_eq!(probe.align(&mut start).whole, 188 * 32);
    for bytes in input[188 * 32..].chunks(188) {
        let mut short = bytes[..187].to_vec();
        assert_eq!(probe.align(&mut short), Aligned { held: 187, ..Aligned::default() });
        let mut whole = bytes.to_vec();
        let expected = Aligned { whole: 188, counts: clean(1), ..Aligned::default() };
        assert_eq!(probe.align(&mut whole), expected);
    }
}

#[test]
fn the_first_packet_needs_three_in_a_row() {
    let packets = stream(3).concat();
    let mut probe = Probe::new();
    let mut bytes = packets.clone();
    assert_eq!(probe.align(&mut bytes[..376 + 4]).whole, 0);
    assert_eq!(
        probe.align(&mut bytes[..376 + 5]),
        Aligned {
            whole: 376, // the second is of a known PID by then
            held: 5,
            counts: clean(2),
            ..Aligned::default()
        }
    );
}

#[test]
fn a_start_in_the_middle_is_skipped_and_no_loss() {
    let input = stream(20).concat();
    for cut in [1, 100, 187] {
        let (output, counts, _) = feed(&input[cut..], &[77], false);
        assert_eq!(output, input[188..]);
        let discarded_bytes = count(188 - cut);
        assert_eq!(counts, Counts { packets: 19, discarded_bytes, ..Counts::default() });
    }
    // A payload that begins like a packet.
    let mut torn = vec![0x47, 0x01, 0x00, 0x10, 0x00];
    torn.extend_from_slice(&input);
    let (output, counts, _) = feed(&torn, &[1], false);
    assert_eq!(output, input);
    assert_eq!(counts, Counts { packets: 20, discarded_bytes: 5, ..Counts::default() });
}

#[test]
fn garbage_in_a_stream_is_one_loss_and_no_continuity_error() {
    let packets = stream(64);
    for length in [1, 5, 187, 188, 189, 1000] {
        let mut input = packets[..32].concat();
        input.extend(std::iter::repeat_n(0x48, length));
        input.extend(packets[32..].concat());
        let (output, counts, held) = feed(&input, &[1000], false);
        assert_eq!((output == packets.concat(), held), (true, 0), "{length} bytes");
        let discarded_bytes = count(length);
        assert_eq!(counts, Counts { sync_losses: 1, discarded_bytes, ..clean(64) });
    }
}

#[test]
fn lost_bytes_cost_one_torn_packet() {
    let packets = stream(64);
    let mut input = packets.concat();
    input.drain(188 * 32 + 100..188 * 33 + 50); // packets 32 and 33 are both of PID 256
    let (output, counts, held) = feed(&input, &[1000], false);
    // Without look-ahead nobody can tell that the first half of 32 goes on with the second of 33.
    let torn = [&packets[32][..100], &packets[33][50..138]].concat();
    let expected = [packets[..32].concat(), torn, packets[34..].concat()].concat();
    assert_eq!((output == expected, held), (true, 0));
    let expected = Counts {
        packets: 63,
        sync_losses: 1,
        discarded_bytes: 50,
        continuity_errors: 1,
        transport_errors: 0,
        ..Counts::default()
    };
    assert_eq!(counts, expected);
}

#[test]
fn lost_packets_are_a_continuity_error_and_no_sync_loss() {
    let mut packets = stream(64);
    packets.remove(33); // PID 256
    packets.remove(45); // the 46th of the stream: PID 258
    let (output, counts, held) = feed(&packets.concat(), &[188], false);
    assert_eq!((output == packets.concat(), held), (true, 0));
    assert_eq!(counts, Counts { continuity_errors: 2, ..clean(62) });
}

#[test]
fn counters_that_never_move_still_pass() {
    let packets: Vec<_> = (0..50).map(|number| packet(300, 0, number)).collect();
    let (output, counts, held) = feed(&packets.concat(), &[188], false);
    assert_eq!((output.len(), held), (48 * 188, 2 * 188), "two wait for what follows");
    assert_eq!(counts.sync_losses, 0);
    let (output, counts, _) = feed(&packets.concat(), &[188], true);
    assert_eq!(output, packets.concat());
    assert_eq!(counts.continuity_errors, 48, "one fits, one repeats");
}

#[test]
fn damaged_packets_pass_and_are_counted() {
    let mut packets = stream(64);
    for packet in &mut packets[20..30] {
        packet[1] |= 0x80;
    }
    packets[40][1] |= 0x80;
    packets[40][3] = 0; // and no payload
    let (output, counts, _) = feed(&packets.concat(), &[1316], false);
    assert_eq!(output, packets.concat());
    assert_eq!((counts.transport_errors, counts.sync_losses), (11, 0));
}

#[test]
fn framing_of_other_lengths_passes() {
    // M2TS: a time code before each packet. DVB with its parity: 16 bytes after each.
    let packets = stream(400);
    for (before, after) in [(&[1, 2, 3, 4][..], &[][..]), (&[], &[0x47; 16])] {
        let input: Vec<_> = packets.iter().flat_map(|p| [before, p, after].concat()).collect();
        let (output, counts, _) = feed(&input, &[4096], true);
        assert!(subsequence(&output, &packets), "{} before", before.len());
        assert!(counts.packets >= 400 - 4 * 4, "four of each PID: {counts:?}");
    }
}

#[test]
fn a_short_connection_ends_with_what_it_had() {
    let packets = stream(8);
    for length in 1..8 {
        let (output, counts, _) = feed(&packets[..length].concat(), &[188], true);
        assert_eq!((output.len(), counts), (length * 188, clean(count(length))));
    }
    let mut input = packets.concat();
    input.truncate(188 * 7 + 100);
    let (output, counts, _) = feed(&input, &[188], true);
    assert_eq!(output, packets[..7].concat());
    assert_eq!(counts, Counts { discarded_bytes: 100, ..clean(7) });
    let (output, counts, _) = feed(&input[..100], &[188], true);
    assert_eq!((output.len(), counts.discarded_bytes), (0, 100));
}

/// Whether `output` is packets of `originals`, in order.
fn subsequence(output: &[u8], originals: &[Bytes]) -> bool {
    let mut originals = originals.iter();
    output.as_chunks().0.iter().all(|packet| originals.any(|original| original == packet))
}

/// Garbage of which about one byte in `rarity` is a sync byte.
///
/// What even a perfect probe would take for a packet is left out: the PIDs of [`stream`] (a
/// candidate of one of four known PIDs with the right counter is one in 32,768), and garbage as
/// long as packets.
fn garbage(rarity: u8, length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    let byte = (any::<u8>(), 0..rarity).prop_map(|(byte, one)| match byte {
        _ if one == 0 => 0x47,
        byte if byte & 0x1F == 1 => byte - 1,
        byte => byte,
    });
    prop::collection::vec(byte, length).prop_map(|mut bytes| {
        bytes.truncate(bytes.len() - usize::from(bytes.len() % 188 == 0 && !bytes.is_empty()));
        bytes
    })
}

/// Gaps behind some of 300 packets, at least `apart` packets from each other.
fn gaps(
    apart: usize,
    rarity: u8,
    length: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let gap = prop_oneof![1 => Just(Vec::new()), 1 => garbage(rarity, length)];
    prop::collection::vec(gap, 300 / apart).prop_map(move |gaps| {
        let gaps = gaps.into_iter();
        gaps.flat_map(|gap| std::iter::once(gap).chain(vec![Vec::new(); apart - 1])).collect()
    })
}

fn with_gaps(packets: &[Bytes], gaps: &[Vec<u8>]) -> Vec<u8> {
    packets.iter().zip(gaps).flat_map(|(packet, gap)| [&packet[..], gap].concat()).collect()
}

fn check_gaps(gaps: &[Vec<u8>], spare: usize) -> Result<(), TestCaseError> {
    let packets = stream(308);
    let (start, later) = packets.split_at(8); // after these, all PIDs are known
    let input = [start.concat(), with_gaps(later, gaps)].concat();
    let (output, counts, _) = feed(&input, &[700], true);
    prop_assert!(subsequence(&output, &packets));
    let losses = gaps.iter().filter(|gap| !gap.is_empty()).count();
    prop_assert!(output.len() / 188 + spare >= packets.len(), "{counts:?} of {losses} losses");
    prop_assert!(counts.sync_losses <= count(losses) + 20);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_split_gives_the_same(
        gaps in gaps(1, 3, 1..400),
        pieces in prop::collection::vec(1_usize..1000, 1..20),
        finish: bool,
    ) {
        let input = with_gaps(&stream(60), &gaps);
        let expected = feed(&input, &[usize::MAX], finish);
        prop_assert!(feed(&input, &[1], finish) == expected);
        prop_assert!(feed(&input, &pieces, finish) == expected);
    }

    #[test]
    fn any_split_of_noise_gives_the_same(
        input in garbage(2, 0..3000),
        pieces in prop::collection::vec(1_usize..300, 1..20),
        finish: bool,
    ) {
        let expected = feed(&input, &[usize::MAX], finish);
        prop_assert!(feed(&input, &[1], finish) == expected);
        prop_assert!(feed(&input, &pieces, finish) == expected);
    }
}

proptest! {
    // A sync byte is no proof, so these hold by likelihood only: hence a fixed seed. It is not a
    // lucky one: seeds 1 to 100 pass as well. With gaps before the PIDs are known, they fail for
    // 18, 27 and 4 of these seeds (100 streams each), for the reason that `sync` gives at its end.
    #![proptest_config(ProptestConfig {
        cases: 100,
        rng_seed: RngSeed::Fixed(13818),
        ..ProptestConfig::default()
    })]

    #[test]
    fn plain_garbage_never_gets_through(gaps in gaps(2, 255, 1..600)) {
        check_gaps(&gaps, 24)?;
    }

    #[test]
    fn garbage_full_of_sync_bytes_never_gets_through(gaps in gaps(3, 2, 1..150)) {
        check_gaps(&gaps, 24)?;
    }

    #[test]
    fn garbage_after_every_packet_never_gets_through(
        gaps in prop::collection::vec(garbage(20, 1..100), 300),
    ) {
        check_gaps(&gaps, 32)?;
    }
}
