//! Where other servers are: asked of the atDirectory, and remembered for an hour (reference page sections 1.6 and 4).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atsign_protocol::AtSign;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::PeerError;
use super::answers::{self, Address};
use super::connection::{Connection, Target};

/// An address is good for so long.
const FRESH: Duration = Duration::from_hours(1);

/// That an atSign is unknown is good for so long: it may come any moment, but nobody is to ask all the time.
const UNKNOWN: Duration = Duration::from_secs(2);

/// Addresses that are remembered.
const REMEMBERED: usize = 256;

/// The pauses before it is asked again.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(150),
    Duration::from_millis(200),
];

/// Questions at a time.
const AT_ONCE: usize = 4;

/// How long connecting and asking may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The longest answer.
const LONGEST: usize = 1024;

/// What the directory said of an atSign.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    At(Address),
    Nowhere,
}

/// The directory, as one server asks it.
pub(super) struct Directory {
    address: Address,
    /// Every atSign is at that address: `proxy:<host>`.
    proxy: bool,
    remembered: Mutex<HashMap<AtSign, (Known, Instant)>>,
    asking: Semaphore,
}

impl Known {
    fn address(self, at_sign: &AtSign) -> Result<Address, PeerError> {
        match self {
            Self::At(address) => Ok(address),
            Self::Nowhere => Err(PeerError::Unknown(at_sign.clone())),
        }
    }
}

impl Directory {
    /// `text` is `host:port`, or `proxy:host:port` where no directory is asked.
    pub(super) fn new(text: &str) -> Self {
        let (proxy, text) = match text.strip_prefix("proxy:") {
            Some(text) => (true, text),
            None => (false, text),
        };
        let nowhere = || Address { host: text.to_owned(), port: 64 };
        Self {
            address: Address::parse(text).unwrap_or_else(nowhere),
            proxy,
            remembered: Mutex::default(),
            asking: Semaphore::new(AT_ONCE),
        }
    }

    /// Where the server of an atSign is.
    pub(super) async fn find(
        &self,
        at_sign: &AtSign,
        tls: &rustls::ClientConfig,
    ) -> Result<Address, PeerError> {
        if self.proxy {
            return Ok(self.address.clone());
        }
        if let Some(known) = self.recall(at_sign) {
            return known.address(at_sign);
        }
        let _turn = self.asking.acquire().await.map_err(|_| PeerError::Busy)?;
        let mut pauses = PAUSES.iter();
        let found = loop {
            match self.ask(at_sign, tls).await {
                Ok(found) => break found,
                Err(error) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(PeerError::Directory(error.to_string())),
                },
            }
        };
        self.remember(at_sign, found.clone());
        found.address(at_sign)
    }

    /// Has the directory asked again: the server was not where it should be.
    pub(super) fn forget(&self, at_sign: &AtSign) {
        self.known().remove(at_sign);
    }

    async fn ask(&self, at_sign: &AtSign, tls: &rustls::ClientConfig) -> Result<Known, PeerError> {
        let target = Target { at_sign, address: &self.address };
        let mut connection = Connection::open(target, tls.clone(), PATIENCE).await?;
        let answer = connection.request(at_sign.name(), PATIENCE, LONGEST, None).await?;
        Ok(answers::address(&answer)?.map_or(Known::Nowhere, Known::At))
    }

    fn recall(&self, at_sign: &AtSign) -> Option<Known> {
        let mut known = self.known();
        let (address, since) = known.get(at_sign)?;
        let fresh = if *address == Known::Nowhere { UNKNOWN } else { FRESH };
        if since.elapsed() < fresh {
            return Some(address.clone());
        }
        known.remove(at_sign);
        None
    }

    fn remember(&self, at_sign: &AtSign, address: Known) {
        let mut known = self.known();
        if known.len() >= REMEMBERED
            && let Some(oldest) =
                known.iter().min_by_key(|(_, (_, since))| *since).map(|(key, _)| key.clone())
        {
            known.remove(&oldest);
        }
        known.insert(at_sign.clone(), (address, Instant::now()));
    }

    fn known(&self) -> MutexGuard<'_, HashMap<AtSign, (Known, Instant)>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> AtSign {
        AtSign::parse(text).expect("an atSign")
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_is_remembered_for_an_hour() {
        let directory = Directory::new("root.example.com:64");
        let address = Address::parse("bob.example.com:6464").expect("an address");
        directory.remember(&at("@bob"), Known::At(address.clone()));
        tokio::time::advance(Duration::from_mins(59)).await;
        assert_eq!(directory.recall(&at("@bob")), Some(Known::At(address)));
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(directory.recall(&at("@bob")), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_address_makes_room() {
        let directory = Directory::new("root.example.com:64");
        for number in 0..=REMEMBERED {
            directory.remember(&at(&format!("@a{number}")), Known::Nowhere);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(directory.recall(&at("@a0")), None);
        assert_eq!(directory.recall(&at(&format!("@a{REMEMBERED}"))), Some(Known::Nowhere));
    }

    #[tokio::test]
    async fn a_proxy_has_every_at_sign() {
        let directory = Directory::new("proxy:example.com:8443");
        let tls = super::super::trust::Trust::new(None).client_config(None).expect("settings");
        let address = directory.find(&at("@bob"), &tls).await.expect("an address");
        assert_eq!(address.to_string(), "example.com:8443");
    }
}
