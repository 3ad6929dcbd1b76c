//! Whose work is linked into the program, and on what terms: `copyright`, as Debian reads it.
//!
//! Owns which licences are accepted, and which one is chosen where there is a choice. Never
//! guesses: a package without terms, or on others, is an error. Driven by `write`.
//! The format: <https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/>.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cargo_metadata::{
    CargoOpt, DependencyKind, Metadata, MetadataCommand, Package, PackageId, Target,
};
use spdx::{Expression, Licensee, ParseMode};

/// What we accept, the best first. Debian has the words of the first one on every system.
const ACCEPTED: [&str; 6] = [APACHE, "MIT", "ISC", "BSD-3-Clause", "Zlib", "Unicode-3.0"];

const APACHE: &str = "Apache-2.0";

/// A line of the licence that no other text has.
const APACHE_TITLE: &str = "Version 2.0, January 2004";

const HEAD: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: restreamer
Comment: The program has the packages linked in that follow under vendor/.
 Where one of them can be had on several terms, those chosen are named.

Files: *
Copyright: The authors of restreamer
License: Apache-2.0

Files: vendor/std/*
Copyright: The Rust Project Developers
License: Apache-2.0
";

const TAIL: &str = "
License: Apache-2.0
 On Debian systems, the full text of the Apache License, Version 2.0, is in
 /usr/share/common-licenses/Apache-2.0.
";

/// Why it cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum LicencesError {
    /// Cargo does not say what is linked in.
    #[error("cargo metadata: {0}")]
    Metadata(#[from] cargo_metadata::Error),
    /// A package's terms are not known, or not accepted.
    #[error("{package}: licence {licence:?}: {why}")]
    Terms {
        /// Which one.
        package: String,
        /// What its manifest says.
        licence: String,
        /// What is wrong with that.
        why: String,
    },
    /// A package does not hold the words that have to come with it.
    #[error("{package}: no file with its licence")]
    NoText {
        /// Which one.
        package: String,
    },
    /// A file of a package.
    #[error("{path}: {error}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// What several packages may have in common.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Terms {
    licence: String,
    copyright: BTreeSet<String>,
    /// What has to come with it, word by word.
    text: String,
}

/// The whole file.
pub(super) fn copyright(repository: &Path) -> Result<String, LicencesError> {
    let metadata = metadata(repository)?;
    let mut groups: BTreeMap<Terms, Vec<String>> = BTreeMap::new();
    for package in linked(&metadata) {
        let files = format!("vendor/{}-{}/*", package.name, package.version);
        groups.entry(terms(package)?).or_default().push(files);
    }
    let mut text = HEAD.to_owned();
    for (terms, mut files) in groups {
        files.sort();
        let copyright: Vec<_> = terms.copyright.into_iter().collect();
        write!(text, "\nFiles: {}\n", files.join("\n ")).expect("memory takes everything");
        writeln!(text, "Copyright: {}", copyright.join("\n ")).expect("memory takes everything");
        writeln!(text, "License: {}", terms.licence).expect("memory takes everything");
        text.extend(terms.text.lines().map(paragraph));
    }
    Ok(text + TAIL)
}

/// A line of a field that goes on; an empty one would end it.
fn paragraph(line: &str) -> String {
    if line.trim().is_empty() { " .\n".to_owned() } else { format!(" {}\n", line.trim_end()) }
}

fn metadata(repository: &Path) -> Result<Metadata, LicencesError> {
    let mut command = MetadataCommand::new();
    command.manifest_path(repository.join("Cargo.toml")).features(CargoOpt::SomeFeatures(vec![]));
    // Debian has no other kernel.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    command.other_options(["--locked".to_owned(), "--filter-platform".to_owned(), platform]);
    Ok(command.exec()?)
}

/// What the program is made of, but for ourselves: what is needed when it runs, and no macros,
/// which only the compiler runs.
fn linked(metadata: &Metadata) -> Vec<&Package> {
    let nodes = &metadata.resolve.as_ref().expect("cargo resolves unless told not to").nodes;
    let nodes: BTreeMap<_, _> = nodes.iter().map(|node| (&node.id, node)).collect();
    let is_linked = |id: &PackageId| !metadata[id].targets.iter().any(Target::is_proc_macro);
    let root = metadata.packages.iter().find(|package| package.name.as_str() == super::PROGRAM);
    let mut waiting = vec![&root.expect("the workspace has the program").id];
    let mut found = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if found.insert(id) {
            let normal = nodes[id].deps.iter().filter(|dependency| {
                dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
            });
            waiting.extend(normal.map(|dependency| &dependency.pkg).filter(|id| is_linked(id)));
        }
    }
    let ours = |id: &PackageId| metadata.workspace_members.contains(id);
    found.into_iter().filter(|id| !ours(id)).map(|id| &metadata[id]).collect()
}

fn terms(package: &Package) -> Result<Terms, LicencesError> {
    let licence = package.license.as_deref().unwrap_or_default();
    let licences = choose(licence).map_err(|why| LicencesError::Terms {
        package: package.name.to_string(),
        licence: licence.to_owned(),
        why,
    })?;
    let texts = texts(package)?;
    let mut copyright: BTreeSet<_> = texts.iter().flat_map(|text| notices(text)).collect();
    if copyright.is_empty() {
        copyright.extend(package.authors.iter().cloned());
    }
    if copyright.is_empty() {
        copyright.insert(format!("The authors of {}", package.name));
    }
    let mut text = String::new();
    if licences != [APACHE] {
        let needed = texts.iter().filter(|text| !text.contains(APACHE_TITLE));
        text = needed.map(String::as_str).collect::<Vec<_>>().join("\n\n");
        if text.trim().is_empty() {
            return Err(LicencesError::NoText { package: package.name.to_string() });
        }
    }
    Ok(Terms { licence: licences.join(" and "), copyright, text })
}

/// The fewest and best of the licences that something can be had on, or what is wrong with them.
fn choose(licence: &str) -> Result<Vec<String>, String> {
    // Old manifests have a slash for `OR`.
    let expression = Expression::parse_mode(licence, ParseMode::LAX);
    let expression = expression.map_err(|error| error.reason.to_string())?;
    let accepted = ACCEPTED.map(|name| Licensee::parse(name).expect("it is one of SPDX"));
    let needed = expression.minimized_requirements(&accepted).map_err(|error| error.to_string())?;
    Ok(needed.iter().map(ToString::to_string).collect())
}

/// What a package's files say of its terms, in order of their names.
fn texts(package: &Package) -> Result<Vec<String>, LicencesError> {
    let folder = package.manifest_path.parent().expect("a manifest is in a folder").as_std_path();
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| LicencesError::File { path, error }
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let entry = entry.map_err(failed(folder))?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        let named = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];
        if named.iter().any(|start| name.starts_with(start)) && entry.path().is_file() {
            paths.push(entry.path());
        }
    }
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).map_err(failed(path))).collect()
}

/// Who claims to have written a text. What a licence tells its users to write is no such claim.
fn notices(text: &str) -> impl Iterator<Item = String> {
    let lines = text.lines().map(|line| line.trim().trim_start_matches("//").trim());
    let claims = lines.filter(|line| {
        let rest = line.strip_prefix("Copyright ").unwrap_or_default();
        rest.starts_with("(c)")
            || rest.starts_with("(C)")
            || rest.starts_with('©')
            || rest.starts_with(|c: char| c.is_ascii_digit())
            || rest.starts_with("The ") && !rest.contains(" License")
    });
    let claims = claims.filter(|line| !line.contains("YEAR"));
    claims.map(|line| line.trim_start_matches("Copyright ").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_that_is_accepted_is_chosen() {
        let one = |name: &str| Ok(vec![name.to_owned()]);
        assert_eq!(choose("MIT OR Apache-2.0"), one("Apache-2.0"));
        assert_eq!(choose("MIT/Apache-2.0"), one("Apache-2.0"));
        assert_eq!(choose("Unlicense OR MIT"), one("MIT"));
        assert_eq!(
            choose("Apache-2.0 AND ISC").map(|both| both.join("+")),
            Ok("Apache-2.0+ISC".into())
        );
        for refused in ["", "GPL-3.0-only", "MIT AND AGPL-3.0-only", "of our own"] {
            assert!(choose(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn what_users_of_a_licence_are_told_to_write_is_no_claim() {
        let text = "Copyright (c) 2014 A\n   Copyright 2020 B\nCopyright [yyyy] [name]\n\
                    Copyright (c) YEAR YOUR NAME.\n// Copyright © 2021 C\ncopyright notice";
        assert_eq!(notices(text).collect::<Vec<_>>(), ["(c) 2014 A", "2020 B", "© 2021 C"]);
    }
}
