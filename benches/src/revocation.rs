//! From a revocation's commit to the servers that run: refused at the next call, told, hidden.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use shared::oauth::jwt::{AccessClaims, Audience};
use shared::state::{Change, RevocationCause};
use shared::store::conformance::Sample;
use shared::store::journal::JournalStore;
use shared::time::{Clock, SystemClock};
use shared::token::KeySet;
use shared::uri::Issuer;

use crate::stats::{Samples, figure, heading};
use crate::stdio::Peer;

const ISSUER: &str = "http://localhost:3000";
const LIST: &str = r#"{"jsonrpc":"2.0","id":ID,"method":"tools/list","params":{}}"#;

/// Prints the figures, from `rounds` grants that are given and taken back.
pub fn run(rounds: usize) -> io::Result<()> {
    heading("revocation");
    let folder = tempfile::tempdir()?;
    let store = JournalStore::open(folder.path(), Arc::new(SystemClock)).map_err(io::Error::other)?;
    let keys = store.keys().map_err(io::Error::other)?;
    let issuer: Issuer = ISSUER.parse().map_err(io::Error::other)?;
    store.commit_blocking(vec![Change::IssuerDeclared(issuer.clone())]).map_err(io::Error::other)?;
    let bench = Bench { store, keys, issuer };
    bench.refused(folder.path(), rounds)?;
    bench.hidden(folder.path(), rounds)
}

struct Bench {
    store: JournalStore,
    keys: KeySet,
    issuer: Issuer,
}

impl Bench {
    /// A live grant and its access token.
    fn grant(&self) -> io::Result<(Sample, String)> {
        let now = SystemClock.now();
        let sample = Sample::new(now);
        for changes in [sample.known(), sample.approved(), sample.redeemed()] {
            self.store.commit_blocking(changes).map_err(io::Error::other)?;
        }
        let claims = AccessClaims {
            iss: self.issuer.clone(),
            sub: sample.user.name.to_string(),
            aud: Audience::One(sample.grant.resource.clone()),
            client_id: sample.client.id.clone(),
            scope: sample.access.scopes.clone(),
            jti: sample.access.id,
            grant: sample.grant.id,
            nbf: None,
            iat: now,
            exp: sample.access.expires,
        };
        let token = self.keys.mint(&claims).map_err(io::Error::other)?.expose().to_owned();
        Ok((sample, token))
    }

    /// Takes a grant back; when that was acknowledged.
    fn revoke(&self, sample: &Sample) -> io::Result<Instant> {
        let change = Change::GrantRevoked { grant: sample.grant.id, cause: RevocationCause::User };
        self.store.commit_blocking(vec![change]).map_err(io::Error::other)?;
        Ok(Instant::now())
    }

    /// The next call of a server that runs, whose token came with each call. Every one must be refused.
    fn refused(&self, folder: &Path, rounds: usize) -> io::Result<()> {
        let mut peer = Peer::start("mcp-stdio-server", &["--data", &folder.to_string_lossy(), "--login", "off"])?;
        peer.shake_hands()?;
        let (mut admitted, mut refused) = (Samples::default(), Samples::default());
        for _ in 0..rounds {
            let (sample, token) = self.grant()?;
            let call = format!(
                r#"{{"jsonrpc":"2.0","id":ID,"method":"tools/call","params":{{"name":"echo","arguments":{{"message":"m"}},"_meta":{{"authz/access_token":"{token}"}}}}}}"#
            );
            // The first call pays for the signature.
            for _ in 0..2 {
                let begun = Instant::now();
                peer.send(&call)?;
                peer.answered()?;
                admitted.add(begun.elapsed());
            }
            let revoked = self.revoke(&sample)?;
            peer.send(&call)?;
            let answer = peer.receive()?;
            refused.add(revoked.elapsed());
            if !answer.contains("invalid_token") {
                return Err(io::Error::other(format!("a call was let in after the revocation: {answer:.300}")));
            }
        }
        figure("baseline: a call that is let in, p50", admitted.quantile(0.5), "µs", "");
        figure("revoked → the next call is refused, p50", refused.quantile(0.5), "µs", "every one was refused");
        figure("  p99", refused.quantile(0.99), "µs", "");
        Ok(())
    }

    /// Servers with the token from the environment: until the host is told, and until the list that it asks for then
    /// shows no guarded tool.
    fn hidden(&self, folder: &Path, rounds: usize) -> io::Result<()> {
        let (mut told, mut hidden) = (Samples::default(), Samples::default());
        for _ in 0..rounds {
            let (sample, token) = self.grant()?;
            let arguments = ["--data", &folder.to_string_lossy(), "--login", "off"];
            let mut peer = Peer::start_with("mcp-stdio-server", &arguments, |command| {
                command.env("MCP_ACCESS_TOKEN", &token);
            })?;
            peer.shake_hands()?;
            peer.send(LIST)?;
            let shown = peer.receive()?.contains("\"whoami\"");
            let revoked = self.revoke(&sample)?;
            let line = peer.receive()?;
            told.add(revoked.elapsed());
            let is_told = line.contains("notifications/tools/list_changed");
            peer.send(LIST)?;
            let line = peer.receive()?;
            hidden.add(revoked.elapsed());
            if !shown || !is_told || line.contains("\"whoami\"") {
                return Err(io::Error::other("the tools were not shown, or the host not told, or they are not hidden"));
            }
        }
        figure(
            "revoked → the host is told (list_changed), p50",
            told.quantile(0.5),
            "µs",
            "often before the commit is answered",
        );
        figure("  p99", told.quantile(0.99), "µs", "");
        figure("revoked → the tools are gone from the list, p50", hidden.quantile(0.5), "µs", "");
        figure("  p99", hidden.quantile(0.99), "µs", "the aim is below 100 ms");
        Ok(())
    }
}
