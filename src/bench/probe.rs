//! A first look at a server: is there anybody?

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use vizard_proto::address::Transport;
use vizard_proto::stun::{Class, Method, TransactionId, Writer};

use super::Fault;

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the news that nobody is there takes at most. A relay need not answer a stranger, so
/// there is no news if somebody is.
const SHORT: Duration = Duration::from_millis(100);

/// Whether something listens at `server`, as far as that can be told at once.
pub(super) fn look(server: SocketAddr, transport: Transport) -> Result<(), Fault> {
    let seen = match transport {
        Transport::Tcp => TcpStream::connect_timeout(&server, PATIENCE).map(drop),
        Transport::Udp => knock(server),
    };
    let Err(error) = seen else { return Ok(()) };
    let port = server.port();
    Err(Fault::Failed(match error.kind() {
        ErrorKind::ConnectionRefused => {
            format!("nobody listens at the relay's port {port}: does it run, and is that the port?")
        }
        ErrorKind::TimedOut | ErrorKind::WouldBlock => {
            format!("no connection to the relay's port {port}: a firewall in between?")
        }
        _ => format!("no way to the relay: {error}"),
    }))
}

/// Sends a Binding request twice: the first brings the ICMP message that the second hears of.
fn knock(server: SocketAddr) -> std::io::Result<()> {
    let any = if server.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(SHORT))?;
    let mut request = [0; 64];
    let id = TransactionId(*b"vizard bench");
    let writer = Writer::new(&mut request, Class::Request, Method::BINDING, id);
    let len = writer.finish().unwrap_or(0);
    for _ in 0..2 {
        socket.send(&request[..len])?;
        match socket.recv(&mut [0; 512]) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_closed_port_is_told_at_once() {
        let udp = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let tcp = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        for (closed, transport) in [(udp, Transport::Udp), (tcp, Transport::Tcp)] {
            let told = look(closed.expect("bound"), transport).expect_err("nobody is there");
            assert!(told.to_string().contains("nobody listens"), "{told}");
        }
    }

    #[test]
    fn silence_is_no_news() {
        let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        assert_eq!(
            look(silent.local_addr().expect("bound"), Transport::Udp),
            Ok(())
        );
    }
}
