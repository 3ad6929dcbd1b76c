//! Hosts on one machine: network namespaces of the test's own, tied by virtual cables. It takes
//! root.

use std::fs::File;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Two hosts: one that sends (10.213.0.1 and .3, and the same in `fd13::/64`) and one with the node
/// (10.213.0.2), each on its interface `cable`.
pub struct Hosts {
    pub sender: String,
    pub node: String,
}

/// Runs `ip` on the host that the calling thread is on.
pub fn ip(arguments: &str) {
    // A route of IPv6 needs to be asked for as such.
    let family = arguments.contains(':').then_some("-6");
    let all = family.into_iter().chain(arguments.split(' '));
    let output = Command::new("ip").args(all).output().unwrap();
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {why}");
}

impl Hosts {
    pub fn new(name: &str) -> Hosts {
        let of = |role| format!("rs-{name}-{role}-{}", std::process::id());
        let hosts = Hosts { sender: of("s"), node: of("n") };
        let (sender, node) = (&hosts.sender, &hosts.node);
        ip(&format!("netns add {sender}"));
        ip(&format!("netns add {node}"));
        Hosts::on(sender, || {
            ip(&format!("link add cable type veth peer name cable netns {node}"));
        });
        for (host, numbers) in [(sender, [1, 3].as_slice()), (node, &[2])] {
            Hosts::on(host, || {
                for number in numbers {
                    ip(&format!("addr add 10.213.0.{number}/24 dev cable"));
                    ip(&format!("addr add fd13::{number}/64 dev cable nodad"));
                }
                ip("link set lo up");
                ip("link set cable up");
                ip("route add 224.0.0.0/4 dev cable");
            });
        }
        hosts
    }

    /// Runs `f` on a thread that is on the host; sockets and processes it makes stay there.
    pub fn on<T: Send>(host: &str, f: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let run = || {
                let namespace = File::open(format!("/run/netns/{host}")).unwrap();
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(namespace.as_fd(), kind).unwrap();
                f()
            };
            scope.spawn(run).join().unwrap()
        })
    }

    /// Gives the sender one more address, which the node finds on the cable as well.
    pub fn add_source(&self, address: IpAddr) {
        let (bits, how) = if address.is_ipv4() { (32, "") } else { (128, " nodad") };
        Hosts::on(&self.sender, || ip(&format!("addr add {address}/{bits} dev cable{how}")));
        Hosts::on(&self.node, || ip(&format!("route add {address}/{bits} dev cable")));
    }

    /// Has the node answer a network by the cable, though nobody has an address of it.
    pub fn add_network(&self, network: &str) {
        let via = if network.contains(':') { "fd13::1" } else { "10.213.0.1" };
        Hosts::on(&self.node, || ip(&format!("route add {network} via {via}")));
    }

    /// A number that the kernel counts for a host, by the names in `/proc/net/snmp` and
    /// `/proc/net/netstat`.
    pub fn counted(host: &str, kind: &str, name: &str) -> u64 {
        let text = Hosts::on(host, || {
            let read = |file| std::fs::read_to_string(format!("/proc/thread-self/net/{file}"));
            read("snmp").unwrap() + &read("netstat").unwrap()
        });
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(&format!("{kind}:")));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let mut all = names.split_whitespace().zip(values.split_whitespace());
        let (_, value) = all.find(|(found, _)| *found == name).unwrap();
        value.parse().unwrap()
    }

    /// Pulls the cable.
    pub fn cut(&self) {
        Hosts::on(&self.sender, || ip("link set cable down"));
    }

    pub fn socket(&self, from: &str) -> UdpSocket {
        Hosts::on(&self.sender, || UdpSocket::bind((from, 0)).unwrap())
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in [&self.sender, &self.node] {
            ip(&format!("netns del {host}"));
        }
    }
}

/// Hosts with a network of their own, 10.214.0.0/24, each on its interface `cable`.
pub struct Network {
    hub: String,
    hosts: Vec<String>,
}

impl Network {
    /// So many hosts; the first has the address 10.214.0.1.
    pub fn new(name: &str, hosts: u8) -> Network {
        let of = |role: &str| format!("rs-{name}-{role}-{}", std::process::id());
        let mut network = Network { hub: of("hub"), hosts: Vec::new() };
        ip(&format!("netns add {}", network.hub));
        Hosts::on(&network.hub, || {
            ip("link add hub type bridge");
            ip("link set hub up");
        });
        for number in 0..hosts {
            let host = of(&number.to_string());
            ip(&format!("netns add {host}"));
            network.hosts.push(host.clone());
            Hosts::on(&network.hub, || {
                ip(&format!("link add port{number} type veth peer name cable netns {host}"));
                ip(&format!("link set port{number} master hub up"));
            });
            Hosts::on(&host, || {
                ip(&format!("addr add {}/24 dev cable", Network::address(number.into())));
                ip("link set lo up");
                ip("link set cable up");
            });
        }
        network
    }

    /// The address of a host.
    pub fn address(host: usize) -> IpAddr {
        [10, 214, 0, u8::try_from(host).unwrap() + 1].into()
    }

    /// Runs `f` on a thread that is on a host; sockets and processes it makes stay there.
    pub fn on<T: Send>(&self, host: usize, f: impl FnOnce() -> T + Send) -> T {
        Hosts::on(&self.hosts[host], f)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in self.hosts.iter().chain([&self.hub]) {
            ip(&format!("netns del {host}"));
        }
    }
}
