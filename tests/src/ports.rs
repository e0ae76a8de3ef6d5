//! Ports of the loopback for servers that are told theirs before they start.
//!
//! A port that the kernel chose is free only until another program is given it: a second server, or anybody who connects.
//! These lie below the ports that the kernel chooses, and one that was handed out is not handed out again for a long time,
//! to whatever process.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context as _, Result};

/// Below `ip_local_port_range` as Linux has it, and apart from those of `cargo xtask test --suite local`.
const PORTS: std::ops::Range<u16> = 10_000..20_000;

/// As many ports as asked for, on which nobody listens and of which nobody else was told.
///
/// # Errors
///
/// If the file that counts them cannot be read or written, or if too few of them are free.
pub fn free<const COUNT: usize>() -> Result<[u16; COUNT]> {
    let path = std::env::temp_dir().join(format!("atsign-test-ports-{}", rustix::process::getuid().as_raw()));
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    // Released when the file is closed.
    file.lock()?;
    let mut next = String::new();
    file.read_to_string(&mut next)?;
    // Nobody has counted yet, or whoever did was killed between the two lines below: any number will do.
    let next = next.parse().ok().filter(|port| PORTS.contains(port)).unwrap_or(PORTS.start);

    let in_turn = (next..PORTS.end).chain(PORTS.start..next);
    let mut free = in_turn.filter(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    let mut ports = [0; COUNT];
    for port in &mut ports {
        *port = free.next().context("no port of the loopback is free")?;
    }

    let after = ports.last().map_or(next, |last| last + 1);
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{after}")?;
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_are_told_of_the_same_port() {
        let told: Vec<_> = std::thread::scope(|scope| {
            let askers: Vec<_> = (0..8).map(|_| scope.spawn(|| free::<4>().expect("ports"))).collect();
            askers.into_iter().flat_map(|asker| asker.join().expect("an asker")).collect()
        });
        assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), 32, "{told:?}");
    }

    #[test]
    fn a_port_on_which_somebody_listens_is_passed_over() {
        let [port] = free().expect("a port");
        let listeners: Vec<_> =
            (port + 1..port + 20).map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port))).collect();
        let [next] = free().expect("a port");
        assert!(listeners.iter().flatten().all(|it| it.local_addr().expect("bound").port() != next));
    }
}
