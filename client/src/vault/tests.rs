use shared::oauth::register::AuthMethod;
use shared::secret::Secret;
use shared::time::Timestamp;

use super::*;
use crate::flow::client::Client;
use crate::flow::token::Tokens;

fn key(issuer: &str, resource: &str) -> Key {
    Key { issuer: issuer.parse().unwrap(), resource: resource.parse().unwrap(), profile: "default".into() }
}

fn tokens(access: &str, refresh: Option<&str>) -> Tokens {
    Tokens {
        access: Secret::new(access.into()),
        refresh: refresh.map(|text| Secret::new(text.into())),
        expires: Some(Timestamp(10)),
        scope: "a".parse().unwrap(),
    }
}

fn client() -> shared::id::ClientId {
    "c_1".parse().unwrap()
}

async fn filled() -> (tempfile::TempDir, Vault) {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::new(Some(folder.path().join("vault")));
    let key = key("https://as.example", "urn:mcp:stdio:default");
    vault
        .change(|book| book.log_in(&key, None, &client(), &tokens("access-1", Some("refresh-1")), Timestamp(5)))
        .await
        .unwrap();
    (folder, vault)
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[cfg(unix)]
#[tokio::test]
async fn crd_01_files_are_0600_in_a_0700_folder() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, vault) = filled().await;
    drop(vault.lock_refresh(&key("https://as.example", "urn:mcp:stdio:default")).await.unwrap());
    assert_eq!(mode(vault.folder()), 0o700);
    for file in fs::read_dir(vault.folder()).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    // A mode that lets others read is mended; one that lets them write means that the contents cannot be trusted.
    fs::set_permissions(vault.file(), fs::Permissions::from_mode(0o644)).unwrap();
    vault.read().await.unwrap();
    assert_eq!(mode(&vault.file()), 0o600);
    fs::set_permissions(vault.file(), fs::Permissions::from_mode(0o622)).unwrap();
    assert!(matches!(vault.read().await, Err(VaultError::Unsafe { .. })));
}

#[tokio::test]
async fn crd_02_no_name_reaches_the_file_system() {
    let (folder, vault) = filled().await;
    let mut odd = key("https://as.example/../../x", "https://mcp.example/../../../etc/passwd");
    odd.profile = "../../escape\0".into();
    vault.change(|book| book.log_in(&odd, None, &client(), &tokens("a", None), Timestamp(5))).await.unwrap();
    drop(vault.lock_refresh(&odd).await.unwrap());
    let outside: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(outside, ["vault"]);
    assert_eq!(fs::read_dir(vault.folder()).unwrap().count(), 3);
    assert!(vault.read().await.unwrap().entry(&odd).is_some());
}

#[tokio::test]
async fn crd_03_a_damaged_file_is_kept_aside_and_a_login_works_again() {
    for damage in [&b"{\"version\":1,\"tok"[..], b"", b"\xff\xfe", b"[]", b"{}", b"{\"version\":1,\"tokens\":[{}]}"] {
        let (_folder, vault) = filled().await;
        fs::write(vault.file(), damage).unwrap();
        let Err(VaultError::Damaged(aside)) = vault.read().await else { panic!("{damage:?}") };
        assert_eq!(fs::read(&aside).unwrap(), damage);
        assert!(vault.read().await.unwrap().tokens.is_empty());
        let key = key("https://as.example", "urn:mcp:stdio:default");
        vault.change(|book| book.log_in(&key, None, &client(), &tokens("a", None), Timestamp(5))).await.unwrap();
        assert_eq!(vault.read().await.unwrap().tokens.len(), 1);
    }
}

#[tokio::test]
async fn a_newer_file_is_left_alone() {
    let (_folder, vault) = filled().await;
    fs::write(vault.file(), b"{\"version\":2}").unwrap();
    assert!(matches!(vault.read().await, Err(VaultError::Newer(_))));
    assert!(matches!(vault.change(|_| ()).await, Err(VaultError::Newer(_))));
    assert_eq!(fs::read(vault.file()).unwrap(), b"{\"version\":2}");
}

#[tokio::test]
async fn crd_04_another_issuer_resource_or_profile_sees_nothing() {
    let (_folder, vault) = filled().await;
    let given = Client { id: client(), secret: Some(Secret::new("s".into())), method: AuthMethod::ClientSecretBasic };
    let issuer = "https://as.example".parse().unwrap();
    let registration = Registration::of(&issuer, "default", Source::Dynamic, &given, "http://127.0.0.1:1/callback");
    vault.change(|book| book.register(registration)).await.unwrap();
    let book = vault.read().await.unwrap();
    assert!(book.entry(&key("https://as.example", "urn:mcp:stdio:default")).is_some());
    assert!(book.entry(&key("https://as.example/", "urn:mcp:stdio:default")).is_none());
    assert!(book.entry(&key("https://as.example", "urn:mcp:stdio:other")).is_none());
    let other = Key { profile: "work".into(), ..key("https://as.example", "urn:mcp:stdio:default") };
    assert!(book.entry(&other).is_none());
    assert!(book.registration(&issuer, "default").is_some());
    assert!(book.registration(&"https://other.example".parse().unwrap(), "default").is_none());
    assert!(book.registration(&issuer, "work").is_none());
}

#[tokio::test]
async fn a_new_registration_leaves_the_one_that_other_tokens_need() {
    let (_folder, vault) = filled().await;
    let issuer = "https://as.example".parse().unwrap();
    let registration = |id: &str| {
        let secret = Some(Secret::new(format!("secret of {id}")));
        let client = Client { id: id.parse().unwrap(), secret, method: AuthMethod::ClientSecretBasic };
        Registration::of(&issuer, "default", Source::Dynamic, &client, "http://127.0.0.1:1/callback")
    };
    let mut book = vault.read().await.unwrap();
    // The tokens are those of c_1; c_2 never gets any.
    for id in ["c_1", "c_2", "c_3"] {
        book.register(registration(id));
    }
    let kept: Vec<_> = book.registrations.iter().map(|known| known.client_id.as_str().to_owned()).collect();
    assert_eq!(kept, ["c_1", "c_3"]);
    assert_eq!(book.registration(&issuer, "default").unwrap().client_id.as_str(), "c_3");
    let entry = book.tokens.remove(0);
    assert_eq!(book.registration_of(&entry).unwrap().client().secret.unwrap().expose(), "secret of c_1");
    book.unregister_dynamic(&entry);
    assert!(book.registration_of(&entry).is_none());
    assert_eq!(book.registrations.len(), 1);
}

#[tokio::test]
async fn a_rotated_refresh_token_replaces_the_old_one_and_a_missing_one_leaves_it() {
    let (_folder, vault) = filled().await;
    let key = key("https://as.example", "urn:mcp:stdio:default");
    let refresh = |book: &Book| book.entry(&key).and_then(|e| e.refresh_token.as_ref().map(|t| t.expose().to_owned()));
    vault.change(|book| book.refresh(&key, &tokens("a2", None), Timestamp(6))).await.unwrap();
    assert_eq!(refresh(&vault.read().await.unwrap()).as_deref(), Some("refresh-1"));
    vault.change(|book| book.refresh(&key, &tokens("a3", Some("r3")), Timestamp(7))).await.unwrap();
    let book = vault.read().await.unwrap();
    assert_eq!(refresh(&book).as_deref(), Some("r3"));
    assert_eq!(book.entry(&key).unwrap().generation, 3);
    // A new login owes nothing to the one before.
    vault.change(|book| book.log_in(&key, None, &client(), &tokens("a4", None), Timestamp(8))).await.unwrap();
    assert_eq!(refresh(&vault.read().await.unwrap()), None);
    // Whoever logged out meanwhile stays logged out.
    vault.change(|book| book.remove(&key)).await.unwrap();
    vault.change(|book| book.refresh(&key, &tokens("a5", None), Timestamp(9))).await.unwrap();
    assert!(vault.read().await.unwrap().tokens.is_empty());
}

#[tokio::test]
async fn crd_07_debug_output_shows_no_secret() {
    let (_folder, vault) = filled().await;
    let shown = format!("{:?}", vault.read().await.unwrap());
    assert!(!shown.contains("access-1") && !shown.contains("refresh-1"), "{shown}");
}

#[tokio::test]
async fn a_lock_is_held_by_one() {
    let (_folder, vault) = filled().await;
    let key = key("https://as.example", "urn:mcp:stdio:default");
    let guard = vault.lock_refresh(&key).await.unwrap();
    let path = fs::read_dir(vault.folder()).unwrap().map(|e| e.unwrap().path());
    let path = path.into_iter().find(|path| path.to_string_lossy().contains("refresh-")).unwrap();
    assert!(matches!(lock::exclusive(&path, Duration::ZERO).await, Err(VaultError::Locked(_))));
    drop(guard);
    assert!(lock::exclusive(&path, Duration::ZERO).await.is_ok());
}
