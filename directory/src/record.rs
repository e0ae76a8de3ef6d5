//! Where a server is, as the sources write it: lines of a file, records of a Redis, resources, another directory.

use std::collections::HashMap;

use atsign_protocol::AtSign;

/// Where a secondary server listens when its address says nothing else.
const DEFAULT_PORT: u16 = 6464;

/// The longest address.
const LONGEST: usize = 260;

/// An atSign without its `@`, and its address.
pub type Record = (Box<str>, Box<str>);

/// The records of lines `alice host:port`; the error names every bad line.
pub fn lines(text: &str) -> Result<Vec<Record>, String> {
    let mut records = Vec::new();
    let mut known: HashMap<Box<str>, usize> = HashMap::new();
    let mut bad = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let content = line.split('#').next().unwrap_or_default().trim();
        if content.is_empty() {
            continue;
        }
        match record(content) {
            Err(error) => bad.push(format!("line {number}: {error}")),
            Ok((name, address)) => {
                if let Some(earlier) = known.insert(name.clone(), number) {
                    bad.push(format!("line {number}: {name} is on line {earlier} already"));
                }
                records.push((name, address));
            }
        }
    }
    if bad.is_empty() { Ok(records) } else { Err(bad.join("; ")) }
}

fn record(line: &str) -> Result<Record, String> {
    let mut words = line.split_whitespace();
    let (Some(name), Some(address), None) = (words.next(), words.next(), words.next()) else {
        return Err("expected an atSign and its address, as in `alice alice.example.com:6464`".into());
    };
    let at_sign = AtSign::parse(name).map_err(|error| error.to_string())?;
    if !is_address(address) {
        return Err(format!("{address:?} is no host:port"));
    }
    Ok((at_sign.name().into(), address.into()))
}

/// Whether a text can be sent to a client as it is: a line of its own with a port at the end.
pub fn is_address(text: &str) -> bool {
    text.len() <= LONGEST
        && !text.contains(|c: char| c.is_control() || c.is_whitespace())
        && text
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && matches!(port.parse::<u16>(), Ok(1..)))
}

/// What another directory answers to a question, line end and prompt included: an address, or that there is none. The
/// error is what it says instead.
pub fn answer(bytes: &[u8]) -> Result<Option<String>, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the answer is no text")?;
    match text.trim_end_matches('@').trim() {
        "null" => Ok(None),
        address if is_address(address) => Ok(Some(address.to_owned())),
        _ => Err("the answer is neither host:port nor null"),
    }
}

/// The address of a resource with a port: its own, or the one that secondary servers listen on. `None` for what cannot be
/// sent to a client.
pub fn published(address: &str) -> Option<String> {
    let address = match address.rsplit_once(':') {
        // The colon of a bare IPv6 address is no port's.
        Some((host, port)) if port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']')) => {
            address.to_owned()
        }
        _ if address.contains(':') && !address.starts_with('[') => format!("[{address}]:{DEFAULT_PORT}"),
        _ => format!("{address}:{DEFAULT_PORT}"),
    };
    is_address(&address).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_at_sign_and_its_address() {
        let records = lines("# demo\n\nalice a.example.com:6464\n  @🛠Bob\tb.example.com:1 # bob\n");
        let records = records.expect("good lines");
        let records: Vec<_> = records.iter().map(|(name, address)| (&**name, &**address)).collect();
        assert_eq!(records, [("alice", "a.example.com:6464"), ("🛠bob", "b.example.com:1")]);
    }

    #[test]
    fn every_bad_line_is_told_by_its_number() {
        let text = "alice a:1\nbob\ncarol c\ndave d:0\n@e@e e:1\nalice b:2\n";
        assert_eq!(
            lines(text).expect_err("five bad lines"),
            "line 2: expected an atSign and its address, as in `alice alice.example.com:6464`; \
             line 3: \"c\" is no host:port; \
             line 4: \"d:0\" is no host:port; \
             line 5: an atSign has one @ only, in front; \
             line 6: alice is on line 1 already"
        );
    }

    #[test]
    fn another_directory_gives_an_address_or_says_that_there_is_none() {
        assert_eq!(answer(b"a.example.com:6464\r\n@"), Ok(Some("a.example.com:6464".to_owned())));
        assert_eq!(answer(b"null\r\n@"), Ok(None));
        for garbage in [&b"\xff:1\r\n@"[..], b"a b:1\r\n@", b"a:1\nb:2\r\n@", b"a:0\r\n@", b"\r\n@"] {
            assert!(answer(garbage).is_err(), "{garbage:?}");
        }
    }

    #[test]
    fn an_address_without_a_port_gets_the_one_of_secondary_servers() {
        let addresses =
            ["alice.example.com", "alice.example.com:443", "10.0.0.1", "fd00::1", "[fd00::1]:443"]
                .map(|address| published(address).expect("an address"));
        assert_eq!(
            addresses,
            [
                "alice.example.com:6464",
                "alice.example.com:443",
                "10.0.0.1:6464",
                "[fd00::1]:6464",
                "[fd00::1]:443"
            ]
        );
        for garbage in ["", "two words", "a\nb"] {
            assert_eq!(published(garbage), None, "{garbage:?}");
        }
    }
}
