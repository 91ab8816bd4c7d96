//! What is written down of a call. Never a token, and never an argument: its hash.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::id::{ClientId, GrantId, TokenId, UserName};
use crate::secret::TokenHash;
use crate::state::{Kind, Program};
use crate::text::Text;
use crate::time::Timestamp;
use crate::uri::{Issuer, Resource};

/// A call that was decided on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Call {
    /// The server.
    pub server: Resource,
    /// The tool; of another [`Kind`], the resource's URI (without its query), the prompt's name or a
    /// task's method. Cut off when it is long.
    pub tool: Text,
    /// What it is. Older lines are about tools.
    #[serde(default, skip_serializing_if = "Kind::is_tool")]
    pub kind: Kind,
    /// The method, where it is not the usual one of its kind ([`Kind::method`]): `resources/subscribe`, for example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Cow<'static, str>>,
    /// What was decided.
    pub decision: Decision,
    /// Exactly why it was refused: one word with dashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cow<'static, str>>,
    /// By whose token, where that could be told.
    #[serde(flatten)]
    pub bearer: Option<Bearer>,
    /// SHA-256, with a key of the store's, of the SHA-256 of the arguments in canonical form (RFC 8785): short values cannot
    /// be tried out by whoever reads an export. Absent when the store's keys cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<TokenHash>,
    /// The program that started the server, as the operating system names it. Of calls over HTTP none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Program>,
    /// How the call came: `stdio` or `http`.
    pub transport: Cow<'static, str>,
    /// In which of the protocol's eras: `initialize` (up to 2025-11-25) or `stateless` (2026-07-28).
    pub era: Cow<'static, str>,
    /// The trace that the caller says it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Box<Trace>>,
    /// How it ended, when it has ended by the time that it is written down.
    #[serde(flatten)]
    pub end: Option<End>,
}

impl Call {
    /// What was used, for people: a tool by its name alone.
    pub fn subject(&self) -> Cow<'_, str> {
        match self.kind {
            Kind::Tool | Kind::Task => self.tool.as_str().into(),
            kind => format!("{} {}", kind.word(), self.tool).into(),
        }
    }

    /// The method by which it was used.
    pub fn method(&self) -> &str {
        self.method.as_deref().unwrap_or(self.kind.method())
    }
}

/// What was decided about a call.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// A token opened the tool.
    Admitted,
    /// The tool is open to anybody.
    Open,
    /// Not let in.
    Refused,
}

impl Decision {
    /// In a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Open => "open",
            Self::Refused => "refused",
        }
    }
}

/// By whose token a call came. Known only of tokens that were verified.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Bearer {
    /// One of this store's.
    Ours {
        /// The consent.
        grant: GrantId,
        /// The person; nobody when a client acts for itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<UserName>,
        /// The client.
        client: ClientId,
        /// The token's name (`jti`), which opens nothing.
        token: TokenId,
    },
    /// One of another authorization server's, which alone knows what the names mean.
    Foreign {
        /// Who issued it.
        issuer: Issuer,
        /// Whom it acts for.
        subject: Text,
        /// The client.
        client: Text,
        /// The token's name (`jti`), if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<Text>,
    },
}

impl Bearer {
    /// The person, as far as there is one.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Ours { user, .. } => user.as_ref().map(UserName::as_str),
            Self::Foreign { subject, .. } => Some(subject),
        }
    }

    /// The client.
    pub fn client(&self) -> &str {
        match self {
            Self::Ours { client, .. } => client.as_str(),
            Self::Foreign { client, .. } => client,
        }
    }

    /// The consent, when it is one of this store's.
    pub fn grant(&self) -> Option<GrantId> {
        match self {
            Self::Ours { grant, .. } => Some(*grant),
            Self::Foreign { .. } => None,
        }
    }

    /// Who issued the token, when that was another.
    pub fn issuer(&self) -> Option<&Issuer> {
        match self {
            Self::Ours { .. } => None,
            Self::Foreign { issuer, .. } => Some(issuer),
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct End {
    /// With what.
    pub outcome: Outcome,
    /// How long after the decision, in microseconds.
    pub us: u64,
}

/// With what a call ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A result.
    Ok,
    /// A result that says that it is an error.
    Error,
    /// None: it was cancelled, or the server ended.
    Dropped,
}

impl Outcome {
    /// In a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Dropped => "dropped",
        }
    }
}

/// A trace context (W3C Trace Context), from the request's `_meta` (MCP 2026-07-28).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Trace {
    /// `traceparent`.
    pub parent: Text,
    /// `tracestate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Text>,
}

/// The most of `tracestate` that is kept (Trace Context section 3.3.1.5: at least 512 characters are to be carried).
const LONGEST_STATE: usize = 512;

impl Trace {
    /// Reads the two texts. `None` without a `traceparent` in the form of version 00, or of a later one that begins like
    /// it; a `tracestate` that is none is left out (section 3.3.1).
    pub fn parse(parent: &str, state: Option<&str>) -> Option<Self> {
        let parent = Self::is_parent(parent).then(|| parent.into())?;
        let state = state.filter(|state| Self::is_state(state)).map(Text::from);
        Some(Self { parent, state })
    }

    fn is_parent(text: &str) -> bool {
        let hex = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let not_zero = |part: &str| part.bytes().any(|byte| byte != b'0');
        let parts: Vec<_> = text.split('-').take(6).collect();
        let [version, trace, span, flags, ref rest @ ..] = parts[..] else { return false };
        text.len() <= 128
            && hex(version, 2)
            && version != "ff"
            && (version != "00" || rest.is_empty())
            && hex(trace, 32)
            && not_zero(trace)
            && hex(span, 16)
            && not_zero(span)
            && hex(flags, 2)
    }

    fn is_state(text: &str) -> bool {
        let is_key = |key: &str| {
            (1..=256).contains(&key.len())
                && key.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && key.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@'))
        };
        let is_value = |value: &str| {
            (1..=256).contains(&value.len())
                && !value.ends_with(' ')
                && value.bytes().all(|b| matches!(b, b' '..=b'~') && b != b',' && b != b'=')
        };
        let is_member = |member: &str| match member.trim_matches([' ', '\t']) {
            "" => true,
            member => member.split_once('=').is_some_and(|(key, value)| is_key(key) && is_value(value)),
        };
        (1..=LONGEST_STATE).contains(&text.len()) && text.split(',').count() <= 32 && text.split(',').all(is_member)
    }

    /// The trace's id, 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.parent.as_str()[3..35]
    }

    /// The id of the span that the call is part of, 16 hexadecimal digits.
    pub fn span(&self) -> &str {
        &self.parent.as_str()[36..52]
    }

    /// Whether the caller records the trace.
    pub fn is_sampled(&self) -> bool {
        u8::from_str_radix(&self.parent.as_str()[53..55], 16).is_ok_and(|flags| flags & 1 == 1)
    }
}

/// What one line says.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A call was decided on.
    Call(Box<Call>),
    /// An earlier call has ended.
    Ended {
        /// The number of the call's line.
        call: u64,
        /// How.
        #[serde(flatten)]
        end: End,
    },
    /// So many calls were not written down: there were more than the disk took, or it took none.
    Lost(u64),
    /// So many bytes of what a crash had left unfinished were cut off before this line.
    Cut(u64),
}

/// A line of the trail.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Its number, which goes on from file to file.
    pub number: u64,
    /// The second in which it happened. Servers write in turns, so that it may go back a little from line to line.
    pub at: Timestamp,
    /// What happened; `None` for what a newer program has written down.
    pub entry: Option<Entry>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n12_a_line_says_what_kind_of_thing_it_is_about_and_older_lines_are_about_tools() {
        let old =
            r#"{"server":"urn:mcp:stdio:a","tool":"look","decision":"open","transport":"stdio","era":"stateless"}"#;
        let mut call: Call = serde_json::from_str(old).unwrap();
        assert_eq!((call.kind, call.method(), call.subject().as_ref()), (Kind::Tool, "tools/call", "look"));
        assert_eq!(serde_json::to_string(&call).unwrap(), old);
        for (kind, method, by, subject) in [
            (Kind::Resource, None, "resources/read", "resource look"),
            (Kind::Prompt, None, "prompts/get", "prompt look"),
            (Kind::Task, None, "tasks/get", "look"),
            (Kind::Resource, Some("resources/subscribe".into()), "resources/subscribe", "resource look"),
        ] {
            (call.kind, call.method) = (kind, method);
            assert_eq!((call.method(), call.subject().as_ref()), (by, subject));
            let text = serde_json::to_string(&call).unwrap();
            assert_eq!(serde_json::from_str::<Call>(&text).unwrap(), call);
        }
    }

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn n12_a_trace_is_taken_over_only_in_the_form_of_the_standard() {
        let trace = Trace::parse(PARENT, Some("rojo=00f067aa0ba902b7, congo@x=t61rcWkgMzE")).unwrap();
        assert_eq!((trace.id(), trace.span()), ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"));
        assert!(trace.is_sampled() && trace.state.is_some());
        for parent in [
            "",
            "00",
            &PARENT.to_uppercase(),
            &PARENT.replace("00-0", "ff-0"),
            &format!("{PARENT}-00"),
            &format!(" {PARENT}"),
            &PARENT.replace("b7ad6b7169203331", "0000000000000000"),
            &PARENT.replace("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000"),
            &PARENT.replace("-01", "-1"),
            &format!("01-{}-{}", &PARENT[3..], "x".repeat(200)),
        ] {
            assert_eq!(Trace::parse(parent, None), None, "{parent}");
        }
        assert!(Trace::parse(&format!("01-{}-what", &PARENT[3..]), None).is_some());
        let long = "a=b,".repeat(200);
        for state in ["", "a", "A=b", "a=b\n", "a=", "a=b=c", "=b", "a=ü", &long] {
            assert_eq!(Trace::parse(PARENT, Some(state)).unwrap().state, None, "{state:?}");
        }
    }
}
