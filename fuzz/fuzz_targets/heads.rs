//! Fuzzes the head of a request: pages, keys, and the client's address from a proxy. The address that a trusted
//! proxy added is used, whatever the client wrote before it. Without a trusted proxy, no such address is used.
#![no_main]

use actix_web::http::Uri;
use actix_web::http::header::HeaderValue;
use actix_web::test::TestRequest;
use libfuzzer_sys::fuzz_target;
use lottery::http::{Proxies, fuzzing};

fuzz_target!(|sent: (&str, &[u8], &[u8], bool)| {
    let (query, key, forwarded, standard) = sent;
    if format!("/?{query}").parse::<Uri>().is_ok() {
        let pages = fuzzing::pages(&TestRequest::with_uri(&format!("/?{query}")).to_http_request());
        for (kind, page) in pages.into_iter().enumerate() {
            let Ok((Some(cursor), limit)) = page else { continue };
            assert!((1..=200).contains(&limit));
            let next = TestRequest::with_uri(&format!("/?limit={limit}&cursor={cursor}")).to_http_request();
            assert_eq!(fuzzing::pages(&next)[kind], Ok((Some(cursor), limit)));
        }
    }
    if let Ok(value) = HeaderValue::from_bytes(key) {
        let request = TestRequest::default().insert_header(("Idempotency-Key", value)).to_http_request();
        if let Ok(Some(key)) = fuzzing::key(&request) {
            assert!((1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()));
        }
    }
    let proxies = Proxies::new(vec!["10.0.0.0/8".parse().expect("a network")], standard);
    let (name, added) = if standard { ("Forwarded", "for=9.9.9.9") } else { ("X-Forwarded-For", "9.9.9.9") };
    let line = HeaderValue::from_bytes(&[forwarded, b", ", added.as_bytes()].concat());
    if let (Ok(line), Ok(sent)) = (line, HeaderValue::from_bytes(forwarded)) {
        let from = |peer: &str, lines: &[&HeaderValue]| {
            let mut request = TestRequest::default().peer_addr(peer.parse().expect("an address"));
            for line in lines {
                request = request.append_header((name, (*line).clone()));
            }
            proxies.client(&request.to_http_request()).to_string()
        };
        assert_eq!(from("8.8.8.8:1", &[&line]), "8.8.8.8");
        assert_eq!(from("10.0.0.1:1", &[&line]), "9.9.9.9");
        assert_eq!(from("10.0.0.1:1", &[&sent, &HeaderValue::from_static(added)]), "9.9.9.9");
        from("10.0.0.1:1", &[&sent]);
    }
});
