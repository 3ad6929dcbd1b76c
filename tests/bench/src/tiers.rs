//! Three servers in a row: an origin that has the source, one that has its stream from the origin,
//! and one that has it from that. All share the measured core, have the same viewers and are
//! measured in the same window: the last is judged, the others are its company.

use std::io;
use std::path::Path;

use crate::ask::wait_until_served;
use crate::child::Child;
use crate::scenario::Scenario;
use crate::source::Source;
use crate::subject::{Running, Subject, free_address, server_config};
use crate::watch::path_of;

/// The tiers, the origin first.
pub(crate) const TIERS: [Subject; 3] = [Subject::Tier(0), Subject::Tier(1), Subject::Tier(2)];

/// Starts all; answers the last, with the others for company.
pub(crate) fn start(server: &Path, scenario: &Scenario, source: &Source) -> io::Result<Running> {
    let [first, middle, last] = TIERS;
    let path = path_of(0);
    let first = tier(first, server, scenario, &format!("tcp://{}", source.address))?;
    let middle = tier(middle, server, scenario, &format!("http://{}{path}", first.viewers))?;
    let last = tier(last, server, scenario, &format!("http://{}{path}", middle.viewers))?;
    Ok(Running { company: vec![first, middle], ..last })
}

/// Starts one, and waits until it serves: the first attempt of the next one is to be its last.
fn tier(
    subject: Subject,
    server: &Path,
    scenario: &Scenario,
    upstream: &str,
) -> io::Result<Running> {
    let dir = tempfile::tempdir()?;
    let (viewers, side) = (free_address()?, free_address()?);
    let file = dir.path().join("config.json");
    let config = server_config(scenario, |_| upstream.to_owned(), [viewers, side], dir.path());
    std::fs::write(&file, config)?;
    let child = Child::start(server.as_os_str(), &[file])?;
    wait_until_served(&child, viewers, &path_of(0))?;
    Ok(Running { subject, child, viewers, side: Some(side), company: Vec::new(), _dir: dir })
}
