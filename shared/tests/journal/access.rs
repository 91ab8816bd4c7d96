//! Who may see and change the files (table STO).

use std::fs;
use std::path::Path;
use std::process::Command;

use shared::store::StoreError;
use shared::store::conformance::Sample;
use shared::store::journal::JournalStore;

use crate::support::{NOW, clock, folder, follow, journal, live, lives, names, open};

#[test]
fn sto_01_folder_and_files_are_for_the_owner_only() {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let (_parent, folder) = folder();
        let store = open(&folder);
        store.keys().unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        for entry in names {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        }
    }
}

#[cfg(unix)]
#[test]
fn sto_03_04_what_is_not_ours_alone_or_no_file_is_refused_at_once() {
    use std::os::unix::fs::PermissionsExt;
    let refused = |folder: &Path| matches!(JournalStore::open(folder, clock()), Err(StoreError::Unsafe { .. }));
    let (_parent, path) = folder();
    drop(open(&path));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
    assert!(refused(&path), "a folder that the group may write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(journal(&path), fs::Permissions::from_mode(0o666)).unwrap();
    assert!(refused(&path), "a journal that all may write");
    fs::remove_file(journal(&path)).unwrap();
    assert!(Command::new("mkfifo").arg(journal(&path)).status().unwrap().success());
    assert!(refused(&path), "a FIFO");
    fs::remove_file(journal(&path)).unwrap();
    fs::create_dir(journal(&path)).unwrap();
    assert!(refused(&path), "a folder in the journal's place");
}

#[cfg(unix)]
#[test]
fn sto_03_what_others_can_read_is_taken_away_from_them() {
    use std::os::unix::fs::PermissionsExt;
    let (_parent, path) = folder();
    open(&path).keys().unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    for name in names(&path) {
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let _store = open(&path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    for name in names(&path) {
        assert_eq!(fs::metadata(path.join(&name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[test]
fn sto_02_no_secret_is_in_the_journal() {
    let (_parent, folder) = folder();
    let store = open(&folder);
    let secret = shared::secret::Secret::random();
    let mut sample = Sample::new(NOW);
    sample.code.hash = secret.hash();
    for changes in [sample.known(), sample.approved()] {
        store.commit_blocking(changes).unwrap();
    }
    assert!(!fs::read_to_string(journal(&folder)).unwrap().contains(secret.expose()));
}

#[test]
fn a_newer_major_format_is_refused() {
    let (_parent, path) = folder();
    drop(open(&path));
    let text = fs::read_to_string(journal(&path)).unwrap().replace("\"version\":\"1.0\"", "\"version\":\"2.0\"");
    fs::write(journal(&path), text).unwrap();
    assert!(matches!(JournalStore::open(&path, clock()), Err(StoreError::Newer { .. })));
}

#[cfg(unix)]
#[test]
fn sto_03_what_belongs_to_somebody_else_is_refused() {
    use std::os::unix::fs::chown;
    let (_parent, path) = folder();
    live(&open(&path));
    for (what, theirs) in
        [("the folder", path.clone()), ("the journal", journal(&path)), ("the lock", path.join("store.lock"))]
    {
        // Only root can give a file away.
        if chown(&theirs, Some(65_534), None).is_err() {
            return;
        }
        let refused = JournalStore::open(&path, clock()).map(|_| ()).unwrap_err();
        assert!(
            matches!(&refused, StoreError::Unsafe { .. }) && refused.to_string().contains("65534"),
            "{what}: {refused}"
        );
        let follower = follow(&path);
        if what != "the lock" {
            assert!(matches!(lives(&follower, &Sample::new(NOW)), Err(StoreError::Unsafe { .. })), "{what}");
        }
        chown(&theirs, Some(0), None).unwrap();
    }
    live(&open(&path));
}

#[test]
fn sto_04_a_gigabyte_of_anything_is_judged_at_once() {
    let (_parent, path) = folder();
    live(&open(&path));
    let whole = fs::read(journal(&path)).unwrap();
    let header = whole.split_inclusive(|byte| *byte == b'\n').next().unwrap();
    let long_line = [header, &vec![b'x'; 40 << 20]].concat();
    for (begin, grown) in
        [(&b""[..], true), (header, true), (&whole[..], true), (&long_line, false), (&whole[..100], false)]
    {
        fs::write(journal(&path), begin).unwrap();
        if grown {
            // Sparse: a gigabyte of zeros.
            fs::OpenOptions::new().write(true).open(journal(&path)).unwrap().set_len(1 << 30).unwrap();
        }
        match JournalStore::open(&path, clock()).map(|_| ()) {
            // Zeros behind whole lines are what a power cut leaves: cut off.
            Ok(()) => assert!(begin.ends_with(b"\n") && fs::metadata(journal(&path)).unwrap().len() < 1 << 20),
            Err(StoreError::Damaged { .. }) => assert!(!begin.ends_with(b"\n")),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn sto_04_a_snapshot_without_lines_is_not_read_whole_into_memory() {
    let (_parent, path) = folder();
    let store = open(&path);
    live(&store);
    assert!(store.compact().unwrap());
    drop(store);
    fs::write(path.join("snapshot.2.jsonl"), vec![b'x'; 40 << 20]).unwrap();
    match JournalStore::open(&path, clock()).map(drop) {
        Err(StoreError::Damaged { line: 1, reason, .. }) => assert!(reason.contains("longer"), "{reason}"),
        other => panic!("{other:?}"),
    }
}
