//! What an event is about, packed into the kernel's 64 bits.

use crate::limits::RESOURCES_MAX;
use crate::stream::ViewerKey;

/// What an event is about.
///
/// Places are used again, so that whoever had one before is told apart by a generation: an event of
/// the past is silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// Commands from other threads are waiting.
    Commands,
    /// Connections are waiting at this listener.
    Listener(usize),
    /// A guest's connection.
    Guest(ViewerKey),
    /// The upstream of this stream.
    Upstream(usize),
    /// A viewer of this stream.
    Viewer(usize, ViewerKey),
    /// Somebody who waits for the upstream of this stream.
    Waiting(usize, ViewerKey),
}

const KIND_BITS: u32 = 4;
const STREAM_BITS: u32 = 16;
const INDEX_BITS: u32 = 24;
const GENERATION_BITS: u32 = ViewerKey::GENERATION_BITS;

const _: () = assert!(KIND_BITS + STREAM_BITS + INDEX_BITS + GENERATION_BITS == usize::BITS);
const _: () = assert!(RESOURCES_MAX < 1 << STREAM_BITS);

impl From<Token> for mio::Token {
    fn from(token: Token) -> mio::Token {
        let none = ViewerKey { index: 0, generation: 0 };
        let (kind, stream, key) = match token {
            Token::Commands => (0, 0, none),
            Token::Listener(number) => (1, number, none),
            Token::Guest(key) => (2, 0, key),
            Token::Upstream(stream) => (3, stream, none),
            Token::Viewer(stream, key) => (4, stream, key),
            Token::Waiting(stream, key) => (5, stream, key),
        };
        assert!(key.index < 1 << INDEX_BITS && stream < 1 << STREAM_BITS, "more than descriptors");
        let generation = key.generation as usize;
        let packed = (generation << INDEX_BITS | key.index) << STREAM_BITS | stream;
        mio::Token(packed << KIND_BITS | kind)
    }
}

impl From<mio::Token> for Token {
    fn from(token: mio::Token) -> Token {
        let kind = token.0 & ((1 << KIND_BITS) - 1);
        let packed = token.0 >> KIND_BITS;
        let stream = packed & ((1 << STREAM_BITS) - 1);
        let index = packed >> STREAM_BITS & ((1 << INDEX_BITS) - 1);
        let generation = packed >> (STREAM_BITS + INDEX_BITS);
        let generation = u32::try_from(generation).expect("20 bits");
        let key = ViewerKey { index, generation };
        match kind {
            0 => Token::Commands,
            1 => Token::Listener(stream),
            2 => Token::Guest(key),
            3 => Token::Upstream(stream),
            4 => Token::Viewer(stream, key),
            _ => Token::Waiting(stream, key),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_survives_the_kernel(
            stream in 0_usize..RESOURCES_MAX,
            index in 0_usize..1 << INDEX_BITS,
            generation in 0_u32..1 << GENERATION_BITS,
        ) {
            let key = ViewerKey { index, generation };
            for token in [
                Token::Commands,
                Token::Listener(stream),
                Token::Guest(key),
                Token::Upstream(stream),
                Token::Viewer(stream, key),
                Token::Waiting(stream, key),
            ] {
                prop_assert_eq!(Token::from(mio::Token::from(token)), token);
            }
        }
    }
}
