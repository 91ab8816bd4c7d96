//! Made-up stores of any size, written straight as files: a million grants in seconds instead of a million commits.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use shared::id::{ClientId, GrantId, TokenId};
use shared::secret::TokenHash;
use shared::state::{Change, Record};
use shared::store::conformance::Sample;
use shared::time::{Clock, Seconds, SystemClock, Timestamp};
use shared::uri::RedirectUri;
use uuid::Uuid;

/// What a store is full of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Contents {
    /// Clients that registered themselves, and nothing else.
    Clients,
    /// Live grants: each with its client, refresh token and access token.
    Grants,
}

/// How it lies on the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Layout {
    /// As after a compaction.
    Snapshot,
    /// As it was committed: three commits a grant, one a client.
    Journal,
}

/// Writes a store of `count` clients or grants into `folder`, which is made.
pub fn write(folder: &Path, contents: Contents, layout: Layout, count: u64) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
    let population = Population::new(contents);
    match layout {
        Layout::Snapshot => population.snapshot(folder, count),
        Layout::Journal => population.journal(folder, count),
    }
}

struct Population {
    contents: Contents,
    sample: Sample,
    now: Timestamp,
    store: Uuid,
}

/// People who share the grants.
const GRANTS_A_PERSON: u64 = 100;

impl Population {
    fn new(contents: Contents) -> Self {
        let now = SystemClock.now();
        Self { contents, sample: Sample::new(now), now, store: Uuid::from_u128(u128::from(now.0) << 64 | 0xb_e2c4) }
    }

    /// The authorization with this number: the same whenever it is asked for.
    fn sample(&self, number: u64) -> Sample {
        let mut sample = self.sample.clone();
        let uuid = |kind: u128| Uuid::from_u128((mixed(number) << 8 | kind) & !(0xf << 76) | 4 << 76);
        let hash = |kind: &str| TokenHash::of(format!("{kind} {number}").as_bytes());
        let grant = GrantId(uuid(1));
        sample.client.id = ClientId::generated(uuid(2));
        // Programs on people's machines listen where there is room.
        let port = 49_152 + mixed(number) % 16_384;
        sample.client.redirect_uris =
            RedirectUri::register(&format!("http://127.0.0.1:{port}/callback"), &[]).into_iter().collect();
        let person = number / GRANTS_A_PERSON;
        sample.user.name = format!("person-{person}").parse().unwrap_or(sample.user.name);
        sample.grant.id = grant;
        sample.grant.user = Some(sample.user.name.clone());
        sample.grant.client.clone_from(&sample.client.id);
        (sample.code.hash, sample.code.grant) = (hash("code"), grant);
        (sample.access.id, sample.access.grant) = (TokenId(uuid(3)), grant);
        (sample.family.current, sample.family.grant) = (hash("refresh"), grant);
        sample.access.expires = self.now + Seconds(86_400);
        sample.family.expires = self.now + Seconds(30 * 86_400);
        sample
    }

    fn is_new_person(&self, number: u64) -> bool {
        self.contents == Contents::Grants && number.is_multiple_of(GRANTS_A_PERSON)
    }

    fn snapshot(&self, folder: &Path, count: u64) -> io::Result<()> {
        let mut out = Lines::create(&folder.join("snapshot.2.jsonl"))?;
        out.line(&json!({
            "format": "mcp-authz-snapshot", "version": "1.0", "store": self.store,
            "generation": 2, "seq": count, "latest": self.now,
        }))?;
        let mut records = 0_u64;
        for number in 0..count {
            let mut sample = self.sample(number);
            if self.is_new_person(number) {
                out.line(&Record::User(&sample.user))?;
                records += 1;
            }
            if self.contents == Contents::Grants {
                sample.client.approved_at = Some(self.now);
                sample.grant.stage = shared::state::GrantStage::Live;
            }
            out.line(&Record::Client(&sample.client))?;
            records += 1;
            if self.contents == Contents::Grants {
                out.line(&Record::Grant(&sample.grant))?;
                out.line(&Record::Family(&sample.family))?;
                out.line(&Record::Access(&sample.access))?;
                records += 3;
            }
        }
        let hash = out.digest();
        out.line(&json!({ "end": records, "h": hash }))?;
        out.inner.flush()?;
        let mut journal = Lines::create(&folder.join("journal.2.jsonl"))?;
        journal.line(&self.journal_header(2, count))?;
        journal.inner.flush()
    }

    fn journal_header(&self, generation: u64, seq: u64) -> serde_json::Value {
        json!({
            "format": "mcp-authz-journal", "version": "1.0", "store": self.store,
            "generation": generation, "seq": seq, "prev": TokenHash::of(self.store.as_bytes()),
        })
    }

    fn journal(&self, folder: &Path, count: u64) -> io::Result<()> {
        let mut out = Lines::create(&folder.join("journal.1.jsonl"))?;
        out.line(&self.journal_header(1, 0))?;
        let mut link = *TokenHash::of(self.store.as_bytes()).as_bytes();
        let mut seq = 0;
        for number in 0..count {
            for changes in self.commits(number) {
                seq += 1;
                link = out.commit(seq, self.now, &changes, &link)?;
            }
        }
        out.inner.flush()
    }

    fn commits(&self, number: u64) -> Vec<Vec<Change>> {
        let sample = self.sample(number);
        let mut known = vec![Change::ClientRegistered(sample.client.clone())];
        if self.is_new_person(number) {
            known.insert(0, Change::UserCreated(sample.user.clone()));
        }
        match self.contents {
            Contents::Clients => vec![known],
            Contents::Grants => vec![known, sample.approved(), sample.redeemed()],
        }
    }
}

/// The number, spread over 64 bits, so that keys lie as far apart as drawn ones (the finaliser of SplitMix64).
fn mixed(number: u64) -> u128 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u128::from(bits ^ (bits >> 31)) << 40 | u128::from(number)
}

/// A file of JSON lines, hashed as it is written.
struct Lines {
    inner: BufWriter<File>,
    hash: Sha256,
    text: Vec<u8>,
}

impl Lines {
    fn create(path: &Path) -> io::Result<Self> {
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Self { inner: BufWriter::with_capacity(1 << 20, file), hash: Sha256::new(), text: Vec::new() })
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.text.clear();
        serde_json::to_writer(&mut self.text, value)?;
        self.text.push(b'\n');
        self.hash.update(&self.text);
        self.inner.write_all(&self.text)
    }

    /// A commit, chained to the one before; `docs/STORE.md` has the form.
    fn commit(&mut self, n: u64, t: Timestamp, changes: &[Change], prev: &[u8; 32]) -> io::Result<[u8; 32]> {
        #[derive(Serialize)]
        struct Body<'a> {
            n: u64,
            t: Timestamp,
            c: &'a [Change],
        }
        self.text.clear();
        serde_json::to_writer(&mut self.text, &Body { n, t, c: changes })?;
        self.text.pop();
        let link: [u8; 32] = Sha256::new().chain_update(prev).chain_update(&self.text).finalize().into();
        writeln!(self.text, ",\"h\":{}}}", json!(Digested(link)))?;
        self.inner.write_all(&self.text)?;
        Ok(link)
    }

    fn digest(&self) -> Digested {
        Digested(self.hash.clone().finalize().into())
    }
}

/// A SHA-256 as the store writes it.
struct Digested([u8; 32]);

impl Serialize for Digested {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64::Engine;
        serializer.serialize_str(&base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(self.0))
    }
}
