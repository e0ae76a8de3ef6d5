//! The screen.

use atsign_crds::condition::{READY, RECONCILING, STALLED};
use jiff::Timestamp;

use super::{Server, Status};
use crate::output::{UNKNOWN, wrap};
use crate::time;
use crate::top::human;

/// How wide messages may be.
const WIDTH: usize = 92;

/// The screen, as it is at `now`.
pub fn render(status: &Status, now: Timestamp) -> String {
    let mut screen = Screen::default();
    screen.line(&format!("{}  {}", status.at_sign, headline(status, now)));
    screen.text(&status.message);
    screen.blank();
    screen.field(
        "AtSign",
        &format!("{}/{}, {} old", status.namespace, status.name, time::age(status.created.as_ref(), now)),
    );
    screen
        .field("Address", status.address.as_deref().unwrap_or("none yet: the directory does not publish it"));
    screen.field(
        "Activated",
        match status.activated {
            Some(true) => "yes: the owner has keys",
            Some(false) => "no: nobody has logged in yet",
            None => UNKNOWN,
        },
    );
    screen.field("Tier", status.tier.as_deref().unwrap_or(UNKNOWN));
    screen.field("Memory", &memory(status));
    screen.field("Storage", &storage(status));
    match &status.server {
        Some(server) => of_server(&mut screen, server, now),
        None => screen.field("Server", "no pod"),
    }
    special_conditions(&mut screen, status);
    if !status.warnings.is_empty() {
        screen.blank();
        screen.line("Warnings");
        for warning in &status.warnings {
            let times = if warning.count > 1 { format!(" ({} times)", warning.count) } else { String::new() };
            screen.line(&format!(
                "  {} ago  {} {}{times}",
                time::age(warning.last.as_ref(), now),
                warning.object,
                warning.reason
            ));
            screen.text(&format!("  {}", warning.message));
        }
    }
    if !status.next.is_empty() {
        screen.blank();
        screen.line("What to do");
        let width = status.next.iter().map(|step| step.command.chars().count()).max().unwrap_or_default();
        for step in &status.next {
            screen.line(&format!("  {:<width$}   {}", step.command, step.why));
        }
    }
    screen.0
}

fn headline(status: &Status, now: Timestamp) -> String {
    let state = match status {
        Status { deleting: true, .. } => "is being deleted".to_owned(),
        Status { ready: true, .. } => "is ready".to_owned(),
        Status { suspended: true, .. } => "is suspended".to_owned(),
        _ => format!("is not ready: {}", status.reason),
    };
    let paused = if status.paused { ", and the operator is told to leave it alone" } else { "" };
    match &status.since {
        Some(since) => format!("{state}, since {}{paused}", time::age(Some(since), now)),
        None => format!("{state}{paused}"),
    }
}

fn memory(status: &Status) -> String {
    let memory = &status.memory;
    let current = memory.current.as_deref();
    let grows = memory.recommended.as_deref().filter(|size| current != Some(size));
    listed([
        Some(used(memory.used_bytes, memory.used.as_deref(), current)),
        memory.cap.as_ref().map(|cap| format!("may grow to {cap}")),
        grows.map(|size| match &memory.placement {
            Some(placement) => format!("asks for {size} ({placement})"),
            None => format!("asks for {size}"),
        }),
        memory.last_resize_reason.as_ref().map(|reason| format!("last resized: {reason}")),
    ])
}

fn storage(status: &Status) -> String {
    let storage = &status.storage;
    let fate = match storage.deletion_policy.as_str() {
        "Delete" => "goes when the AtSign is deleted",
        _ => "stays when the AtSign is deleted",
    };
    listed([
        Some(used(storage.used_bytes, storage.used.as_deref(), storage.capacity.as_deref())),
        Some(format!("claim {}", storage.claim)),
        Some(fate.to_owned()),
    ])
}

/// `2.6Mi used of 12Mi`, exactly where the server itself says so, else about.
fn used(bytes: Option<u64>, rounded: Option<&str>, all: Option<&str>) -> String {
    let used = bytes.map(|bytes| human(bytes) + " used").or_else(|| Some(format!("about {} used", rounded?)));
    match (used, all) {
        (Some(used), Some(all)) => format!("{used} of {all}"),
        (Some(used), None) => used,
        (None, Some(all)) => all.to_owned(),
        (None, None) => "none now".to_owned(),
    }
}

fn listed<const N: usize>(parts: [Option<String>; N]) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn of_server(screen: &mut Screen, server: &Server, now: Timestamp) {
    let node = server.node.as_ref().map_or_else(String::new, |node| format!(" on node {node}"));
    let up = server
        .started
        .as_ref()
        .map_or_else(String::new, |started| format!(" for {}", time::age(Some(started), now)));
    screen.field("Server", &format!("pod {}{node}, {}{up}", server.pod, server.phase));
    let restarts = match (server.restarts, &server.last_end) {
        (0, _) => "never restarted".to_owned(),
        (times, Some(end)) => format!("restarted {times} times, the last time after: {end}"),
        (times, None) => format!("restarted {times} times"),
    };
    let version = server.version.as_ref().map_or_else(String::new, |version| format!("version {version}, "));
    screen.field("", &format!("{version}{restarts}"));
    if let (Some(connections), Some(keys), Some(notifications)) =
        (server.connections, server.keys, server.notifications_today)
    {
        screen.field(
            "",
            &format!("{connections} connections, {keys} keys, {notifications} notifications today"),
        );
    }
    if let Some(ends) = server.certificate_ends {
        let left = time::duration(ends.duration_since(now));
        let text =
            if ends > now { format!("ends in {left}") } else { "has ended: clients refuse it".to_owned() };
        screen.field("Certificate", &text);
    }
}

/// Ready, Reconciling and Stalled are the headline; the others are shown where they are true.
fn special_conditions(screen: &mut Screen, status: &Status) {
    let special = status.conditions.iter().filter(|condition| {
        condition.status == "True"
            && ![READY, RECONCILING, STALLED, "Suspended"].contains(&condition.type_.as_str())
    });
    for condition in special {
        screen.blank();
        screen.line(&format!("{}: {}", condition.type_, condition.reason));
        screen.text(&condition.message);
    }
}

#[derive(Default)]
struct Screen(String);

impl Screen {
    fn line(&mut self, line: &str) {
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }

    fn blank(&mut self) {
        self.line("");
    }

    fn text(&mut self, text: &str) {
        let indent = text.len() - text.trim_start().len() + 2;
        for line in wrap(text, WIDTH) {
            self.line(&format!("{:indent$}{line}", ""));
        }
    }

    fn field(&mut self, name: &str, value: &str) {
        self.line(&format!("  {name:<12} {value}"));
    }
}
