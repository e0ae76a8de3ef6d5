//! Addresses from a file of lines `alice host:port`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use atsign_protocol::AtSign;
use tracing::{info, warn};

use crate::address_book::{AddressBook, Entries, Origin};

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Reads the file, and returns what reads it again whenever it changes.
///
/// # Errors
/// The file cannot be read, or lines of it are bad; later, that is a warning and what was read before stays.
pub fn open(path: PathBuf, book: Arc<AddressBook>) -> Result<impl Future<Output = ()>> {
    let mut text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    book.replace(parse(&text).with_context(|| path.display().to_string())?);
    Ok(async move {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let Ok(new) = std::fs::read_to_string(&path) else { continue };
            if new == text {
                continue;
            }
            match parse(&new) {
                Ok(entries) => {
                    info!(file = %path.display(), addresses = entries.len(), "read the addresses again");
                    book.replace(entries);
                }
                Err(error) => warn!(file = %path.display(), "the addresses stay as they were: {error:#}"),
            }
            text = new;
        }
    })
}

/// The entries of `text`; the error names every bad line.
fn parse(text: &str) -> Result<Entries> {
    let mut entries = Entries::new();
    let mut lines: HashMap<Box<str>, usize> = HashMap::new();
    let mut bad = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let content = line.split('#').next().unwrap_or_default().trim();
        if content.is_empty() {
            continue;
        }
        match parse_line(content) {
            Err(error) => bad.push(format!("line {number}: {error}")),
            Ok((name, address)) => {
                if let Some(earlier) = lines.insert(name.clone(), number) {
                    bad.push(format!("line {number}: {name} is on line {earlier} already"));
                }
                entries.insert((name, Origin::default()), address);
            }
        }
    }
    if !bad.is_empty() {
        bail!("{}", bad.join("; "));
    }
    Ok(entries)
}

fn parse_line(line: &str) -> Result<(Box<str>, Box<str>), String> {
    let mut words = line.split_whitespace();
    let (Some(name), Some(address), None) = (words.next(), words.next(), words.next()) else {
        return Err("expected an atSign and its address, as in `alice alice.example.com:6464`".into());
    };
    let at_sign = AtSign::parse(name).map_err(|e| e.to_string())?;
    let port =
        address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    if !matches!(port, Some(Ok(1..))) {
        return Err(format!("{address:?} is no host:port"));
    }
    Ok((at_sign.name().into(), address.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_at_sign_and_its_address() {
        let entries = parse("# demo\n\nalice a.example.com:6464\n  @🛠Bob\tb.example.com:1 # bob\n")
            .expect("good lines");
        let entries: Vec<_> = entries.iter().map(|((name, _), address)| (&**name, &**address)).collect();
        assert_eq!(entries, [("alice", "a.example.com:6464"), ("🛠bob", "b.example.com:1")]);
    }

    #[test]
    fn every_bad_line_is_told_by_its_number() {
        let text = "alice a:1\nbob\ncarol c\ndave d:0\n@e@e e:1\nalice b:2\n";
        let error = parse(text).expect_err("five bad lines").to_string();
        assert_eq!(
            error,
            "line 2: expected an atSign and its address, as in `alice alice.example.com:6464`; \
             line 3: \"c\" is no host:port; \
             line 4: \"d:0\" is no host:port; \
             line 5: an atSign has one @ only, in front; \
             line 6: alice is on line 1 already"
        );
    }
}
