//! From a path to what is served there.

use std::collections::HashMap;

/// Paths and what they lead to. A path that ends in `/` leads there from all below it as well; the
/// longest such path wins.
#[derive(Debug)]
pub struct Routes<T> {
    exact: HashMap<String, T>,
    below: Vec<(String, T)>,
}

impl<T: Copy> Routes<T> {
    /// Takes all paths, each once.
    pub fn new(paths: impl IntoIterator<Item = (String, T)>) -> Routes<T> {
        let exact: HashMap<String, T> = paths.into_iter().collect();
        let below = exact.iter().filter(|(path, _)| path.ends_with('/'));
        let mut below: Vec<_> = below.map(|(path, &to)| (path.clone(), to)).collect();
        below.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Routes { exact, below }
    }

    /// Where a decoded request path leads.
    pub fn find(&self, path: &str) -> Option<T> {
        let prefix = || self.below.iter().find(|(below, _)| path.starts_with(below.as_str()));
        self.exact.get(path).copied().or_else(|| prefix().map(|&(_, to)| to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_first_then_the_longest_folder() {
        let routes = Routes::new(
            [("/a.ts", 1), ("/a/", 2), ("/a/b/", 3), ("/a/b/c", 4)].map(|(p, t)| (p.to_owned(), t)),
        );
        for (path, to) in [
            ("/a.ts", Some(1)),
            ("/a/", Some(2)),
            ("/a/x/y", Some(2)),
            ("/a/b/x", Some(3)),
            ("/a/b/c", Some(4)),
            ("/a", None),
            ("/a.ts/x", None),
            ("/", None),
            ("*", None),
        ] {
            assert_eq!(routes.find(path), to, "{path}");
        }
    }
}
