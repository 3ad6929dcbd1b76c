//! What an `http` or `https` address says beside the path: whom to ask, and as whom.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::config::Secret;

/// Host and port to connect to; an IPv6 address without its brackets. `None`: no host.
pub fn host_and_port(url: &Url) -> Option<(String, u16)> {
    let host = match url.host()? {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    Some((host, url.port_or_known_default()?))
}

/// User and password of an address as the value of an `Authorization` header (RFC 7617).
pub fn basic_authorization(url: &Url) -> Option<Secret> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut pair: Vec<u8> = percent_decode_str(url.username()).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(url.password().unwrap_or_default()));
    Some(Secret::new(format!("Basic {}", BASE64_STANDARD.encode(pair))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_decoded_first() {
        let of = |text: &str| {
            let secret = basic_authorization(&Url::parse(text).unwrap())?;
            Some(secret.expose().to_owned())
        };
        assert_eq!(of("http://me:p%40ss@h/"), Some("Basic bWU6cEBzcw==".to_owned()));
        assert_eq!(of("http://me@h/"), Some("Basic bWU6".to_owned()));
        assert_eq!(of("http://:x@h/"), Some("Basic Ong=".to_owned()));
        assert_eq!(of("http://h/"), None);
    }

    #[test]
    fn brackets_are_no_part_of_an_address() {
        let of = |text: &str| host_and_port(&Url::parse(text).unwrap()).unwrap();
        assert_eq!(of("https://[::1]/"), ("::1".to_owned(), 443));
        assert_eq!(of("http://127.0.0.1:81/"), ("127.0.0.1".to_owned(), 81));
        assert_eq!(of("http://Host/"), ("host".to_owned(), 80));
    }
}
