//! The settings about proxies: whose word is taken for a client's address, and in which header it is. Reads no request.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

/// One address, or a network of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Network(pub IpNet);

impl TryFrom<String> for Network {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Network, &'static str> {
        let net = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map(Network).map_err(|_| "must be an address such as 10.0.0.7, or a network such as 10.0.0.0/8")
    }
}

/// The header in which proxies pass the client's address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum ForwardedHeader {
    XForwardedFor,
    Forwarded,
}

impl TryFrom<String> for ForwardedHeader {
    type Error = &'static str;

    fn try_from(text: String) -> Result<ForwardedHeader, &'static str> {
        match text.to_ascii_lowercase().as_str() {
            "x-forwarded-for" => Ok(ForwardedHeader::XForwardedFor),
            "forwarded" => Ok(ForwardedHeader::Forwarded),
            _ => Err("must be `x-forwarded-for` or `forwarded`"),
        }
    }
}
