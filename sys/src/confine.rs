//! What a process gives up once it has all it needs.
//!
//! Owns the mechanisms, each on its own: capabilities, files (Landlock), system calls (seccomp).
//! Never decides what is needed. All of them hold for the thread that asks for them and for those
//! it starts from then on, so ask before there is another; only [`filter`] reaches all there are.
//! Nothing that is given up here comes back, and what is executed later inherits it.

pub mod calls;
pub mod capabilities;
pub mod files;
pub mod filter;
pub mod violation;

#[cfg(test)]
mod tests;
