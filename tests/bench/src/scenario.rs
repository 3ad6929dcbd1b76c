//! What is measured.

/// One stream, so many viewers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) viewers: usize,
    pub(crate) bits_per_second: u64,
    /// Milliseconds, if the server's turn is not to be adaptive.
    pub(crate) turn: Option<u32>,
}

/// All there are; the first two are measured unless others are named.
pub(crate) const SCENARIOS: [Scenario; 3] = [
    Scenario { name: "1000", viewers: 1000, bits_per_second: 8_000_000, turn: None },
    Scenario { name: "100", viewers: 100, bits_per_second: 8_000_000, turn: None },
    Scenario { name: "1000-60ms", viewers: 1000, bits_per_second: 8_000_000, turn: Some(60) },
];

/// Those with these names; by default the usual ones.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<Scenario>, String> {
    if names.is_empty() {
        return Ok(SCENARIOS[..2].to_vec());
    }
    let find = |name: &String| {
        let found = SCENARIOS.into_iter().find(|scenario| scenario.name == name);
        found.ok_or_else(|| {
            let known = SCENARIOS.map(|scenario| scenario.name).join(", ");
            format!("scenario {name} is unknown; there are {known}")
        })
    };
    names.iter().map(find).collect()
}
