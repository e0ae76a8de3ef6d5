//! `batch` (reference page section 2.17).

use anyhow::Result;
use serde_json::json;

use crate::{data, owner};

#[test]
fn every_command_is_answered_by_its_id() -> Result<()> {
    let mut client = owner()?;
    let commands = json!([
        {"id": 1, "command": "update:batch.a@alice a value with spaces"},
        {"id": 2, "command": "llookup:batch.none@alice"},
        {"id": 3, "command": "hello"},
        {"id": 4, "command": "from:@alice"},
        {"id": 5, "command": "llookup:batch.a@alice"},
        {"id": 6, "command": "update:batch.a@bob 1"},
        {"id": 7, "command": "delete:batch.a@alice"},
        {"id": 9, "command": "llookup:batch.a@alice"},
        {"id": 9, "command": "delete:public:publickey@alice"},
    ]);
    let mut answers = crate::json(&mut client, &format!("batch:{commands}"))?;
    for index in [0, 6] {
        let id = answers[index]["response"]["data"].take();
        assert!(id.as_str().is_some_and(|id| id.parse::<i64>().is_ok()), "{id}");
    }
    let error = |code, message| json!({"error_code": code, "error_message": message});
    assert_eq!(
        answers,
        json!([
            {"id": 1, "response": {"data": null}},
            {"id": 2, "response": error("AT0015", "key not found")},
            {"id": 3, "response": error("AT0003", "Invalid syntax")},
            {"id": 4, "response": error("AT0003", "Invalid syntax")},
            {"id": 5, "response": {"data": "a value with spaces"}},
            {"id": 6, "response": error("AT0016", "Invalid key")},
            {"id": 7, "response": {"data": null}},
            {"id": 9, "response": error("AT0015", "key not found")},
            {"id": 9, "response": error("AT0009", "UnAuthorized client in request")},
        ])
    );
    Ok(())
}

#[test]
fn commands_on_one_key_keep_their_order() -> Result<()> {
    let mut client = owner()?;
    let commands: Vec<_> = (0..200)
        .map(|id| json!({"id": id, "command": format!("update:batch.order{}@alice {id}", id % 3)}))
        .collect();
    let answers = crate::json(&mut client, &format!("batch:{}", serde_json::to_string(&commands)?))?;
    let ids: Vec<_> = answers.as_array().into_iter().flatten().map(|answer| answer["id"].as_i64()).collect();
    assert_eq!(ids, (0..200).map(Some).collect::<Vec<_>>());
    for (key, value) in [(0, "198"), (1, "199"), (2, "197")] {
        assert_eq!(data(&mut client, &format!("llookup:batch.order{key}@alice"))?, value);
    }
    Ok(())
}

#[test]
fn what_is_read_in_a_batch_is_what_was_done_before_it() -> Result<()> {
    let mut client = owner()?;
    for (prefix, read) in [
        ("", "llookup:batch.read@alice"),
        ("@alice:", "lookup:batch.read@alice"),
        ("public:", "plookup:batch.read@alice"),
    ] {
        let answers = crate::json(
            &mut client,
            &format!(
                "batch:{}",
                json!([
                    {"id": 1, "command": format!("update:{prefix}batch.read@alice 1")},
                    {"id": 2, "command": read},
                    {"id": 3, "command": format!("delete:{prefix}batch.read@alice")},
                    {"id": 4, "command": read},
                ])
            ),
        )?;
        assert_eq!(answers[1]["response"]["data"], "1", "{read}");
        assert_eq!(answers[3]["response"]["error_code"], "AT0015", "{read}");
    }
    Ok(())
}

#[test]
fn what_is_no_batch_is_refused() -> Result<()> {
    let mut client = owner()?;
    for (command, error) in [
        ("batch:", "error:AT0003-"),
        ("batch:[", "error:AT0011-"),
        ("batch:{}", "error:AT0011-"),
        (r#"batch:[{"id":1}]"#, "error:AT0011-"),
    ] {
        assert!(client.request(command)?.starts_with(error), "{command}");
    }
    assert_eq!(data(&mut client, "batch:[]")?, "[]");
    assert!(crate::stranger()?.request("batch:[]")?.starts_with("error:AT0401-"));
    Ok(())
}
