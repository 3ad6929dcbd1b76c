//! The chunked transfer coding, taken off in place (RFC 9112, 7.1).

use crate::limits::CHUNK_LINE_BYTES_MAX;

/// Takes the framing off a chunked body, whatever pieces it arrives in.
#[derive(Debug)]
pub struct Chunked {
    state: State,
    /// Bytes of the current line or trailer section, to bound it.
    line: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// In the hexadecimal size; whether a digit was seen.
    Size {
        size: u64,
        digits: bool,
    },
    /// After the size: extensions and CR, up to LF.
    Extension {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// The CRLF after a chunk's data; whether its CR was seen.
    DataEnd {
        cr: bool,
    },
    /// Trailer lines; whether the current one is empty so far.
    Trailer {
        empty: bool,
    },
    Ended,
}

/// What a piece of a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of payload, now at the front of the piece; good whatever comes after them.
    pub payload: usize,
    /// How the body stands after them.
    pub body: Body,
}

/// How a body stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// More is to come.
    Open,
    /// That was all.
    Ended,
    /// Nothing after this can be told from framing.
    Broken(ChunkedError),
}

/// A body that breaks the coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkedError {
    /// No hexadecimal number where a chunk's size belongs, or too large a one.
    #[error("malformed chunk size")]
    Size,
    /// No CRLF after a chunk.
    #[error("no line end after a chunk")]
    DataEnd,
    /// A size line or trailer section longer than [`CHUNK_LINE_BYTES_MAX`].
    #[error("chunk framing longer than {CHUNK_LINE_BYTES_MAX} bytes")]
    TooLong,
}

impl Default for Chunked {
    fn default() -> Self {
        Chunked { state: SIZE, line: 0 }
    }
}

const SIZE: State = State::Size { size: 0, digits: false };

impl Chunked {
    /// At the beginning of a body.
    pub fn new() -> Chunked {
        Chunked::default()
    }

    /// Takes the next piece of the body and moves its payload to the front. What follows the
    /// body's end is ignored.
    pub fn decode(&mut self, piece: &mut [u8]) -> Decoded {
        let (mut read, mut payload) = (0, 0);
        while read < piece.len() {
            match self.state {
                State::Data { left } => {
                    let n = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len() - read);
                    if read != payload {
                        piece.copy_within(read..read + n, payload);
                    }
                    read += n;
                    payload += n;
                    self.state = match left - n as u64 {
                        0 => State::DataEnd { cr: false },
                        left => State::Data { left },
                    };
                }
                State::Ended => break,
                _framing => match self.step(piece[read]) {
                    Ok(next) => (self.state, read) = (next, read + 1),
                    Err(error) => return Decoded { payload, body: Body::Broken(error) },
                },
            }
        }
        let ended = matches!(self.state, State::Ended);
        Decoded { payload, body: if ended { Body::Ended } else { Body::Open } }
    }

    fn step(&mut self, byte: u8) -> Result<State, ChunkedError> {
        self.line += 1;
        if self.line > CHUNK_LINE_BYTES_MAX {
            return Err(ChunkedError::TooLong);
        }
        match self.state {
            State::Size { size, digits } => match (byte as char).to_digit(16) {
                Some(_) if size >> 60 != 0 => Err(ChunkedError::Size),
                Some(digit) => Ok(State::Size { size: size << 4 | u64::from(digit), digits: true }),
                None if !digits => Err(ChunkedError::Size),
                None => match byte {
                    b'\n' => Ok(self.sized(size)),
                    b'\r' | b';' | b' ' | b'\t' => Ok(State::Extension { size }),
                    _ => Err(ChunkedError::Size),
                },
            },
            State::Extension { size } if byte == b'\n' => Ok(self.sized(size)),
            State::DataEnd { cr: false } if byte == b'\r' => Ok(State::DataEnd { cr: true }),
            State::DataEnd { .. } if byte == b'\n' => {
                self.line = 0;
                Ok(SIZE)
            }
            State::DataEnd { .. } => Err(ChunkedError::DataEnd),
            State::Trailer { empty: true } if byte == b'\n' => Ok(State::Ended),
            State::Trailer { empty } => {
                Ok(State::Trailer { empty: byte == b'\n' || (empty && byte == b'\r') })
            }
            same @ (State::Extension { .. } | State::Data { .. } | State::Ended) => Ok(same),
        }
    }

    fn sized(&mut self, size: u64) -> State {
        self.line = 0;
        if size == 0 { State::Trailer { empty: true } } else { State::Data { left: size } }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode_in(pieces: &[usize], body: &[u8]) -> Result<(Vec<u8>, bool), ChunkedError> {
        let (mut chunked, mut payload, mut ended) = (Chunked::new(), Vec::new(), false);
        let mut rest = body;
        for &piece in pieces.iter().cycle() {
            let (now, later) = rest.split_at(piece.min(rest.len()));
            let mut now = now.to_vec();
            let decoded = chunked.decode(&mut now);
            payload.extend_from_slice(&now[..decoded.payload]);
            if let Body::Broken(error) = decoded.body {
                return Err(error);
            }
            ended = decoded.body == Body::Ended;
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        Ok((payload, ended))
    }

    #[test]
    fn framing_of_all_kinds() {
        for body in [
            "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
            "5\nhello\n6\n world\n0\n\n",
            "5;name=\"value\"\r\nhello\r\n06 \r\n world\r\n000\r\nTrailer: x\r\nT: y\r\n\r\n",
            "B\r\nhello world\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n",
        ] {
            for piece in [1, 2, 3, 7, 1000] {
                let (payload, ended) = decode_in(&[piece], body.as_bytes()).unwrap();
                assert_eq!((payload.as_slice(), ended), (&b"hello world"[..], true), "{body:?}");
            }
        }
    }

    #[test]
    fn broken_framing() {
        let long = format!("5;{}", "x".repeat(CHUNK_LINE_BYTES_MAX));
        for (body, error) in [
            ("\r\n", ChunkedError::Size),
            ("-5\r\n", ChunkedError::Size),
            ("0x5\r\n", ChunkedError::Size),
            ("fffffffffffffffff\r\n", ChunkedError::Size),
            ("5\r\nhelloworld", ChunkedError::DataEnd),
            (&long, ChunkedError::TooLong),
        ] {
            assert_eq!(decode_in(&[4], body.as_bytes()), Err(error), "{body:?}");
        }
    }

    #[test]
    fn what_came_before_the_break_is_kept() {
        let mut piece = b"5\r\nhello\r\nno size\r\n".to_vec();
        let decoded = Chunked::new().decode(&mut piece);
        assert_eq!(decoded, Decoded { payload: 5, body: Body::Broken(ChunkedError::Size) });
        assert_eq!(&piece[..5], b"hello");
    }

    proptest! {
        #[test]
        fn what_was_framed_comes_out(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..500), 0..8),
            pieces in prop::collection::vec(1_usize..200, 1..10),
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend(format!("{:X}\r\n", chunk.len()).bytes());
                body.extend(chunk);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n\r\n");
            prop_assert_eq!(decode_in(&pieces, &body), Ok((chunks.concat(), true)));
        }

        #[test]
        fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Chunked::new().decode(&mut bytes).payload <= bytes.len());
        }
    }
}
