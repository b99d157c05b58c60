//! The data plane over loopback, with real sockets and our own codec as the client.

#[path = "../loopback/mod.rs"]
mod loopback;

mod calls;
mod namespaces;
mod paths;
mod revocation;
mod sockets;
mod streams;
mod twins;
