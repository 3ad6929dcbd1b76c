//! What may be wrong with a connected upstream, and for how long before another one is tried.
//!
//! Owns the words for it and the checked times. Never looks at an upstream. Made by `check`.

use std::fmt;
use std::time::Duration;

use crate::limits::HEALTH_SECONDS_DEFAULT;

/// What may be wrong with an upstream that is connected: what hides the others comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Nothing comes.
    NoData,
    /// What comes is no packets.
    NoSync,
    /// Packets come, but no PAT, or no PMT of any of its programs.
    NoTables,
    /// The tables name video, and no picture begins.
    NoVideo,
    /// Video and audio come, and all of it is scrambled.
    Scrambled,
    /// Less comes than there should.
    Bitrate,
}

impl Condition {
    /// All of them.
    pub const ALL: [Condition; 6] = [
        Condition::NoData,
        Condition::NoSync,
        Condition::NoTables,
        Condition::NoVideo,
        Condition::Scrambled,
        Condition::Bitrate,
    ];

    /// The word for it: in the file, in labels and on the side port.
    pub fn word(self) -> &'static str {
        match self {
            Condition::NoData => "no_data",
            Condition::NoSync => "no_sync",
            Condition::NoTables => "no_tables",
            Condition::NoVideo => "no_video",
            Condition::Scrambled => "scrambled",
            Condition::Bitrate => "bitrate",
        }
    }

    /// Its place in [`Condition::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// What the upstream does then, in the middle of a sentence.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Condition::NoData => "has sent nothing",
            Condition::NoSync => "has sent no packets",
            Condition::NoTables => "has sent no PAT and PMT",
            Condition::NoVideo => "has sent no video",
            Condition::Scrambled => "has sent nothing that is not scrambled",
            Condition::Bitrate => "has sent less than its lowest bitrate",
        })
    }
}

/// How long each condition may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// By [`Condition::index`]; `None` is for ever.
    pub times: [Option<Duration>; Condition::ALL.len()],
    /// The bitrate below which there is [`Condition::Bitrate`], in bits per second; more than 0.
    pub floor: Option<u64>,
    /// Whether `no_tables` was asked for. By default a stream that never had any tables is not cut
    /// for want of them.
    pub tables_asked: bool,
}

impl Health {
    /// What holds for a stream with so many upstreams. With a single one there is nothing to go to.
    pub fn of_upstreams(upstreams: usize) -> Health {
        let mut health = Health::default();
        if upstreams > 1 {
            for condition in
                [Condition::NoData, Condition::NoSync, Condition::NoTables, Condition::NoVideo]
            {
                health.times[condition.index()] = Some(HEALTH_SECONDS_DEFAULT);
            }
        }
        health
    }

    /// The same where there is a slate: viewers go to that when nothing comes, also from a single
    /// upstream.
    #[must_use]
    pub fn with_slate(mut self) -> Health {
        self.times[Condition::NoData.index()] = Some(HEALTH_SECONDS_DEFAULT);
        self
    }

    /// How long a condition may hold.
    pub fn time(&self, condition: Condition) -> Option<Duration> {
        self.times[condition.index()]
    }
}
