//! What the server promises about its memory, on the real binary: it knows its limit, tells what it needs, gives back
//! what it is asked for, and refuses what it has no room for instead of dying of it.

use std::time::{Duration, Instant};

use anyhow::Result;
use atsign_tests::admin::{ask, request, usage};
use atsign_tests::cgroup::MemoryGroup;
use atsign_tests::client::Client;
use atsign_tests::secondary::Secondary;
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// Waits until it is so; a loaded machine is given time.
fn eventually(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !is_so()? {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn number(usage: &Value, name: &str) -> u64 {
    usage[name].as_u64().unwrap_or_else(|| panic!("{name} in {usage}"))
}

fn small() -> Result<Secondary> {
    Secondary::start_with("@alice", &["--memory-limit", "6Mi"])
}

const TOKEN: &str = "t0ken";

/// A file with the token of the admin port, and its path.
fn token() -> Result<(tempfile::NamedTempFile, String)> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), TOKEN)?;
    let path = file.path().to_string_lossy().into_owned();
    Ok((file, path))
}

/// A command that is larger than what 6 MiB have room for.
fn too_large(client: &mut Client) -> Result<String> {
    client.request(&format!("update:big@alice {}", "x".repeat(5_000_000)))
}

#[test]
fn a_value_that_there_is_no_room_for_is_refused_and_the_client_stays() -> Result<()> {
    let server = small()?;
    let mut owner = server.connect_as_owner()?;
    let refused = too_large(&mut owner)?;
    assert!(
        refused.starts_with(
            "error:AT0005-Buffer limit exceeded : there is no room for a command of 5000017 bytes"
        ),
        "{refused}"
    );
    assert!(refused.contains("in the 6291456 bytes of memory of this server"), "{refused}");
    let half = "y".repeat(500_000);
    assert!(owner.request(&format!("update:half@alice {half}"))?.starts_with("data:"));
    assert_eq!(owner.request("llookup:half@alice")?, format!("data:{half}\n@alice@"));
    Ok(())
}

#[test]
fn a_value_that_was_stored_in_a_larger_server_is_not_read_by_a_smaller_one() -> Result<()> {
    let group = MemoryGroup::new(64 * MIB)?;
    let token = token()?;
    let server = Secondary::start_in(&group, "@alice", &["--admin-token-file", &token.1])?;
    let mut owner = server.connect_as_owner()?;
    let value = "z".repeat(4_000_000);
    assert!(owner.request(&format!("update:big@alice {value}"))?.starts_with("data:"));
    assert_eq!(owner.request("llookup:big@alice")?, format!("data:{value}\n@alice@"));
    eventually("the limit can be lowered", || {
        let (_, told) = request(server.admin_port, "POST /shrink?to=8388608", Some(TOKEN))?;
        let used = number(&serde_json::from_str(&told)?, "used");
        Ok(used < 6 * MIB && group.set_limit(8 * MIB).is_ok())
    })?;
    eventually("the limit is noticed", || Ok(number(&usage(server.admin_port)?, "limit") == 8 * MIB))?;
    let refused = owner.request("llookup:big@alice")?;
    assert!(refused.contains("AT0005") && refused.contains("the value has 4000000 bytes"), "{refused}");
    assert!(number(&usage(server.admin_port)?, "needed") > 8 * MIB);
    group.set_limit(64 * MIB)?;
    eventually("it is read again", || Ok(owner.request("llookup:big@alice")?.starts_with("data:zzz")))?;
    assert_eq!(group.kills()?, 0);
    Ok(())
}

#[test]
fn a_limit_that_changes_is_noticed_within_a_second() -> Result<()> {
    let group = MemoryGroup::new(32 * MIB)?;
    let server = Secondary::start_in(&group, "@alice", &[])?;
    let pool = || -> Result<String> {
        let (_, metrics) = request(server.admin_port, "GET /metrics", None)?;
        let line = metrics.lines().find(|line| line.starts_with("atsign_memory_share_bytes{part=\"pool\"}"));
        Ok(line.unwrap_or_default().to_owned())
    };
    let before = pool()?;
    group.set_limit(24 * MIB)?;
    eventually("the shares are those of the new limit", || Ok(pool()? != before))?;
    assert_eq!(number(&usage(server.admin_port)?, "limit"), 24 * MIB);
    Ok(())
}

#[test]
fn a_server_that_fills_its_caches_because_it_can_needs_no_more() -> Result<()> {
    let server = small()?;
    let mut owner = server.connect_as_owner()?;
    let before = number(&usage(server.admin_port)?, "needed");
    for number in 0..300 {
        let answer = owner.request(&format!("update:key{number}.wavi@alice {}", "v".repeat(4000)))?;
        assert!(answer.starts_with("data:"), "{answer}");
    }
    for _ in 0..3 {
        owner.request("scan")?;
        owner.request("sync:from:-1:limit:300")?;
    }
    for number in 0..300 {
        owner.request(&format!("llookup:key{number}.wavi@alice"))?;
    }
    // What its commands took for a moment is all that may be added, at once and after the next look.
    for _ in 0..2 {
        let after = number(&usage(server.admin_port)?, "needed");
        assert!(after < before + MIB / 4, "{before} before, {after} after");
        std::thread::sleep(Duration::from_secs(2));
    }
    Ok(())
}

#[test]
fn a_server_that_keeps_coming_back_to_its_keys_needs_them_in_memory() -> Result<()> {
    let server = small()?;
    let mut owner = server.connect_as_owner()?;
    for number in 0..200 {
        let answer = owner.request(&format!("update:key{number}.wavi@alice {}", "v".repeat(4000)))?;
        assert!(answer.starts_with("data:"), "{answer}");
    }
    let before = number(&usage(server.admin_port)?, "needed");
    for _ in 0..2 {
        for number in 0..200 {
            let answer = owner.request(&format!("llookup:key{number}.wavi@alice"))?;
            assert!(answer.starts_with("data:vvv"), "{answer:.300}");
        }
    }
    let after = number(&usage(server.admin_port)?, "needed");
    assert!(after > before + MIB / 2, "{before} before, {after} after");
    Ok(())
}

#[test]
fn strangers_never_raise_the_need() -> Result<()> {
    let server = small()?;
    let mut owner = server.connect_as_owner()?;
    owner.request(&format!("update:public:large@alice {}", "p".repeat(400_000)))?;
    owner.request("update:public:small@alice 1")?;
    std::thread::sleep(Duration::from_secs(1));
    let before = number(&usage(server.admin_port)?, "needed");
    let mut strangers = Vec::new();
    for _ in 0..30 {
        strangers.extend(server.connect());
    }
    for stranger in &mut strangers {
        let large = stranger.request("lookup:large@alice")?;
        assert!(large.contains("there is no room"), "more than others may take: {}", &large[..80]);
        assert_eq!(stranger.request("lookup:small@alice")?, "data:1\n@");
        stranger.send(&[b'x'; 12_000])?;
    }
    std::thread::sleep(Duration::from_secs(2));
    let crowded = usage(server.admin_port)?;
    assert!(number(&crowded, "needed") <= before, "{before} before, {crowded}");
    assert_eq!(number(&crowded, "refused"), 0);
    Ok(())
}

#[test]
fn who_waits_is_told_at_once_that_work_was_refused_and_not_twice() -> Result<()> {
    let server = small()?;
    let mut owner = server.connect_as_owner()?;
    let began = Instant::now();
    let waiting = ask(server.admin_port, "GET /usage?above=0.8&wait=50s", None)?;
    std::thread::sleep(Duration::from_millis(300));
    too_large(&mut owner)?;
    let (status, told) = waiting.answer()?;
    assert_eq!(status, 200);
    assert!(began.elapsed() < Duration::from_secs(40), "it was told when the time was up");
    let told: Value = serde_json::from_str(&told)?;
    let needed = number(&told, "needed");
    assert!(needed > 6 * MIB && number(&told, "refused") > 0, "{told}");

    let (status, _) = request(server.admin_port, "GET /usage?above=0.8&wait=0s", None)?;
    assert_eq!(status, 200);
    let needed = number(&usage(server.admin_port)?, "needed");
    let began = Instant::now();
    let again = request(server.admin_port, &format!("GET /usage?above=0.8&wait=2s&seen={needed}"), None)?;
    assert_eq!(again.0, 200);
    assert!(began.elapsed() >= Duration::from_secs(2), "what was seen is no news");
    Ok(())
}

#[test]
fn who_waits_is_told_at_once_that_the_owner_has_logged_in_and_a_server_that_starts_again_knows_it()
-> Result<()> {
    let mut server = small()?;
    assert_eq!(usage(server.admin_port)?["activated"], false);
    let began = Instant::now();
    let waiting = ask(server.admin_port, "GET /usage?above=0.8&wait=50s&activated=false", None)?;
    std::thread::sleep(Duration::from_millis(300));
    let mut owner = server.connect_as_owner()?;
    assert!(owner.request("update:privatekey:at_pkam_publickey MIIB")?.starts_with("data:"));
    let (status, told) = waiting.answer()?;
    assert!(began.elapsed() < Duration::from_secs(40), "it was told when the time was up");
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_str::<Value>(&told)?["activated"], true, "{told}");

    server.restart()?;
    assert_eq!(usage(server.admin_port)?["activated"], true);
    let began = Instant::now();
    let known = request(server.admin_port, "GET /usage?above=0.8&wait=2s&activated=true", None)?;
    assert_eq!(known.0, 200);
    assert!(began.elapsed() >= Duration::from_secs(2), "what is known is no news");
    Ok(())
}

#[test]
fn one_waits_the_newest_and_nonsense_is_told_what_would_make_sense() -> Result<()> {
    let server = small()?;
    let first = ask(server.admin_port, "GET /usage?above=0.8&wait=50s", None)?;
    std::thread::sleep(Duration::from_millis(300));
    let second = ask(server.admin_port, "GET /usage?above=0.8&wait=1s", None)?;
    assert_eq!(first.answer()?, (409, "somebody else waits now\n".to_owned()));
    assert_eq!(second.answer()?.0, 200);
    // Who has gone leaves its place: there are only eight.
    for _ in 0..20 {
        drop(ask(server.admin_port, "GET /usage?above=0.8&wait=50s", None)?);
    }
    assert_eq!(request(server.admin_port, "GET /usage?above=0.8&wait=0s", None)?.0, 200);
    for (query, named) in
        [("above=x&wait=1s", "above=x"), ("wait=1s", "above and wait"), ("bellow=1", "bellow")]
    {
        let (status, body) = request(server.admin_port, &format!("GET /usage?{query}"), None)?;
        assert!(status == 400 && body.contains(named), "{query}: {status} {body}");
    }
    assert_eq!(request(server.admin_port, "POST /usage", None)?.0, 405);
    assert_eq!(request(server.admin_port, &format!("GET /{}", "x".repeat(2000)), None)?.0, 431);
    Ok(())
}

#[test]
fn shrinking_needs_the_token_and_gives_the_page_cache_back() -> Result<()> {
    let group = MemoryGroup::new(64 * MIB)?;
    let token = token()?;
    let server = Secondary::start_in(&group, "@alice", &["--admin-token-file", &token.1])?;
    let mut owner = server.connect_as_owner()?;
    for number in 0..40 {
        owner.request(&format!("update:key{number}@alice {}", "v".repeat(300_000)))?;
    }
    let used = group.used()?;
    assert!(used > 12 * MIB, "{used} used: the page cache of what was written is expected in it");
    let port = server.admin_port;
    assert_eq!(request(port, "POST /shrink?to=8388608", None)?.0, 401);
    assert_eq!(request(port, "POST /shrink?to=8388608", Some("wrong"))?.0, 401);
    assert_eq!(request(port, "GET /shrink?to=8388608", Some(TOKEN))?.0, 405);
    assert_eq!(request(port, "POST /shrink?to=little", Some(TOKEN))?.0, 400);
    let (status, told) = request(port, "POST /shrink?to=8388608", Some(TOKEN))?;
    assert_eq!(status, 200, "{told}");
    let told: Value = serde_json::from_str(&told)?;
    assert!(number(&told, "used") < 8 * MIB, "{told}");
    // It stays there, though it is read on.
    for number in 0..40 {
        owner.request(&format!("llookup:key{number}@alice"))?;
    }
    eventually("the limit can be set", || Ok(group.used()? < 8 * MIB && group.set_limit(8 * MIB).is_ok()))?;
    assert!(owner.request("llookup:key7@alice")?.starts_with("data:vvv"));
    Ok(())
}

#[test]
fn what_is_billed_is_counted_over_restarts() -> Result<()> {
    let flags = ["--memory-limit", "6Mi", "--lease-term", "1.5"];
    let mut server = Secondary::start_with("@alice", &flags)?;
    let metering =
        |server: &Secondary| -> Result<Value> { Ok(usage(server.admin_port)?["metering"].clone()) };
    let mut owner = server.connect_as_owner()?;
    owner.request("notify:update:messageType:text:@alice:hello")?;
    eventually("three seconds of six mebibytes", || {
        let metering = metering(&server)?;
        Ok(number(&metering, "limitByteSeconds") > 18 * MIB && number(&metering, "notifications") > 0)
    })?;
    let before = metering(&server)?;
    drop(owner);
    server.restart()?;
    let after = metering(&server)?;
    assert_eq!(before["since"], after["since"]);
    for name in ["limitByteSeconds", "storeByteSeconds", "connectionSeconds", "notifications"] {
        let (before, after) = (number(&before, name), number(&after, name));
        assert!(after >= before, "{name}: {before} before, {after} after: a bill never becomes less");
        assert!(after > 0, "{name}");
    }
    Ok(())
}
