//! The client address of a request: the address of the connection, or the one that a trusted proxy reports. Does
//! not decide what the address is used for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use actix_web::HttpRequest;
use actix_web::guard::GuardContext;
use actix_web::http::header::{FORWARDED, HeaderName, X_FORWARDED_FOR};
use ipnet::IpNet;

/// The trusted proxies in front of the service, and the header in which they report the client's address.
#[derive(Clone, Debug)]
pub struct Proxies {
    trusted: Vec<IpNet>,
    /// Only one header is read: proxies do not clean the other one, so any client could send it.
    header: HeaderName,
}

impl Proxies {
    /// If `standard`, the proxies write `Forwarded` (RFC 7239), else `X-Forwarded-For`.
    pub fn new(trusted: Vec<IpNet>, standard: bool) -> Proxies {
        Proxies { trusted, header: if standard { FORWARDED } else { X_FORWARDED_FOR } }
    }

    /// The client's address. Each proxy adds the address that it was called from on the right, so the header is
    /// read from the right, as long as the addresses are trusted proxies. The first other address is the client.
    pub fn client(&self, request: &HttpRequest) -> IpAddr {
        // A unix socket has no address: the peer is this machine.
        let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.ip().to_canonical());
        if !self.trusts(peer) {
            return peer;
        }
        let lines: Vec<&[u8]> = request.headers().get_all(&self.header).map(|line| line.as_bytes()).collect();
        let mut nearest = peer;
        for hop in lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',')) {
            // A client may send bytes that are not UTF-8. The parts that proxies added behind them still count.
            let hop = str::from_utf8(hop).unwrap_or("");
            let node = if self.header == FORWARDED { forwarded_for(hop) } else { Some(hop) };
            match node.and_then(parse) {
                Some(address) if self.trusts(address) => nearest = address,
                Some(address) => return address,
                // Not an address, or a hidden one: everything on its left is not trusted.
                None => return nearest,
            }
        }
        nearest
    }

    /// The network of the client, by which limits count it.
    pub fn network(&self, request: &HttpRequest) -> IpAddr {
        network(self.client(request))
    }

    /// Whether a trusted proxy is at this address.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&address))
    }
}

/// The network that one customer has: an IPv4 address, or the 64 bits of an IPv6 network.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

/// Whether a program on this machine sent a request itself. A proxy on this machine names its client in a header.
pub fn is_local(request: &GuardContext<'_>) -> bool {
    let head = request.head();
    let is_loopback = head.peer_addr.is_none_or(|peer| peer.ip().to_canonical().is_loopback());
    is_loopback && ![FORWARDED, X_FORWARDED_FOR].iter().any(|header| head.headers().contains_key(header))
}

/// The `for=` of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<&str> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.trim(), value.trim()))
        .find(|(name, _)| name.eq_ignore_ascii_case("for"))
        .map(|(_, it)| it)
}

/// An address, with or without a port, quotes and brackets.
fn parse(node: &str) -> Option<IpAddr> {
    let node = node.trim().trim_matches('"');
    let bare = node.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(node);
    let address = bare.parse::<IpAddr>().ok().or_else(|| Some(node.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use actix_web::test::TestRequest;

    use super::*;

    /// The client of a request, with the trusted proxies 10.0.0.0/8 and one IPv6 address.
    fn client(standard: bool, peer: &str, lines: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "2001:db8::1/128"].map(|net| net.parse().unwrap()).to_vec();
        let proxies = Proxies::new(trusted, standard);
        let mut request = TestRequest::default().peer_addr(peer.parse().unwrap());
        for line in lines {
            let name = if standard { "Forwarded" } else { "X-Forwarded-For" };
            request = request.append_header((name, *line));
        }
        // Any client can send the header that the proxies do not write.
        let other = if standard { ("X-Forwarded-For", "6.6.6.6") } else { ("Forwarded", "for=6.6.6.6") };
        proxies.client(&request.append_header(other).to_http_request()).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        for (peer, lines, expected) in [
            ("1.2.3.4:5", &["9.9.9.9"][..], "1.2.3.4"),
            ("10.0.0.1:5", &[], "10.0.0.1"),
            ("10.0.0.1:5", &["9.9.9.9"], "9.9.9.9"),
            ("10.0.0.1:5", &["9.9.9.9, 8.8.8.8"], "8.8.8.8"),
            ("10.0.0.1:5", &["9.9.9.9, 8.8.8.8, 10.3.2.1"], "8.8.8.8"),
            ("10.0.0.1:5", &["9.9.9.9", "8.8.8.8", "10.3.2.1"], "8.8.8.8"),
            ("10.0.0.1:5", &["10.9.9.9,10.8.8.8"], "10.9.9.9"),
            ("10.0.0.1:5", &["9.9.9.9, unknown, 10.8.8.8"], "10.8.8.8"),
            ("10.0.0.1:5", &["9.9.9.9, "], "10.0.0.1"),
            ("10.0.0.1:5", &["9.9.9.9:4711"], "9.9.9.9"),
            ("10.0.0.1:5", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("[2001:db8::1]:5", &["2001:db8::7"], "2001:db8::7"),
            ("[2001:db8::2]:5", &["2001:db8::7"], "2001:db8::2"),
            ("[::ffff:10.0.0.1]:5", &["::ffff:9.9.9.9"], "9.9.9.9"),
        ] {
            assert_eq!(client(false, peer, lines), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_do_not_hide_the_address_that_a_proxy_added() {
        let proxies = Proxies::new(vec!["10.0.0.0/8".parse().unwrap()], false);
        for (line, expected) in [(&b"\xd4, 9.9.9.9"[..], "9.9.9.9"), (b"9.9.9.9, \xd4", "10.0.0.1")] {
            let line = HeaderValue::from_bytes(line).unwrap();
            let request = TestRequest::default().peer_addr("10.0.0.1:5".parse().unwrap());
            let request = request.insert_header((X_FORWARDED_FOR, line)).to_http_request();
            assert_eq!(proxies.client(&request).to_string(), expected);
        }
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_client() {
        for (address, expected) in [
            ("10.0.0.7", "10.0.0.7"),
            ("::ffff:10.0.0.7", "10.0.0.7"),
            ("2001:db8:1:2::", "2001:db8:1:2::"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:3:3:4:5:6", "2001:db8:1:3::"),
        ] {
            assert_eq!(network(address.parse().unwrap()).to_string(), expected);
        }
    }

    /// The examples are those of RFC 7239, section 4.
    #[test]
    fn the_standard_header_is_read_the_same_way() {
        for (lines, expected) in [
            (&["for=192.0.2.60;proto=http;by=203.0.113.43"][..], "192.0.2.60"),
            (&["For=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17"),
            (&["for=192.0.2.43, for=198.51.100.17"], "198.51.100.17"),
            (&["for=192.0.2.43, for=10.1.1.1"], "192.0.2.43"),
            (&["for=192.0.2.43", "proto=https; FOR=\"10.1.1.1:80\""], "192.0.2.43"),
            (&["for=192.0.2.43, for=\"_gazonk\""], "10.0.0.1"),
            (&["for=192.0.2.43, proto=http"], "10.0.0.1"),
        ] {
            assert_eq!(client(true, "10.0.0.1:5", lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn only_a_program_on_this_machine_is_local() {
        let local = |peer: &str, header: &str| {
            let request = TestRequest::default().peer_addr(peer.parse().unwrap()).insert_header((header, "x"));
            is_local(&request.to_srv_request().guard_ctx())
        };
        for (peer, header, expected) in [
            ("127.0.0.1:5", "Accept", true),
            ("127.8.8.8:5", "Accept", true),
            ("[::1]:5", "Accept", true),
            ("[::ffff:127.0.0.1]:5", "Accept", true),
            ("10.0.0.1:5", "Accept", false),
            ("[2001:db8::1]:5", "Accept", false),
            ("127.0.0.1:5", "Forwarded", false),
            ("127.0.0.1:5", "X-Forwarded-For", false),
        ] {
            assert_eq!(local(peer, header), expected, "{peer} {header}");
        }
    }
}
