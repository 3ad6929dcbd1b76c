//! How the body of an upstream is framed.

use super::error::Loss;
use crate::http::chunked::{Body, Chunked, Decoded};

/// The framing of a body.
#[derive(Debug)]
pub enum Framing {
    /// None: the body lasts as long as the connection.
    Raw,
    /// So many bytes are to come (`Content-Length`).
    Length(u64),
    /// The chunked transfer coding.
    Chunked(Chunked),
}

impl Framing {
    /// Takes the framing off a piece of the body, in place.
    pub fn decode(&mut self, piece: &mut [u8]) -> Decoded {
        match self {
            Framing::Raw => Decoded { payload: piece.len(), body: Body::Open },
            Framing::Length(left) => {
                let payload = usize::try_from(*left).unwrap_or(usize::MAX).min(piece.len());
                *left -= payload as u64;
                Decoded { payload, body: if *left == 0 { Body::Ended } else { Body::Open } }
            }
            Framing::Chunked(chunked) => chunked.decode(piece),
        }
    }

    /// Whether nothing is to come, though nothing was read yet (`Content-Length: 0`).
    pub fn is_over(&self) -> bool {
        matches!(self, Framing::Length(0))
    }

    /// What it means that the connection ends here.
    pub fn at_end(&self) -> Loss {
        match self {
            Framing::Raw | Framing::Length(0) => Loss::Ended,
            Framing::Length(_) | Framing::Chunked(_) => Loss::Truncated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_ends_the_body() {
        let mut framing = Framing::Length(5);
        assert!(!framing.is_over() && Framing::Length(0).is_over());
        assert_eq!(framing.decode(b"abc".to_vec().as_mut()).payload, 3);
        assert!(matches!(framing.at_end(), Loss::Truncated));
        let last = framing.decode(b"defgh".to_vec().as_mut());
        assert_eq!(last, Decoded { payload: 2, body: Body::Ended });
    }

    #[test]
    fn a_raw_body_ends_with_its_connection() {
        let mut framing = Framing::Raw;
        let all = framing.decode(b"abc".to_vec().as_mut());
        assert_eq!(all, Decoded { payload: 3, body: Body::Open });
        assert!(matches!(framing.at_end(), Loss::Ended));
    }
}
