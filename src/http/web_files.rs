//! The files of `web/`: the HTML of the pages for people, and what it loads. All of them are in the program (`build/web.rs`
//! puts them there), so the pages work without internet and without a build step of their own. Knows how browsers may cache
//! them and what a page may load, and nothing of what they show.

use std::io::Write;

use actix_web::http::header::{
    AcceptEncoding, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETag, Encoding, EntityTag, Header,
    HeaderName, IfNoneMatch, VARY,
};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use crate::domain::record::short;

include!(concat!(env!("OUT_DIR"), "/web_assets.rs"));

/// A file of `web/`.
pub struct Asset {
    /// Its path below `web/`.
    name: &'static str,
    content_type: &'static str,
    plain: &'static [u8],
    /// The same compressed. `None`: it is no text.
    gzip: Option<&'static [u8]>,
}

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// An asset's address changes with its content, so a browser may keep it.
pub const FOR_GOOD: &str = "public, max-age=31536000, immutable";

/// What stands in the HTML for the address of the folder `web/`.
const ASSETS_PLACE: &str = "{{assets}}";

/// The pages of one service.
pub struct Pages {
    pub player: WebPage,
    pub admin: WebPage,
    pub verify: WebPage,
    /// The icon that browsers ask for without being told of it.
    pub favicon: Option<&'static Asset>,
    pub cards: CardEntry,
}

/// The HTML of a page, and the headers that restrict it.
pub struct WebPage {
    html: Bytes,
    gzip: Bytes,
    tag: EntityTag,
    policy: &'static str,
    permissions: &'static str,
}

/// What a page may load, connect to and embed: only what this service serves.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";
/// The same with Stripe's element, into which cards are typed (docs.stripe.com/security/guide).
const POLICY_WITH_STRIPE: &str = "default-src 'none'; \
    script-src 'self' https://js.stripe.com https://*.js.stripe.com; style-src 'self'; img-src 'self' data:; \
    connect-src 'self' https://api.stripe.com; \
    frame-src https://js.stripe.com https://*.js.stripe.com https://hooks.stripe.com; form-action 'none'; base-uri 'none'; \
    frame-ancestors 'none'";
const PERMISSIONS: &str = "camera=(), geolocation=(), microphone=(), payment=(), usb=()";
const PERMISSIONS_WITH_STRIPE: &str = "camera=(), geolocation=(), microphone=(), usb=(), \
    payment=(self \"https://js.stripe.com\")";

/// How the pages let people enter cards.
pub enum CardEntry {
    /// The sandbox's cards, as buttons.
    Sandbox,
    /// Stripe's element with the account's publishable key. `None`: cards cannot be entered on the pages.
    Stripe(Option<String>),
}

impl Pages {
    pub fn new(cards: CardEntry) -> Pages {
        let player = match &cards {
            CardEntry::Stripe(Some(_)) => WebPage::new("index.html", POLICY_WITH_STRIPE, PERMISSIONS_WITH_STRIPE),
            CardEntry::Stripe(None) | CardEntry::Sandbox => WebPage::new("index.html", POLICY, PERMISSIONS),
        };
        Pages {
            player,
            admin: WebPage::new("admin.html", POLICY, PERMISSIONS),
            verify: WebPage::new("verify.html", POLICY, PERMISSIONS),
            favicon: asset("favicon.ico").or_else(|| asset("favicon.svg")),
            cards,
        }
    }
}

impl WebPage {
    fn new(name: &str, policy: &'static str, permissions: &'static str) -> WebPage {
        // A file that is missing is found by each test that asks for its page.
        let text = asset(name).map_or_else(String::new, |it| String::from_utf8_lossy(it.plain).into_owned());
        let html = text.replace(ASSETS_PLACE, &format!("/assets/{HASH}"));
        let tag = short(Sha256::new().chain_update(&html).chain_update(policy).chain_update(permissions));
        WebPage {
            gzip: gzip(html.as_bytes()).into(),
            html: html.into(),
            tag: EntityTag::new_weak(tag.simple().to_string()),
            policy,
            permissions,
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("writing to memory does not fail")
}

/// The file with this path below `web/`.
fn asset(name: &str) -> Option<&'static Asset> {
    let at = ASSETS.binary_search_by(|asset| asset.name.cmp(name)).ok()?;
    Some(&ASSETS[at])
}

/// A file that a page loads, by the hash and the path in its address. Files of another version of the program are not
/// there: the page that asks for them has to be loaded again.
pub fn loaded_file(hash: &str, name: &str) -> Option<&'static Asset> {
    // The pages have a place to fill in, so they are not files to load.
    asset(name).filter(|_| hash == HASH && !name.ends_with(".html"))
}

impl WebPage {
    pub fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let is_in_cache = self.is_in_cache_of(request);
        let mut response = match is_in_cache {
            true => HttpResponse::NotModified(),
            false => HttpResponse::Ok(),
        };
        response
            .insert_header((CONTENT_SECURITY_POLICY, self.policy))
            .insert_header((PERMISSIONS_POLICY, self.permissions))
            .insert_header((OPENER_POLICY, "same-origin"))
            .insert_header((CACHE_CONTROL, "no-cache"))
            .insert_header(ETag(self.tag.clone()));
        if is_in_cache {
            return response.insert_header((VARY, "Accept-Encoding")).finish();
        }
        response.content_type("text/html; charset=utf-8");
        send(&mut response, request, self.html.clone(), Some(self.gzip.clone()))
    }

    fn is_in_cache_of(&self, request: &HttpRequest) -> bool {
        match IfNoneMatch::parse(request) {
            Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|tag| tag.weak_eq(&self.tag)),
            Ok(IfNoneMatch::Any) | Err(_) => false,
        }
    }
}

impl Asset {
    pub fn answer(&self, request: &HttpRequest, caching: &'static str) -> HttpResponse {
        let mut response = HttpResponse::Ok();
        response.content_type(self.content_type).insert_header((CACHE_CONTROL, caching));
        // A script that runs as a worker is restricted by its own response, not by its page's.
        response.insert_header((CONTENT_SECURITY_POLICY, POLICY));
        let gzip = self.gzip.map(Bytes::from_static);
        send(&mut response, request, Bytes::from_static(self.plain), gzip)
    }
}

/// Sends the compressed form to a client that accepts it.
fn send(
    response: &mut HttpResponseBuilder,
    request: &HttpRequest,
    plain: Bytes,
    gzip: Option<Bytes>,
) -> HttpResponse {
    let Some(gzip) = gzip else { return response.body(plain) };
    response.insert_header((VARY, "Accept-Encoding"));
    let forms = [Encoding::gzip(), Encoding::identity()];
    let accepted = AcceptEncoding::parse(request).ok().and_then(|accept| accept.negotiate(forms.iter()));
    match accepted {
        Some(form) if form == Encoding::gzip() => response.insert_header((CONTENT_ENCODING, "gzip")).body(gzip),
        _ => response.body(plain),
    }
}
