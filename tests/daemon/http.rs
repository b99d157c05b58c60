//! A client of the control API that keeps every byte of an answer.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};

use super::PATIENCE;

/// A way to the API.
#[derive(Clone)]
pub struct Http {
    pub api: SocketAddr,
    /// The address that requests come from, if not the system's choice.
    pub source: Option<IpAddr>,
    pub key: String,
}

/// An answer.
pub struct Response {
    pub status: u16,
    /// All of it: status line, headers, body.
    pub raw: Vec<u8>,
    pub body: Vec<u8>,
}

impl Response {
    /// The body as JSON; `null` if it is none.
    pub fn parsed(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Http {
    /// A request with a JSON body, or none for `null`.
    pub fn json(&self, method: &str, path: &str, body: &Value) -> Response {
        let bytes = match body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        self.send(method, path, &[], &bytes)
    }

    pub fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], b"")
    }

    /// A request with these headers besides the usual.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        self.exchange(&self.request(method, path, headers, body))
    }

    /// The bytes of a request with these headers besides the usual.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Vec<u8> {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n",
            self.key,
            body.len()
        );
        for (name, value) in headers {
            head += &[*name, ": ", *value, "\r\n"].concat();
        }
        head.push_str("\r\n");
        [head.as_bytes(), body].concat()
    }

    /// Sends bytes as they are, and reads until the API closes the connection.
    pub fn exchange(&self, bytes: &[u8]) -> Response {
        self.attempt(bytes).expect("the API listens")
    }

    /// As [`Self::exchange`], of an API that may be gone. `None` if it takes no
    /// connection; status 0 if no answer came.
    pub fn attempt(&self, bytes: &[u8]) -> Option<Response> {
        let mut stream = self.try_connect()?;
        // An answer may come before all was written.
        let _ = stream.write_all(bytes);
        let mut raw = Vec::new();
        let _ = stream.read_to_end(&mut raw);
        let text = String::from_utf8_lossy(&raw);
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        let head = raw.windows(4).position(|end| end == b"\r\n\r\n");
        let body = head.map_or_else(Vec::new, |head| raw[head + 4..].to_vec());
        Some(Response {
            status: status.unwrap_or(0),
            raw,
            body,
        })
    }

    /// A connection to the API.
    pub fn connect(&self) -> TcpStream {
        self.try_connect().expect("the API listens")
    }

    fn try_connect(&self) -> Option<TcpStream> {
        let domain = Domain::for_address(self.api);
        let socket = Socket::new(domain, Type::STREAM, None).expect("a socket");
        if let Some(source) = self.source {
            let from = SockAddr::from(SocketAddr::new(source, 0));
            socket.bind(&from).expect("an address of this machine");
        }
        socket.connect(&self.api.into()).ok()?;
        let stream = TcpStream::from(socket);
        let timeout = Some(PATIENCE);
        stream.set_read_timeout(timeout).expect("a positive time");
        Some(stream)
    }
}
