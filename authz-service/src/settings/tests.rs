use super::*;

fn os(texts: &[&str]) -> Vec<OsString> {
    texts.iter().map(OsString::from).collect()
}

fn read(args: &[&str], variables: &[(&str, &str)]) -> Result<Loaded, Problem> {
    let variables: Vec<_> = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    load(&os(&[&["authz-service"], args].concat()), &variables)
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn refused(problem: Problem) -> String {
    match problem {
        Problem::Settings(text) => text,
        Problem::Usage(error) => error.to_string(),
    }
}

fn of<'a>(loaded: &'a Loaded, name: &str) -> (&'a [String], &'a Source) {
    let setting = loaded.settings.iter().find(|setting| setting.name == name).unwrap();
    (&setting.values, &setting.source)
}

#[test]
fn a_flag_wins_over_the_environment_that_over_the_file_and_that_over_the_default() {
    let file = file("code-lifetime = 30\naccess-lifetime = \"15m\"\nrefresh-idle = \"7d\"\n");
    let path = file.path().to_str().unwrap();
    let args = ["--config", path, "--code-lifetime", "20s"];
    let variables =
        [("MCP_AUTHZ_CODE_LIFETIME", "25"), ("MCP_AUTHZ_ACCESS_LIFETIME", "5m"), ("MCP_AUTHZ_PAGE_LIFETIME", "")];
    for args in [&args[..], &[&["serve"], &args[..]].concat()] {
        let loaded = read(args, &variables).unwrap();
        let serve = match &loaded.cli.command {
            Some(crate::cli::Command::Serve(serve)) => serve,
            _ => &loaded.cli.serve,
        };
        let lifetimes = &serve.lifetimes;
        assert_eq!((lifetimes.code_lifetime.0, lifetimes.access_lifetime.0), (20, 300));
        assert_eq!((lifetimes.refresh_idle.0, lifetimes.page_lifetime.0), (7 * 86_400, 600));
        assert_eq!(of(&loaded, "code-lifetime"), (&["20s".to_owned()][..], &Source::Flag));
        assert_eq!(of(&loaded, "access-lifetime").1, &Source::Environment("MCP_AUTHZ_ACCESS_LIFETIME".into()));
        assert_eq!(of(&loaded, "refresh-idle").1, &Source::File(path.into(), 3));
        assert_eq!(of(&loaded, "page-lifetime"), (&["10m".to_owned()][..], &Source::Default));
    }
}

#[test]
fn lists_switches_and_words_are_read_from_file_and_environment() {
    let file = file(
        "listen = [\"127.0.0.1:1\", \"[::1]:1\"]\nauto-approve = true\nrate-limits = false\ninsecure-plain-http = false\n",
    );
    let loaded = read(
        &["--config", file.path().to_str().unwrap()],
        &[("MCP_AUTHZ_RESOURCE", "https://a.example https://b.example")],
    );
    let serve = loaded.unwrap().cli.serve;
    assert_eq!(serve.listen, ["127.0.0.1:1", "[::1]:1"]);
    assert_eq!(serve.resource.len(), 2);
    assert_eq!(serve.auto_approve.unwrap().as_str(), "demo");
    assert_eq!((serve.rate_limits, serve.insecure_plain_http), (crate::cli::Switch::Off, false));
    let env =
        read(&[], &[("MCP_AUTHZ_AUTO_APPROVE", "ada"), ("MCP_AUTHZ_INSECURE_PLAIN_HTTP", "yes")]).unwrap().cli.serve;
    assert_eq!((env.auto_approve.unwrap().as_str(), env.insecure_plain_http), ("ada", true));
}

#[test]
fn what_excludes_a_stronger_value_does_not_count() {
    let file = file("listen = [\"127.0.0.1:1\"]\n");
    let args = ["--config", file.path().to_str().unwrap()];
    let loaded = read(&[&args[..], &["--port", "4000"]].concat(), &[]).unwrap();
    assert_eq!((loaded.cli.serve.port, loaded.cli.serve.listen.len()), (Some(4000), 0));
    let loaded = read(&args, &[("MCP_AUTHZ_PORT", "4001")]).unwrap();
    assert_eq!((loaded.cli.serve.port, loaded.cli.serve.listen.len()), (Some(4001), 0));
    // The same file may not say both.
    let both = self::file("listen = [\"127.0.0.1:1\"]\nport = 1\n");
    assert!(read(&["--config", both.path().to_str().unwrap()], &[]).is_err());
}

#[test]
fn cfg_06_a_mistake_in_the_file_names_file_line_and_key() {
    for (text, line, told) in [
        ("# x\ncode_lifetime = 60", 2, "did you mean code-lifetime?"),
        ("acess-lifetime = 60", 1, "did you mean access-lifetime?"),
        ("zzz = 60", 1, "config show"),
        ("config = \"other.toml\"", 1, "there is no setting \"config\""),
        ("\n\naccess-lifetime = 0", 3, "--access-lifetime"),
        ("access-lifetime = -5", 1, "--access-lifetime"),
        ("access-lifetime = \"forever\"", 1, "--access-lifetime"),
        ("access-lifetime = 4294967297", 1, "--access-lifetime"),
        ("access-lifetime = [\"1h\"]", 1, "takes one value"),
        ("insecure-plain-http = \"x\"", 1, "true or false"),
        ("issuer = \"http://as.example\"", 1, "--issuer"),
        ("port = 1\nport = 2", 2, "duplicate"),
        ("port = ", 1, ""),
    ] {
        let file = file(text);
        let path = file.path().to_str().unwrap();
        let error = refused(read(&["--config", path], &[]).unwrap_err());
        assert!(error.starts_with(&format!("{path}:{line}: ")), "{text}: {error}");
        assert!(error.contains(told) && !error.contains('\n'), "{text}: {error}");
    }
    let error = refused(read(&[], &[("MCP_AUTHZ_ACCESS_LIFETIME", "x")]).unwrap_err());
    assert!(error.starts_with("MCP_AUTHZ_ACCESS_LIFETIME: "), "{error}");
    assert!(refused(read(&["--config", "/nowhere/x.toml"], &[]).unwrap_err()).contains("/nowhere/x.toml"));
}

#[cfg(unix)]
#[test]
fn cfg_04_a_file_that_others_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let file = file("port = 1\n");
    let read = |mode| {
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        read(&["--config", file.path().to_str().unwrap()], &[])
    };
    assert!(read(0o644).is_ok());
    for mode in [0o664, 0o646, 0o666] {
        assert!(refused(read(mode).unwrap_err()).contains("others may write"));
    }
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(file::readable_by_others(file.path()).unwrap().is_some());
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(file::readable_by_others(file.path()).unwrap(), None);
}

#[test]
fn settings_that_need_each_other_are_taken_together() {
    let both = file("tls-cert = \"a\"\ntls-key = \"b\"\n");
    assert!(read(&["--config", both.path().to_str().unwrap()], &[]).unwrap().cli.serve.tls_key.is_some());
    let one = file("tls-cert = \"a\"\n");
    assert!(refused(read(&["--config", one.path().to_str().unwrap()], &[]).unwrap_err()).contains("--tls-key"));
}

#[cfg(unix)]
#[test]
fn cfg_04_a_secret_in_a_file_that_others_can_read_is_refused_and_never_shown() {
    use std::os::unix::fs::PermissionsExt;
    let secret = "0123456789abcdef0123456789abcdef";
    let file = file(&format!("client-id = \"app\"\nclient-secret = \"{secret}\"\n"));
    let read = |mode| {
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        read(&["--config", file.path().to_str().unwrap()], &[])
    };
    for mode in [0o644, 0o640, 0o604] {
        let error = refused(read(mode).unwrap_err());
        assert!(error.contains("client-secret") && !error.contains(secret), "{error}");
    }
    let loaded = read(0o600).unwrap();
    assert_eq!(loaded.cli.serve.client_secret.as_deref(), Some(secret));
    let setting = loaded.settings.iter().find(|setting| setting.name == "client-secret").unwrap();
    assert!(setting.secret);
    for shown in [
        crate::commands::config::as_toml(&loaded.settings),
        crate::commands::config::as_json(&loaded.settings).unwrap(),
    ] {
        assert!(shown.contains("(secret)") && !shown.contains(secret), "{shown}");
    }
}

#[test]
fn variables_of_older_systems_keep_their_names() {
    let variables =
        [("MCP_STATIC_CLIENT_ID", "app"), ("MCP_STATIC_REDIRECT_URIS", "http://127.0.0.1/a,http://127.0.0.1/b")];
    let serve = read(&[], &variables).unwrap().cli.serve;
    assert_eq!((serve.client_id.unwrap().as_str(), serve.redirect_uris.len()), ("app", 2));
}

#[test]
fn a_slip_in_a_variables_name_is_told() {
    let loaded = read(&[], &[("MCP_AUTHZ_ACESS_LIFETIME", "1h"), ("MCP_AUTHZ_DATA", "/tmp/x"), ("PATH", "x")]).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("ACESS"));
}

#[test]
fn commands_without_settings_are_left_alone() {
    let loaded = read(&["user", "list"], &[("MCP_AUTHZ_PORT", "x")]).unwrap();
    assert!(loaded.settings.is_empty());
}
