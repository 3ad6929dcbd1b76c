use proptest::prelude::*;

use super::*;

fn datagram(sequence: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = sequence.to_be_bytes();
    let mut bytes = vec![0x80, 33, high, low, 0, 0, 0, 0, 1, 2, 3, 4];
    bytes.extend_from_slice(payload);
    bytes
}

/// Numbers as payloads: what comes out, and the counts; the clock stands still.
fn order(numbers: &[u16]) -> (Vec<u16>, RtpCounts) {
    let (mut reorder, mut counts, mut got) = (Reorder::new(), RtpCounts::default(), Vec::new());
    let now = Instant::now();
    let mut out = |payload: &[u8]| got.push(u16::from_be_bytes(payload.try_into().unwrap()));
    for &sequence in numbers {
        let bytes = datagram(sequence, &sequence.to_be_bytes());
        reorder.take(parse(&bytes).unwrap(), now, &mut counts, &mut out);
    }
    // Each gap has its own patience.
    while let Some(deadline) = reorder.deadline() {
        reorder.on_deadline(deadline, &mut counts, &mut out);
    }
    (got, counts)
}

#[test]
fn the_header_and_all_that_goes_with_it_come_off() {
    let plain = datagram(258, b"payload");
    assert_eq!(
        parse(&plain),
        Some(Rtp { sequence: 258, source: 0x0102_0304, payload: b"payload" })
    );
    let mut full = datagram(1, b"");
    full[0] = 0x80 | 0x20 | 0x10 | 2;
    full.extend([0; 8]); // two contributing sources
    full.extend([0xBE, 0xDE, 0, 1, 9, 9, 9, 9]); // an extension of one word
    full.extend(b"payload");
    full.extend([0, 0, 3]); // padding
    assert_eq!(parse(&full).unwrap().payload, b"payload");
}

#[test]
fn what_is_no_rtp_is_refused() {
    let good = datagram(1, b"x");
    for bytes in [
        &b""[..],
        &good[..11],
        &[0x47; 188],
        &[&[0x80, 200], &good[2..]].concat(), // RTCP, a sender report
        &[&[0x8F], &good[1..]].concat(),      // 15 contributing sources, none there
        &[&[0x90], &good[1..]].concat(),      // an extension that is not there
        &[&[0xA0], &good[1..12], &[0]].concat(), // padding of no byte
        &[&[0xA0], &good[1..12], &[9]].concat(), // more padding than bytes
    ] {
        assert_eq!(parse(bytes), None, "{bytes:?}");
    }
}

#[test]
fn order_is_restored_and_repetitions_go() {
    let (got, counts) = order(&[1, 2, 4, 3, 3, 5, 5, 8, 7, 6, 9]);
    assert_eq!(got, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!((counts.lost, counts.repeated, counts.reordered), (0, 2, 3));
}

#[test]
fn what_never_comes_is_lost_and_counted_once() {
    let (got, counts) = order(&[1, 2, 4, 5, 9]);
    assert_eq!(got, [1, 2, 4, 5, 9]);
    assert_eq!(counts.lost, 4);
    // More than the window at once.
    let window = u16::try_from(RTP_WINDOW_DATAGRAMS).unwrap();
    let (got, counts) = order(&[1, 2 + 3 * window]);
    assert_eq!((got.len(), counts.lost), (2, 3 * u64::from(window)));
}

#[test]
fn one_that_was_given_up_is_late_and_not_given_out() {
    let window = u16::try_from(RTP_WINDOW_DATAGRAMS).unwrap();
    let mut numbers: Vec<u16> = vec![1];
    numbers.extend(3..3 + window);
    numbers.extend([2, 2]);
    let (got, counts) = order(&numbers);
    assert_eq!(got.len(), 1 + usize::from(window));
    assert_eq!((counts.lost, counts.late, counts.repeated), (1, 1, 1));
}

#[test]
fn a_sender_that_begins_anew_is_followed() {
    // The first of the new numbers could be a stray; the second shows that it was none.
    for anew in [10, 59_500] {
        let (got, counts) = order(&[60_000, 60_001, anew, anew + 1, anew + 2]);
        assert_eq!(got, [60_000, 60_001, anew + 1, anew + 2]);
        assert_eq!((counts.restarts, counts.strays, counts.lost), (1, 1, 0));
    }
}

#[test]
fn strays_change_nothing() {
    let (mut reorder, mut counts, mut got) = (Reorder::new(), RtpCounts::default(), Vec::new());
    let now = Instant::now();
    for (sequence, source) in [(1, 7), (3, 7), (500, 8), (2, 7), (40_000, 7), (4, 7), (900, 8)] {
        let rtp = Rtp { sequence, source, payload: &[u8::try_from(sequence % 256).unwrap()] };
        reorder.take(rtp, now, &mut counts, |payload| got.push(payload[0]));
    }
    assert_eq!(got, [1, 2, 3, 4]);
    assert_eq!((counts.strays, counts.restarts, counts.lost), (3, 0, 0));
}

#[test]
fn of_two_senders_at_once_the_first_is_followed() {
    let (mut reorder, mut counts, mut got) = (Reorder::new(), RtpCounts::default(), Vec::new());
    for number in 0..100_u16 {
        for (sequence, source) in [(number, 7_u32), (500 + number, 8)] {
            let payload = source.to_be_bytes();
            let rtp = Rtp { sequence, source, payload: &payload };
            reorder.take(rtp, Instant::now(), &mut counts, |payload| got.push(payload[3]));
        }
    }
    assert_eq!(got, [7; 100]);
    assert_eq!((counts.strays, counts.restarts), (100, 0));
}

#[test]
fn what_waits_at_the_end_goes_out() {
    let (mut reorder, mut counts, mut got) = (Reorder::new(), RtpCounts::default(), 0);
    for sequence in [1, 3, 5] {
        let bytes = datagram(sequence, b"x");
        reorder.take(parse(&bytes).unwrap(), Instant::now(), &mut counts, |_| got += 1);
    }
    reorder.flush(&mut counts, |_| got += 1);
    assert_eq!((got, counts.lost, reorder.deadline()), (3, 2, None));
}

#[test]
fn patience_with_a_gap_has_an_end() {
    let (mut reorder, mut counts, mut got) = (Reorder::new(), RtpCounts::default(), 0);
    let now = Instant::now();
    for sequence in [1, 3] {
        let bytes = datagram(sequence, b"x");
        reorder.take(parse(&bytes).unwrap(), now, &mut counts, |_| got += 1);
    }
    assert_eq!((got, reorder.deadline()), (1, Some(now + RTP_HOLD)));
    reorder.on_deadline(now + RTP_HOLD / 2, &mut counts, |_| panic!("not yet"));
    reorder.on_deadline(now + RTP_HOLD, &mut counts, |_| got += 1);
    assert_eq!((got, counts.lost, reorder.deadline()), (2, 1, None));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _any_answer = parse(&bytes);
    }

    /// Any numbers in any order: what comes out is ascending, and everything is accounted for.
    #[test]
    fn out_comes_each_once_in_order(
        first in any::<u16>(),
        mut offsets in prop::collection::vec(0_u16..RTP_BEHIND_DATAGRAMS, 1..300),
    ) {
        offsets.insert(0, 0);
        let numbers: Vec<u16> = offsets.iter().map(|o| first.wrapping_add(*o)).collect();
        let (got, counts) = order(&numbers);
        let got: Vec<u16> = got.iter().map(|n| n.wrapping_sub(first)).collect();
        prop_assert!(got.windows(2).all(|pair| pair[0] < pair[1]), "{got:?}");
        prop_assert_eq!(got.len() as u64 + counts.repeated + counts.late, numbers.len() as u64);
        let last = u64::from(*got.last().unwrap());
        prop_assert_eq!(got.len() as u64 + counts.lost, last + 1);
        prop_assert_eq!(counts.restarts, 0);
    }

    /// As networks do it: 2 % out of order by a few places, 1 % twice, some lost.
    #[test]
    fn a_rough_network(seed in any::<u64>(), first in any::<u16>()) {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut numbers, mut lost) = (Vec::new(), 0);
        for offset in 0..3000_u16 {
            let number = first.wrapping_add(offset);
            if offset > 0 && offset < 2999 && random.u32(..1000) < 5 {
                lost += 1;
                continue;
            }
            numbers.push(number);
            if random.u32(..100) == 0 {
                numbers.push(number);
            }
        }
        let repeated = numbers.len() as u64 + lost - 3000;
        // The first one stays the first, so that nothing comes before the beginning.
        for _ in 0..60 {
            let at = random.usize(1..numbers.len() - 6);
            let by = random.usize(1..6);
            numbers[at..=at + by].rotate_left(1);
        }
        let (got, counts) = order(&numbers);
        prop_assert_eq!((counts.lost, counts.repeated, counts.late), (lost, repeated, 0));
        prop_assert_eq!(got.len() as u64, 3000 - lost);
    }
}
