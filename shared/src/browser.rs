//! Opens a URL in the person's browser, without a shell.

use std::process::{Command, Stdio};

/// Environment variables that hold secrets: no program that we start inherits them.
pub const SECRET_VARIABLES: [&str; 3] = ["MCP_ACCESS_TOKEN", "MCP_CLIENT_SECRET", INTROSPECTION_VARIABLE];

/// The environment variable that holds the secret with which a server asks another authorization server about tokens.
pub const INTROSPECTION_VARIABLE: &str = "MCP_AUTHZ_INTROSPECTION_SECRET";

/// The environment variable that says how a stdio server asks a person for a login. A client that logs in by itself sets
/// it to `off` for the servers that it starts.
pub const LOGIN_VARIABLE: &str = "MCP_AUTHZ_LOGIN";

/// Why no browser came up. Nothing is lost: the URL is printed anyway.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no browser could be started")]
pub struct NoBrowser;

/// Opens `url` in what `$BROWSER` names, else in the desktop's default browser. Does not wait for it.
///
/// `$BROWSER` may name several commands with `:` between them, tried in turn, each with arguments; `%s` stands for
/// the URL, which is otherwise the last argument, and `%%` for a percent sign.
///
/// # Errors
/// When nothing could be started, or the URL is not one for a browser.
pub fn open(url: &str, browser: Option<&str>) -> Result<(), NoBrowser> {
    if !is_for_browsers(url) {
        return Err(NoBrowser);
    }
    let commands = match browser.filter(|browser| !browser.trim().is_empty()) {
        Some(browser) => named(browser, url),
        None => open::commands(url),
    };
    commands.into_iter().find_map(|mut command| start(&mut command)).ok_or(NoBrowser)
}

/// Whether a URL may be given to a browser: http(s), and nothing in it that a command line or another parser could read
/// differently.
pub fn is_for_browsers(url: &str) -> bool {
    (url.starts_with("https://") || url.starts_with("http://"))
        && url.bytes().all(|b| b.is_ascii_graphic() && !br#"\<>"{}^`|"#.contains(&b))
}

fn start(command: &mut Command) -> Option<()> {
    for secret in SECRET_VARIABLES {
        command.env_remove(secret);
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    // Reaps the child whenever it ends; a browser may stay up for days.
    std::thread::spawn(move || child.wait());
    Some(())
}

/// The commands that `$BROWSER` names.
fn named(browser: &str, url: &str) -> Vec<Command> {
    let separator = if cfg!(windows) { ';' } else { ':' };
    browser.split(separator).filter_map(|entry| command_line(entry, url)).collect()
}

fn command_line(entry: &str, url: &str) -> Option<Command> {
    let mut words = words(entry).into_iter();
    let mut command = Command::new(words.next()?);
    let mut placed = false;
    for word in words {
        command.arg(replace(&word, url, &mut placed));
    }
    if !placed {
        command.arg(url);
    }
    Some(command)
}

/// Words between blanks; quotes of either kind keep blanks inside a word.
fn words(entry: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in entry.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn replace(word: &str, url: &str, placed: &mut bool) -> String {
    let mut replaced = String::new();
    let mut rest = word.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('%', Some('s')) => {
                rest.next();
                *placed = true;
                replaced.push_str(url);
            }
            ('%', Some('%')) => {
                rest.next();
                replaced.push('%');
            }
            _ => replaced.push(c),
        }
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(browser: &str, url: &str) -> Vec<Vec<String>> {
        let text = |text: &std::ffi::OsStr| text.to_str().unwrap().to_owned();
        named(browser, url)
            .iter()
            .map(|command| std::iter::once(command.get_program()).chain(command.get_args()).map(text).collect())
            .collect()
    }

    #[test]
    fn dsc_02_the_url_is_one_argument_and_no_shell_sees_it() {
        let url = "https://as.example/a?x=1&y=$(id);z";
        assert_eq!(argv("firefox", url), [["firefox", url]]);
        assert_eq!(argv("firefox --url %s -p 100%%", url), [["firefox", "--url", url, "-p", "100%"]]);
        assert_eq!(argv("'/opt/my browser' \"a b\"=%s", url), [["/opt/my browser".to_owned(), format!("a b={url}")]]);
        if cfg!(unix) {
            assert_eq!(argv("one:two %s::", url), [["one", url], ["two", url]]);
        }
    }

    #[test]
    fn dsc_02_only_a_plain_http_url_is_opened() {
        for url in ["-new-window", "file:///x", "javascript:x", "https://a/ b", "https://a/\"x", "https://a/\u{e4}", ""]
        {
            assert_eq!(open(url, Some("true")), Err(NoBrowser), "{url}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn f_31_the_next_browser_is_tried_when_one_cannot_be_started() {
        assert_eq!(open("https://as.example/", Some("/no/such/browser:true")), Ok(()));
        assert_eq!(open("https://as.example/", Some("/no/such/browser")), Err(NoBrowser));
    }
}
