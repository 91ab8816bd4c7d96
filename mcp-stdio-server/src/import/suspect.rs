//! Which values look like secrets. Pure, and a guess: by the name of a variable, else by the look of its value.

/// Words of a name that say "secret".
const SECRET: [&str; 19] = [
    "KEY",
    "KEYS",
    "APIKEY",
    "TOKEN",
    "TOKENS",
    "SECRET",
    "SECRETS",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "PASSCODE",
    "PASS",
    "PAT",
    "CREDENTIAL",
    "CREDENTIALS",
    "AUTH",
    "AUTHORIZATION",
    "BEARER",
    "COOKIE",
];

/// Last words of a name that say "about one".
const ABOUT: [&str; 35] = [
    "FILE",
    "PATH",
    "DIR",
    "FOLDER",
    "URL",
    "URI",
    "ENDPOINT",
    "HOST",
    "PORT",
    "TYPE",
    "MODE",
    "METHOD",
    "NAME",
    "LIMIT",
    "COUNT",
    "SIZE",
    "LENGTH",
    "TTL",
    "TIMEOUT",
    "LIFETIME",
    "EXPIRY",
    "EXPIRES",
    "ENABLED",
    "DISABLED",
    "REQUIRED",
    "PROVIDER",
    "PROFILE",
    "REGION",
    "VERSION",
    "SCOPE",
    "SCOPES",
    "HEADER",
    "PREFIX",
    "ALGORITHM",
    "STORE",
];

/// Words of a name that say that it is no secret.
const PUBLIC: [&str; 5] = ["MAX", "MIN", "NUM", "PUBLIC", "PUBLISHABLE"];

/// Last words of a name whose value is long and random, and no secret.
const IDS: [&str; 11] =
    ["ID", "IDS", "UUID", "GUID", "SHA", "HASH", "DIGEST", "CHECKSUM", "COMMIT", "FINGERPRINT", "VERSION"];

/// How secrets of well-known services begin.
const PREFIXES: [&str; 39] = [
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "gldt-",
    "glrt-",
    "sk-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "rk_test_",
    "whsec_",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xoxe-",
    "xoxs-",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "GOCSPX-",
    "hf_",
    "npm_",
    "pypi-",
    "dckr_pat_",
    "lin_api_",
    "secret_",
    "ntn_",
    "figd_",
    "tvly-",
    "SG.",
    "shpat_",
    "dop_v1_",
    "eyJhbGciOi",
];

/// After its beginning, such a secret has at least so many characters.
const TAIL: usize = 8;

/// What people write where a secret is to come.
const BLANKS: [&str; 12] = [
    "your",
    "changeme",
    "change-me",
    "change_me",
    "replace",
    "placeholder",
    "example",
    "insert",
    "todo",
    "xxxx",
    "****",
    "....",
];

/// Whether a variable holds a secret.
pub fn is_secret(name: &str, value: &str) -> bool {
    if is_placeholder(value) {
        return false;
    }
    if has_known_look(value) || has_password(value) {
        return true;
    }
    let words = words(name);
    if is_named_so(&words) {
        return !is_harmless(value);
    }
    let says_id = words.last().is_some_and(|last| IDS.contains(&last.as_str()) || ABOUT.contains(&last.as_str()));
    !says_id && is_random(value)
}

/// Whether a text looks like a secret wherever it stands.
pub fn looks_secret(value: &str) -> bool {
    // Most words are short: files of hosts have a million of them.
    value.len() >= TAIL
        && (has_known_look(value) || has_password(value) || is_header(value) || is_random(value))
        && !is_placeholder(value)
}

/// The words of a name, in capitals: `githubToken` and `GITHUB_TOKEN` are the same two.
fn words(name: &str) -> Vec<String> {
    let (mut words, mut before) = (vec![String::new()], ' ');
    for c in name.chars() {
        let begins = c.is_ascii_uppercase() && before.is_ascii_lowercase();
        if (begins || !c.is_ascii_alphanumeric()) && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c.is_ascii_alphanumeric(), words.last_mut()) {
            word.push(c.to_ascii_uppercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether a name says that its value is a secret.
pub fn is_secret_name(name: &str) -> bool {
    is_named_so(&words(name))
}

fn is_named_so(words: &[String]) -> bool {
    let says = |word: &String| {
        SECRET.contains(&word.as_str())
            || ["TOKEN", "SECRET", "PASSWORD", "APIKEY", "PASSWD"].iter().any(|end| word.ends_with(end))
    };
    let is_about = words.last().is_some_and(|last| ABOUT.contains(&last.as_str()));
    let is_public = words.iter().any(|word| PUBLIC.contains(&word.as_str()));
    words.iter().any(says) && !is_about && !is_public
}

/// What stands for a secret and is none: references that the host or a password manager resolves, and blanks.
pub fn is_placeholder(value: &str) -> bool {
    let trimmed = value.trim();
    let low = trimmed.to_ascii_lowercase();
    let is_variable = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    trimmed.is_empty()
        || ["${", "{{", "{env:", "{file:", "$("].iter().any(|mark| trimmed.contains(mark))
        || ["op://", "vault://", "keyring://", "keychain:", "env:", "file:"].iter().any(|mark| low.starts_with(mark))
        || trimmed.strip_prefix('$').is_some_and(is_variable)
        || (trimmed.len() > 2 && trimmed.starts_with('%') && trimmed.ends_with('%'))
        || (trimmed.starts_with('<') && trimmed.ends_with('>'))
        || (trimmed.starts_with('[') && trimmed.ends_with(']'))
        || (BLANKS.iter().any(|blank| low.contains(blank)) && !has_digits_inside(&low))
}

/// Real keys that have "your" in them by chance have digits too.
fn has_digits_inside(text: &str) -> bool {
    text.bytes().filter(u8::is_ascii_digit).count() >= 4
}

/// What no secret looks like, whatever it is called.
fn is_harmless(value: &str) -> bool {
    let value = value.trim();
    let low = value.to_ascii_lowercase();
    let is_word = ["true", "false", "yes", "no", "on", "off", "none", "null", "basic", "bearer", "oauth", "oauth2"];
    let is_number = value.len() < 6 && value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    is_word.contains(&low.as_str()) || is_number || is_path(value) || is_plain_url(value)
}

fn is_path(value: &str) -> bool {
    let bytes = value.as_bytes();
    let is_drive = bytes.len() > 2 && bytes[0].is_ascii_alphabetic() && &bytes[1..3] == b":\\";
    let rooted = value.starts_with('/') && value.matches('/').count() > 1;
    rooted || ["~/", "./", "../"].iter().any(|start| value.starts_with(start)) || is_drive
}

fn is_plain_url(value: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| value.starts_with(scheme))
        && !has_password(value)
        && !value.contains('?')
}

fn has_known_look(value: &str) -> bool {
    let value = value.trim();
    let fits = |prefix: &&str| value.strip_prefix(*prefix).is_some_and(|rest| rest.len() >= TAIL && is_token(rest));
    PREFIXES.iter().any(fits) || value.starts_with("-----BEGIN") && value.contains("PRIVATE KEY")
}

/// `scheme://user:password@host`, as databases want it.
fn has_password(value: &str) -> bool {
    let Some((_, rest)) = value.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((user, _)) = authority.rsplit_once('@') else { return false };
    user.split_once(':').is_some_and(|(_, password)| !password.is_empty() && !is_placeholder(password))
}

/// `Authorization: Bearer …`, `X-Api-Key: …`, `Bearer …`.
fn is_header(value: &str) -> bool {
    let is_long = |rest: &str| rest.trim().len() >= TAIL && !is_placeholder(rest);
    let scheme = |text: &str| {
        let (scheme, rest) = text.trim().split_once(' ')?;
        ["bearer", "basic", "token"].contains(&scheme.to_ascii_lowercase().as_str()).then(|| is_long(rest))
    };
    let named = value.split_once([':', '=']).is_some_and(|(name, rest)| {
        !name.contains(char::is_whitespace) && is_secret_name(name.trim_start_matches('-')) && is_long(rest)
    });
    named || scheme(value).unwrap_or(false)
}

/// One word of the characters that keys are written with.
fn is_token(value: &str) -> bool {
    value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'+' | b'/' | b'=' | b':'))
}

/// Long, of one word, and without an order that a person would give it.
fn is_random(value: &str) -> bool {
    let value = value.trim();
    let count = |run: &str, is_meant: fn(&u8) -> bool| run.bytes().filter(is_meant).count();
    let is_mixed =
        |run: &str| run.len() >= 16 && count(run, u8::is_ascii_digit) > 1 && count(run, u8::is_ascii_alphabetic) > 1;
    value.len() >= 24
        && is_token(value)
        && !value.trim_end_matches('=').contains('=')
        && value.split(|c: char| !c.is_ascii_alphanumeric()).any(is_mixed)
        && !is_path(value)
        && !value.contains("://")
        && !is_uuid(value)
        && entropy(value) >= if value.bytes().all(|b| b.is_ascii_hexdigit()) { 3.0 } else { 3.7 }
}

fn is_uuid(value: &str) -> bool {
    value.len() == 36 && value.split('-').map(str::len).eq([8, 4, 4, 4, 12])
}

/// Bits of a character, by how often each comes (Shannon).
fn entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    text.bytes().for_each(|b| counts[usize::from(b)] += 1);
    let length = text.len() as f64;
    let bits = |count: u32| {
        let share = f64::from(count) / length;
        -share * share.log2()
    };
    counts.into_iter().filter(|count| *count > 0).map(bits).sum()
}

/// Whether a word of a command line only names a secret of the vault, as `wrap --secret ENV=NAME` does.
pub fn is_name(arguments: &[String], at: usize) -> bool {
    let wraps = arguments.iter().position(|word| word == "wrap");
    let end = arguments.iter().position(|word| word == "--").unwrap_or_default();
    wraps.is_some_and(|wraps| wraps < at && at < end) && arguments[at - 1] == "--secret"
}

/// Words of a command line that look like secrets: their places.
pub fn in_arguments(arguments: &[String]) -> Vec<usize> {
    let flag = |word: &String| {
        let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
        (!name.contains('=') && is_secret_name(name)).then_some(())
    };
    let suspect = |at: &usize| {
        let word = &arguments[*at];
        if is_name(arguments, *at) {
            return false;
        }
        let is_after_flag = at.checked_sub(1).and_then(|before| flag(&arguments[before])).is_some();
        let is_value = !word.starts_with('-') && !is_placeholder(word) && !is_harmless(word);
        let (name, value) = word.split_once('=').unwrap_or_default();
        let is_assigned = is_secret(name.trim_start_matches('-'), value);
        looks_secret(word) || is_assigned || (is_after_flag && is_value)
    };
    (0..arguments.len()).filter(suspect).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_by_name_or_look_and_nothing_else_is_one() {
        for (name, value, secret) in [
            ("GITHUB_PERSONAL_ACCESS_TOKEN", "hunter2", true),
            ("githubToken", "hunter2", true),
            ("OPENAI_API_KEY", "abc", true),
            ("ApiKey", "abc", true),
            ("DB_PASSWORD", "p w", true),
            ("JIRA_PAT", "hunter2", true),
            ("BASIC_AUTH", "ada:hunter2", true),
            ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7ABCDEFG", true),
            ("PRIVATE_KEY", "-----BEGIN PRIVATE KEY-----\nAAAA", true),
            ("ANY", "ghp_16C7e42F292c6912E7710c838347Ae178B4a", true),
            ("ANY", "sk-proj-0123456789abcdef", true),
            ("ANY", "xoxb-17653672481-19874698323", true),
            ("DATABASE_URL", "postgres://ada:hunter2@db/x", true),
            ("CONFIG", "u8Vq2xkT0pLw7Zs4Yb1NcR6mHd9JfG3e", true),
            ("CONFIG", "0123456789abcdef0123456789abcdef01234567", true),
            ("TOKEN", "your-0123-by-chance-4567", true),
            ("DATABASE_URL", "postgres://db/x", false),
            ("DATABASE_URL", "postgres://ada:${PASSWORD}@db/x", false),
            ("GITHUB_TOKEN", "", false),
            ("GITHUB_TOKEN", "${input:github}", false),
            ("GITHUB_TOKEN", "${env:GITHUB_TOKEN}", false),
            ("GITHUB_TOKEN", "$GITHUB_TOKEN", false),
            ("GITHUB_TOKEN", "%GITHUB_TOKEN%", false),
            ("GITHUB_TOKEN", "{env:GITHUB_TOKEN}", false),
            ("GITHUB_TOKEN", "<token>", false),
            ("GITHUB_TOKEN", "YOUR_TOKEN_HERE", false),
            ("GITHUB_TOKEN", "ghp_xxxxxxxxxxxxxxxxxxxx", false),
            ("GITHUB_TOKEN", "op://vault/item/field", false),
            ("TOKEN_FILE", "/run/secrets/token", false),
            ("KEY", "/home/ada/.ssh/id_ed25519", false),
            ("AUTH_TYPE", "oauth-with-something", false),
            ("AUTH", "true", false),
            ("MAX_TOKENS", "40960000", false),
            ("PUBLIC_KEY", "abcdefgh", false),
            ("TOKENIZER", "cl100k", false),
            ("KEYBOARD", "us", false),
            ("PATH", "/usr/bin:/bin", false),
            ("PWD", "/home/ada", false),
            ("LOG_LEVEL", "debug", false),
            ("PROJECT_ID", "my-project-0123456789-abcdefghij", false),
            ("SESSION", "550e8400-e29b-41d4-a716-446655440000", false),
            ("BASE_URL", "https://example.org/a/b", false),
            ("NODE_OPTIONS", "--max-old-space-size=4096", false),
            ("COMMIT", "0123456789abcdef0123456789abcdef01234567", false),
        ] {
            assert_eq!(is_secret(name, value), secret, "{name}={value}");
        }
    }

    #[test]
    fn secrets_in_command_lines_are_noticed() {
        for (words, found) in [
            (vec!["-y", "mcp-remote", "https://x.org/mcp", "--header", "Authorization: Bearer abcdefgh1234"], vec![4]),
            (vec!["--api-key", "hunter2", "--verbose"], vec![1]),
            (vec!["--api-key=hunter2"], vec![0]),
            (vec!["-e", "GITHUB_TOKEN=hunter2", "image"], vec![1]),
            (vec!["-e", "GITHUB_TOKEN", "image"], vec![]),
            (vec!["--token", "${input:x}"], vec![]),
            (vec!["sk-proj-0123456789abcdef"], vec![0]),
            (vec!["-y", "@modelcontextprotocol/server-filesystem@2025.7.29", "/home/ada"], vec![]),
            (vec!["--header", "Authorization: Bearer ${TOKEN}"], vec![]),
            (vec!["run", "--auth", "oauth"], vec![]),
            (vec!["wrap", "--secret", "TOKEN=a/TOKEN", "--", "a", "--secret", "hunter2"], vec![6]),
            (vec!["run", "--secret", "hunter2"], vec![2]),
        ] {
            let words: Vec<_> = words.into_iter().map(str::to_owned).collect();
            assert_eq!(in_arguments(&words), found, "{words:?}");
        }
    }
}
