//! What an upstream's packets hold, as it is shown.
//!
//! Owns the families whose labels are PIDs of the current PMTs. They are bounded by what is
//! followed of a stream, [`ELEMENTARY_SHOWN_MAX`] of each upstream, and go with the PMT that named
//! them, and with the connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::registry::{counters, gauges, register};
use super::upstream::UpstreamCounts;
use crate::clock::unix_seconds;
use crate::limits::ELEMENTARY_SHOWN_MAX;

/// The words for the indicators of TR 101 290 that have no metric of their own, in the order in
/// which they are counted.
pub const INDICATORS: [&str; 9] =
    ["pat", "pmt", "pid", "crc", "pcr_repetition", "pcr_discontinuity", "pts", "cat", "malformed"];

/// What a connected upstream sends.
#[derive(Clone, Debug)]
pub struct Contents {
    /// As of then.
    pub at: Instant,
    /// Bits per second of all packets, over the last second.
    pub bits_per_second: u64,
    /// The programs of the PAT whose PMT has come.
    pub programs: Vec<Program>,
}

/// A program.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Its number.
    pub number: u16,
    /// The PID of its PMT.
    pub pmt_pid: u16,
    /// The PID of its PCR.
    pub pcr_pid: Option<u16>,
    /// What it is made of, as far as that is followed.
    pub elementary: Vec<Elementary>,
}

/// An elementary stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Elementary {
    /// Its PID.
    pub pid: u16,
    /// "video", "audio", "subtitles" or "data".
    pub kind: &'static str,
    /// What it is coded in.
    pub codec: &'static str,
    /// An ISO 639-2 code, or nothing.
    pub language: String,
    /// Bytes of its packets since the last time.
    pub bytes: u64,
    /// Bits per second, over the last second.
    pub bits_per_second: u64,
    /// Some of its packets are scrambled, over the last second.
    pub scrambled: bool,
    /// Its random access points, if they are the program's.
    pub access: Option<Access>,
}

/// Random access points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Access {
    /// Whether there was one.
    pub any: bool,
    /// When the last one came; if there was none, since when it is waited for.
    pub last: Instant,
    /// From the last but one to the last.
    pub group: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Families {
    received: IntCounterVec,
    faults: IntCounterVec,
    scrambled_packets: IntCounterVec,
    table_changes: IntCounterVec,
    info: IntGaugeVec,
    bytes: IntCounterVec,
    scrambled: IntGaugeVec,
    accessed: GaugeVec,
    group: GaugeVec,
}

impl Families {
    pub(super) fn register(r: &Registry) -> Families {
        let (of_upstream, of_pid) = (&["stream", "url"], &["stream", "url", "pid"]);
        let seconds = |name, help| register(r, GaugeVec::new(Opts::new(name, help), of_pid));
        Families {
            received: counters(
                r,
                "restreamer_received_bytes_total",
                "Bytes of packets received from the upstream.",
                of_upstream,
            ),
            faults: counters(
                r,
                "restreamer_integrity_errors_total",
                "Other errors of TR 101 290, by indicator, and malformed sections.",
                &["stream", "url", "indicator"],
            ),
            scrambled_packets: counters(
                r,
                "restreamer_scrambled_packets_total",
                "Scrambled packets received from the upstream.",
                of_upstream,
            ),
            table_changes: counters(
                r,
                "restreamer_table_changes_total",
                "Times that a PAT or PMT was replaced by another one.",
                of_upstream,
            ),
            info: gauges(
                r,
                "restreamer_elementary_info",
                "An elementary stream of the current PMTs, always 1.",
                &["stream", "url", "pid", "program", "kind", "codec", "language"],
            ),
            bytes: counters(
                r,
                "restreamer_elementary_bytes_total",
                "Bytes of an elementary stream's packets since the PMT names it.",
                of_pid,
            ),
            scrambled: gauges(
                r,
                "restreamer_elementary_scrambled",
                "Whether packets of the elementary stream are scrambled (0 or 1).",
                of_pid,
            ),
            accessed: seconds(
                "restreamer_random_access_timestamp_seconds",
                "When the program's last random access point came, or since when one is awaited.",
            ),
            group: seconds(
                "restreamer_gop_seconds",
                "From the last random access point but one to the last, by their time stamps.",
            ),
        }
    }

    pub(super) fn of(&self, labels: &[String; 2]) -> ContentMetrics {
        let [path, url] = labels.each_ref().map(String::as_str);
        let of = |family: &IntCounterVec| family.with_label_values(&[path, url]);
        ContentMetrics {
            received: of(&self.received),
            faults: INDICATORS.map(|word| self.faults.with_label_values(&[path, url, word])),
            scrambled_packets: of(&self.scrambled_packets),
            table_changes: of(&self.table_changes),
            labels: labels.clone(),
            info: self.info.clone(),
            bytes: self.bytes.clone(),
            scrambled: self.scrambled.clone(),
            accessed: self.accessed.clone(),
            group: self.group.clone(),
            shown: Arc::default(),
        }
    }
}

/// What one upstream sends.
#[derive(Clone, Debug)]
pub(super) struct ContentMetrics {
    /// Stream and upstream.
    labels: [String; 2],
    received: IntCounter,
    faults: [IntCounter; INDICATORS.len()],
    scrambled_packets: IntCounter,
    table_changes: IntCounter,
    info: IntGaugeVec,
    bytes: IntCounterVec,
    scrambled: IntGaugeVec,
    accessed: GaugeVec,
    group: GaugeVec,
    shown: Arc<Mutex<Option<Contents>>>,
}

impl ContentMetrics {
    /// Adds what was counted since the last time.
    pub(super) fn count(&self, counts: &UpstreamCounts) {
        let own = [
            (&self.received, counts.bytes),
            (&self.scrambled_packets, counts.scrambled),
            (&self.table_changes, counts.table_changes),
        ];
        for (metric, by) in own.into_iter().chain(self.faults.iter().zip(counts.faults)) {
            if by > 0 {
                metric.inc_by(by);
            }
        }
    }

    /// Errors by their words.
    pub(super) fn faults(&self) -> impl Iterator<Item = (&'static str, u64)> {
        INDICATORS.into_iter().zip(&self.faults).map(|(word, count)| (word, count.get()))
    }

    /// (scrambled packets, replaced tables) since the start.
    pub(super) fn scrambled_and_replaced(&self) -> (u64, u64) {
        (self.scrambled_packets.get(), self.table_changes.get())
    }

    /// What was shown last.
    pub(super) fn get(&self) -> Option<Contents> {
        self.lock().clone()
    }

    /// Shows this instead of what was shown before; nothing, when the upstream is lost.
    pub(super) fn show(&self, contents: Option<&Contents>) {
        let before = std::mem::replace(&mut *self.lock(), contents.cloned());
        let now: Vec<_> = contents.into_iter().flat_map(listed).collect();
        let same = |(program, one): (u16, &Elementary), other: (u16, &Elementary)| {
            let (a, b) = (one, other.1);
            (program, a.pid, a.codec, &a.language) == (other.0, b.pid, b.codec, &b.language)
                && a.access.is_some() == b.access.is_some()
        };
        for gone in before.iter().flat_map(listed) {
            if !now.iter().any(|here| same(*here, gone)) {
                self.forget(gone.0, gone.1);
            }
        }
        if let Some(at) = contents.map(|contents| contents.at) {
            for (program, elementary) in now {
                self.show_one(program, elementary, at);
            }
        }
    }

    fn show_one(&self, program: u16, one: &Elementary, now: Instant) {
        let (pid, program) = (label(one.pid), program.to_string());
        let [stream, url] = self.labels.each_ref().map(String::as_str);
        let of_pid = &[stream, url, &pid];
        let info = [stream, url, &pid, &program, one.kind, one.codec, language(one)];
        self.info.with_label_values(&info).set(1);
        self.bytes.with_label_values(of_pid).inc_by(one.bytes);
        self.scrambled.with_label_values(of_pid).set(one.scrambled.into());
        if let Some(access) = one.access {
            self.accessed.with_label_values(of_pid).set(unix_seconds(access.last, now));
            if let Some(group) = access.group {
                self.group.with_label_values(of_pid).set(group.as_secs_f64());
            }
        }
    }

    fn forget(&self, program: u16, one: &Elementary) {
        let (pid, program) = (label(one.pid), program.to_string());
        let [stream, url] = self.labels.each_ref().map(String::as_str);
        let of_pid = &[stream, url, &pid];
        let info = [stream, url, &pid, &program, one.kind, one.codec, language(one)];
        // What is not there need not go.
        let _none = self.info.remove_label_values(&info);
        let _none = self.bytes.remove_label_values(of_pid);
        let _none = self.scrambled.remove_label_values(of_pid);
        let _none = self.accessed.remove_label_values(of_pid);
        let _none = self.group.remove_label_values(of_pid);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Contents>> {
        // Every writer leaves it whole, so that a panic elsewhere does not spoil it.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The elementary streams that have labels, each with the number of its program.
fn listed(contents: &Contents) -> impl Iterator<Item = (u16, &Elementary)> {
    let programs = contents.programs.iter();
    let all =
        programs.flat_map(|program| program.elementary.iter().map(|one| (program.number, one)));
    all.take(ELEMENTARY_SHOWN_MAX)
}

/// The language's label: ISO 639-2 has a code for one that is not known.
fn language(one: &Elementary) -> &str {
    if one.language.is_empty() { "und" } else { &one.language }
}

/// A PID as it is written in tables.
fn label(pid: u16) -> String {
    format!("{pid:#06x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn contents(pids: &[u16], codec: &'static str) -> Contents {
        let now = Instant::now();
        let access = |group| Access { any: true, last: now, group };
        let elementary = |(number, pid): (usize, &u16)| Elementary {
            pid: *pid,
            kind: "video",
            codec,
            language: "deu".into(),
            bytes: 188,
            bits_per_second: 1504,
            scrambled: false,
            access: (number == 0).then(|| access(Some(Duration::from_secs(2)))),
        };
        let elementary = pids.iter().enumerate().map(elementary).collect();
        let program = Program { number: 1, pmt_pid: 32, pcr_pid: None, elementary };
        Contents { at: now, bits_per_second: 0, programs: vec![program] }
    }

    #[test]
    fn label_sets_go_with_what_they_name() {
        let metrics = Metrics::new();
        let upstream = metrics.upstream("/a.ts", "tcp://h:1");
        let told = || {
            let text = metrics.text().unwrap();
            let ours = |line: &&str| line.contains("pid=\"");
            text.lines().filter(ours).map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(upstream.contents().is_none() && told().is_empty());
        upstream.show(Some(&contents(&[256, 257], "h264")));
        upstream.show(Some(&contents(&[256, 257], "h264")));
        let all = told();
        assert_eq!(all.len(), 2 * 3 + 2, "{all:#?}");
        let of = "pid=\"0x0100\",stream=\"/a.ts\",url=\"tcp://h:1\"}";
        for line in [
            format!("restreamer_elementary_bytes_total{{{of} 376"),
            format!("restreamer_gop_seconds{{{of} 2"),
            "restreamer_elementary_info{codec=\"h264\",kind=\"video\",language=\"deu\",\
             pid=\"0x0101\",program=\"1\",stream=\"/a.ts\",url=\"tcp://h:1\"} 1"
                .to_owned(),
        ] {
            assert!(all.contains(&line), "{line} in {all:#?}");
        }
        upstream.show(Some(&contents(&[257], "hevc")));
        let all = told();
        assert_eq!(all.len(), 3 + 2, "{all:#?}");
        assert!(all.iter().all(|line| line.contains("0x0101") && !line.contains("h264")));
        let many: Vec<u16> = (256..500).collect();
        upstream.show(Some(&contents(&many, "h264")));
        assert_eq!(told().len(), 3 * ELEMENTARY_SHOWN_MAX + 2);
        upstream.show(None);
        assert!(told().is_empty() && upstream.contents().is_none());
    }
}
