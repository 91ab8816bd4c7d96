//! Cookies: who is logged in, and which browser a page was made for (UI-07).

use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::HttpRequest;
use actix_web::http::header::COOKIE;
use shared::secret::{Secret, TokenHash};
use shared::time::Seconds;

/// How our cookies are called: with `__Host-` a sibling domain cannot set them (RFC 6265bis section 4.1.3.2), which
/// only works over https.
pub struct Cookies {
    session: &'static str,
    browser: &'static str,
    secure: &'static str,
    lifetime: AtomicU64,
}

/// What a request's cookies say.
#[derive(Default)]
pub struct Jar {
    /// Who is logged in, to be looked up.
    pub session: Option<Secret>,
    /// Which browser it is, before anybody has logged in.
    pub browser: Option<Secret>,
}

impl Jar {
    /// What the store knows the session by.
    pub fn session_hash(&self) -> Option<TokenHash> {
        self.session.as_ref().map(Secret::hash)
    }
}

impl Cookies {
    /// The names for an issuer with or without https, and how long a browser keeps them.
    pub fn new(https: bool, lifetime: Seconds) -> Self {
        let lifetime = AtomicU64::new(lifetime.0);
        if https {
            Self { session: "__Host-authz_session", browser: "__Host-authz_browser", secure: "; Secure", lifetime }
        } else {
            Self { session: "authz_session", browser: "authz_browser", secure: "", lifetime }
        }
    }

    /// How long browsers keep them from now on.
    pub fn set_lifetime(&self, lifetime: Seconds) {
        self.lifetime.store(lifetime.0, Ordering::Relaxed);
    }

    /// Reads our cookies. A name that stands twice is no cookie of ours: one of the two was planted.
    pub fn read(&self, request: &HttpRequest) -> Jar {
        let values = |wanted: &str| {
            let mut found = None;
            for header in request.headers().get_all(COOKIE) {
                let pairs = header.to_str().unwrap_or_default().split(';');
                for (name, value) in pairs.filter_map(|pair| pair.trim().split_once('=')) {
                    if name == wanted && is_ours(value) {
                        if found.is_some() {
                            return None;
                        }
                        found = Some(Secret::new(value.to_owned()));
                    }
                }
            }
            found
        };
        Jar { session: values(self.session), browser: values(self.browser) }
    }

    /// Logs a browser in.
    pub fn set_session(&self, secret: &Secret) -> String {
        self.set(self.session, secret.expose(), self.lifetime.load(Ordering::Relaxed))
    }

    /// Names a browser.
    pub fn set_browser(&self, secret: &Secret) -> String {
        self.set(self.browser, secret.expose(), self.lifetime.load(Ordering::Relaxed))
    }

    /// Logs a browser out.
    pub fn clear_session(&self) -> String {
        self.set(self.session, "", 0)
    }

    fn set(&self, name: &str, value: &str, seconds: u64) -> String {
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{}", self.secure)
    }
}

/// Our values are 256 bits in base64url.
fn is_ours(value: &str) -> bool {
    value.len() == 43 && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn ui_07_cookies_are_closed_to_scripts_and_sites() {
        let secret = Secret::random();
        let plain = Cookies::new(false, Seconds(43_200)).set_session(&secret);
        assert!(
            plain.starts_with(&format!(
                "authz_session={}; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax",
                secret.expose()
            ))
        );
        let https = Cookies::new(true, Seconds(43_200)).set_session(&secret);
        assert!(https.starts_with("__Host-authz_session=") && https.ends_with("; Secure"));
    }

    #[test]
    fn cookies_are_read_once_and_in_our_form_only() {
        let (a, b) = ("a".repeat(43), "b".repeat(43));
        for (header, session) in [
            (format!("authz_session={a}"), Some(&a)),
            (format!("x=1; authz_session={a};y"), Some(&a)),
            (format!("authz_session={a}; authz_session={b}"), None),
            ("authz_session=short".to_owned(), None),
            (format!("authz_session={}<", "a".repeat(42)), None),
            (String::new(), None),
        ] {
            let request = TestRequest::default().insert_header((COOKIE, header.clone())).to_http_request();
            let jar = Cookies::new(false, Seconds(43_200)).read(&request);
            assert_eq!(jar.session.as_ref().map(Secret::expose), session.map(String::as_str), "{header}");
        }
    }
}
