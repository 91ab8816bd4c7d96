//! What a newer minor version of the format has added: members that this program does not know, carried along unread.
//!
//! The state holds what we know, and loading is as fast as that allows. Only where somebody who knows more has written
//! (a file's header says so, or a commit's `v`), whoever writes records anew, which is a compaction or an export, reads
//! the files a second time and finds the members that are in the text and not in the record. A member goes with the
//! record it came with: it stays while the record changes, and goes when the record is made anew or goes.

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use super::line::{Commit, Minor};
use super::snapshot;
use super::tail::Tail;
use crate::state::{Change, Record};
use crate::store::StoreError;

/// Unknown members, by record.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    minor: Minor,
    snapshot_header: Map<String, Value>,
    records: HashMap<(&'static str, String), Vec<Member>>,
}

/// A member as it was read, where that is more than we know of it.
#[derive(Debug)]
struct Member {
    name: String,
    read: Value,
    /// What we know of it: `read` belongs to this value and to no other.
    known: Option<Value>,
}

impl Foreign {
    /// Reads the files again, up to where `tail` stands; nothing when nobody who knows more has written.
    pub(super) fn collect(folder: &Path, tail: &Tail) -> Result<Self, StoreError> {
        if !tail.is_newer() {
            return Ok(Self::default());
        }
        let mut foreign = Self { minor: tail.minor(), ..Self::default() };
        let generation = tail.generation();
        if generation > 1 {
            let (header, _) =
                snapshot::walk(&snapshot::path(folder, generation), snapshot::read_header, &mut |record, line| {
                    foreign.take_record(line, &record.as_record());
                })?;
            foreign.snapshot_header = header.other;
        }
        let absent = || StoreError::Absent(folder.to_owned());
        let mut journal = Tail::open(folder, generation, false)?.ok_or_else(absent)?;
        let (_, seq) = tail.position();
        if journal.position().1 < seq {
            journal.advance(Some(seq), &mut |commit, line| {
                foreign.take_commit(line, &commit);
                Ok(())
            })?;
        }
        Ok(foreign)
    }

    /// The newest minor version among the writers.
    pub(super) fn minor(&self) -> Minor {
        self.minor
    }

    /// What a newer minor version added to the snapshot's header.
    pub(super) fn snapshot_header(&self) -> &Map<String, Value> {
        &self.snapshot_header
    }

    /// Notes that the writers of a file were of `minor`, and what its header says that the snapshot's had.
    pub(super) fn take_header(&mut self, minor: Minor, snapshot_header: Map<String, Value>) {
        (self.minor, self.snapshot_header) = (minor, snapshot_header);
    }

    /// Notes what a record's line has and the record has not.
    pub(super) fn take_record(&mut self, line: &[u8], record: &Record<'_>) {
        let Ok(Value::Object(read)) = serde_json::from_slice(line) else { return };
        if let Some(read) = read.into_iter().next().map(|(_, read)| read) {
            self.take(read, record);
        }
    }

    /// Notes what the records in a commit's line have and the records have not.
    fn take_commit(&mut self, line: &[u8], commit: &Commit) {
        let Ok(mut read) = serde_json::from_slice::<Value>(line) else { return };
        for (at, change) in commit.c.iter().enumerate() {
            let Some(change_read) = read.get_mut("c").and_then(|c| c.get_mut(at)).and_then(Value::as_object_mut) else {
                continue;
            };
            let Some(mut change_read) = change_read.values_mut().next().map(Value::take) else { continue };
            for (member, record) in made_by(change) {
                let record_read = match member {
                    Some(name) => change_read.get_mut(name).map(Value::take),
                    None => Some(change_read.take()),
                };
                self.take(record_read.unwrap_or_default(), &record);
            }
        }
    }

    fn take(&mut self, read: Value, record: &Record<'_>) {
        let known = members(record);
        let Value::Object(read) = read else { return };
        let more: Vec<_> = read
            .into_iter()
            .filter(|(name, read)| known.get(name) != Some(read))
            .map(|(name, read)| Member { known: known.get(&name).cloned(), name, read })
            .collect();
        if more.is_empty() {
            self.records.remove(&name_of(record));
        } else {
            self.records.insert(name_of(record), more);
        }
    }

    /// The record with what was read of it besides.
    pub(super) fn complete<'a>(&self, record: Record<'a>) -> Completed<'a> {
        if self.records.is_empty() {
            return Completed::Known(record);
        }
        let Some(more) = self.records.get(&name_of(&record)) else { return Completed::Known(record) };
        let mut whole = serde_json::to_value(&record).unwrap_or_default();
        let Some(members) =
            whole.as_object_mut().and_then(|tagged| tagged.values_mut().next()).and_then(Value::as_object_mut)
        else {
            return Completed::Known(record);
        };
        for member in more {
            if members.get(&member.name) == member.known.as_ref() {
                members.insert(member.name.clone(), member.read.clone());
            }
        }
        Completed::More(whole)
    }
}

/// A record to be written.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Completed<'a> {
    /// As we know it.
    Known(Record<'a>),
    /// With members that we do not know.
    More(Value),
}

/// The members that we know of a record.
fn members(record: &Record<'_>) -> Map<String, Value> {
    let Ok(Value::Object(tagged)) = serde_json::to_value(record) else { return Map::new() };
    match tagged.into_iter().next() {
        Some((_, Value::Object(members))) => members,
        _ => Map::new(),
    }
}

/// The records that a change makes, and the member of the change that each stands in; `None` when it is the change.
fn made_by(change: &Change) -> Vec<(Option<&'static str>, Record<'_>)> {
    match change {
        Change::KeyPublished(key) => vec![(None, Record::Key(key))],
        Change::SetupOffered(link) => vec![(None, Record::Setup(link))],
        Change::OwnerCreated { user, .. } => vec![(Some("user"), Record::User(user))],
        Change::UserCreated(user) => vec![(None, Record::User(user))],
        Change::SessionOpened(session) => vec![(None, Record::Session(session))],
        Change::ClientRegistered(client) | Change::ClientUpdated(client) | Change::ClientDescribed(client) => {
            vec![(None, Record::Client(client))]
        }
        Change::InitialTokenIssued(token) => vec![(None, Record::Initial(token))],
        Change::Approved { grant, code, .. } => {
            vec![(Some("grant"), Record::Grant(grant)), (Some("code"), Record::Code(code))]
        }
        Change::RequestPushed(pushed) => vec![(None, Record::Pushed(pushed))],
        Change::DeviceAsked(device) => vec![(None, Record::Device(device))],
        Change::DeviceApproved { grant, .. } => vec![(Some("grant"), Record::Grant(grant))],
        Change::ClientGranted { grant, access } => {
            vec![(Some("grant"), Record::Grant(grant)), (Some("access"), Record::Access(access))]
        }
        Change::CodeRedeemed { access, family, .. } | Change::DeviceRedeemed { access, family, .. } => {
            std::iter::once((Some("access"), Record::Access(access)))
                .chain(family.iter().map(|family| (Some("family"), Record::Family(family))))
                .collect()
        }
        Change::RefreshRotated { access, .. }
        | Change::RefreshRepeated { access, .. }
        | Change::TokenExchanged { access, .. } => {
            vec![(Some("access"), Record::Access(access))]
        }
        Change::IssuerDeclared(_)
        | Change::KeyRetired { .. }
        | Change::PasswordChanged { .. }
        | Change::PasskeyAdded { .. }
        | Change::PasskeyUsed { .. }
        | Change::PasskeyRemoved(_)
        | Change::UpstreamLinked { .. }
        | Change::UpstreamUnlinked(_)
        | Change::UserStageSet { .. }
        | Change::SessionClosed(_)
        | Change::SessionsClosed(_)
        | Change::ClientRemoved(_)
        | Change::InitialTokenSpent(_)
        | Change::ToolsAnnounced { .. }
        | Change::AssertionUsed { .. }
        | Change::PushedOpened { .. }
        | Change::PushedSpent(_)
        | Change::DeviceDenied { .. }
        | Change::Denied { .. }
        | Change::GrantRevoked { .. }
        | Change::GrantsRevoked { .. }
        | Change::AccessRevoked(_)
        | Change::CallSpent(_)
        | Change::StoreRepaired { .. }
        | Change::Expired(_)
        | Change::Swept { .. } => vec![],
    }
}

/// What a record is called among those of its kind.
fn name_of(record: &Record<'_>) -> (&'static str, String) {
    let hash = |hash: &crate::secret::TokenHash| serde_json::to_string(hash).unwrap_or_default();
    match record {
        Record::Client(client) => ("client", client.id.to_string()),
        Record::User(user) => ("user", user.name.to_string()),
        Record::Session(session) => ("session", hash(&session.hash)),
        Record::Code(code) => ("code", hash(&code.hash)),
        Record::Grant(grant) => ("grant", grant.id.to_string()),
        Record::Family(family) => ("family", family.grant.to_string()),
        Record::Access(access) => ("access", access.id.to_string()),
        Record::Key(key) => ("key", key.id.to_string()),
        Record::Setup(_) => ("setup", String::new()),
        Record::Initial(token) => ("initial", hash(&token.hash)),
        Record::Assertion(name, _) => ("assertion", hash(name)),
        Record::Device(device) => ("device", hash(&device.hash)),
        Record::Pushed(pushed) => ("pushed", hash(&pushed.hash)),
        Record::Tools(tools) => ("tools", tools.resource.to_string()),
        Record::Issuer(issuer, _) => ("issuer", issuer.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::secret::TokenHash;
    use crate::store::conformance::Sample;
    use crate::store::journal::transfer::{Contents, export, import};
    use crate::store::journal::{JournalStore, line};
    use crate::time::{SystemClock, Timestamp};

    fn open(folder: &Path) -> Result<JournalStore, StoreError> {
        JournalStore::open(folder, Arc::new(SystemClock))
    }

    /// A store of one authorization as a program of format 1.7 would have written it.
    fn newer_store(edit: impl Fn(usize, &mut Value)) -> (tempfile::TempDir, PathBuf, Sample) {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("store");
        let store = open(&folder).unwrap();
        let sample = Sample::new(Timestamp(1));
        for changes in [sample.known(), sample.approved(), sample.redeemed()] {
            store.commit_blocking(changes).unwrap();
        }
        drop(store);
        let path = folder.join("journal.1.jsonl");
        let text = fs::read_to_string(&path).unwrap();
        let mut lines = text.trim_end().lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut header = lines.next().unwrap();
        edit(0, &mut header);
        let mut out = [serde_json::to_vec(&header).unwrap(), b"\n".to_vec()].concat();
        let mut link = *serde_json::from_value::<TokenHash>(header["prev"].clone()).unwrap().as_bytes();
        for (at, mut body) in lines.enumerate() {
            body.as_object_mut().unwrap().remove("h");
            edit(at + 1, &mut body);
            link = line::write_chained(&body, &link, &mut out);
        }
        fs::write(&path, out).unwrap();
        (parent, folder, sample)
    }

    fn text_of(folder: &Path, generation: u64) -> String {
        let read = |kind| fs::read_to_string(folder.join(format!("{kind}.{generation}.jsonl"))).unwrap_or_default();
        read("snapshot") + &read("journal")
    }

    #[test]
    fn sto_06_what_a_newer_minor_version_has_added_survives_every_compaction() {
        let (_parent, folder, sample) = newer_store(|line, value| match line {
            0 => {
                value["version"] = json!("1.7");
                value["region"] = json!("header-7");
            }
            1 => {
                value["c"][1]["client_registered"]["logo"] = json!({ "uri": "client-7" });
                value["c"][0]["user_created"]["locale"] = json!("user-7");
            }
            2 => value["c"][0]["approved"]["grant"]["device"] = json!("grant-7"),
            _ => value["c"][0]["code_redeemed"]["family"]["bound"] = json!(["family-7"]),
        });
        let store = open(&folder).unwrap();
        // A record that changes keeps what is foreign in it.
        store.commit_blocking(sample.rotated(sample.family.current, TokenHash::of(b"next"))).unwrap();
        for generation in 2..5 {
            assert!(store.compact().unwrap());
            let text = text_of(&folder, generation);
            for word in ["header-7", "client-7", "user-7", "grant-7", "family-7"] {
                assert_eq!(text.matches(word).count(), 1, "{word} in generation {generation}");
            }
            assert_eq!(text.matches(r#""version":"1.7""#).count(), 2, "and the files say so");
            store.commit_blocking(Sample::new(Timestamp(1)).known()).unwrap();
        }
        drop(store);
        // And an export and its import.
        let (file, there) = (folder.with_extension("export"), folder.with_extension("there"));
        let mut out = fs::File::create(&file).unwrap();
        export(&folder, &mut out, Contents::Whole, Timestamp(1), &mut |_, _| {}).unwrap();
        import(&file, &there, false, &mut |_, _| {}).unwrap();
        open(&there).unwrap().compact().unwrap();
        let text = text_of(&there, 3);
        for word in ["header-7", "client-7", "user-7", "grant-7", "family-7"] {
            assert_eq!(text.matches(word).count(), 1, "{word} after an import");
        }
        assert_eq!(text.matches(r#""version":"1.7""#).count(), 2);
    }

    #[test]
    fn sto_06_one_newer_line_in_an_older_file_is_enough() {
        let (_parent, folder, _) = newer_store(|line, value| {
            if line == 2 {
                value["v"] = json!(3);
                value["c"][0]["approved"]["grant"]["device"] = json!("grant-3");
            }
        });
        assert!(open(&folder).unwrap().compact().unwrap());
        let text = text_of(&folder, 2);
        assert_eq!((text.matches("grant-3").count(), text.matches(r#""version":"1.3""#).count()), (1, 2));
    }

    #[test]
    fn sto_06_a_change_that_we_do_not_know_is_refused_as_newer_and_never_skipped() {
        let unknown = |value: &mut Value| value["c"] = json!([{ "user_moved": { "to": "elsewhere" } }]);
        let (_parent, folder, _) = newer_store(|line, value| match line {
            0 => value["version"] = json!("1.7"),
            3 => unknown(value),
            _ => {}
        });
        assert!(matches!(open(&folder).map(drop), Err(StoreError::Newer { found, .. }) if found == "1.7"));
        let (_parent, folder, _) = newer_store(|line, value| {
            if line == 3 {
                value["v"] = json!(2);
                unknown(value);
            }
        });
        assert!(matches!(open(&folder).map(drop), Err(StoreError::Newer { found, .. }) if found == "1.2"));
        // The same in a file of our own version is damage.
        let (_parent, folder, _) = newer_store(|line, value| {
            if line == 3 {
                unknown(value)
            }
        });
        assert!(matches!(open(&folder).map(drop), Err(StoreError::Damaged { line: 4, .. })));
    }

    #[test]
    fn a_foreign_member_goes_with_the_value_that_it_came_with() {
        let sample = Sample::new(Timestamp(1));
        let mut foreign = Foreign::default();
        let mut read = serde_json::to_value(Record::Grant(&sample.grant)).unwrap();
        read["grant"]["stage"] = json!("paused");
        foreign.take(read["grant"].take(), &Record::Grant(&sample.grant));
        let text = |grant| serde_json::to_string(&foreign.complete(Record::Grant(grant))).unwrap();
        assert!(text(&sample.grant).contains("paused"));
        let revoked = crate::state::Grant { stage: crate::state::GrantStage::Revoked, ..sample.grant.clone() };
        assert!(text(&revoked).contains("revoked"));
    }
}
