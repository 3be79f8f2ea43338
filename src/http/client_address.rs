//! Where a request comes from: the peer of the connection, or whom a proxy that is trusted names.
//!
//! Anybody can send `X-Forwarded-For`, so it counts only as far as trusted proxies wrote it: each appends the address
//! that it was called from, so from the right on, the first address that is no trusted proxy's is the caller's.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderName};

use crate::config::{Network, Networks};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whence a request came, in its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientAddress(pub(super) IpAddr);

/// Notes whence a request comes.
pub(super) fn note(trusted: &Networks, request: &mut Request) {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    if let Some(ConnectInfo(peer)) = peer {
        let address = client(peer.ip(), request.headers(), trusted.as_slice());
        request.extensions_mut().insert(ClientAddress(address));
    }
}

/// The caller behind trusted proxies; the last one that can be told if the header cannot be read further.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut address = peer.to_canonical();
    let values: Vec<_> = headers.get_all(FORWARDED_FOR).into_iter().collect();
    let hops = values
        .iter()
        .rev()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.rsplit(','));
    for hop in hops {
        if !is_trusted(address) {
            break;
        }
        let Some(before) = parse(hop.trim()) else {
            break;
        };
        address = before;
    }
    address
}

/// An address, with or without a port.
fn parse(hop: &str) -> Option<IpAddr> {
    let with_port = || hop.parse().ok().map(|address: SocketAddr| address.ip());
    let bracketed = || {
        hop.strip_prefix('[')?
            .strip_suffix(']')?
            .parse::<IpAddr>()
            .ok()
    };
    let address = hop.parse().ok().or_else(with_port).or_else(bracketed);
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_proxy_names_counts_only_as_far_as_proxies_are_trusted() {
        let trusted: Networks = "10.0.0.0/8, 127.0.0.1, 2001:db8::/32".parse().unwrap();
        for (peer, headers, expected) in [
            ("192.0.2.1", &["198.51.100.7"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["203.0.113.9", "198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["198.51.100.7, 10.3.2.1"], "198.51.100.7"),
            ("127.0.0.1", &["10.3.2.1"], "10.3.2.1"),
            ("10.0.0.1", &["198.51.100.7:4711"], "198.51.100.7"),
            ("2001:db8::1", &["[2001:db9::5]:80"], "2001:db9::5"),
            ("2001:db8::1", &["[2001:db9::5]"], "2001:db9::5"),
            ("::ffff:10.0.0.1", &["::ffff:198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["198.51.100.7, unknown"], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
        ] {
            let mut map = HeaderMap::new();
            for value in headers {
                map.append(FORWARDED_FOR, value.parse().unwrap());
            }
            let found = client(peer.parse().unwrap(), &map, trusted.as_slice());
            assert_eq!(
                found,
                expected.parse::<IpAddr>().unwrap(),
                "{peer} {headers:?}"
            );
        }
    }
}
