//! Clients that try together to have a server of 6 MiB killed by the kernel, while others go on with their work.
//!
//! Ten seconds of it in every run, a minute in the soak.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use atsign_tests::cgroup::MemoryGroup;
use atsign_tests::client::Client;
use atsign_tests::secondary::Secondary;
use atsign_tests::soak::pick;
use rustls::StreamOwned;

const SIX: u64 = 6 << 20;

/// Another address than the troublemakers'.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A server, and whether its troublemakers are to stop.
struct Scene<'a> {
    server: &'a Secondary,
    over: &'a AtomicBool,
}

/// What one troublemaker does again and again. What it is answered does not matter.
type Nuisance = fn(&Scene<'_>) -> Result<()>;

/// Each with so many who do it at the same time.
const NUISANCES: [(Nuisance, usize); 11] = [
    (begin_a_handshake_and_hang, 16),
    (connect_and_say_nothing, 24),
    (send_a_line_without_end, 16),
    (send_a_record_without_its_end, 24),
    (guess_secrets, 4),
    (look_up_what_is_large_and_do_not_read, 8),
    (store_large_values, 8),
    (begin_large_values_and_hang, 8),
    (read_large_values, 8),
    (ask_for_much_and_do_not_read, 30),
    (monitor_large_notifications_and_do_not_read, 10),
];

impl Scene<'_> {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Keeps something as it is for a while.
    fn linger(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.is_over() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn tcp(&self) -> Result<TcpStream> {
        let tcp = TcpStream::connect(("127.0.0.1", self.server.port))?;
        tcp.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(tcp)
    }
}

fn begin_a_handshake_and_hang(scene: &Scene<'_>) -> Result<()> {
    let mut tcp = scene.tcp()?;
    // A record of a handshake that announces 16 KiB, of which one byte is missing.
    tcp.write_all(&[0x16, 3, 1, 0x40, 0])?;
    tcp.write_all(&[1; 0x3fff])?;
    let _ = tcp.read(&mut [0; 64]);
    scene.linger(Duration::from_secs(1));
    Ok(())
}

fn connect_and_say_nothing(scene: &Scene<'_>) -> Result<()> {
    let _silent = scene.server.connect()?;
    scene.linger(Duration::from_secs(3));
    Ok(())
}

fn send_a_line_without_end(scene: &Scene<'_>) -> Result<()> {
    let mut stranger = scene.server.connect()?;
    let part = [b'x'; 16_000];
    for _ in 0..700 {
        if scene.is_over() {
            break;
        }
        stranger.send(&part)?;
    }
    Ok(())
}

fn send_a_record_without_its_end(scene: &Scene<'_>) -> Result<()> {
    let StreamOwned { mut conn, mut sock } = Client::tls(scene.server, &[])?;
    conn.writer().write_all(&[b'x'; 16_000])?;
    let mut record = Vec::new();
    while conn.wants_write() {
        conn.write_tls(&mut record)?;
    }
    sock.write_all(&record[..record.len() - 1])?;
    scene.linger(Duration::from_secs(3));
    Ok(())
}

fn guess_secrets(scene: &Scene<'_>) -> Result<()> {
    let mut stranger = scene.server.connect()?;
    for guess in 0..10 {
        stranger.request(&format!("from:{}", scene.server.at_sign))?;
        stranger.request(&format!("cram:{guess:0128}"))?;
    }
    Ok(())
}

fn look_up_what_is_large_and_do_not_read(scene: &Scene<'_>) -> Result<()> {
    let mut stranger = scene.server.connect()?;
    for _ in 0..50 {
        stranger.send(b"lookup:large@alice\n")?;
    }
    scene.linger(Duration::from_secs(2));
    Ok(())
}

fn store_large_values(scene: &Scene<'_>) -> Result<()> {
    let mut owner = scene.server.connect_as_owner()?;
    for size in [20_000, 60_000, 150_000, 400_000, 900_000, 5_000_000] {
        if scene.is_over() {
            break;
        }
        owner.request(&format!("update:large{size}.wavi@alice {}", "v".repeat(size)))?;
    }
    Ok(())
}

fn begin_large_values_and_hang(scene: &Scene<'_>) -> Result<()> {
    let mut owner = scene.server.connect_as_owner()?;
    owner.send(format!("update:hanging.wavi@alice {}", "h".repeat(100_000)).as_bytes())?;
    scene.linger(Duration::from_secs(2));
    Ok(())
}

fn read_large_values(scene: &Scene<'_>) -> Result<()> {
    let mut owner = scene.server.connect_as_owner()?;
    for size in [20_000, 60_000, 150_000, 400_000, 900_000] {
        owner.request(&format!("llookup:large{size}.wavi@alice"))?;
    }
    owner.request("scan")?;
    owner.request("sync:from:-1:limit:1000")?;
    Ok(())
}

fn ask_for_much_and_do_not_read(scene: &Scene<'_>) -> Result<()> {
    let mut owner = scene.server.connect_as_owner()?;
    for _ in 0..200 {
        owner.send(
            b"llookup:large60000.wavi@alice\nsync:from:-1:limit:1000\nllookup:large150000.wavi@alice\n",
        )?;
    }
    scene.linger(Duration::from_secs(3));
    Ok(())
}

fn monitor_large_notifications_and_do_not_read(scene: &Scene<'_>) -> Result<()> {
    let mut monitor = scene.server.connect_as_owner()?;
    monitor.send(b"monitor:0\n")?;
    let mut owner = scene.server.connect_as_owner()?;
    for size in [1_000, 30_000, 100_000, 200_000] {
        owner.request(&format!("notify:update:@alice:told.wavi@alice:{}", "n".repeat(size)))?;
    }
    scene.linger(Duration::from_secs(2));
    Ok(())
}

/// Somebody who works: what he stored he reads, on one connection all the time.
fn work(scene: &Scene<'_>, mut owner: Client, worker: usize, done: &AtomicU64) -> Result<()> {
    let mut round = 0;
    while !scene.is_over() {
        round += 1;
        let key = format!("work{worker}.wavi@alice");
        let stored = owner.request(&format!("update:{key} {round}"))?;
        ensure!(stored.starts_with("data:"), "update was answered {stored:?}");
        let read = owner.request(&format!("llookup:{key}"))?;
        ensure!(read == format!("data:{round}\n@alice@"), "llookup was answered {read:?} and not {round}");
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Somebody who comes from elsewhere, asks and goes.
fn visit(scene: &Scene<'_>, visits: &AtomicU64) {
    while !scene.is_over() {
        let visited =
            scene.server.connect_as_owner_from(ELSEWHERE).and_then(|mut owner| owner.request("noop:0"));
        if visited.is_ok_and(|answer| answer.starts_with("data:")) {
            visits.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Once nobody makes trouble any more, whoever comes is served.
fn recovers(server: &Secondary) -> Result<()> {
    let until = Instant::now() + Duration::from_mins(1);
    loop {
        match server.connect_as_owner_from(ELSEWHERE).and_then(|mut owner| owner.request("scan")) {
            Ok(answer) if answer.starts_with("data:") => return Ok(()),
            other => ensure!(Instant::now() < until, "after it was over: {other:?}"),
        }
    }
}

#[test]
fn owners_and_strangers_together_do_not_get_a_server_of_6_mebibytes_killed() -> Result<()> {
    let group = MemoryGroup::new(SIX)?;
    let server = Secondary::start_in(&group, "@alice", &[])?;
    let mut owner = server.connect_as_owner()?;
    owner.request(&format!("update:public:large@alice {}", "p".repeat(60_000)))?;
    drop(owner);
    let workers = (0..4).map(|_| server.connect_as_owner()).collect::<Result<Vec<_>>>()?;
    let (over, done, visits) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let scene = Scene { server: &server, over: &over };
    let (mut most, mut most_anonymous, mut last) = (0, 0, String::new());
    let result = std::thread::scope(|scope| -> Result<()> {
        let scene = &scene;
        let workers = workers.into_iter().enumerate().map(|(worker, owner)| {
            let done = &done;
            scope.spawn(move || work(scene, owner, worker, done))
        });
        let workers: Vec<_> = workers.collect();
        // On a single processor, as a guest has it, half as many leave as little of it to the server.
        let part = std::thread::available_parallelism().map_or(1, |processors| processors.get().min(2));
        for (nuisance, count) in NUISANCES {
            for _ in 0..count * part / 2 {
                scope.spawn(move || {
                    while !scene.is_over() {
                        if nuisance(scene).is_err() {
                            std::thread::sleep(Duration::from_millis(20));
                        }
                    }
                });
            }
        }
        scope.spawn(|| visit(scene, &visits));
        let until = Instant::now() + Duration::from_secs(pick(10, 60));
        while Instant::now() < until && server.is_alive() {
            most = most.max(group.used()?);
            most_anonymous = most_anonymous.max(group.anonymous()?);
            last = group.stats()?;
            std::thread::sleep(Duration::from_millis(10));
        }
        over.store(true, Ordering::Relaxed);
        let lives = server.is_alive() && group.kills()? == 0;
        let recovered = if lives { recovers(&server) } else { Ok(()) };
        let worked = workers.into_iter().try_for_each(|worker| worker.join().expect("a worker"));
        // So that nobody waits for an answer any more.
        let _ = server.kill();
        ensure!(lives, "the server was killed; shortly before: {last}\n{}", server.log());
        recovered.and(worked)
    });
    let (done, visits) = (done.into_inner(), visits.into_inner());
    let (most, most_anonymous) = (most >> 10, most_anonymous >> 10);
    println!("done {done}, visits {visits}, at most {most} KiB, {most_anonymous} KiB of them anonymous");
    result?;
    assert!(done > 0 && visits > 0, "done {done}, visits {visits}");
    Ok(())
}
