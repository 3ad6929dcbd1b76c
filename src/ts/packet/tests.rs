use proptest::prelude::*;

use super::*;

fn packet(start: &[u8]) -> [u8; PACKET_BYTES] {
    let mut bytes = [0xFF; PACKET_BYTES];
    bytes[..start.len()].copy_from_slice(start);
    bytes
}

#[test]
fn only_the_sync_byte_makes_a_packet() {
    assert!(Packet::new(&packet(&[0x46])).is_none());
    assert!(Packet::new(&packet(&[0x47])).is_some());
}

#[test]
fn header_bits_stand_where_the_standard_puts_them() {
    let bytes = packet(&[0x47, 0x41, 0x23, 0x9A]);
    let packet = Packet::new(&bytes).unwrap();
    assert_eq!(packet.pid(), Pid::new(0x123));
    assert_eq!(packet.pid().to_string(), "0x0123");
    assert!(packet.unit_start() && packet.scrambled() && packet.has_payload());
    assert!(!packet.transport_error());
    assert!(!packet.header().has_adaptation());
    assert_eq!(packet.continuity(), 10);
    assert_eq!(packet.payload().len(), 184);
    assert!(packet.adaptation().is_none());
}

#[test]
fn adaptation_fields_are_read() {
    // random access and PCR
    let bytes = packet(&[0x47, 0x01, 0x00, 0x30, 7, 0x50, 0, 0, 0, 0, 0x80, 0x02, 0xAA]);
    let packet = Packet::new(&bytes).unwrap();
    let field = packet.adaptation().unwrap();
    assert!(field.random_access() && !field.discontinuity());
    assert_eq!(field.pcr(), Some(Pcr::new(302)));
    assert_eq!(packet.payload().len(), 176);
    assert_eq!(packet.payload().first(), Some(&0xAA));
}

#[test]
fn nonsensical_adaptation_fields_read_as_none() {
    // (control and length, adaptation field's bytes, payload's)
    let table = [
        (0x30, 0, None, 183),
        (0x30, 182, Some(182), 1),
        (0x30, 183, Some(183), 0),
        (0x30, 184, None, 0),
        (0x30, 255, None, 0),
        (0x20, 183, Some(183), 0),
        (0x20, 255, None, 0),
        (0x00, 10, None, 0),
    ];
    for (control, length, field, payload) in table {
        let bytes = packet(&[0x47, 0x01, 0x00, control, length]);
        let packet = Packet::new(&bytes).unwrap();
        assert_eq!(packet.adaptation().map(|field| field.bytes.len()), field, "length {length}");
        assert_eq!(packet.payload().len(), payload, "length {length}");
    }
    // A PCR that the field is one byte too short for.
    let bytes = packet(&[0x47, 0x01, 0x00, 0x30, 6, 0x10]);
    assert_eq!(Packet::new(&bytes).unwrap().adaptation().unwrap().pcr(), None);
}

proptest! {
    #[test]
    fn nothing_panics(mut bytes in prop::array::uniform32(any::<u8>()), fill: u8) {
        bytes[0] = SYNC_BYTE;
        let mut all = [fill; PACKET_BYTES];
        all[..32].copy_from_slice(&bytes);
        let packet = Packet::new(&all).unwrap();
        let _ = packet.adaptation().map(|f| (f.pcr(), f.discontinuity(), f.random_access()));
        prop_assert!(packet.payload().len() <= 184);
        prop_assert!(packet.pid().index() < Pid::COUNT);
    }
}
