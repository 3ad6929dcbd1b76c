//! Resources that are no stream: what the node tells of itself, and what is fetched whole.
//!
//! Owns the numbers of `health` and `statistics`, the rates they are made of, and the static
//! resources with their cache. Never touches a stream's data: it reads what workers publish. The
//! worker that is asked never waits: what takes time is made on a thread of its own and delivered.

pub mod desk;
pub mod health;
pub mod liveness;
pub mod node;
pub mod rates;
pub mod statics;
pub mod statistics;

pub use desk::{Desk, Question};
pub use liveness::Liveness;
pub use node::{Node, Shown};
pub use statics::Static;
