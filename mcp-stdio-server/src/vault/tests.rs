//! A vault on a disk: what it keeps, and what it refuses.

use std::fs;

use super::*;

const NOW: Timestamp = Timestamp(1_000_000);

struct World {
    folder: tempfile::TempDir,
}

impl World {
    /// A vault with two secrets and an import of one of them.
    fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        let mut held = Held::lock(&world.place()).unwrap();
        held.set(&name("a/TOKEN"), &secret("hunter2"), Origin::Import, NOW).unwrap();
        held.set(&name("b"), &secret("swordfish"), Origin::Set, NOW).unwrap();
        let moved = |secret: &str| Moved { entry: "a".into(), variable: "TOKEN".into(), secret: name(secret) };
        held.note_import("Cursor", Path::new("/x"), vec![moved("a/TOKEN"), moved("b")], b"the way back", NOW).unwrap();
        held.save().unwrap();
        world
    }

    fn place(&self) -> Place {
        Place::new(self.folder.path().to_owned(), None)
    }

    fn open(&self) -> Result<Option<Vault>, VaultError> {
        Vault::open(&self.place())
    }

    fn change(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let path = self.folder.path().join(FILE);
        let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        fs::write(&path, value.to_string()).unwrap();
    }
}

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

#[track_caller]
fn check_whole(vault: &Vault) {
    let found = |text: &str| vault.get(&name(text)).unwrap().map(|secret| secret.expose().to_owned());
    assert_eq!(
        (found("a/TOKEN").as_deref(), found("b").as_deref(), found("c")),
        (Some("hunter2"), Some("swordfish"), None)
    );
    assert_eq!(vault.undoing(vault.imports()[0]).unwrap().as_slice(), b"the way back");
}

#[test]
fn what_is_written_is_read_and_nothing_of_it_lies_in_the_clear() {
    let world = World::new();
    check_whole(&world.open().unwrap().unwrap());
    for entry in fs::read_dir(world.folder.path()).unwrap().flatten() {
        let text = String::from_utf8(fs::read(entry.path()).unwrap()).unwrap();
        assert!(!["hunter2", "swordfish", "the way back"].iter().any(|word| text.contains(word)), "{text}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        }
    }
    let nothing = tempfile::tempdir().unwrap();
    assert!(Vault::open(&Place::new(nothing.path().to_owned(), None)).unwrap().is_none());
    assert_eq!(fs::read_dir(nothing.path()).unwrap().count(), 0, "reading makes nothing");
}

#[test]
fn a_secret_that_is_written_again_has_another_version_and_seal() {
    let world = World::new();
    let sealed = |vault: &Vault| vault.entry(&name("b")).unwrap().sealed.clone();
    let before = sealed(&world.open().unwrap().unwrap());
    let mut held = Held::lock(&world.place()).unwrap();
    held.set(&name("b"), &secret("swordfish"), Origin::Set, NOW).unwrap();
    held.save().unwrap();
    let after = world.open().unwrap().unwrap();
    assert_ne!(sealed(&after), before);
    assert_eq!(after.list().iter().map(|listed| listed.version).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn what_was_changed_without_the_key_is_noticed() {
    let broken = |change: fn(&mut serde_json::Value)| {
        let world = World::new();
        world.change(change);
        let vault = world.open().unwrap().unwrap();
        vault.get(&name("b")).map(|_| ()).and(vault.undoing(vault.imports()[0]).map(|_| ()))
    };
    // A value under another name, an older version of it, another import's way back.
    for change in [
        (|value| value["secrets"][1]["sealed"] = value["secrets"][0]["sealed"].clone()) as fn(&mut serde_json::Value),
        |value| value["secrets"][1]["version"] = 2.into(),
        |value| value["secrets"][1]["sealed"] = "AAAA".into(),
        |value| value["imports"][0]["number"] = 2.into(),
    ] {
        assert!(matches!(broken(change), Err(VaultError::Broken(_))));
    }
    assert!(broken(|_| {}).is_ok());
}

#[test]
fn a_vault_without_its_key_is_refused_and_stays_as_it_is() {
    let world = World::new();
    let (file, key) = (world.folder.path().join(FILE), world.folder.path().join(KEY));
    let (text, good) = (fs::read(&file).unwrap(), fs::read(&key).unwrap());
    let other = tempfile::tempdir().unwrap();
    Held::lock(&Place::new(other.path().to_owned(), None)).unwrap().save().unwrap();
    let foreign = fs::read(other.path().join(KEY)).unwrap();
    let refused = || (world.open().err(), Held::lock(&world.place()).err());
    fs::write(&key, foreign).unwrap();
    assert!(matches!(refused(), (Some(VaultError::WrongKey(_)), Some(VaultError::WrongKey(_)))));
    fs::write(&key, "x").unwrap();
    assert!(matches!(refused(), (Some(VaultError::NotAKey(_)), Some(VaultError::NotAKey(_)))));
    fs::remove_file(&key).unwrap();
    assert!(matches!(refused(), (Some(VaultError::NoKey(_)), Some(VaultError::NoKey(_)))));
    assert!(!key.exists() && fs::read(&file).unwrap() == text);
    fs::write(&key, good).unwrap();
    world.change(|value| value["format"] = "mcp-authz-vault 2".into());
    assert!(matches!(refused(), (Some(VaultError::Newer(_)), Some(VaultError::Newer(_)))));
    world.change(|value| value["format"] = "mcp-authz-vault 1".into());
    world.change(|value| value["secrets"][0]["name"] = value["secrets"][1]["name"].clone());
    assert!(matches!(refused(), (Some(VaultError::Damaged(..)), Some(VaultError::Damaged(..)))));
    fs::write(&file, &text).unwrap();
    check_whole(&world.open().unwrap().unwrap());
}

#[cfg(unix)]
#[test]
fn files_that_others_may_write_to_are_refused() {
    use std::os::unix::fs::PermissionsExt;

    for file in [FILE, KEY] {
        let world = World::new();
        fs::set_permissions(world.folder.path().join(file), fs::Permissions::from_mode(0o620)).unwrap();
        assert!(matches!(world.open(), Err(VaultError::Unsafe(..))), "{file}");
    }
}

#[test]
fn a_new_key_opens_everything_and_the_old_one_nothing() {
    let world = World::new();
    let key = world.folder.path().join(KEY);
    let old = fs::read(&key).unwrap();
    Held::lock(&world.place()).unwrap().rotate().unwrap();
    assert_ne!(fs::read(&key).unwrap(), old);
    check_whole(&world.open().unwrap().unwrap());
    fs::write(&key, &old).unwrap();
    assert!(matches!(world.open(), Err(VaultError::WrongKey(_))));
}

#[test]
fn the_key_may_lie_elsewhere_but_not_where_a_disk_is_missing() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let place = |key: PathBuf| Place::new(folder.path().to_owned(), Some(key));
    let absent = disk.path().join("not-mounted").join("key");
    assert!(matches!(Held::lock(&place(absent.clone())).map(|_| ()), Err(VaultError::NoKey(_))));
    let mut held = Held::lock(&place(disk.path().join("key"))).unwrap();
    held.set(&name("a"), &secret("hunter2"), Origin::Set, NOW).unwrap();
    held.save().unwrap();
    drop(held);
    assert!(!folder.path().join(KEY).exists() && disk.path().join("key").exists());
    assert!(matches!(Vault::open(&place(absent)), Err(VaultError::NoKey(_))));
    assert!(matches!(Vault::open(&Place::new(folder.path().to_owned(), None)), Err(VaultError::NoKey(_))));
}

#[test]
fn an_import_that_is_forgotten_takes_its_secrets_along_and_no_others() {
    let world = World::new();
    let mut held = Held::lock(&world.place()).unwrap();
    let again = vec![Moved { entry: "z".into(), variable: "TOKEN".into(), secret: name("a/TOKEN") }];
    held.note_import("Zed", Path::new("/y"), again, b"", NOW).unwrap();
    held.forget_import(1);
    let names = |held: &Held| held.list().iter().map(|listed| listed.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&held), ["a/TOKEN", "b"], "another import needs it");
    held.forget_import(2);
    assert_eq!(names(&held), ["b"], "a person wrote it");
}
