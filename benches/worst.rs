//! The worst that one packet and one wake-up can make the relay do: the longest and the median of
//! many times, for the table in `docs/threat-model.md`. What matters is that none is long; how long
//! depends on the machine.
#![allow(missing_docs)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use testkit::{Phone, World, ticket, udp};
use vizard_proto::auth::ticket::{CallId, Ticket};
use vizard_proto::contract::{Command, Scope};
use vizard_proto::stun::{AttributeType, Method, TransactionId, Writer};

/// As many permissions and channels as an allocation may have.
const MOST: u16 = 128;

fn main() {
    println!("{:<60} {:>10} {:>10}", "", "median", "longest");
    row("a stranger's request with 300 attributes", strangers());
    row("Allocate", allocate(1));
    row("Allocate that evicts one of 64", allocate(200));
    row(
        "CreatePermission: 127 peers and a foreign one",
        permissions(Peers::OneForeign),
    );
    row(
        "CreatePermission: 128 that nobody holds",
        permissions(Peers::Absent),
    );
    row(
        "CreatePermission: 128 that are there, bound both ways",
        permissions(Peers::Present),
    );
    row("ChannelBind, the 128th", bind());
    row("Refresh 0: 128 permissions, channels and peers", delete());
    row("one wake-up of 128 x 128 that expire together", expire());
    row("the command that revokes 128 x 128", revoke());
}

fn row(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{what:<60} {median:>10.1?} {longest:>10.1?}");
}

fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    let _ = std::hint::black_box(work());
    start.elapsed()
}

fn world() -> World {
    let mut config = testkit::config();
    config.limits.allocations_per_ticket = 64;
    config.limits.answers_burst = u32::MAX;
    World::with(config)
}

fn transport(writer: &mut Writer<'_>) {
    writer.bytes(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
}

fn somebody(number: u32) -> SocketAddr {
    (Ipv4Addr::from_bits(0xC612_0000 + number), 9).into()
}

fn phone(party: u8, number: u16) -> Phone {
    let [high, low] = number.to_be_bytes();
    Phone::new(
        udp(&format!("198.{party}.{high}.{low}:5000")),
        &ticket(1, party),
    )
}

/// Sends the request that was made before the clock starts.
fn ask(
    world: &mut World,
    phone: &mut Phone,
    method: Method,
    put: impl Fn(&mut Writer<'_>),
) -> Duration {
    if phone.client.nonce.is_empty() {
        phone.knock(world);
    }
    let transaction = world.transaction();
    let request = phone.request(method, transaction, put);
    time(|| world.send(phone.tuple, &request))
}

fn strangers() -> Vec<Duration> {
    let mut world = world();
    let mut phone = phone(0, 0);
    phone.client.credential.password = "wrong".into();
    phone.knock(&mut world);
    let request = phone.request(
        Method::CREATE_PERMISSION,
        TransactionId([1; 12]),
        |writer| {
            for number in 0..300 {
                writer.xor_address(AttributeType::XOR_PEER_ADDRESS, somebody(number));
            }
        },
    );
    (0..1000)
        .map(|_| time(|| world.send(phone.tuple, &request)))
        .collect()
}

fn allocate(count: u16) -> Vec<Duration> {
    let mut world = world();
    for number in 0..count.min(64) {
        phone(0, number).allocate(&mut world);
    }
    let more = count..count + 500;
    let mut phones: Vec<Phone> = more
        .map(|number| match count {
            // Another ticket each.
            1 => Phone::new(
                phone(0, number).tuple,
                &Ticket {
                    device: 1 + number.to_be_bytes()[1],
                    ..ticket(2, number.to_be_bytes()[0])
                },
            ),
            _ => phone(0, number),
        })
        .collect();
    phones
        .iter_mut()
        .map(|phone| ask(&mut world, phone, Method::ALLOCATE, transport))
        .collect()
}

/// One allocation, and as many of other parties as it may have channels, each bound to each.
fn crowd(world: &mut World) -> Vec<(Phone, SocketAddr)> {
    let mut all: Vec<_> = (0..MOST)
        .map(|number| {
            let mut phone = phone(1 + number.to_be_bytes()[1] % 4, number);
            let mask = phone.allocate(world);
            (phone, mask)
        })
        .collect();
    let masks: Vec<_> = all.iter().map(|(_, mask)| *mask).collect();
    for (phone, _) in &mut all {
        for (mask, number) in masks.iter().zip(0x4000..) {
            assert_eq!(phone.bind(world, number, *mask), 200);
        }
    }
    all
}

#[derive(Clone, Copy)]
enum Peers {
    OneForeign,
    Absent,
    Present,
}

fn permissions(peers: Peers) -> Vec<Duration> {
    let mut world = world();
    let mut all = crowd(&mut world);
    let named: Vec<SocketAddr> = match peers {
        Peers::OneForeign => (0..127)
            .map(somebody)
            .chain(["10.0.0.1:1".parse().expect("an address")])
            .collect(),
        Peers::Absent => (0..128).map(somebody).collect(),
        Peers::Present => all.iter().map(|(_, mask)| *mask).collect(),
    };
    let put = |writer: &mut Writer<'_>| {
        for peer in &named {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, *peer);
        }
    };
    if matches!(peers, Peers::Absent) {
        let mut alone = phone(9, 0);
        alone.allocate(&mut world);
        return (0..500)
            .map(|_| ask(&mut world, &mut alone, Method::CREATE_PERMISSION, put))
            .collect();
    }
    let first = &mut all[0].0;
    (0..500)
        .map(|_| ask(&mut world, first, Method::CREATE_PERMISSION, put))
        .collect()
}

fn bind() -> Vec<Duration> {
    let mut world = world();
    let mut all = crowd(&mut world);
    let peer = all[127].1;
    let first = &mut all[0].0;
    let put = |writer: &mut Writer<'_>| {
        writer.u32(AttributeType::CHANNEL_NUMBER, (0x4000 + 127) << 16);
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
    };
    (0..500)
        .map(|_| ask(&mut world, first, Method::CHANNEL_BIND, put))
        .collect()
}

fn delete() -> Vec<Duration> {
    let mut world = world();
    let mut all = crowd(&mut world);
    let delete = |writer: &mut Writer<'_>| writer.u32(AttributeType::LIFETIME, 0);
    all.iter_mut()
        .take(64)
        .map(|(phone, _)| ask(&mut world, phone, Method::REFRESH, delete))
        .collect()
}

fn expire() -> Vec<Duration> {
    let mut world = world();
    crowd(&mut world);
    world.now = world.now + Duration::from_secs(7200);
    wake(&mut world)
}

fn wake(world: &mut World) -> Vec<Duration> {
    let mut times = Vec::new();
    while world
        .server
        .relay
        .poll_timeout()
        .is_some_and(|due| due <= world.now)
    {
        let now = world.now;
        times.push(time(|| world.server.relay.handle_timeout(now)));
        world.server.drain();
    }
    times
}

fn revoke() -> Vec<Duration> {
    let mut world = world();
    crowd(&mut world);
    let revoke = Command::Revoke {
        call: CallId([1; 16]),
        scope: Scope::Call,
        until: testkit::START + 7200,
    };
    let now = world.now;
    let command = time(|| world.server.relay.handle_command(now, revoke));
    world.server.drain();
    let mut times = wake(&mut world);
    times.push(command);
    times
}
