//! The program map table (ISO/IEC 13818-1, 2.4.4.8): what a program is made of.
//!
//! Owns the layout of its section and what the types and descriptors of elementary streams mean. It
//! never follows a program: [`super::programs`] does, which drives this.

use super::packet::Pid;
use super::pat::{Head, TableError};
use super::random_access::Pictures;
use super::section::TABLE_PMT;
use crate::limits::ELEMENTARY_STREAMS_MAX;

/// A program, as its PMT has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pmt {
    /// The section's head; its `id` is the program's number.
    pub head: Head,
    /// Where the program's clock is; `None` when it has none.
    pub pcr: Option<Pid>,
    /// Its elementary streams, in their order.
    pub elementary: Vec<Elementary>,
}

/// An elementary stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Elementary {
    /// Its packets' PID.
    pub pid: Pid,
    /// `stream_type` (table 2-34).
    pub stream_type: u8,
    /// What it is coded in.
    pub codec: Codec,
    /// What is spoken or written, if that is said.
    pub language: Option<Language>,
}

/// An ISO 639-2 code of three lower case letters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Language([u8; 3]);

impl Language {
    /// The code in `bytes`; anything but three letters is none.
    fn new(bytes: [u8; 3]) -> Option<Self> {
        let bytes = bytes.map(|byte| byte.to_ascii_lowercase());
        bytes.iter().all(u8::is_ascii_lowercase).then_some(Self(bytes))
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        // Letters only, or there is none of it.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// What an elementary stream carries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Subtitles or teletext.
    Subtitles,
    /// Anything else.
    Data,
}

impl Kind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Video => "video",
            Kind::Audio => "audio",
            Kind::Subtitles => "subtitles",
            Kind::Data => "data",
        }
    }
}

/// What an elementary stream is coded in, by a short word and its kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Codec(&'static str, Kind);

impl Codec {
    /// H.264, the most frequent.
    pub const H264: Codec = Codec("h264", Kind::Video);
    /// H.265.
    pub const HEVC: Codec = Codec("hevc", Kind::Video);
    /// MPEG-2 video.
    pub const MPEG2: Codec = Codec("mpeg2video", Kind::Video);
    /// MPEG-1 video.
    pub const MPEG1: Codec = Codec("mpeg1video", Kind::Video);
    /// One that is not known.
    pub const UNKNOWN: Codec = Codec("unknown", Kind::Data);

    /// A short word, as ffprobe has it where it knows it.
    pub fn word(self) -> &'static str {
        self.0
    }

    /// What it carries.
    pub fn kind(self) -> Kind {
        self.1
    }

    /// How its pictures are told apart; `None` where they are not.
    pub fn pictures(self) -> Option<Pictures> {
        match self {
            Codec::H264 => Some(Pictures::H264),
            Codec::HEVC => Some(Pictures::Hevc),
            Codec::MPEG2 | Codec::MPEG1 => Some(Pictures::Mpeg),
            _ => None,
        }
    }

    /// By `stream_type` (table 2-34; ATSC A/53 part 3 and SCTE 35 from 0x80 on).
    fn of_type(stream_type: u8) -> Option<Codec> {
        Some(match stream_type {
            0x01 => Codec::MPEG1,
            0x02 => Codec::MPEG2,
            0x03 | 0x04 => Codec("mp2", Kind::Audio),
            0x0F => Codec("aac", Kind::Audio),
            0x10 => Codec("mpeg4", Kind::Video),
            0x11 => Codec("aac_latm", Kind::Audio),
            0x1B => Codec::H264,
            0x21 => Codec("jpeg2000", Kind::Video),
            0x24 => Codec::HEVC,
            0x33 => Codec("vvc", Kind::Video),
            0x42 => Codec("cavs", Kind::Video),
            0x81 => Codec("ac3", Kind::Audio),
            0x86 => Codec("scte_35", Kind::Data),
            0x87 => Codec("eac3", Kind::Audio),
            _ => return None,
        })
    }

    /// By the descriptor that tells what private data is (EN 300 468, 6.1 and annex D).
    fn of_descriptor(tag: u8, body: &[u8]) -> Option<Codec> {
        Some(match tag {
            0x05 => return Codec::registered(*body.first_chunk()?),
            0x45 | 0x46 | 0x56 => Codec("dvb_teletext", Kind::Subtitles),
            0x59 => Codec("dvb_subtitle", Kind::Subtitles),
            0x6A => Codec("ac3", Kind::Audio),
            0x7A => Codec("eac3", Kind::Audio),
            0x7B => Codec("dts", Kind::Audio),
            0x7C => Codec("aac", Kind::Audio),
            // An extension, by its own tag.
            0x7F => match body.first()? {
                0x0E => Codec("dts", Kind::Audio),
                0x15 => Codec("ac4", Kind::Audio),
                _ => return None,
            },
            _ => return None,
        })
    }

    /// By `format_identifier` of a registration descriptor (2.6.8), as registered with SMPTE-RA.
    fn registered(identifier: [u8; 4]) -> Option<Codec> {
        Some(match &identifier {
            b"AC-3" => Codec("ac3", Kind::Audio),
            b"EAC3" => Codec("eac3", Kind::Audio),
            b"AC-4" => Codec("ac4", Kind::Audio),
            b"DTS1" | b"DTS2" | b"DTS3" => Codec("dts", Kind::Audio),
            b"Opus" => Codec("opus", Kind::Audio),
            b"BSSD" => Codec("s302m", Kind::Audio),
            b"HEVC" => Codec::HEVC,
            b"VC-1" => Codec("vc1", Kind::Video),
            b"AV01" => Codec("av1", Kind::Video),
            b"drac" => Codec("dirac", Kind::Video),
            b"KLVA" => Codec("klv", Kind::Data),
            b"ID3 " => Codec("timed_id3", Kind::Data),
            _ => return None,
        })
    }
}

impl Pmt {
    /// Reads a section whose CRC is right.
    pub fn parse(section: &[u8]) -> Result<Pmt, TableError> {
        let (head, body) = Head::split(section, TABLE_PMT)?;
        // 2.4.4.9: a program is described by one section.
        if head.last != 0 {
            return Err(TableError::TooMany);
        }
        let (pcr, body) = body.split_first_chunk::<2>().ok_or(TableError::Length)?;
        let (_, mut body) = sized(body)?;
        let mut elementary = Vec::new();
        while let Some(([stream_type, high, low], rest)) = body.split_first_chunk() {
            let (descriptors, rest) = sized(rest)?;
            body = rest;
            let pid = Pid::new(u16::from_be_bytes([*high, *low]));
            if elementary.len() == ELEMENTARY_STREAMS_MAX {
                return Err(TableError::TooMany);
            }
            elementary.push(Elementary::new(pid, *stream_type, descriptors)?);
        }
        let pcr = Pid::new(u16::from_be_bytes(*pcr));
        let whole = body.is_empty().then_some(()).ok_or(TableError::Length);
        whole.map(|()| Pmt { head, pcr: (pcr != Pid::NULL).then_some(pcr), elementary })
    }

    /// The elementary stream whose random access points are the program's: the first with pictures,
    /// or the first with sound where there are none.
    pub fn leading(&self) -> Option<&Elementary> {
        let first = |kind| self.elementary.iter().find(|one| one.codec.kind() == kind);
        first(Kind::Video).or_else(|| first(Kind::Audio))
    }
}

impl Elementary {
    fn new(pid: Pid, stream_type: u8, mut descriptors: &[u8]) -> Result<Elementary, TableError> {
        let (mut codec, mut language) = (Codec::of_type(stream_type), None);
        while let Some(([tag, length], rest)) = descriptors.split_first_chunk() {
            let (body, rest) =
                rest.split_at_checked(usize::from(*length)).ok_or(TableError::Length)?;
            descriptors = rest;
            codec = codec.or_else(|| Codec::of_descriptor(*tag, body));
            // ISO_639_language (2.6.18), subtitling, teletext (EN 300 468, 6.2.41 and 6.2.43).
            if matches!(tag, 0x0A | 0x59 | 0x56) {
                let code = body.first_chunk().copied();
                language = language.or_else(|| code.and_then(Language::new));
            }
        }
        if !descriptors.is_empty() {
            return Err(TableError::Length);
        }
        Ok(Elementary { pid, stream_type, codec: codec.unwrap_or(Codec::UNKNOWN), language })
    }
}

/// What has its length, of 12 bits, in front of it; and what comes after it.
fn sized(bytes: &[u8]) -> Result<(&[u8], &[u8]), TableError> {
    let ([high, low], rest) = bytes.split_first_chunk().ok_or(TableError::Length)?;
    let length = usize::from(u16::from_be_bytes([high & 0x0F, *low]));
    rest.split_at_checked(length).ok_or(TableError::Length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ts::section::sealed;

    fn section(body: &[u8]) -> Vec<u8> {
        sealed(&[&[2, 0xB0, 0, 0, 9, 0xC1, 0, 0], body].concat())
    }

    #[test]
    fn streams_with_codec_and_language() {
        let pmt = section(
            &[
                &[0xE1, 0, 0xF0, 2, 0x09, 0][..], // PCR, a descriptor
                &[0x1B, 0xE1, 0, 0xF0, 0],        // H.264
                &[0x0F, 0xE1, 1, 0xF0, 6, 0x0A, 4, b'd', b'e', b'u', 0], // AAC
                &[0x06, 0xE1, 2, 0xF0, 9, 0x0A, 4, b'E', b'N', b'G', 0, 0x6A, 1, 0],
                &[0x06, 0xE1, 3, 0xF0, 6, 0x05, 4, b'O', b'p', b'u', b's'],
                &[0x06, 0xE1, 4, 0xF0, 10, 0x59, 8, b'f', b'r', b'a', 0x10, 0, 1, 0, 1],
                &[0x06, 0xE1, 5, 0xF0, 6, 0x0A, 4, 1, 2, 3, 0],
            ]
            .concat(),
        );
        let pmt = Pmt::parse(&pmt).unwrap();
        assert_eq!((pmt.head.id, pmt.pcr), (9, Some(Pid::new(256))));
        let seen: Vec<_> = pmt
            .elementary
            .iter()
            .map(|one| {
                let language = one.language.as_ref().map(|code| code.as_str().to_owned());
                (one.pid.value() - 256, one.codec.word(), one.codec.kind().word(), language)
            })
            .collect();
        let language = |code: &str| Some(code.to_owned());
        assert_eq!(
            seen,
            [
                (0, "h264", "video", None),
                (1, "aac", "audio", language("deu")),
                (2, "ac3", "audio", language("eng")),
                (3, "opus", "audio", None),
                (4, "dvb_subtitle", "subtitles", language("fra")),
                (5, "unknown", "data", None),
            ]
        );
        assert_eq!(pmt.leading().unwrap().pid, Pid::new(256));
    }

    #[test]
    fn private_data_is_told_by_its_descriptors() {
        let codec = |descriptors: &[u8]| {
            Elementary::new(Pid::new(256), 6, descriptors).unwrap().codec.word()
        };
        for (descriptors, word) in [
            (&[0x7A, 1, 0][..], "eac3"),
            (&[0x7B, 1, 0], "dts"),
            (&[0x7C, 1, 0], "aac"),
            (&[0x7F, 1, 0x15], "ac4"),
            (&[0x7F, 0], "unknown"),
            (&[0x56, 0], "dvb_teletext"),
            (&[0x05, 4, b'H', b'E', b'V', b'C'], "hevc"),
            (&[0x05, 3, b'H', b'E', b'V'], "unknown"),
            (&[], "unknown"),
        ] {
            assert_eq!(codec(descriptors), word, "{descriptors:?}");
        }
    }

    #[test]
    fn without_pictures_the_first_sound_leads() {
        let body = [0xFF, 0xFF, 0xF0, 0, 0x06, 0xE1, 0, 0xF0, 0, 0x03, 0xE1, 1, 0xF0, 0];
        let pmt = Pmt::parse(&section(&body)).unwrap();
        assert_eq!((pmt.pcr, pmt.leading().unwrap().pid), (None, Pid::new(257)));
    }

    #[test]
    fn what_leads_beyond_the_end_is_refused() {
        for body in [
            &[0xE1][..],
            &[0xE1, 0, 0xF0],
            &[0xE1, 0, 0xF0, 1],
            &[0xE1, 0, 0xF0, 0, 0x1B],
            &[0xE1, 0, 0xF0, 0, 0x1B, 0xE1, 0, 0xF0, 2, 0x0A],
            &[0xE1, 0, 0xF0, 0, 0x1B, 0xE1, 0, 0xF0, 2, 0x0A, 1],
            &[0xE1, 0, 0xF0, 0, 0x1B, 0xE1, 0, 0xF0, 1, 0x0A],
        ] {
            assert_eq!(Pmt::parse(&section(body)).unwrap_err(), TableError::Length, "{body:?}");
        }
        let mut second = section(&[0xE1, 0, 0xF0, 0]);
        second[7] = 1;
        assert_eq!(Pmt::parse(&second).unwrap_err(), TableError::TooMany);
    }

    proptest! {
        #[test]
        fn nothing_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _any = (Pmt::parse(&body), Pmt::parse(&section(&body)));
        }
    }
}
