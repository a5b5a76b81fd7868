//! `holdfast config`, and how `serve` refuses a wrong configuration, as an operator sees it.

use std::path::{Path, PathBuf};
use std::process::{Output, id};
use std::{env, fs, str};

fn holdfast(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    holdfast_testkit::command()
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("output is UTF-8")
}

struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, content: &str) -> Self {
        let path = env::temp_dir().join(format!("holdfast-{}-{name}", id()));
        fs::write(&path, content).expect("the temporary folder can be written");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a UTF-8 path")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The texts of a folder's Markdown pages, by path from `root`.
fn pages(root: &Path, folder: &str) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(root.join(folder)).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("an entry can be read").path());
    let pages = paths.filter(|path| path.extension().is_some_and(|of| of == "md"));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a page is text");
        (path.strip_prefix(root).expect("it is below").to_owned(), text)
    };
    let mut read: Vec<_> = pages.map(read).collect();
    read.sort();
    read
}

#[test]
fn the_committed_reference_pages_are_what_the_definitions_say() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let written = env::temp_dir().join(format!("holdfast-{}-reference", id()));
    let done = holdfast(&["config", "doc", "--out", written.to_str().expect("a UTF-8 path")], &[]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let (generated, overview) = (pages(&written, "configuration"), pages(&written, ""));
    let _ = fs::remove_dir_all(&written);
    let committed = pages(&docs, "configuration");
    let names = |of: &[(PathBuf, String)]| of.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    let renew = "renew it: cargo run -p holdfast -- config doc --out docs";
    assert_eq!(names(&committed), names(&generated), "a page is missing or stale; {renew}");
    for (path, text) in generated.iter().chain(&overview) {
        let is_fresh = fs::read_to_string(docs.join(path)).is_ok_and(|committed| committed == *text);
        assert!(is_fresh, "docs/{} is stale; {renew}", path.display());
    }
}

#[test]
fn the_default_file_passes_its_own_check() {
    let default = holdfast(&["config", "default"], &[]);
    let file = TempFile::new("default.toml", text(&default.stdout));
    let check = holdfast(&["config", "check", "--config", file.path()], &[]);
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stderr));
    assert!(text(&check.stdout).contains("client.ping_interval = \"25s\""), "{}", text(&check.stdout));
}

#[test]
fn check_prints_what_is_in_force_and_from_where() {
    let file = TempFile::new("in-force.yaml", "client: {ping_interval: 30s}\n");
    let check =
        holdfast(&["config", "check"], &[("HOLDFAST_CONFIG", file.path()), ("HOLDFAST_LOG_LEVEL", "warn")]);
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stderr));
    // Where it came from stands on the next line, if the two do not fit into one.
    let joined = text(&check.stdout).replace("\n    ", "");
    let line = |start: &str| joined.lines().find(|line| line.starts_with(start)).unwrap_or_default();
    assert!(line("client.ping_interval = \"30s\"").ends_with(&format!("# file {}", file.path())));
    assert!(line("log.level = \"warn\"").ends_with("# environment HOLDFAST_LOG_LEVEL"));
    assert!(line("http_server.port = 8000").ends_with("# default"));
}

#[test]
fn check_prints_every_error_and_exits_with_1() {
    let file = TempFile::new("wrong.json", r#"{"client": {"ping_intervall": "5s", "pong_timeout": 8}}"#);
    let check = holdfast(&["config", "check", "--config", file.path()], &[("HOLDFAST_LOG_LEVEL", "loud")]);
    assert_eq!(check.status.code(), Some(1));
    assert!(check.stdout.is_empty());
    let errors = text(&check.stderr);
    for part in [
        "3 errors",
        "client.ping_intervall (file ",
        "did you mean client.ping_interval?",
        "client.pong_timeout (file ",
        "found the number 8",
        "\"8s\"",
        "log.level (environment HOLDFAST_LOG_LEVEL): found \"loud\"; allowed: trace, debug, info, warn, error, none",
    ] {
        assert!(errors.contains(part), "{part:?} is not in: {errors}");
    }
}

#[test]
fn unknown_keys_are_warned_of_where_the_command_line_or_a_variable_says_so() {
    let file =
        TempFile::new("unknown.yaml", "odd: 1\nwebsocket: {write_timeout: 5s}\nnode: {name: 5782e509}\n");
    let check = ["config", "check", "--config", file.path()];
    let refused = holdfast(&check, &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("1 error") && text(&refused.stderr).contains("  odd (file "));
    let with_flag = holdfast(&[&check[..], &["--unknown-keys", "warn"]].concat(), &[]);
    let with_variable = holdfast(&check, &[("HOLDFAST_UNKNOWN_KEYS", "warn")]);
    for passed in [with_flag, with_variable] {
        assert_eq!(passed.status.code(), Some(0), "{}", text(&passed.stderr));
        let shown = text(&passed.stdout);
        for part in [
            "# warning: odd: no such option: it is ignored; remove it\n",
            "# warning: websocket.write_timeout: changes nothing here; ",
            "node.name = \"5782e509\"",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    }
    assert_eq!(holdfast(&check, &[("HOLDFAST_UNKNOWN_KEYS", "loud")]).status.code(), Some(2));
}

#[test]
fn serve_refuses_a_wrong_configuration_before_it_opens_anything() {
    let served = holdfast(&["serve", "--shards", "1000"], &[("HOLDFAST_CLIENT_PING", "5s")]);
    assert_eq!(served.status.code(), Some(1));
    assert!(text(&served.stderr).contains("environment HOLDFAST_CLIENT_PING: no such option"));
    assert!(text(&served.stderr).contains("1000 shards"), "{}", text(&served.stderr));
    assert!(served.stdout.is_empty());
}

#[test]
fn a_wrong_command_line_exits_with_2_and_version_and_help_with_0() {
    assert_eq!(holdfast(&["serve", "--listen", "nowhere"], &[]).status.code(), Some(2));
    assert_eq!(holdfast(&["serve", "--cores", "0", "--shards", "1"], &[]).status.code(), Some(2));
    let version = holdfast(&["--version"], &[]);
    assert_eq!(text(&version.stdout), concat!("holdfast ", env!("CARGO_PKG_VERSION"), "\n"));
    let help = holdfast(&["serve", "--help"], &[]);
    for flag in ["--config", "--listen", "--control", "--cores", "--shards", "0.0.0.0:8000", "127.0.0.1:9000"]
    {
        assert!(text(&help.stdout).contains(flag), "{flag}");
    }
}

#[test]
fn the_check_and_the_doctor_show_the_same_warnings() {
    let file =
        TempFile::new("warned.toml", "[client.token]\njwks_public_endpoint = \"http://127.0.0.1:1/keys\"\n");
    let key = "client.token.jwks_public_endpoint: keys are fetched over http://";
    let check = holdfast(&["config", "check", "--config", file.path()], &[]);
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stderr));
    assert!(text(&check.stdout).starts_with(&format!("# warning: {key}")), "{}", text(&check.stdout));
    let doctor = holdfast(&["doctor", "--config", file.path()], &[]);
    assert!(
        text(&doctor.stdout).contains(&format!("warn  configuration: {key}")),
        "{}",
        text(&doctor.stdout)
    );
}

/// A certificate with its key, valid so many days from now on.
fn certificate(days: i64) -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["edge.test".to_owned()]).expect("a good name");
    let now_s =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let today = i64::try_from(now_s).expect("not so late") / 86_400;
    let date = |day: i64| {
        rcgen::date_time_ymd(1970, 1, 1)
            + std::time::Duration::from_secs(u64::try_from(day * 86_400).expect("after 1970"))
    };
    (params.not_before, params.not_after) = (date(today - 90), date(today + days));
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

#[test]
fn what_serve_refuses_the_check_and_the_doctor_refuse_too() {
    let ((cert, key), (_, other_key)) = (certificate(60), certificate(60));
    let (cert, key) = (TempFile::new("a.pem", &cert), TempFile::new("a.key", &key));
    let (other_key, empty) = (TempFile::new("b.key", &other_key), TempFile::new("empty.pem", ""));
    let pair = |cert: &str, key: &str| format!("cert_pem = '{cert}'\nkey_pem = '{key}'\n");
    for (number, (listener, options, part)) in [
        ("tls", pair(cert.path(), other_key.path()), "the private key does not belong to the certificate"),
        ("tls", pair(key.path(), cert.path()), "cert_pem and key_pem may be swapped"),
        ("tls", pair(cert.path(), cert.path()), "cert_pem and key_pem may be swapped"),
        ("tls", pair("/nowhere/cert.pem", key.path()), "cannot read \"/nowhere/cert.pem\""),
        ("tls", pair(cert.path(), empty.path()), "it contains no private key"),
        ("tls", String::new(), "http_server.tls.cert_pem: it is not set"),
        (
            "internal_tls",
            pair(cert.path(), other_key.path()),
            "http_server.internal_tls: the private key does not belong",
        ),
        (
            "tls",
            format!("{}client_ca_pem = '{}'\n", pair(cert.path(), key.path()), empty.path()),
            "client_ca_pem",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let text_of = format!("[http_server.{listener}]\nenabled = true\n{options}");
        let file = TempFile::new(&format!("refused-{number}.toml"), &text_of);
        let served = holdfast(
            &["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--config", file.path()],
            &[],
        );
        let check = holdfast(&["config", "check", "--config", file.path()], &[]);
        let doctor = holdfast(&["doctor", "--config", file.path()], &[]);
        for (command, output, words) in [
            ("serve", &served, &served.stderr),
            ("config check", &check, &check.stderr),
            ("doctor", &doctor, &doctor.stdout),
        ] {
            assert_eq!(output.status.code(), Some(1), "{command}: {text_of}");
            assert!(text(words).contains(part), "{command}: {part:?} is not in {}", text(words));
        }
    }
    let both = format!(
        "[http_server.tls]\nenabled = true\n[http_server.internal_tls]\nenabled = true\n{}",
        pair(cert.path(), other_key.path())
    );
    let file = TempFile::new("both.toml", &both);
    let check = holdfast(&["config", "check", "--config", file.path()], &[]);
    assert!(text(&check.stderr).contains("it is not set") && text(&check.stderr).contains("does not belong"));
}

#[test]
fn a_certificate_that_is_over_or_soon_will_be_is_warned_of_by_the_check_and_the_doctor() {
    for (days, expected) in [(60, None), (5, Some("the certificate expires in")), (-1, Some("expired on"))] {
        let (cert, key) = certificate(days);
        let name = format!("expiry{days}");
        let (cert, key) =
            (TempFile::new(&format!("{name}.pem"), &cert), TempFile::new(&format!("{name}.key"), &key));
        let options = format!(
            "[http_server.tls]\nenabled = true\ncert_pem = '{}'\nkey_pem = '{}'\n",
            cert.path(),
            key.path()
        );
        let file = TempFile::new(&format!("{name}.toml"), &options);
        let check = holdfast(&["config", "check", "--config", file.path()], &[]);
        assert_eq!(check.status.code(), Some(0), "{}", text(&check.stderr));
        let doctor = holdfast(&["doctor", "--config", file.path()], &[]);
        for output in [text(&check.stdout), text(&doctor.stdout)] {
            let line = output.lines().find(|line| line.contains("http_server.tls.cert_pem: the certificate"));
            match expected {
                None => assert_eq!(line, None),
                Some(part) => assert!(line.is_some_and(|line| line.contains(part)), "{output}"),
            }
        }
    }
}
