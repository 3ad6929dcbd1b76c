//! A pipe as the target of a fan-out: another thread reads it, and takes what it can.
//!
//! It is fed as a viewer is: `tee` from the trunk, or `tee` to the lane and `splice` from there;
//! what it has no room for is written to it later, from the ring.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::*;
use crate::wait::{readable, writable};

const PAGE: usize = 4096;

/// A pipe of 16 slots.
fn pipe() -> Pipe {
    let pipe = Pipe::with_capacity(16 * PAGE).unwrap();
    assert_eq!(pipe.capacity(), 16 * PAGE);
    pipe
}

/// Bytes of which no two pages are alike within 250 of them.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from((n + n / 256) % 251).unwrap()).collect()
}

/// What the pipe holds, all of it.
fn taken(pipe: &Pipe) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = vec![0; 16 * PAGE];
    loop {
        match read(pipe.reader(), &mut buffer).unwrap() {
            Moved::Bytes(n) => all.extend_from_slice(&buffer[..n.get()]),
            Moved::Blocked => return all,
            Moved::Ended => panic!("we hold the writer"),
        }
    }
}

fn tee_into(target: &Pipe, trunk: &Pipe) -> Moved {
    tee(trunk.reader(), target.writer(), usize::MAX >> 1).unwrap()
}

/// Full is a pipe whose slots are used up, however few bytes are in them: a chunk takes a slot for
/// each page of the trunk it touches.
#[test]
fn a_pipe_is_full_by_slots() {
    let (trunk, target) = (pipe(), pipe());
    fill(&trunk, b"a");
    for round in 0..16 {
        assert_eq!(tee_into(&target, &trunk).count(), 1, "{round}");
    }
    assert_eq!(tee_into(&target, &trunk), Moved::Blocked);
    assert_eq!(splice(trunk.reader(), target.writer(), PAGE).unwrap(), Moved::Blocked);
    assert_eq!(write(target.writer(), &[IoSlice::new(b"b")]).unwrap(), Moved::Blocked);
    assert_eq!(writable([target.writer()], Some(Duration::ZERO)).unwrap(), [false]);
    assert_eq!(taken(&target), [b'a'; 16]);
    assert_eq!(taken(&trunk), b"a", "neither has taken anything from it");
}

/// What `tee` told is what arrived; the rest follows by a write, at the very byte.
#[test]
fn tee_gives_what_fits_and_a_write_goes_on_from_there() {
    let (trunk, target) = (pipe(), pipe());
    let chunk = pattern(10 * PAGE + 100);
    assert_eq!(fill(&trunk, &chunk), chunk.len());
    assert_eq!(tee_into(&target, &trunk).count(), chunk.len(), "11 slots of 16");
    let told = tee_into(&target, &trunk).count();
    assert_eq!(told, 5 * PAGE, "5 slots were left");
    assert_eq!(tee_into(&target, &trunk), Moved::Blocked);
    let mut got = vec![0; chunk.len()];
    assert_eq!(read(target.reader(), &mut got).unwrap().count(), chunk.len());
    let (one, two) = chunk[told..].split_at(1000);
    let rest = [IoSlice::new(one), IoSlice::new(two)];
    assert_eq!(write(target.writer(), &rest).unwrap().count(), chunk.len() - told);
    got.extend(taken(&target));
    assert_eq!(got, [chunk.as_slice(), &chunk].concat());
    assert_eq!(taken(&trunk), chunk);
}

/// The lane keeps what the target had no room for, and gives it when there is some.
#[test]
fn splice_gives_what_fits_and_leaves_the_rest_in_order() {
    let (lane, target) = (pipe(), pipe());
    let chunk = pattern(12 * PAGE);
    for moved in [12, 4] {
        assert_eq!(fill(&lane, &chunk), chunk.len());
        let told = splice(lane.reader(), target.writer(), chunk.len()).unwrap().count();
        assert_eq!(told, moved * PAGE);
    }
    assert_eq!(splice(lane.reader(), target.writer(), chunk.len()).unwrap(), Moved::Blocked);
    let mut got = taken(&target);
    assert_eq!(splice(lane.reader(), target.writer(), chunk.len()).unwrap().count(), 8 * PAGE);
    assert_eq!(splice(lane.reader(), target.writer(), PAGE).unwrap(), Moved::Blocked, "no more");
    got.extend(taken(&target));
    assert_eq!(got, [chunk.as_slice(), &chunk].concat());
}

/// A write fills up the last page if the pipe wrote it itself. One that it shares is left alone, or
/// everybody else who has it would get other bytes.
#[test]
fn a_write_behind_a_shared_page_does_not_touch_it() {
    let (trunk, target) = (pipe(), pipe());
    fill(&trunk, b"shared,");
    let third = pipe();
    assert_eq!((tee_into(&target, &trunk).count(), tee_into(&third, &trunk).count()), (7, 7));
    fill(&target, b"target");
    fill(&trunk, b"trunk");
    assert_eq!(splice(trunk.reader(), target.writer(), 3).unwrap().count(), 3);
    fill(&target, b"!");
    assert_eq!(taken(&third), b"shared,");
    assert_eq!(taken(&target), b"shared,targetsha!");
    assert_eq!(taken(&trunk), b"red,trunk");
}

/// A pipe without a free slot can take a little from a write when it takes nothing by `tee`, and
/// is not writable for `poll`.
#[test]
fn a_write_fills_up_the_last_page_of_a_full_pipe() {
    let (trunk, target) = (pipe(), pipe());
    fill(&trunk, b"tee");
    let chunk = pattern(15 * PAGE + 100);
    assert_eq!(fill(&target, &chunk), chunk.len());
    assert_eq!(tee_into(&target, &trunk), Moved::Blocked);
    assert_eq!(writable([target.writer()], Some(Duration::ZERO)).unwrap(), [false]);
    assert_eq!(fill(&target, b"more"), 4);
    assert_eq!(taken(&target), [chunk.as_slice(), b"more"].concat());
}

/// The edge comes when a whole slot is free, so whoever met `Blocked`, or less than was asked, may
/// wait for it.
#[test]
fn readiness_is_told_when_a_slot_is_free() {
    let (trunk, target) = (pipe(), pipe());
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let edge = EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
    epoll.add(target.writer(), EpollEvent::new(edge, 1)).unwrap();
    let told = || epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO).unwrap();
    assert_eq!((told(), told()), (1, 0), "at first");
    let chunk = pattern(12 * PAGE);
    fill(&trunk, &chunk);
    for moved in [12, 4] {
        assert_eq!(tee_into(&target, &trunk).count(), moved * PAGE);
    }
    assert_eq!(told(), 0, "full");
    let mut half = [0; PAGE / 2];
    assert_eq!(read(target.reader(), &mut half).unwrap().count(), half.len());
    assert_eq!((told(), tee_into(&target, &trunk)), (0, Moved::Blocked), "half a slot");
    assert_eq!(read(target.reader(), &mut half).unwrap().count(), half.len());
    assert_eq!(told(), 1, "a slot");
    assert_eq!(tee_into(&target, &trunk).count(), PAGE);
    // The reader may as well splice, as it does with an upstream that is a pipe.
    let lane = pipe();
    assert_eq!(splice(target.reader(), lane.writer(), PAGE).unwrap().count(), PAGE);
    assert_eq!(told(), 1, "a slot by splice");
}

#[test]
fn the_reader_is_told_of_each_of_the_three_ways() {
    let (trunk, target) = (pipe(), pipe());
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
    epoll.add(target.reader(), EpollEvent::new(edge, 1)).unwrap();
    let told = || epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO).unwrap();
    assert_eq!(told(), 0);
    for empty in [true, false] {
        fill(&trunk, b"ab");
        assert_eq!((tee_into(&target, &trunk).count(), told()), (2, 1), "tee, {empty}");
        if empty {
            taken(&target);
        }
        assert_eq!(splice(trunk.reader(), target.writer(), PAGE).unwrap().count(), 2);
        assert_eq!(told(), 1, "splice, {empty}");
        if empty {
            taken(&target);
        }
        fill(&target, b"cd");
        assert_eq!(told(), 1, "write, {empty}");
        assert_eq!(taken(&target), if empty { &b"cd"[..] } else { b"ababcd" });
    }
}

#[test]
fn a_reader_that_is_gone_is_a_value() {
    let trunk = pipe();
    fill(&trunk, b"chunk");
    let (reader, writer) = pipe().into_ends();
    drop(reader);
    assert_eq!(tee(trunk.reader(), writer.as_fd(), PAGE).unwrap(), Moved::Ended);
    assert_eq!(splice(trunk.reader(), writer.as_fd(), PAGE).unwrap(), Moved::Ended);
    assert_eq!(taken(&trunk), b"chunk", "nothing is lost with it");
}

/// As between two workers: one feeds by `tee`, writes what did not fit as soon as it does, and goes
/// on by `tee`; the other reads when it likes.
#[test]
fn another_thread_gets_every_byte_in_order() {
    const CHUNKS: usize = 500;
    let (trunk, target) = (pipe(), pipe());
    let all = pattern(CHUNKS * 9876);
    let (reader, writer) = target.into_ends();
    let (full, begin) = mpsc::channel();
    let reading = thread::spawn(move || {
        // Not before the pipe was full once.
        begin.recv().unwrap();
        let mut got = Vec::new();
        // Odd sizes leave slots half read.
        let mut buffer = vec![0; 7001];
        loop {
            readable([reader.as_fd()], None).unwrap();
            match read(reader.as_fd(), &mut buffer).unwrap() {
                Moved::Bytes(n) => got.extend_from_slice(&buffer[..n.get()]),
                Moved::Blocked => {}
                Moved::Ended => return got,
            }
        }
    });
    let drain = Drain::open().unwrap();
    for chunk in all.chunks(9876) {
        assert_eq!(fill(&trunk, chunk), chunk.len());
        let mut rest = &chunk[tee(trunk.reader(), writer.as_fd(), chunk.len()).unwrap().count()..];
        drain.empty(trunk.reader(), chunk.len()).unwrap();
        if !rest.is_empty() {
            full.send(()).unwrap();
        }
        while !rest.is_empty() {
            writable([writer.as_fd()], None).unwrap();
            rest = &rest[write(writer.as_fd(), &[IoSlice::new(rest)]).unwrap().count()..];
        }
    }
    drop((writer, full));
    let got = reading.join().unwrap();
    assert!(got == all, "{} of {} bytes, or others", got.len(), all.len());
}
