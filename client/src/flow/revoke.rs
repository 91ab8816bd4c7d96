//! Taking tokens back (RFC 7009).

use shared::secret::Secret;

use super::FormRequest;
use super::client::Client;

/// Which kind of token is taken back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A refresh token: the grant dies with it (RFC 7009 section 2.1).
    Refresh,
    /// An access token.
    Access,
}

/// Takes a token back.
pub fn request(endpoint: &str, client: &Client, token: &Secret, kind: Kind) -> FormRequest {
    let hint = match kind {
        Kind::Refresh => "refresh_token",
        Kind::Access => "access_token",
    };
    client.form(endpoint, &[("token", token.expose()), ("token_type_hint", hint)])
}

/// Judges the answer: 200 means that the token is dead, also when it was unknown (RFC 7009 section 2.2).
///
/// # Errors
/// The status, when it is something else.
pub fn accept(status: u16) -> Result<(), u16> {
    if (200..300).contains(&status) { Ok(()) } else { Err(status) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_says_what_it_takes_back() {
        let client = Client::given("c".parse().unwrap(), None, &[]);
        let form = request("https://as/r", &client, &Secret::new("t".into()), Kind::Refresh);
        assert_eq!(form.body.expose(), "token=t&token_type_hint=refresh_token&client_id=c");
        assert_eq!((accept(200), accept(204), accept(503)), (Ok(()), Ok(()), Err(503)));
    }
}
