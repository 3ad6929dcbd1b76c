//! Programs that a test needs beside the node.

use std::process::{Child, Command};

/// A program that runs beside a test; it is ended with it.
pub struct Tool(Child);

impl Tool {
    /// Starts one.
    pub fn start(command: &mut Command) -> Tool {
        let name = command.get_program().to_owned();
        Tool(command.spawn().unwrap_or_else(|error| panic!("{}: {error}", name.display())))
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // It may have ended already: both answers are fine.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}
