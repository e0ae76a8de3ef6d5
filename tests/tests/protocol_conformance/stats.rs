//! `stats` (reference page section 2.15).

use anyhow::{Context as _, Result};
use atsign_tests::network::Network;
use atsign_tests::secondary::Secondary;
use serde_json::Value;

use crate::{data, owner};

fn figures(command: &str) -> Result<Vec<Value>> {
    let answer = owner()?.request(command)?;
    let json = answer
        .strip_prefix("data: ")
        .and_then(|rest| rest.strip_suffix("\n@alice@"))
        .context(answer.clone())?;
    Ok(serde_json::from_str(json)?)
}

#[test]
fn figures_come_in_the_order_asked_for() -> Result<()> {
    let figures = figures("stats:7,4,3")?;
    let names: Vec<_> =
        figures.iter().map(|figure| (figure["id"].as_str(), figure["name"].as_str())).collect();
    assert_eq!(
        names,
        [
            (Some("7"), Some("secondaryServerVersion")),
            (Some("4"), Some("secondaryStorageSize")),
            (Some("3"), Some("lastCommitID")),
        ]
    );
    assert!(figures[0]["value"].is_string() && figures[2]["value"].is_string(), "{figures:?}");
    assert!(figures[1]["value"].as_u64() > Some(0), "{figures:?}");
    Ok(())
}

#[test]
fn the_last_commit_id_may_be_asked_of_some_keys_only() -> Result<()> {
    let mut client = owner()?;
    let id = data(&mut client, "update:stats.some@alice 1")?;
    data(&mut client, "update:stats.other@alice 1")?;
    assert_eq!(figures(r"stats:3:stats\.some")?[0]["value"], id);
    assert_eq!(figures("stats:3:stats.nothing.has.this.name")?[0]["value"], "-1");
    Ok(())
}

/// The value of a figure that is JSON in a text.
fn inner(figure: &Value) -> Result<Value> {
    Ok(serde_json::from_str(figure["value"].as_str().context("no text")?)?)
}

#[test]
fn every_figure_is_told() -> Result<()> {
    let figures = figures("stats")?;
    let names: Vec<_> = figures.iter().filter_map(|figure| figure["name"].as_str()).collect();
    assert_eq!(
        names,
        [
            "activeInboundConnections",
            "activeOutboundConnections",
            "lastCommitID",
            "secondaryStorageSize",
            "topAtSigns",
            "topKeys",
            "secondaryServerVersion",
            "LastLoggedInDatetime",
            "diskSize",
            "LastPkam",
            "NotificationCount",
            "CommitLogCompactionStats",
            "AccessLogCompactionStats",
            "NotificationCompactionStats",
            "LatestCommitEntryOfEachKey",
            "activeInboundConnectionsSummary",
            "activeInboundConnectionsDetailed",
        ]
    );
    assert!(figures[0]["value"].as_str().and_then(|count| count.parse().ok()) > Some(0_u32));
    for json in [4, 5, 8, 10, 11, 12, 13, 14] {
        assert!(inner(&figures[json])?.is_object(), "{}", figures[json]);
    }
    assert_eq!(figures[9]["value"], "Not Available");
    Ok(())
}

#[test]
fn the_commit_log_is_told_key_by_key() -> Result<()> {
    let mut client = owner()?;
    let id: i64 = data(&mut client, "update:stats.\"log\"@alice 1")?.parse()?;
    let gone: i64 = data(&mut client, "delete:stats.log.gone@alice")?.parse()?;
    let commits = inner(&figures(r"stats:15:stats\.\W?log")?[0])?;
    assert_eq!(
        commits,
        serde_json::json!({"stats.\"log\"@alice": [id, "*"], "stats.log.gone@alice": [gone, "-"]})
    );
    Ok(())
}

#[test]
fn who_came_and_what_was_looked_up_is_counted() -> Result<()> {
    let server = atsign_tests::secondary::Secondary::start("@count")?;
    let mut client = server.connect_as_owner()?;
    let mut stranger = server.connect()?;
    data(&mut client, "update:public:often@count 1")?;
    data(&mut client, "update:public:seldom@count 1")?;
    for lookup in ["often", "often", "seldom"] {
        assert_eq!(data(&mut stranger, &format!("lookup:{lookup}@count"))?, "1");
    }
    let answer = client.request("stats:5,6,8")?;
    let figures: Vec<Value> = serde_json::from_str(
        answer
            .strip_prefix("data: ")
            .and_then(|rest| rest.strip_suffix("\n@count@"))
            .context(answer.clone())?,
    )?;
    assert_eq!(inner(&figures[0])?, serde_json::json!({"@count": 1}));
    assert_eq!(inner(&figures[1])?, serde_json::json!({"often@count": 2, "seldom@count": 1}));
    assert!(figures[2]["value"].as_str().is_some_and(|time| time.ends_with('Z')), "{}", figures[2]);
    Ok(())
}

#[test]
fn notifications_are_counted_by_what_they_are() -> Result<()> {
    let server = Secondary::start("@counts")?;
    let mut client = server.connect_as_owner()?;
    for command in [
        "notify:@counts:a.wavi@counts:1",
        "notify:delete:@counts:a.wavi@counts",
        "notify:messageType:text:@counts:hello",
    ] {
        data(&mut client, command)?;
    }
    let answer = client.request("stats:11")?;
    let figures: Value =
        serde_json::from_str(answer.trim_start_matches("data:").trim_end_matches("@counts@"))?;
    let counts = inner(&figures[0])?;
    assert_eq!(counts["total"], 3);
    assert_eq!(counts["type"], serde_json::json!({"sent": 0, "received": 3}));
    assert_eq!(counts["status"], serde_json::json!({"delivered": 3, "failed": 0, "queued": 0}));
    assert_eq!(counts["operations"], serde_json::json!({"update": 2, "delete": 1}));
    assert_eq!(counts["messageType"], serde_json::json!({"key": 2, "text": 1}));
    Ok(())
}

#[test]
fn connections_are_counted_and_listed_by_who_they_are() -> Result<()> {
    let network = Network::start()?;
    let (alice, bob) = (network.join("@alice")?, network.join("@bob")?);
    let mut owner = alice.connect_as_owner()?;
    let _other_owner = alice.connect_as_owner()?;
    let _stranger = alice.connect()?;
    data(&mut owner, "update:@bob:phone.wavi@alice 1")?;
    assert_eq!(data(&mut bob.connect_as_owner()?, "lookup:phone.wavi@alice")?, "1");

    let mut told = || -> Result<Value> {
        let answer = owner.request("stats:16,17")?;
        let json = answer.strip_prefix("data: ").and_then(|rest| rest.strip_suffix("\n@alice@"));
        Ok(serde_json::from_str(json.context(answer.clone())?)?)
    };
    let figures = told()?;
    assert_eq!(figures[0]["name"], "activeInboundConnectionsSummary");
    assert_eq!(figures[1]["name"], "activeInboundConnectionsDetailed");
    // @bob's server keeps its connection, and may have another for the notification of the key.
    let (summary, details) = (&figures[0]["value"], &figures[1]["value"]);
    assert_eq!((&summary["self"], &details["self"]["count"]), (&2.into(), &2.into()), "{figures}");
    assert!(summary["other"].as_u64() >= Some(1) && summary["anon"].as_u64() >= Some(1), "{figures}");
    for (kind, from) in [("self", Value::from("@alice")), ("other", "@bob".into()), ("anon", Value::Null)] {
        let list = details[kind]["list"].as_array().context(figures.to_string())?;
        assert_eq!(details[kind]["count"].as_u64(), Some(list.len() as u64), "{figures}");
        for connection in list {
            assert_eq!(connection["from"], from, "{figures}");
            for time in ["created", "lastAccessed"] {
                let time = connection[time].as_str().context(figures.to_string())?;
                assert!(time.len() == 24 && time.contains('T') && time.ends_with('Z'), "{time}");
            }
        }
    }
    let total: u64 = ["self", "other", "anon"].iter().filter_map(|kind| summary[*kind].as_u64()).sum();
    assert_eq!(summary["total"].as_u64(), Some(total), "{figures}");
    Ok(())
}

#[test]
fn a_figure_that_does_not_exist_is_told_by_its_number() -> Result<()> {
    let answer = owner()?.request("stats:3,99")?;
    assert_eq!(
        answer,
        "error:AT0003-Invalid syntax : invalid command: No metric with ID 99: there are 1 to 17\n@alice@"
    );
    Ok(())
}
