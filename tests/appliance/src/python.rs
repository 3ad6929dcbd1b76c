//! Checkers that are written in Python, in an environment of their own.

use std::path::PathBuf;
use std::process::Output;

use crate::{kept, output, run};

/// What is installed, and in which version: a checker that changes by itself proves nothing.
const PACKAGES: [&str; 2] =
    ["kubernetes-validate==1.37.0", "cyclonedx-python-lib[json-validation]==11.12.0"];

/// Makes the environment if there is none yet, and answers where its programs are.
pub fn programs() -> PathBuf {
    let name = PACKAGES.join("+").replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let made = kept().join(name);
    if !made.exists() {
        std::fs::create_dir_all(kept()).unwrap();
        // An environment knows its own place, so it is made there, and counts when it is whole.
        let making = made.with_extension("making");
        let place = making.to_str().unwrap();
        run("timeout", &["60", "/usr/bin/python3", "-m", "venv", "--clear", place]);
        let pip = making.join("bin/pip");
        let mut install = vec!["300", pip.to_str().unwrap(), "install", "--quiet"];
        install.extend(PACKAGES);
        run("timeout", &install);
        std::os::unix::fs::symlink(&making, &made).unwrap();
    }
    made.join("bin")
}

/// Runs a few lines of Python.
pub fn python(lines: &str, arguments: &[&str]) -> Output {
    let python = programs().join("python");
    let all = [&["60", python.to_str().unwrap(), "-c", lines], arguments].concat();
    output("timeout", &all)
}
