//! A person with a browser: cookies kept, forms filled in, redirects not followed by themselves.

use shared::oauth::form;

use super::Service;
use super::http::Answer;

pub struct Person<'a> {
    service: &'a Service,
    pub cookies: Vec<(String, String)>,
}

/// A page's first form.
#[derive(Clone, Debug)]
pub struct Form {
    pub action: String,
    pub fields: Vec<(String, String)>,
}

impl Form {
    /// Reads the `nth` form of a page: its action and hidden fields.
    #[track_caller]
    pub fn nth(page: &str, nth: usize) -> Self {
        let form = page.split("<form").nth(nth + 1).unwrap_or_else(|| panic!("no form in {page}"));
        let form = form.split("</form>").next().unwrap();
        let attribute = |tag: &str, name: &str| {
            let value = tag.split_once(&format!("{name}=\"")).map(|(_, rest)| rest.split('"').next().unwrap());
            value.map(|value| value.replace("&#x2f;", "/").replace("&amp;", "&").replace("&quot;", "\""))
        };
        let fields = form
            .split("<input")
            .skip(1)
            .map(|input| input.split('>').next().unwrap())
            .filter(|input| input.contains("type=\"hidden\""))
            .map(|input| (attribute(input, "name").unwrap(), attribute(input, "value").unwrap()))
            .collect();
        Self { action: attribute(form, "action").unwrap(), fields }
    }

    pub fn first(page: &Answer) -> Self {
        Self::nth(&page.text(), 0)
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(known, _)| known != name);
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(known, _)| known != name);
        self
    }

    pub fn field(&self, name: &str) -> &str {
        &self.fields.iter().find(|(known, _)| known == name).unwrap().1
    }
}

impl<'a> Person<'a> {
    pub fn new(service: &'a Service) -> Self {
        Self { service, cookies: Vec::new() }
    }

    pub fn get(&mut self, target: &str) -> Answer {
        self.send("GET", target, &[], "")
    }

    /// Opens an address that no site's page led to.
    pub fn open(&mut self, target: &str) -> Answer {
        self.send("GET", target, &[("Sec-Fetch-Site", "none")], "")
    }

    pub fn submit(&mut self, form: &Form) -> Answer {
        self.submit_with(form, &[])
    }

    pub fn submit_with(&mut self, form: &Form, headers: &[(&str, &str)]) -> Answer {
        let fields: Vec<_> = form.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let headers = [&[("Content-Type", "application/x-www-form-urlencoded")], headers].concat();
        self.send("POST", &form.action, &headers, &form::encode(&fields))
    }

    fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let pairs: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookie = pairs.join("; ");
        let mut headers = headers.to_vec();
        headers.push(("Accept", "text/html"));
        if !cookie.is_empty() {
            headers.push(("Cookie", &cookie));
        }
        let answer = self.service.connect().send(method, target, &headers, body.as_bytes());
        for cookie in answer.all("set-cookie") {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(known, _)| known != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        answer
    }

    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Opens the login page and signs in; the answer to the form.
    pub fn sign_in(&mut self, url: &str, name: &str, password: &str) -> Answer {
        let page = self.get(url);
        assert_eq!(page.status, 200, "{}", page.text());
        let form = Form::first(&page).with("username", name).with("password", password);
        self.submit(&form)
    }

    /// Opens the consent page as somebody signed in, and answers it.
    pub fn consent(&mut self, url: &str, decision: &str) -> Answer {
        let page = self.get(url);
        assert_eq!(page.status, 200, "{} {:?}", page.text(), page.header("location"));
        let form = Form::first(&page).with("decision", decision);
        assert_eq!(form.action, "/oauth/consent", "{}", page.text());
        self.submit(&form)
    }
}
