use std::fs;

use super::*;
use crate::state::Program;
use crate::time::Timestamp;
use crate::uri::Resource;

fn call(tool: &str) -> Entry {
    Entry::Call(Box::new(Call {
        server: Resource::stdio("a").unwrap(),
        tool: tool.into(),
        kind: crate::state::Kind::Tool,
        method: None,
        decision: Decision::Refused,
        cause: Some("no-token".into()),
        bearer: None,
        arguments: None,
        host: Some(Program { name: "node".into(), path: None, script: None }),
        transport: "stdio".into(),
        era: "stateless".into(),
        trace: None,
        end: None,
    }))
}

/// Writes calls of these tools as one batch.
fn write(calls: &mut Calls, tools: &[&str]) {
    let mut left = tools.iter();
    assert!(calls.append(&mut |_| left.next().map(|tool| (Timestamp(7), call(tool)))).unwrap());
}

/// The tools of the trail, and what else it holds in words.
fn tools(store: &Path) -> Result<(Vec<String>, Whole), StoreError> {
    let mut seen = Vec::new();
    let whole = whole(store, None, &mut |line| {
        seen.push(match line.entry.unwrap() {
            Entry::Call(call) => call.tool.as_str().to_owned(),
            other => format!("{other:?}"),
        })
    })?;
    Ok((seen, whole.unwrap_or_default()))
}

fn file(store: &Path, number: u64) -> PathBuf {
    path_of(&folder_of(store), number)
}

#[test]
fn n12_servers_that_write_in_turns_make_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path();
    assert_eq!(tools(store).unwrap(), (vec![], Whole::default()));
    let (mut one, mut other) = (Calls::new(store, Keep::default()), Calls::new(store, Keep::default()));
    write(&mut one, &["a", "b"]);
    write(&mut other, &["c"]);
    write(&mut one, &["d"]);
    let (seen, whole) = tools(store).unwrap();
    assert_eq!(seen, ["a", "b", "c", "d"]);
    assert_eq!(whole, Whole { first: 1, last: 4, files: 1, ..whole });
    assert!(!whole.unfinished);
    // Without a store there is no trail.
    let mut none = Calls::new(&store.join("none"), Keep::default());
    assert!(!none.append(&mut |_| panic!("nothing is asked for")).unwrap());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder_of(store)), mode(&file(store, 1))), (0o700, 0o600));
    }
}

#[test]
fn n12_files_are_bounded_and_the_chain_goes_on_from_one_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path();
    let keep = Keep { bytes: 2000, files: 3 };
    let (mut one, mut other) = (Calls::new(store, keep), Calls::new(store, keep));
    for number in 0..40 {
        let writer = if number % 3 == 0 { &mut other } else { &mut one };
        write(writer, &[&format!("t{number}")]);
    }
    let (seen, whole) = tools(store).unwrap();
    assert_eq!((seen.last().unwrap().as_str(), whole.files), ("t39", 3));
    let first = 40 - seen.len();
    assert_eq!(seen, (first..40).map(|number| format!("t{number}")).collect::<Vec<_>>());
    let newest = *numbers(&folder_of(store)).unwrap().last().unwrap();
    assert!(!file(store, newest - 3).exists() && file(store, newest - 2).exists());
    // A file too few in the middle is noticed.
    fs::remove_file(file(store, newest - 1)).unwrap();
    assert!(matches!(tools(store), Err(StoreError::Damaged { .. })));
}

#[test]
fn n12_whatever_a_crash_left_of_a_batch_is_cut_off_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path();
    write(&mut Calls::new(store, Keep::default()), &["a", "b"]);
    let before = fs::read(file(store, 1)).unwrap();
    write(&mut Calls::new(store, Keep::default()), &["c", "d"]);
    let after = fs::read(file(store, 1)).unwrap();
    let mut left: Vec<_> = (before.len() + 1..after.len()).step_by(7).map(|length| after[..length].to_vec()).collect();
    // The system has written the end and not the beginning.
    let mut holed = after.clone();
    holed[before.len()..before.len() + 40].fill(0);
    left.push(holed);
    for bytes in left {
        fs::write(file(store, 1), &bytes).unwrap();
        assert!(tools(store).unwrap().1.unfinished || bytes.ends_with(b"\n"), "{}", bytes.len());
        write(&mut Calls::new(store, Keep::default()), &["e"]);
        let (seen, whole) = tools(store).unwrap();
        assert!(!whole.unfinished);
        assert!(seen.len() >= 4 && seen.iter().any(|seen| seen.starts_with("Cut")), "{seen:?}");
        assert_eq!(seen.last().unwrap(), "e");
    }
}

#[test]
fn n12_a_changed_byte_is_named_and_the_trail_goes_on_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path();
    let mut calls = Calls::new(store, Keep::default());
    for tool in ["a", "b", "c", "d"] {
        write(&mut calls, &[tool]);
    }
    let text = fs::read_to_string(file(store, 1)).unwrap();
    for (from, to) in [("\"b\"", "\"x\""), ("\"a\"", "\"y\"")] {
        fs::write(file(store, 1), text.replacen(from, to, 1)).unwrap();
        assert!(matches!(tools(store), Err(StoreError::Damaged { line: 2 | 3, .. })));
    }
    write(&mut Calls::new(store, Keep::default()), &["e"]);
    assert!(matches!(tools(store), Err(StoreError::Damaged { line: 2, .. })));
    let mut near = Reader::near_the_end(store, 1 << 20).unwrap().unwrap();
    let mut seen = 0;
    near.advance(&mut |_| seen += 1).unwrap();
    assert_eq!(seen, 1);
    // A line that was removed, and one that was put somewhere else.
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    for order in [vec![0, 1, 3, 4], vec![0, 2, 1, 3, 4]] {
        fs::remove_file(file(store, 2)).ok();
        fs::write(file(store, 1), order.iter().map(|at| lines[*at]).collect::<String>()).unwrap();
        assert!(matches!(tools(store), Err(StoreError::Damaged { .. })), "{order:?}");
    }
}

#[test]
fn a_reader_near_the_end_reads_only_that_and_follows() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path();
    let mut calls = Calls::new(store, Keep { bytes: 1 << 30, files: 2 });
    for _ in 0..10 {
        write(&mut calls, &["t"; 100]);
    }
    let mut reader = Reader::near_the_end(store, 64 * 1024).unwrap().unwrap();
    let mut seen = Vec::new();
    reader.advance(&mut |line| seen.push(line.number)).unwrap();
    assert!(seen.len() > 100 && seen.len() < 400 && *seen.last().unwrap() == 1000, "{}", seen.len());
    write(&mut Calls::new(store, Keep { bytes: 1, files: 2 }), &["u"]);
    write(&mut calls, &["v"]);
    seen.clear();
    reader.advance(&mut |line| seen.push(line.number)).unwrap();
    assert_eq!(seen, [1001, 1003]);
}

#[test]
fn n12_a_head_that_was_kept_tells_that_the_end_was_cut_off_or_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path();
    let stands = |kept: Head| whole(store, Some(kept), &mut |_| ()).unwrap().unwrap().kept.unwrap();
    let head = || whole(store, None, &mut |_| ()).unwrap().unwrap().head.unwrap();
    let keep = Keep { bytes: 2000, files: 2 };
    write(&mut Calls::new(store, keep), &["a", "b"]);
    let (early, text) = (head(), fs::read(file(store, 1)).unwrap());
    write(&mut Calls::new(store, keep), &["c"]);
    let late = head();
    assert_eq!((early.line, late.line, stands(early), stands(late)), (2, 3, Standing::Holds, Standing::Holds));
    assert_eq!(stands(Head { line: 3, ..early }), Standing::Differs);
    // The end is cut off between two lines, so that the chain is whole.
    fs::write(file(store, 1), &text).unwrap();
    assert_eq!((stands(early), stands(late)), (Standing::Holds, Standing::Ends));
    // And the trail goes on, with something else in its place.
    write(&mut Calls::new(store, keep), &["x", "y"]);
    assert_eq!((stands(early), stands(late)), (Standing::Holds, Standing::Differs));
    // The line that ends a file can be kept too, until its file goes; the one after it stands in the next file's header.
    let mut calls = Calls::new(store, keep);
    while numbers(&folder_of(store)).unwrap().len() < 2 {
        write(&mut calls, &["z"]);
    }
    let turn = Reader::open(&folder_of(store), 2).unwrap().unwrap().head();
    assert_eq!(stands(turn), Standing::Holds);
    while numbers(&folder_of(store)).unwrap().first() == Some(&1) {
        write(&mut calls, &["z"]);
    }
    assert_eq!((stands(early), stands(turn)), (Standing::Gone, Standing::Holds));
    assert_eq!(stands(Head { hash: early.hash, ..turn }), Standing::Differs);
}
