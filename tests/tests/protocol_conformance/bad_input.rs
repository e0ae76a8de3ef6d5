//! What a person gets for each wrong line, word for word.

use anyhow::Result;

use crate::{owner, stranger};

/// Lines of a stranger.
const OF_A_STRANGER: &[(&str, &str)] = &[
    ("hello", "AT0003-Exception: invalid command"),
    ("sync:from:-1:limit:10", "AT0401-Exception: Command cannot be executed without auth"),
    ("batch:[]", "AT0401-Exception: Command cannot be executed without auth"),
    ("config:block:show", "AT0401-Exception: Command cannot be executed without auth"),
    ("from", "AT0003-Exception: invalid command: this verb needs an argument"),
    ("from:", "AT0003-Exception: invalid command: this verb needs an argument"),
    ("from:@", "AT0003-Exception: invalid command: from needs one atSign"),
    ("from:@a@b", "AT0003-Exception: invalid command: from needs one atSign"),
    ("from:@alice:x", "AT0003-Exception: invalid command: only clientConfig may follow the atSign"),
    ("from:@alice:clientConfig:{", "AT0003-Exception: invalid command: clientConfig is no valid JSON object"),
    ("cram:", "AT0003-Exception: invalid command: this verb needs an argument"),
    ("pkam:signingAlgo:rsa2048:", "AT0003-Exception: invalid command: pkam needs a signature"),
    ("pkam:enrollmentId:42:c2ln", "AT0028:enrollment_id: 42 is expired or invalid"),
    ("update:x@alice 1", "AT0401-Exception: Command cannot be executed without auth"),
    ("update:meta:x@alice:ttl:1", "AT0401-Exception: Command cannot be executed without auth"),
    ("delete:x@alice", "AT0401-Exception: Command cannot be executed without auth"),
    ("llookup:x@alice", "AT0401-Exception: Command cannot be executed without auth"),
    ("plookup:x@alice", "AT0401-Exception: Command cannot be executed without auth"),
    ("stats:3", "AT0401-Exception: Command cannot be executed without auth"),
    ("lookup:none@alice", "AT0015-Exception: public:none@alice does not exist in keystore"),
    ("lookup:x@bob", "AT0015-Exception: public:x@bob does not exist in keystore"),
    ("lookup:public:x@alice", "AT0003-Exception: invalid command: the key stands here without its prefix"),
    ("lookup:x", "AT0003-Exception: invalid command: the key does not end with @ and its owner"),
    ("lookup:@alice", "AT0003-Exception: invalid command: the key has no name"),
    (
        "lookup:bypassCache:maybe:x@alice",
        "AT0003-Exception: invalid command: bypassCache is neither true nor false",
    ),
    ("scan@", "AT0003-Exception: invalid command"),
    ("scan:@bob", "AT0401-Exception: Scan to another atSign cannot be performed without auth"),
    ("scan:showhidden:1", "AT0003-Exception: invalid command: showhidden is neither true nor false"),
    ("info:long", "AT0003-Exception: invalid command: info knows brief, mtls and mtlsbrief"),
    ("noop:", "AT0003-Exception: invalid command: this verb needs an argument"),
    ("noop:x", "AT0003-Exception: invalid command: noop needs a number of milliseconds"),
    (
        "noop:5001",
        "AT0022-Exception: noop:<durationInMillis> where the duration maximum is 5000 milliseconds",
    ),
];

/// Lines of the owner.
const OF_THE_OWNER: &[(&str, &str)] = &[
    ("hello", "AT0003-Invalid syntax : invalid command"),
    ("sync:5", "AT0003-Invalid syntax : invalid command: sync knows sync:from only"),
    ("sync:from:x", "AT0003-Invalid syntax : invalid command: sync has a number missing"),
    ("batch:", "AT0003-Invalid syntax : invalid command: this verb needs an argument"),
    ("config:block:add:bob", "AT0003-Invalid syntax : invalid command: an atSign begins with @"),
    ("config:block:list", "AT0003-Invalid syntax : invalid command: config:block knows add, remove and show"),
    ("config:set:autoNotify=5", "AT0022-Illegal arguments : this is no value of autoNotify"),
    ("config:print:none", "AT0011-Internal server exception : there is no setting of that name"),
    ("update:x@alice", "AT0003-Invalid syntax : invalid command: no value after the key"),
    ("update:x@alice ", "AT0003-Invalid syntax : invalid command: no value after the key"),
    ("update:ttl:-1:x@alice 1", "AT0003-Invalid syntax : invalid command: ttl cannot be less than 0"),
    ("update:ttb:-1:x@alice 1", "AT0003-Invalid syntax : invalid command: ttb cannot be less than 0"),
    ("update:ttr:-2:x@alice 1", "AT0003-Invalid syntax : invalid command: ttr cannot be less than -1"),
    ("update:ttl:soon:x@alice 1", "AT0003-Invalid syntax : invalid command: ttl is no number"),
    (
        "update:isBinary:maybe:x@alice 1",
        "AT0003-Invalid syntax : invalid command: isBinary is neither true nor false",
    ),
    ("update:ttl:1:ttl:2:x@alice 1", "AT0003-Invalid syntax : invalid command: ttl stands twice"),
    (
        "update:colour:red:x@alice 1",
        "AT0003-Invalid syntax : invalid command: ':' cannot stand in the name of a key",
    ),
    ("update:x 1", "AT0016-Invalid key : x has no owner"),
    (
        "update:x@bob 1",
        "AT0016-Invalid key : Invalid update command - sharedBy atsign @bob should be same as current atsign @alice",
    ),
    ("update:a,b@alice 1", "AT0016-Invalid key : a,b@alice is not a valid key: it contains ','"),
    ("update:tür@alice 1", "AT0016-Invalid key : tür@alice is not a valid key: it contains 'ü'"),
    (
        "update:cached:public:x@alice 1",
        "AT0003-Invalid syntax : invalid command: only public, shared and own keys can be updated",
    ),
    (
        "update:private:x@alice 1",
        "AT0003-Invalid syntax : invalid command: only public, shared and own keys can be updated",
    ),
    (
        "update:privatekey:at_secret 1",
        "AT0003-Invalid syntax : invalid command: the key does not end with @ and its owner",
    ),
    ("update:json:{", "AT0003-Invalid syntax : invalid command: update:json has no valid JSON object"),
    (
        r#"update:json:{"atKey":"x","value":"1"}"#,
        "AT0003-Invalid syntax : invalid command: metadata is missing",
    ),
    (
        r#"update:json:{"atKey":"cached:x","value":"1","metadata":{}}"#,
        "AT0016-Invalid key : You may not update keys of type KeyType.cachedSharedKey",
    ),
    (
        r#"update:json:{"atKey":"local:x","value":"1","metadata":{}}"#,
        "AT0016-Invalid key : You may not update keys of type KeyType.localKey",
    ),
    (
        "update:meta:x:ttl:1",
        "AT0003-Invalid syntax : invalid command: the key does not end with @ and its owner",
    ),
    ("update:meta:x@alice:ttl", "AT0003-Invalid syntax : invalid command: a metadata field has no value"),
    ("llookup:none@alice", "AT0015-key not found : none@alice does not exist in keystore"),
    ("llookup:none", "AT0003-Invalid syntax : invalid command: the key does not end with @ and its owner"),
    ("llookup:a b@alice", "AT0003-Invalid syntax : invalid command: ' ' cannot stand in the name of a key"),
    ("lookup:none@alice", "AT0015-key not found : @alice:none@alice does not exist in keystore"),
    ("plookup:none@alice", "AT0015-key not found : public:none@alice does not exist in keystore"),
    ("plookup:x@a@b", "AT0003-Invalid syntax : invalid command: '@' cannot stand in the name of a key"),
    (
        "plookup:x@alice@@",
        "AT0003-Invalid syntax : invalid command: an atSign needs at least one character after the @",
    ),
    ("delete:x", "AT0016-Invalid key : x has no owner"),
    (
        "delete:public:publickey@alice",
        "AT0009-UnAuthorized client in request : Cannot delete protected key: 'public:publickey@alice'",
    ),
    (
        "delete:privatekey:at_pkam_publickey",
        "AT0003-Invalid syntax : invalid command: the key does not end with @ and its owner",
    ),
    (
        "delete:private:x@alice",
        "AT0003-Invalid syntax : invalid command: keys of the server itself cannot be deleted",
    ),
    ("stats:0", "AT0003-Invalid syntax : invalid command: a stats id is a number from 1"),
    ("stats:-1", "AT0003-Invalid syntax : invalid command: a stats id is a number from 1"),
    ("stats:99", "AT0003-Invalid syntax : invalid command: No metric with ID 99: there are 1 to 17"),
];

#[test]
fn each_wrong_line_of_a_stranger_has_its_error_and_the_connection_stays() -> Result<()> {
    let mut client = stranger()?;
    for (line, error) in OF_A_STRANGER {
        assert_eq!(client.request(line)?, format!("error:{error}\n@"), "{line}");
    }
    assert_eq!(client.request("noop:0")?, "data:ok\n@");
    Ok(())
}

#[test]
fn each_wrong_line_of_the_owner_has_its_error_and_the_connection_stays() -> Result<()> {
    let mut client = owner()?;
    for (line, error) in OF_THE_OWNER {
        assert_eq!(client.request(line)?, format!("error:{error}\n@alice@"), "{line}");
    }
    assert_eq!(client.request("noop:0")?, "data:ok\n@alice@");
    Ok(())
}

#[test]
fn a_regex_that_is_none_is_refused() -> Result<()> {
    let answer = stranger()?.request("scan (")?;
    assert!(
        answer.starts_with("error:AT0003-Exception: invalid command: the regex is not valid"),
        "{answer}"
    );
    Ok(())
}

#[test]
fn a_key_longer_than_allowed_is_refused_with_both_lengths() -> Result<()> {
    let mut client = owner()?;
    let longest = "k".repeat(248 - "@alice".len());
    assert!(client.request(&format!("update:{longest}@alice 1"))?.starts_with("data:"));
    assert_eq!(
        client.request(&format!("update:{longest}k@alice 1"))?,
        "error:AT0016-Invalid key : key length 249 is greater than max allowed 248 chars\n@alice@"
    );
    client.request(&format!("delete:{longest}@alice"))?;
    Ok(())
}

#[test]
fn what_is_no_atsign_at_all_closes_the_connection() -> Result<()> {
    let mut client = stranger()?;
    client.send(b"from:al!ice\n")?;
    assert_eq!(client.rest()?, "error:AT0011-Exception: an atSign cannot contain the character '!'\n@");
    Ok(())
}

#[test]
fn a_client_that_reads_json_gets_the_same_words_in_json() -> Result<()> {
    let mut client = stranger()?;
    client.request(r#"from:@alice:clientConfig:{"version":"3.0.45","clientId":"x"}"#)?;
    assert_eq!(
        client.request("lookup:none@alice")?,
        "error:{\"errorCode\":\"AT0015\",\"errorDescription\":\"Exception: public:none@alice does not exist in keystore\"}\n@"
    );
    client.request(r#"from:@alice:clientConfig:{"version":"3.0.37"}"#)?;
    assert!(client.request("lookup:none@alice")?.starts_with("error:AT0015-Exception: "));
    Ok(())
}

#[test]
fn no_bytes_at_all_end_the_server() -> Result<()> {
    // Pieces of commands in an order that nobody wrote down; the same in every run.
    const PIECES: &[&[u8]] = &[
        b"update:",
        b"update:meta:",
        b"update:json:",
        b"delete:",
        b"lookup:",
        b"llookup:",
        b"plookup:",
        b"scan:",
        b"scan ",
        b"stats:",
        b"pkam:",
        b"cram:",
        b"noop:",
        b"public:",
        b"cached:",
        b"privatekey:at_secret",
        b"@alice",
        b"@bob:",
        b"@",
        b":",
        b" ",
        b"ttl:",
        b"null",
        b"-1",
        b"99999999999999999999",
        b"{\"atKey\":",
        b"[[[[",
        b"\"",
        b"\xff\xfe",
        b"\0",
        b"\xf0\x9f\xa6\x84",
        b"meta:",
        b"all:",
        b"bypassCache:",
        b"signingAlgo:",
        b"enrollmentId:",
        b"cAt:",
        b"(a*)*",
        b"x",
        b"\r",
    ];
    let mut state = 42_u64;
    for mut client in [stranger()?, owner()?] {
        for _ in 0..500 {
            let mut line = Vec::new();
            for _ in 0..8 {
                // A linear congruential generator; its upper bits are good enough to choose by.
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let choice = usize::try_from(state >> 33)? % (PIECES.len() + 8);
                line.extend_from_slice(PIECES.get(choice).copied().unwrap_or_default());
            }
            line.push(b'\n');
            client.send(&line)?;
            let answer = client.answer()?;
            assert!(answer.starts_with("data:") || answer.starts_with("error:"), "{line:?}: {answer}");
        }
    }
    assert_eq!(stranger()?.request("noop:0")?, "data:ok\n@");
    Ok(())
}
