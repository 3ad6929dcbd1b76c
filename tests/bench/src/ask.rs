//! Questions to what is measured, before and after the window: whether it serves, and its metrics.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::child::Child;

/// How long what is measured may take to be there.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// For one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A response head's.
const HEAD_BYTES_MAX: usize = 8192;

/// Asks until this is served.
pub(crate) fn wait_until_served(child: &Child, address: SocketAddr, path: &str) -> io::Result<()> {
    retry(child, || {
        let head = String::from_utf8_lossy(&get(address, path, 13)?).into_owned();
        let is_served = head.split(' ').nth(1) == Some("200");
        if is_served { Ok(()) } else { Err(io::Error::other(format!("{path}: {head}"))) }
    })
}

/// Connects as soon as somebody listens.
pub(crate) fn connect(child: &Child, address: SocketAddr) -> io::Result<TcpStream> {
    retry(child, || {
        let socket = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(socket)
    })
}

fn retry<T>(child: &Child, mut ask: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(_) if child.has_ended()? => {
                return Err(io::Error::other("what is to be measured has ended at once"));
            }
            Err(_) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Reads a response head, and not a byte more.
pub(crate) fn read_head(socket: &mut TcpStream) -> io::Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The server's metrics, as it tells them.
pub(crate) fn metrics(side: SocketAddr) -> io::Result<String> {
    let text = get(side, "/metrics", u64::MAX)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The sum of a metric over its labels.
pub(crate) fn sum(metrics: &str, name: &str) -> io::Result<f64> {
    let values: Vec<f64> = metrics
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    if values.is_empty() {
        return Err(io::Error::other(format!("the server has no metric {name}")));
    }
    Ok(values.iter().sum())
}

/// The answer to a request, as long as it is but so many bytes at most.
fn get(address: SocketAddr, path: &str, bytes: u64) -> io::Result<Vec<u8>> {
    exchange(address, path, bytes).map_err(|error| io::Error::other(format!("{path}: {error}")))
}

fn exchange(address: SocketAddr, path: &str, bytes: u64) -> io::Result<Vec<u8>> {
    let mut socket = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    socket.take(bytes).read_to_end(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_alone() {
        let text = "# HELP a_total All.\n# TYPE a_total counter\na_total{stream=\"x y\"} 3\n\
                    a_total{stream=\"z\"} 4\na_total_more 100\nb 2\n";
        assert_eq!(sum(text, "a_total").unwrap().to_string(), "7");
        assert_eq!(sum(text, "b").unwrap().to_string(), "2");
        assert!(sum(text, "a").is_err());
    }
}
