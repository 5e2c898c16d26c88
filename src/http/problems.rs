//! The page that explains every error code. The `type` of each error leads to it, so every address that can answer an
//! error serves it, also with `server.docs: false`. Its texts are those of [`super::codes`].

use std::fmt::Write;
use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::codes::Code;

/// The path of the page.
pub const PAGE: &str = "/api/problems";

/// The `type` of an error: its place on the page.
pub fn address(code: Code) -> String {
    format!("{PAGE}#{}", code.as_str())
}

const STYLE: &str = "\
    :root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; } \
    body { max-width: 44rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; } \
    h2 { margin: 2rem 0 0; font-size: 1.15rem; } \
    ul { padding: 0; list-style: none; columns: 15rem; } \
    p, dd { margin: 0.25rem 0; } \
    dt { font-weight: 600; margin-top: 0.5rem; } \
    section { padding: 0 0.75rem; border-left: 0.25rem solid transparent; } \
    section:target { border-color: currentColor; }";

/// The page, and the policy that lets a browser use its style and nothing else.
static PAGE_AND_POLICY: LazyLock<(String, String)> = LazyLock::new(|| {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!("default-src 'none'; style-src 'sha256-{style}'; frame-ancestors 'none'");
    (render(Code::ALL), policy)
});

/// The page of all error codes.
pub async fn page() -> HttpResponse {
    let (page, policy) = &*PAGE_AND_POLICY;
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, policy.as_str()))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(page.as_str())
}

fn render(codes: &[Code]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Lottery: error codes</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>Error codes</h1>\n<p>{}</p>\n<ul>\n",
        html(
            "Every error of the API is a problem detail (RFC 9457). Its `code` never changes and its `type` leads to this \
             page. Its `detail` says what is wrong in this case: it is for people, and its words may change."
        )
    );
    for code in codes {
        let name = code.as_str();
        // Writing to a string cannot fail.
        let _ = writeln!(page, "<li><a href=\"#{name}\"><code>{name}</code></a></li>");
    }
    page.push_str("</ul>\n");
    for code in codes {
        let name = code.as_str();
        let _ = writeln!(
            page,
            "<section id=\"{name}\">\n<h2><code>{name}</code></h2>\n<p>{}: {}.</p>\n<dl>\n<dt>What it means</dt>\n<dd>{}</dd>\n\
             <dt>Send it again?</dt>\n<dd>{}</dd>\n<dt>What to do</dt>\n<dd>{}</dd>\n</dl>\n</section>",
            code.status().as_u16(),
            html(code.title()),
            html(code.meaning()),
            html(code.retry().text()),
            html(&sentence(code.remedy())),
        );
    }
    page.push_str("</body>\n</html>\n");
    page
}

/// A text as HTML. What stands between backquotes becomes code.
fn html(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    let mut is_code = false;
    for letter in text.chars() {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            '`' => {
                html.push_str(if is_code { "</code>" } else { "<code>" });
                is_code = !is_code;
            }
            letter => html.push(letter),
        }
    }
    if is_code { html + "</code>" } else { html }
}

/// A remedy, which begins with a small letter and has no full stop, as a sentence.
fn sentence(remedy: &str) -> String {
    let mut letters = remedy.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).chain(['.']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_escaped() {
        assert_eq!(html("<b> & \"it's\" `a<b`"), "&lt;b&gt; &amp; &quot;it&#39;s&quot; <code>a&lt;b</code>");
        assert_eq!(html("`open"), "<code>open</code>");
        assert_eq!(sentence("do <this>"), "Do <this>.");
    }

    #[test]
    fn the_page_explains_every_code_and_is_well_formed() {
        let page = render(Code::ALL);
        for code in Code::ALL {
            let section = page.split(&format!("<section id=\"{}\">", code.as_str())).nth(1).unwrap();
            let section = section.split("</section>").next().unwrap();
            for text in [code.title(), code.meaning(), code.retry().text()] {
                assert!(section.contains(&html(text)), "{code:?}: {text}");
            }
            assert!(
                !code.remedy().contains('`') && !code.remedy().ends_with('.'),
                "{code:?}: a detail is plain text"
            );
        }
        let mut open = Vec::new();
        for tag in page.split('<').skip(2).map(|tag| tag.split(['>', ' ']).next().unwrap()) {
            match tag.strip_prefix('/') {
                Some(end) => assert_eq!(open.pop(), Some(end)),
                None if tag == "meta" => {}
                None => open.push(tag),
            }
        }
        assert_eq!(open, [""; 0]);
        assert!(!page.contains("<script") && !page.contains("http"), "{page}");
    }
}
