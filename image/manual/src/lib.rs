//! What comes with the program in a package: man pages, completions for shells, licences.
//!
//! Owns how they are made, each from where the same thing is said already: the definition of the
//! command line, the tables of README.md, the manifests of what is linked in. The same source
//! always gives the same bytes. Never part of the program. Driven by `image/deb`.

#![forbid(unsafe_code)]

mod licences;
mod markdown;
mod pages;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_complete::{Shell, generate_to};
use restreamer::cli::Cli;

pub use licences::LicencesError;
pub use markdown::MarkdownError;

/// What the program is called by those who run it.
const PROGRAM: &str = "restreamer";

/// Why something cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ManualError {
    /// A file.
    #[error("{path}: {error}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// README.md holds what no man page can show yet.
    #[error("README.md: {0}")]
    Markdown(#[from] MarkdownError),
    /// Whose work is linked in cannot be told.
    #[error(transparent)]
    Licences(#[from] LicencesError),
}

/// Writes everything into `folder`: `man/` with pages named by their section, `completions/` named
/// as each shell looks for them, and `copyright`.
pub fn write(folder: &Path) -> Result<(), ManualError> {
    let [man, completions] = ["man", "completions"].map(|name| folder.join(name));
    for folder in [&man, &completions] {
        fs::create_dir_all(folder).map_err(at(folder))?;
    }
    for (name, text) in pages::commands(Cli::command()) {
        write_file(&man.join(name), &text)?;
    }
    let readme = repository().join("README.md");
    let readme = fs::read_to_string(&readme).map_err(at(&readme))?;
    write_file(&man.join("restreamer.json.5"), &pages::configuration(&readme)?)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut Cli::command(), PROGRAM, &completions).map_err(at(&completions))?;
    }
    write_file(&folder.join("copyright"), &licences::copyright(&repository())?)
}

fn write_file(path: &Path, text: &str) -> Result<(), ManualError> {
    fs::write(path, text).map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ManualError {
    let path = path.to_owned();
    move |error| ManualError::File { path, error }
}

/// The root of the repository.
fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this package is two folders deep").to_owned()
}

#[cfg(test)]
mod tests;
