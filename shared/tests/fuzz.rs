//! The fuzz targets on stable: every seed, and mutations of the seeds.

use std::fs;
use std::path::Path;

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

#[path = "../../fuzz/src/entries.rs"]
mod entries;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// One change to a text of bytes, at a place between 0 and 1.
#[derive(Clone, Debug)]
enum Edit {
    Flip(f64, u8),
    Insert(f64, Vec<u8>),
    Remove(f64, usize),
    Repeat(f64, usize),
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let at = |place: &f64| ((bytes.len() as f64 * place) as usize).min(bytes.len());
        match self {
            Self::Flip(place, bits) => {
                let at = at(place);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= bits;
                }
            }
            Self::Insert(place, more) => {
                let at = at(place);
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Remove(place, length) => {
                let at = at(place);
                bytes.drain(at..(at + length).min(bytes.len()));
            }
            Self::Repeat(place, length) => {
                let at = at(place);
                let part = bytes[at..(at + length).min(bytes.len())].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    let words = prop_oneof![
        Just(b"\"".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"0".to_vec()),
        Just(b"-".to_vec()),
        Just(b",\"x\":{}".to_vec()),
        Just(b"\0".to_vec()),
        Just("\u{202e}".as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop_oneof![
        (0.0..1.0, any::<u8>()).prop_map(|(place, bits)| Edit::Flip(place, bits)),
        (0.0..1.0, words).prop_map(|(place, more)| Edit::Insert(place, more)),
        (0.0..1.0, 0..80_usize).prop_map(|(place, length)| Edit::Remove(place, length)),
        (0.0..1.0, 0..200_usize).prop_map(|(place, length)| Edit::Repeat(place, length)),
    ]
}

/// How many times the usual number of mutations to try: `FUZZ_TIMES=50 cargo test -p shared --test fuzz`.
fn times() -> u32 {
    std::env::var("FUZZ_TIMES").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

#[test]
fn every_seed_and_its_mutations_keep_the_promises_of_their_target() {
    for (name, target) in entries::TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name}");
        seeds.iter().for_each(|seed| target(seed));
        let on_disk = ["journal", "snapshot", "store"].contains(&name);
        let cases = if on_disk { 60 } else { 2000 } * times();
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let mutations = (0..seeds.len(), prop::collection::vec(edit(), 1..4));
        let ran = TestRunner::new(config).run(&mutations, |(seed, edits)| {
            let mut bytes = seeds[seed].clone();
            edits.iter().for_each(|edit| edit.apply(&mut bytes));
            target(&bytes);
            Ok(())
        });
        ran.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
