//! The end of the trail of calls, for pages. The whole of it is for `authz-service audit`: it may be large.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use shared::id::GrantId;
use shared::store::StoreError;
use shared::store::calls::{Call, Decision, Entry, Reader, Recorded};
use shared::time::Timestamp;

/// How much of the trail a page reads: some thousand calls.
const NEAR: u64 = 1024 * 1024;

/// What a grant was lately used for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lately {
    /// How many calls were let in.
    pub calls: u64,
    /// What the last one was of.
    pub last: String,
    /// When it was.
    pub at: Timestamp,
}

/// The last lines, newest first. Blocks.
///
/// # Errors
/// When they cannot be read, or are damaged.
pub fn last(store: &Path, most: usize) -> Result<Vec<Recorded>, StoreError> {
    let mut last = VecDeque::with_capacity(most);
    read(store, &mut |recorded| {
        if last.len() == most {
            last.pop_back();
        }
        last.push_front(recorded);
    })?;
    Ok(last.into())
}

/// What each grant was lately used for. Blocks.
///
/// # Errors
/// As [`last`].
pub fn lately(store: &Path) -> Result<HashMap<GrantId, Lately>, StoreError> {
    let mut lately = HashMap::new();
    read(store, &mut |recorded| {
        if let Some((grant, call)) = admitted(&recorded) {
            let known = lately.entry(grant).or_insert(Lately { calls: 0, last: String::new(), at: recorded.at });
            known.calls += 1;
            if recorded.at >= known.at {
                (known.last, known.at) = (call.subject().into_owned(), recorded.at);
            }
        }
    })?;
    Ok(lately)
}

fn admitted(recorded: &Recorded) -> Option<(GrantId, &Call)> {
    match &recorded.entry {
        Some(Entry::Call(call)) if call.decision == Decision::Admitted => Some((call.bearer.as_ref()?.grant()?, call)),
        _ => None,
    }
}

fn read(store: &Path, visit: &mut dyn FnMut(Recorded)) -> Result<(), StoreError> {
    match Reader::near_the_end(store, NEAR)? {
        Some(mut reader) => reader.advance(visit).map(drop),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use shared::id::TokenId;
    use shared::state::Kind;
    use shared::store::calls::{Bearer, Calls, Keep};
    use shared::uri::Resource;
    use uuid::Uuid;

    use super::*;

    const GRANT: GrantId = GrantId(Uuid::from_u128(1));

    fn call(tool: &str, decision: Decision) -> Entry {
        Entry::Call(Box::new(Call {
            server: Resource::stdio("a").unwrap(),
            tool: tool.into(),
            kind: Kind::Tool,
            method: None,
            decision,
            cause: None,
            bearer: Some(Bearer::Ours {
                grant: GRANT,
                user: None,
                client: "c_1".parse().unwrap(),
                token: TokenId(Uuid::from_u128(2)),
            }),
            arguments: None,
            host: None,
            transport: "stdio".into(),
            era: "stateless".into(),
            trace: None,
            end: None,
        }))
    }

    #[test]
    fn n12_what_a_grant_was_lately_used_for_is_counted_from_what_was_let_in() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!((lately(folder.path()).unwrap(), last(folder.path(), 9).unwrap()), (HashMap::new(), vec![]));
        let tools = [("a", Decision::Admitted), ("b", Decision::Admitted), ("c", Decision::Refused)];
        let mut entries =
            tools.into_iter().zip(1..).map(|((tool, decision), at)| (Timestamp(at), call(tool, decision)));
        Calls::new(folder.path(), Keep::default()).append(&mut |_| entries.next()).unwrap();
        let used = Lately { calls: 2, last: "b".into(), at: Timestamp(2) };
        assert_eq!(lately(folder.path()).unwrap(), HashMap::from([(GRANT, used)]));
        let numbers = |most| last(folder.path(), most).unwrap().iter().map(|line| line.number).collect::<Vec<_>>();
        assert_eq!((numbers(9), numbers(2)), (vec![3, 2, 1], vec![3, 2]));
    }
}
