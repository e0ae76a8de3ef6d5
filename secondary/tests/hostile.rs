//! A server of 6 MiB in a control group, and clients that want it dead. It is not killed, and who behaves is served.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use atsign_tests::admin::usage;
use atsign_tests::cgroup::MemoryGroup;
use atsign_tests::secondary::Secondary;
use atsign_tests::soak::pick;

const LIMIT: u64 = 6 << 20;

/// One way to be a nuisance, for one turn. Being thrown out is part of it, so errors are none.
type Nuisance = fn(&Secondary) -> Result<()>;

/// As the owner: values that have no room, on connections that are open at once.
fn too_much_at_once(server: &Secondary) -> Result<()> {
    let mut owners: Vec<_> = (0..6).map(|_| server.connect_as_owner()).collect::<Result<_>>()?;
    for owner in &mut owners {
        owner.send(format!("update:big@alice {}", "x".repeat(300_000)).as_bytes())?;
    }
    for owner in &mut owners {
        owner.send(format!("{}\n", "y".repeat(2_000_000)).as_bytes())?;
        let answer = owner.answer()?;
        ensure!(answer.contains("AT0005"), "{answer}");
    }
    Ok(())
}

/// As the owner: much is asked for, and nothing of it read.
fn ask_and_do_not_read(server: &Secondary) -> Result<()> {
    let mut owner = server.connect_as_owner()?;
    for _ in 0..200 {
        owner.send(b"llookup:large@alice\nsync:from:-1:limit:100\nscan\n")?;
    }
    thread::sleep(Duration::from_millis(500));
    Ok(())
}

/// As the owner: on many connections, more than a record of answers, and nothing of it read.
fn many_that_do_not_read(server: &Secondary) -> Result<()> {
    let mut owners: Vec<_> = (0..30).filter_map(|_| server.connect_as_owner().ok()).collect();
    for owner in &mut owners {
        owner.send(&b"llookup:medium@alice\n".repeat(100))?;
    }
    thread::sleep(Duration::from_secs(1));
    Ok(())
}

/// As the owner: large notifications, many that are told of them, and nobody reads.
fn tell_who_does_not_read(server: &Secondary) -> Result<()> {
    let mut told: Vec<_> = (0..10).filter_map(|_| server.connect_as_owner().ok()).collect();
    for owner in &mut told {
        owner.send(b"monitor\n")?;
    }
    let mut owner = server.connect_as_owner()?;
    for _ in 0..3 {
        owner.request(&format!("notify:update:@alice:told@alice:{}", "n".repeat(200_000)))?;
    }
    thread::sleep(Duration::from_secs(1));
    Ok(())
}

/// As a stranger: a large public value, read slowly by many.
fn read_slowly(server: &Secondary) -> Result<()> {
    let mut readers: Vec<_> = (0..10).filter_map(|_| server.connect().ok()).collect();
    for reader in &mut readers {
        reader.send(b"lookup:large@alice\nplookup:large@alice\n")?;
    }
    thread::sleep(Duration::from_millis(500));
    Ok(())
}

/// As a stranger: long lines that do not end.
fn lines_without_an_end(server: &Secondary) -> Result<()> {
    let mut talkers: Vec<_> = (0..20).filter_map(|_| server.connect().ok()).collect();
    for talker in &mut talkers {
        talker.send(&[b'x'; 16_000])?;
    }
    thread::sleep(Duration::from_millis(300));
    Ok(())
}

/// As a stranger: handshakes that hang, and connections that are nothing.
fn half_a_handshake(server: &Secondary) -> Result<()> {
    let streams: Vec<_> = (0..40).map(|_| TcpStream::connect(("127.0.0.1", server.port))).collect();
    for mut stream in streams.into_iter().flatten() {
        // The head of a record that is never sent whole.
        stream.write_all(&[0x16, 0x03, 0x01, 0x3f, 0xff, 0x01])?;
    }
    Ok(())
}

/// As a stranger: wrong passwords, costly patterns, claims to be others.
fn guess(server: &Secondary) -> Result<()> {
    let mut guesser = server.connect()?;
    for _ in 0..20 {
        guesser.challenge("@alice")?;
        guesser.request(&format!("cram:{}", "0".repeat(128)))?;
        guesser.request("scan ((a{1,50}){1,50}){1,50}")?;
        guesser.request("from:@nobody")?;
    }
    Ok(())
}

/// The last lines.
fn end(log: &str) -> &str {
    log.char_indices().rev().filter(|(_, letter)| *letter == '\n').nth(20).map_or(log, |(at, _)| &log[at..])
}

#[test]
fn a_hostile_load_kills_nobody_and_who_behaves_is_served() -> Result<()> {
    let nuisances: [Nuisance; 8] = [
        too_much_at_once,
        ask_and_do_not_read,
        many_that_do_not_read,
        tell_who_does_not_read,
        read_slowly,
        lines_without_an_end,
        half_a_handshake,
        guess,
    ];
    let group = MemoryGroup::new(LIMIT)?;
    let server = Arc::new(Secondary::start_in(&group, "@alice", &[])?);
    let mut owner = server.connect_as_owner()?;
    for key in ["large", "public:large"] {
        let stored = owner.request(&format!("update:{key}@alice {}", "v".repeat(200_000)))?;
        ensure!(stored.starts_with("data:"), "{stored}");
    }
    let medium = owner.request(&format!("update:medium@alice {}", "v".repeat(40_000)))?;
    ensure!(medium.starts_with("data:"), "{medium}");
    let until = Instant::now() + pick(Duration::from_secs(8), Duration::from_mins(1));
    let (turns, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    let rounds = thread::scope(|scope| -> Result<u32> {
        for nuisance in nuisances {
            let (server, turns, ended) = (&server, &turns, &ended);
            scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    let _ = nuisance(server);
                    turns.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Who is connected is served throughout, however long it takes on a loaded machine.
        let mut rounds = 0;
        let behaving = (|| {
            while Instant::now() < until {
                let value = rounds.to_string();
                let stored = owner.request(&format!("update:mine@alice {value}"))?;
                ensure!(stored.starts_with("data:"), "{stored}");
                ensure!(owner.request("llookup:mine@alice")? == format!("data:{value}\n@alice@"));
                rounds += 1;
            }
            Ok(())
        })();
        ended.store(true, Ordering::Relaxed);
        behaving.map(|()| rounds)
    });
    let rounds = rounds.with_context(|| {
        format!(
            "{} kills by the kernel; the end of its log:\n{}",
            group.kills().unwrap_or(99),
            end(&server.log())
        )
    })?;
    assert!(rounds > 10, "served {rounds} times");
    assert!(turns.load(Ordering::Relaxed) >= 8, "{turns:?} turns of nuisances");
    assert_eq!(group.kills()?, 0, "{}", server.log());
    assert!(server.is_alive());
    // And the owner gets in anew.
    server.connect_as_owner()?;
    let told = usage(server.admin_port)?;
    assert!(told["used"].as_u64().is_some_and(|used| used <= LIMIT), "{told}");
    Ok(())
}
