//! A table of records by their keys, for a million of them.
//!
//! A tree that branches on a hash of the key, with short lists of records at its ends. Against the standard hash map:
//! its clone costs nothing and shares everything until one of the two changes (a compaction writes such a copy while
//! commits go on); it never stops to move all it holds; a record lies densely and holds its own key; and it knows what
//! is due first, so that forgetting what has ended costs as much as has ended.

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use crate::time::Timestamp;

/// A record that holds its own key.
pub trait Keyed: Clone {
    /// What it is found by.
    type Key: Clone + Eq + Hash;

    /// Its key.
    fn key(&self) -> &Self::Key;

    /// The second from which somebody should look at it, such as the one when it ends.
    fn due(&self) -> Timestamp {
        NEVER
    }
}

/// Nobody need ever look.
pub const NEVER: Timestamp = Timestamp(u64::MAX);

/// How many ways a branch leads.
const WAYS: usize = 8;

/// How many bits of the hash tell them apart.
const BITS: u32 = WAYS.trailing_zeros();

/// A list longer than this becomes a branch.
const LONGEST: usize = 32;

/// Records by key.
#[derive(Clone)]
pub struct Table<R> {
    root: Option<Arc<Node<R>>>,
    length: usize,
    hasher: RandomState,
}

#[derive(Clone)]
enum Node<R> {
    Leaf(Leaf<R>),
    Branch(Branch<R>),
}

#[derive(Clone)]
struct Leaf<R> {
    /// Some bits of each record's hash, side by side, so that a record that is not meant is not touched.
    tags: Vec<u16>,
    records: Vec<R>,
    due: Timestamp,
}

#[derive(Clone)]
struct Branch<R> {
    ways: [Option<Arc<Node<R>>>; WAYS],
    due: Timestamp,
}

/// The hash of a key: where to go, and what is left of it at this depth.
#[derive(Clone, Copy)]
struct Path {
    hash: u64,
    depth: u32,
}

impl Path {
    fn way(self) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "three bits")]
        let bits = (self.hash >> (self.depth * BITS)) as usize;
        bits % WAYS
    }

    fn below(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }

    /// Whether there are bits left to branch on.
    fn goes_on(self) -> bool {
        (self.depth + 1) * BITS <= u64::BITS
    }

    /// The end of the hash that branches come to last.
    fn tag(self) -> u16 {
        (self.hash >> 48) as u16
    }
}

impl<R: Keyed> Table<R> {
    /// How many records there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// The record with this key.
    pub fn get(&self, key: &R::Key) -> Option<&R> {
        let mut path = self.path(key);
        let mut node = self.root.as_deref()?;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.find(path, key).map(|at| &leaf.records[at]),
                Node::Branch(branch) => {
                    node = branch.ways[path.way()].as_deref()?;
                    path = path.below();
                }
            }
        }
    }

    /// Whether there is a record with this key.
    pub fn contains_key(&self, key: &R::Key) -> bool {
        self.get(key).is_some()
    }

    /// Puts a record in its place and returns the one that was there.
    pub fn insert(&mut self, record: R) -> Option<R> {
        let path = self.path(record.key());
        let before = match &mut self.root {
            Some(node) => Arc::make_mut(node).insert(path, record, &self.hasher),
            None => {
                self.root = Some(Arc::new(Node::Leaf(Leaf::new(path, record))));
                None
            }
        };
        self.length += usize::from(before.is_none());
        before
    }

    /// Changes a record where it lies, but not its key; false when it is not there.
    pub fn change(&mut self, key: &R::Key, change: impl FnOnce(&mut R)) -> bool {
        let path = self.path(key);
        self.contains_key(key)
            && self.root.as_mut().is_some_and(|node| Arc::make_mut(node).change(path, key, change).is_some())
    }

    /// Takes the record with this key away.
    pub fn remove(&mut self, key: &R::Key) -> Option<R> {
        let path = self.path(key);
        // Looked for first, so that nothing is copied for a record that is not there.
        self.get(key)?;
        let removed = Arc::make_mut(self.root.as_mut()?).remove(path, key);
        self.length -= usize::from(removed.is_some());
        if self.length == 0 {
            self.root = None;
        }
        removed
    }

    /// Every record, in no particular order.
    pub fn values(&self) -> Values<'_, R> {
        Values { waiting: self.root.iter().map(Arc::as_ref).collect(), records: [].iter() }
    }

    /// The second when the first record is due; [`NEVER`] when none is.
    pub fn earliest(&self) -> Timestamp {
        self.root.as_ref().map_or(NEVER, |node| node.due())
    }

    /// The records that are due before this second, at most `limit`. Costs as much as there are of them.
    pub fn due_before(&self, before: Timestamp, limit: usize) -> Vec<&R> {
        let mut found = Vec::new();
        if let Some(node) = &self.root {
            node.due_before(before, limit, &mut found);
        }
        found
    }

    fn path(&self, key: &R::Key) -> Path {
        Path { hash: self.hasher.hash_one(key), depth: 0 }
    }
}

impl<R: Keyed> Node<R> {
    fn due(&self) -> Timestamp {
        match self {
            Self::Leaf(leaf) => leaf.due,
            Self::Branch(branch) => branch.due,
        }
    }

    fn insert(&mut self, path: Path, record: R, hasher: &RandomState) -> Option<R> {
        match self {
            Self::Leaf(leaf) => {
                let before = leaf.insert(path, record);
                if leaf.records.len() > LONGEST && path.goes_on() {
                    *self = Self::Branch(std::mem::take(leaf).split(path.depth, hasher));
                }
                before
            }
            Self::Branch(branch) => branch.insert(path, record, hasher),
        }
    }

    fn remove(&mut self, path: Path, key: &R::Key) -> Option<R> {
        match self {
            Self::Leaf(leaf) => leaf.remove(path, key),
            Self::Branch(branch) => branch.remove(path, key),
        }
    }

    fn change(&mut self, path: Path, key: &R::Key, change: impl FnOnce(&mut R)) -> Option<()> {
        match self {
            Self::Leaf(leaf) => {
                let at = leaf.find(path, key)?;
                let from = leaf.records[at].due();
                change(&mut leaf.records[at]);
                leaf.changed(from, leaf.records[at].due());
            }
            Self::Branch(branch) => {
                let node = branch.ways[path.way()].as_mut()?;
                let from = node.due();
                Arc::make_mut(node).change(path.below(), key, change)?;
                let to = node.due();
                branch.changed(from, to);
            }
        }
        Some(())
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Leaf(leaf) => leaf.records.is_empty(),
            Self::Branch(branch) => branch.ways.iter().all(Option::is_none),
        }
    }

    fn due_before<'a>(&'a self, before: Timestamp, limit: usize, found: &mut Vec<&'a R>) {
        if self.due() >= before {
            return;
        }
        match self {
            Self::Leaf(leaf) => {
                let room = limit.saturating_sub(found.len());
                found.extend(leaf.records.iter().filter(|record| record.due() < before).take(room));
            }
            Self::Branch(branch) => {
                for node in branch.ways.iter().flatten() {
                    if found.len() >= limit {
                        return;
                    }
                    node.due_before(before, limit, found);
                }
            }
        }
    }
}

impl<R> Default for Leaf<R> {
    fn default() -> Self {
        Self { tags: Vec::new(), records: Vec::new(), due: NEVER }
    }
}

impl<R: Keyed> Leaf<R> {
    fn new(path: Path, record: R) -> Self {
        Self { tags: vec![path.tag()], due: record.due(), records: vec![record] }
    }

    fn find(&self, path: Path, key: &R::Key) -> Option<usize> {
        let tag = path.tag();
        (0..self.tags.len()).find(|at| self.tags[*at] == tag && self.records[*at].key() == key)
    }

    fn insert(&mut self, path: Path, record: R) -> Option<R> {
        let due = record.due();
        if let Some(at) = self.find(path, record.key()) {
            let before = std::mem::replace(&mut self.records[at], record);
            self.changed(before.due(), due);
            return Some(before);
        }
        if self.records.len() == self.records.capacity() {
            // Doubling would leave a quarter of the memory empty.
            self.records.reserve_exact(2 + self.records.len() / 4);
        }
        self.tags.push(path.tag());
        self.records.push(record);
        self.due = self.due.min(due);
        None
    }

    fn remove(&mut self, path: Path, key: &R::Key) -> Option<R> {
        let at = self.find(path, key)?;
        self.tags.swap_remove(at);
        let removed = self.records.swap_remove(at);
        self.changed(removed.due(), NEVER);
        Some(removed)
    }

    /// One record's due second became another.
    fn changed(&mut self, from: Timestamp, to: Timestamp) {
        if to <= self.due {
            self.due = to;
        } else if from == self.due {
            self.due = self.records.iter().map(Keyed::due).min().unwrap_or(NEVER);
        }
    }

    fn split(self, depth: u32, hasher: &RandomState) -> Branch<R> {
        let mut ways: [Option<Leaf<R>>; WAYS] = std::array::from_fn(|_| None);
        for record in self.records {
            let path = Path { hash: hasher.hash_one(record.key()), depth };
            match &mut ways[path.way()] {
                Some(leaf) => drop(leaf.insert(path, record)),
                empty => *empty = Some(Leaf::new(path, record)),
            }
        }
        Branch { ways: ways.map(|leaf| leaf.map(|leaf| Arc::new(Node::Leaf(leaf)))), due: self.due }
    }
}

impl<R: Keyed> Branch<R> {
    fn insert(&mut self, path: Path, record: R, hasher: &RandomState) -> Option<R> {
        let way = &mut self.ways[path.way()];
        let (from, to, before) = match way {
            Some(node) => {
                let from = node.due();
                let before = Arc::make_mut(node).insert(path.below(), record, hasher);
                (from, node.due(), before)
            }
            None => {
                let leaf = Leaf::new(path, record);
                let to = leaf.due;
                *way = Some(Arc::new(Node::Leaf(leaf)));
                (NEVER, to, None)
            }
        };
        self.changed(from, to);
        before
    }

    fn remove(&mut self, path: Path, key: &R::Key) -> Option<R> {
        let way = &mut self.ways[path.way()];
        let node = way.as_mut()?;
        let from = node.due();
        let removed = Arc::make_mut(node).remove(path.below(), key);
        let to = node.due();
        if node.is_empty() {
            *way = None;
        }
        self.changed(from, to);
        removed
    }

    /// One way's due second became another.
    fn changed(&mut self, from: Timestamp, to: Timestamp) {
        if to <= self.due {
            self.due = to;
        } else if from == self.due {
            self.due = self.ways.iter().flatten().map(|node| node.due()).min().unwrap_or(NEVER);
        }
    }
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self { root: None, length: 0, hasher: RandomState::new() }
    }
}

impl<R: Keyed + PartialEq> PartialEq for Table<R> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.values().all(|record| other.get(record.key()) == Some(record))
    }
}

impl<R: Keyed + fmt::Debug> fmt::Debug for Table<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values()).finish()
    }
}

/// The records of a table.
pub struct Values<'a, R> {
    waiting: Vec<&'a Node<R>>,
    records: std::slice::Iter<'a, R>,
}

impl<'a, R> Iterator for Values<'a, R> {
    type Item = &'a R;

    fn next(&mut self) -> Option<&'a R> {
        loop {
            if let Some(record) = self.records.next() {
                return Some(record);
            }
            match self.waiting.pop()? {
                Node::Leaf(leaf) => self.records = leaf.records.iter(),
                Node::Branch(branch) => self.waiting.extend(branch.ways.iter().flatten().map(Arc::as_ref)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// A number, and when it is due.
    #[derive(Clone, Debug, PartialEq)]
    struct Entry(u32, u64);

    impl Keyed for Entry {
        type Key = u32;

        fn key(&self) -> &u32 {
            &self.0
        }

        fn due(&self) -> Timestamp {
            Timestamp(self.1)
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u32, u64),
        Remove(u32),
        Change(u32, u64),
        /// Keep a copy; what happens later must not show in it.
        Copy,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..400_u32, 0..50_u64).prop_map(|(key, due)| Step::Insert(key, due)),
            3 => (0..400_u32).prop_map(Step::Remove),
            3 => (0..400_u32, 0..50_u64).prop_map(|(key, due)| Step::Change(key, due)),
            1 => Just(Step::Copy),
        ]
    }

    fn check(table: &Table<Entry>, model: &HashMap<u32, u64>) {
        assert_eq!(table.len(), model.len());
        let listed: HashMap<u32, u64> = table.values().map(|entry| (entry.0, entry.1)).collect();
        assert_eq!((&listed, table.values().count()), (model, model.len()));
        for key in 0..400 {
            assert_eq!(table.get(&key).map(|entry| entry.1), model.get(&key).copied());
        }
        assert_eq!(table.earliest().0, model.values().copied().min().unwrap_or(u64::MAX));
        for before in [0, 1, 25, 50] {
            let due = model.values().filter(|due| **due < before).count();
            assert_eq!(table.due_before(Timestamp(before), usize::MAX).len(), due);
            assert_eq!(table.due_before(Timestamp(before), 3).len(), due.min(3));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_table_behaves_like_a_map_and_a_copy_keeps_what_it_was(steps in prop::collection::vec(step(), 1..1500)) {
            let (mut table, mut model) = (Table::default(), HashMap::new());
            let mut copies = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(key, due) => {
                        let before = table.insert(Entry(key, due)).map(|entry| entry.1);
                        prop_assert_eq!(before, model.insert(key, due));
                    }
                    Step::Remove(key) => {
                        prop_assert_eq!(table.remove(&key).map(|entry| entry.1), model.remove(&key));
                    }
                    Step::Change(key, due) => {
                        let changed = model.get_mut(&key).map(|known| *known = due).is_some();
                        prop_assert_eq!(table.change(&key, |entry| entry.1 = due), changed);
                    }
                    Step::Copy if copies.len() < 4 => copies.push((table.clone(), model.clone())),
                    Step::Copy => {}
                }
            }
            check(&table, &model);
            for (table, model) in &copies {
                check(table, model);
            }
        }
    }

    /// Every key in one place: the tree ends, and the list at its end goes on.
    #[test]
    fn keys_that_hash_alike_are_kept_apart() {
        #[derive(Clone, Debug, PartialEq, Eq)]
        struct Alike(u32);
        impl Hash for Alike {
            fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
        }
        impl Keyed for Alike {
            type Key = Self;

            fn key(&self) -> &Self {
                self
            }
        }
        let mut table = Table::default();
        for number in 0..200 {
            assert_eq!(table.insert(Alike(number)), None);
        }
        assert!((0..200).all(|number| table.get(&Alike(number)) == Some(&Alike(number))));
        assert!((0..200).all(|number| table.remove(&Alike(number)) == Some(Alike(number))));
        assert_eq!((table.len(), table.values().count()), (0, 0));
    }
}
