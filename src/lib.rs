//! vizard: a TURN relay that keeps callers' addresses from each other.
//!
//! A tour, from the outside in:
//!
//! - [`cli`]: the commands. `vizard serve` reads a [`config`], opens the [`state`] directory and
//!   starts a [`node`].
//! - [`node`]: ties the parts together; [`start`] is the whole daemon in one call.
//! - [`control`]: decides calls and answers the HTTP API. Its policy and its registry are pure.
//! - [`dataplane`]: sockets and worker threads. [`dataplane::Handle`] is the one door from control.
//! - [`vizard_proto`]: the protocol, a function of its inputs. The data plane hands it packets,
//!   control hands it commands.
//! - [`mod@bench`]: the load generator, which knows the protocol and nothing else of ours.
//! - [`telemetry`]: metrics, log, and types that keep addresses out of both.
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! use vizard::config::Config;
//! use vizard::state::StateDirectory;
//!
//! let config = Config::parse("example", r#"
//!     relay.udp = ["127.0.0.1:0"]
//!     relay.tcp = []
//!     control.listen = "127.0.0.1:0"
//! "#)?;
//! let node = vizard::start(&config, StateDirectory::open(folder.path())?)?;
//! assert!(node.api().starts_with("http://127.0.0.1:"));
//! node.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod bench;
pub mod cli;
pub mod config;
pub mod control;
pub mod dataplane;
pub mod node;
pub mod state;
pub mod telemetry;

pub use node::start;
