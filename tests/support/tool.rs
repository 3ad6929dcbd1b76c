//! Programs that a test needs beside the node.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// A program that runs beside a test; it is ended with it.
pub struct Tool {
    child: Child,
    log: Option<PathBuf>,
}

impl Tool {
    /// Starts one.
    pub fn start(command: &mut Command) -> Tool {
        let name = command.get_program().to_owned();
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", name.display()));
        Tool { child, log: None }
    }

    /// Starts one that tells to standard error what it does. That goes to a file, and is shown if
    /// the test fails.
    pub fn start_logging(command: &mut Command, log: &Path) -> Tool {
        let mut tool = Tool::start(command.stderr(File::create(log).unwrap()));
        tool.log = Some(log.to_owned());
        tool
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // It may have ended already: both answers are fine.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        if let Some(log) = self.log.take().filter(|_| std::thread::panicking()) {
            eprintln!("{}", fs::read_to_string(log).unwrap_or_default());
        }
    }
}
