//! What is told of a program that the kernel refuses.

/// So much of the end of it is kept, in bytes: some twenty lines. The verifier tells what it has
/// looked at, instruction by instruction, up to 16 MiB of it, and what it does not like at the end.
const TAIL_BYTES: usize = 2048;

/// An error with what it comes from, and of a long one the first line and the last ones.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    shortened(chain(error))
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    // Some say themselves what they come from.
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

fn shortened(text: String) -> String {
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    if rest.len() <= TAIL_BYTES {
        return text;
    }
    let tail = &rest[rest.ceil_char_boundary(rest.len() - TAIL_BYTES)..];
    // A line that is cut tells nothing; the only one there is tells something.
    let tail = tail.split_once('\n').map_or(tail, |(_cut, lines)| lines);
    format!("{first}\n…\n{}", tail.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_is_long_is_kept_in_whole_lines() {
        let short = "refused: line 1\nline 2";
        assert_eq!(shortened(short.to_owned()), short);
        let long: Vec<_> = (1..=100_000).map(|number| format!("line {number} é")).collect();
        let told = shortened(format!("refused: {}\n", long.join("\n")));
        assert!(told.starts_with("refused: line 1 é\n…\nline 99"), "{told}");
        assert!(told.ends_with("\nline 100000 é"), "{told}");
        assert!(told.len() < 2 * TAIL_BYTES, "{}", told.len());
        let one_line = shortened(format!("refused:\n{}", "é".repeat(TAIL_BYTES)));
        assert!(one_line.len() < 2 * TAIL_BYTES, "{}", one_line.len());
    }
}
