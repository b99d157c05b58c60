//! The data plane over loopback, with real sockets and our own codec as the client.

mod calls;
mod namespaces;
mod paths;
mod revocation;
mod sockets;
mod streams;
mod twins;
