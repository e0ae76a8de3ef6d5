//! What may be given, and what it means.

use super::*;

type Row<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);

fn resolved(arguments: &[&str], env: &[(&str, &str)]) -> Result<Options, UsageError> {
    let arguments = std::iter::once(&"atsign-secondary").chain(arguments);
    let flags = CommandLine::try_parse_from(arguments).expect("flags").flags;
    flags.resolve(|name| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
}

#[test]
fn the_reference_servers_command_line_works_as_it_is() {
    for arguments in [
        ["-a", "@alice", "-p", "25000", "-s", "secret"],
        ["--at_sign", "@alice", "--server_port", "25000", "--shared_secret", "secret"],
        ["--at-sign", "@alice", "--port", "25000", "--shared-secret", "secret"],
    ] {
        let options = resolved(&arguments, &[]).expect("options");
        assert_eq!(options.at_sign.as_str(), "@alice");
        assert_eq!(options.listen, SocketAddr::from(([0, 0, 0, 0], 25000)));
        assert_eq!(options.secret, Some(SecretSource::Given("secret".to_owned())));
    }
}

#[test]
fn a_flag_wins_over_our_variable_and_that_over_the_reference_servers() {
    let theirs = ("secondaryStoragePath", "/theirs");
    let ours = ("ATSIGN_STORAGE_DIR", "/ours");
    let table: [Row; 4] = [
        (&["-a", "@alice", "--storage-dir", "/flag"], &[ours, theirs], "/flag"),
        (&["-a", "@alice"], &[ours, theirs], "/ours"),
        (&["-a", "@alice"], &[theirs], "/theirs"),
        (&["-a", "@alice"], &[], "/atsign/storage"),
    ];
    for (arguments, env, expected) in table {
        let options = resolved(arguments, env).expect("options");
        assert_eq!(options.storage_dir, PathBuf::from(expected));
    }
}

#[test]
fn port_and_listen_may_both_be_given_if_they_agree() {
    let both = ["-a", "@alice", "-p", "7000", "--listen", "127.0.0.1:7000"];
    assert_eq!(resolved(&both, &[]).expect("options").listen, SocketAddr::from(([127, 0, 0, 1], 7000)));
}

#[test]
fn what_makes_no_sense_is_refused_by_the_name_of_its_flag() {
    let table: [Row; 11] = [
        (&[], &[], "--at-sign"),
        (&["-a", "@"], &[], "--at-sign"),
        (&["-a", "@alice", "-p", "7000", "--listen", "127.0.0.1:7001"], &[], "--port"),
        (&["-a", "@alice", "-p", "seven"], &[], "--port"),
        (&["-a", "@alice", "-s", "x", "--shared-secret-file", "f"], &[], "--shared-secret"),
        (&["-a", "@alice", "--directory", "root"], &[], "--directory"),
        (&["-a", "@alice", "--memory-limit", "6Zi"], &[], "--memory-limit"),
        (&["-a", "@alice", "--lease-term", "0"], &[], "--lease-term"),
        (&["-a", "@alice"], &[("useTLS", "false")], "useTLS"),
        (&["-a", "@alice"], &[("syncPageLimit", "0")], "syncPageLimit"),
        (&["-a", "@alice"], &[("lookup_depth_of_resolution", "deep")], "lookup_depth_of_resolution"),
    ];
    for (arguments, env, name) in table {
        assert_eq!(resolved(arguments, env).expect_err("refused").name, name, "{arguments:?}");
    }
}

#[test]
fn the_directory_comes_from_the_reference_servers_two_variables_too() {
    let env = [("rootServerUrl", "vip.ve.atsign.zone"), ("rootServerPort", "6400")];
    assert_eq!(resolved(&["-a", "@alice"], &env).expect("options").directory, "vip.ve.atsign.zone:6400");
    assert_eq!(resolved(&["-a", "@alice"], &[]).expect("options").directory, "root.atsign.org:64");
}

#[test]
fn bytes_are_written_as_in_kubernetes() {
    for (text, bytes) in [("6291456", 6_291_456), ("6Mi", 6 << 20), ("24M", 24_000_000), ("256Ki", 256 << 10)]
    {
        assert_eq!(quantity("--memory-limit", text), Ok(bytes));
    }
}

#[test]
fn a_secret_is_not_printed() {
    let options = resolved(&["-a", "@alice", "-s", "hunter2"], &[]).expect("options");
    assert!(!format!("{options:?}").contains("hunter2"));
}

/// What is seen of an option, for the table below.
type Seen = fn(&Options) -> String;

/// Every variable of the reference server that is heeded: what it is set to, and what comes of it.
const HEEDED: [(&str, &str, Seen, &str); 18] = [
    ("logLevel", "FINEST", |o| o.log_level.to_string(), "TRACE"),
    ("useTLS", "true", |_| String::new(), ""),
    ("useSSL", "true", |_| String::new(), ""),
    ("securityCertificateChainLocation", "/c.pem", |o| o.tls_cert.display().to_string(), "/c.pem"),
    ("securityPrivateKeyLocation", "/k.pem", |o| o.tls_key.display().to_string(), "/k.pem"),
    ("securityTrustedCertificateLocation", "/ca.pem", |o| format!("{:?}", o.peer_ca), "Some(\"/ca.pem\")"),
    ("rootServerUrl", "vip.ve.atsign.zone", |o| o.directory.clone(), "vip.ve.atsign.zone:64"),
    ("rootServerPort", "6400", |o| o.directory.clone(), "root.atsign.org:6400"),
    (
        "secondaryStoragePath",
        "/hive",
        |o| format!("{} {}", o.storage_dir.display(), o.make_storage_dir),
        "/hive true",
    ),
    ("inbound_max_limit", "50", |o| o.max_connections.to_string(), "50"),
    ("inbound_idletime_millis", "90000", |o| o.idle_timeout.as_secs().to_string(), "90"),
    ("statsTopVisits", "3", |o| o.tuning.top.at_signs.to_string(), "3"),
    ("statsTopKeys", "7", |o| o.tuning.top.keys.to_string(), "7"),
    ("syncPageLimit", "100", |o| o.tuning.sync_entries.to_string(), "100"),
    ("syncBufferSize", "1000", |o| o.tuning.sync_bytes.to_string(), "1000"),
    ("lookup_depth_of_resolution", "1", |o| o.tuning.lookup_depth.to_string(), "1"),
    ("testingMode", "true", |o| o.testing_mode.to_string(), "true"),
    ("clientCertificateRequired", "false", |o| o.client_certificate_required.to_string(), "false"),
];

#[test]
fn the_reference_servers_variables_that_mean_something_are_heeded() {
    for (name, value, seen, expected) in HEEDED {
        let options = resolved(&["-a", "@alice"], &[(name, value)]).expect("options");
        assert_eq!(seen(&options), expected, "{name}={value}");
        assert!(reference::IGNORED.iter().all(|(ignored, _)| *ignored != name), "{name}");
    }
    let env = [("authenticated_inbound_idletime_millis", "600000")];
    let options = resolved(&["-a", "@alice"], &env).expect("options");
    assert_eq!(options.authenticated_idle_timeout, Duration::from_mins(10));
}

#[test]
fn idle_times_are_seconds_in_our_flags_and_milliseconds_in_the_reference_servers_variables() {
    let theirs = ("inbound_idletime_millis", "90000");
    let table: [Row; 4] = [
        (&["-a", "@alice", "--idle-timeout", "7"], &[("ATSIGN_IDLE_TIMEOUT", "8"), theirs], "7"),
        (&["-a", "@alice"], &[("ATSIGN_IDLE_TIMEOUT", "8"), theirs], "8"),
        (&["-a", "@alice"], &[theirs], "90"),
        (&["-a", "@alice"], &[], "600"),
    ];
    for (arguments, env, expected) in table {
        let options = resolved(arguments, env).expect("options");
        assert_eq!(options.idle_timeout.as_secs().to_string(), expected);
    }
    let never = resolved(&["-a", "@alice"], &[("inbound_idletime_millis", "0")]);
    assert_eq!(never.expect_err("refused").name, "--idle-timeout");
}

#[test]
fn what_is_ignored_is_told_in_one_line_by_its_reason() {
    assert_eq!(reference::ignored(|_| false), None);
    let set = ["commitLogPath", "accessLogPath", "forceRestart", "logLevel"];
    assert_eq!(
        reference::ignored(|name| set.contains(&name)).as_deref(),
        Some(
            "accessLogPath, commitLogPath (all data is in one store, in the storage directory); \
             forceRestart (certificates are read again while connections stay)"
        )
    );
}

#[test]
fn paths_of_the_reference_server_start_here_or_in_its_images_working_directory() {
    // The test's working directory is the package's.
    assert_eq!(reference::place("Cargo.toml"), PathBuf::from("Cargo.toml"));
    assert_eq!(reference::place("/etc/passwd"), PathBuf::from("/etc/passwd"));
}

#[test]
fn testing_mode_is_off_unless_a_flag_or_either_variable_says_so() {
    for (flag, env, on) in [
        (None, None, false),
        (Some("--testing-mode"), None, true),
        (None, Some(("ATSIGN_TESTING_MODE", "true")), true),
        (None, Some(("testingMode", "true")), true),
        (None, Some(("testingMode", "false")), false),
    ] {
        let arguments: Vec<_> = ["-a", "@alice"].into_iter().chain(flag).collect();
        let options = resolved(&arguments, env.as_slice()).expect("options");
        assert_eq!(options.testing_mode, on, "{flag:?} {env:?}");
    }
}
