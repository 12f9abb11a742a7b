//! A client of the console without a browser: it sends exactly the cookies, forms and redirects of the test.

use super::support::product::Env;
use super::support::web::{Answer, Request, get, post};

/// A person with the cookies that the console gave them.
pub struct Visitor {
    console: String,
    cookies: Vec<(String, String)>,
}

impl Visitor {
    pub fn new(env: &Env) -> Self {
        Self {
            console: env.get("CONSOLE_URL").trim_end_matches('/').to_owned(),
            cookies: Vec::new(),
        }
    }

    /// The owner of the sample workspace, signed in.
    pub fn owner(env: &Env) -> Self {
        let mut visitor = Self::new(env);
        let answer = visitor.sign_in(env.get("OWNER_EMAIL"), env.get("OWNER_PASSWORD"), "");
        assert_eq!(answer.status(), 303);
        visitor
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.console)
    }

    pub fn cookie_header(&self) -> String {
        let pairs = self.cookies.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("; ")
    }

    pub fn set_cookie(&mut self, name: &str, value: &str) {
        self.cookies.retain(|(held, _)| held != name);
        self.cookies.push((name.to_owned(), value.to_owned()));
    }

    fn with_cookies(&self, request: Request) -> Request {
        if self.cookies.is_empty() {
            request
        } else {
            request.header("Cookie", &self.cookie_header())
        }
    }

    /// Keeps what an answer sets.
    fn keep_cookies(&mut self, answer: &Answer) {
        for (_, value) in answer
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
        {
            let (name, rest) = value.split_once('=').unwrap();
            let kept = rest.split(';').next().unwrap();
            self.cookies.retain(|(held, _)| held != name);
            if !kept.is_empty() {
                self.cookies.push((name.to_owned(), kept.to_owned()));
            }
        }
    }

    pub fn get(&mut self, path: &str) -> Answer {
        let answer = self.with_cookies(get(&self.url(path))).send();
        self.keep_cookies(&answer);
        answer
    }

    /// Sends a form as a script would: without a word about where it was.
    pub fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.post_from(path, fields, &[])
    }

    /// Sends a form with headers that a browser would add.
    pub fn post_from(&mut self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
        let body: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        let mut request = self.with_cookies(post(&self.url(path)));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = request
            .body("application/x-www-form-urlencoded", body.join("&").as_bytes())
            .send();
        self.keep_cookies(&answer);
        answer
    }

    pub fn sign_in(&mut self, email: &str, password: &str, next: &str) -> Answer {
        self.post(
            "/console/sign-in",
            &[("email", email), ("password", password), ("next", next)],
        )
    }

    /// The proof that a form of this page was made for this session.
    pub fn csrf(&mut self, path: &str) -> String {
        let page = self.get(path);
        assert_eq!(page.status(), 200, "{path}");
        hidden(&text(&page), "csrf")
    }
}

/// What a page says.
pub fn text(page: &Answer) -> String {
    String::from_utf8(page.body.clone()).unwrap()
}

/// The value of a hidden field.
pub fn hidden(page: &str, name: &str) -> String {
    let mark = format!("name=\"{name}\" value=\"");
    let at = page.find(&mark).unwrap_or_else(|| panic!("no field {name}")) + mark.len();
    page[at..].split('"').next().unwrap().to_owned()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
