//! A session: one client from greeting to goodbye. It knows lines and prompts, who the client is, and nothing of TLS.

mod answer;
mod challenge;
pub mod lines;
mod streaming;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use atsign_protocol::access::MANAGE;
use atsign_protocol::{Access, AtError, AtSign, Command, ErrorCode, ErrorStyle, Intent, Prompt};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::sync::watch;

pub(crate) use answer::{Answer, Writer};
pub(crate) use challenge::Challenge;
pub(crate) use streaming::Streaming;

pub(crate) use lines::PATIENCE;

use self::lines::{COPIES, Line, Lines, Room};
use self::streaming::Event;
use crate::atserver::{AtServer, Limits};
use crate::connections::{KnownAs, Slot};
use crate::enrollments;
use crate::memory::{Lease, Taker};
use crate::notifications::monitor::Watching;
use crate::origin::Origin;
use crate::store::Store;
use crate::store::notifications::{Kind, Notification};
use crate::streams::Progress;
use crate::verb::{self, Requests};

/// How long a silent client stays once the server goes down: a command that is on its way is told so.
const LAST_CALL: Duration = Duration::from_millis(500);

/// How long, and for how many bytes, input is still read of a client whose command was too long. It has to stop
/// sending to read the error; closing at once would take the error away from it.
const OVERFLOW_PATIENCE: Duration = Duration::from_secs(2);

/// What the session knows of its client.
pub(crate) struct Client {
    /// `_` and a UUID, part of every challenge.
    pub(crate) session_id: String,
    /// Where it comes from.
    pub(crate) origin: Origin,
    /// Who the client has proved to be.
    pub(crate) identity: Identity,
    /// What it must sign, from `from` to `cram` or `pkam`.
    pub(crate) challenge: Option<Challenge>,
    /// Which other atSign's server it claims to be, and what that must sign, from `from` to `pol`.
    pub(crate) claim: Option<(AtSign, Challenge)>,
    /// The certificates that it showed, its own first.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    /// What it is told of, once it has asked to be.
    pub(crate) watching: Option<Box<Watching>>,
    /// What it does with a stream, once it has one.
    pub(crate) streaming: Option<Box<Streaming>>,
    /// Whether it reads errors as JSON.
    pub(crate) json_errors: bool,
    /// The enrollment by which the owner is connected, where it is one: it narrows what the client may do.
    pub(crate) access: Option<Arc<Access>>,
    /// Whether the owner proved himself by the secret of the onboarding.
    pub(crate) by_cram: bool,
    /// When this connection requested enrollments.
    pub(crate) requests: Requests,
}

/// Who a client has proved to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Nobody.
    Stranger,
    /// The atSign that the server belongs to.
    Owner,
    /// The server of another atSign.
    Peer(AtSign),
}

impl Client {
    pub(crate) fn new(origin: Origin) -> Self {
        Self {
            session_id: format!("_{}", uuid::Uuid::new_v4()),
            origin,
            identity: Identity::Stranger,
            challenge: None,
            claim: None,
            certificates: Vec::new(),
            watching: None,
            streaming: None,
            json_errors: false,
            access: None,
            by_cram: false,
            requests: Requests::default(),
        }
    }

    /// Makes a stranger of it again: what comes next has to be proved anew.
    pub(crate) fn forget(&mut self) {
        self.identity = Identity::Stranger;
        self.watching = None;
        self.access = None;
        self.by_cram = false;
    }

    /// Whether the client's enrollment, if it has one, lets it read the key stored by that name.
    pub(crate) fn may_read(&self, key: &str) -> bool {
        self.access.as_ref().is_none_or(|access| access.allows(Intent::Read, key))
    }

    /// The same of changing it, and of notifying others of it.
    pub(crate) fn may_write(&self, key: &str) -> bool {
        self.access.as_ref().is_none_or(|access| access.allows(Intent::Write, key))
    }

    /// Whether the client is told of a notification: requests of enrollments are for who decides about them.
    pub(crate) fn may_hear(&self, notification: &Notification) -> bool {
        self.access.as_ref().is_none_or(|access| hears(access, notification))
    }

    /// The error of a client whose enrollment does not let it do this with that key.
    pub(crate) fn authorize(&self, verb: &str, intent: Intent, key: &str) -> Result<(), AtError> {
        let may = match intent {
            Intent::Read => self.may_read(key),
            Intent::Write => self.may_write(key),
        };
        match &self.access {
            Some(access) if !may => Err(AtError::not_authorized(&access.enrollment_id, verb, key)),
            _ => Ok(()),
        }
    }

    /// As whom it can be sent away.
    fn known_as(&self) -> Option<KnownAs> {
        let by_enrollment = || self.access.clone().map(KnownAs::Enrollment);
        self.peer().cloned().map(KnownAs::Peer).or_else(by_enrollment)
    }

    pub(crate) fn is_owner(&self) -> bool {
        self.identity == Identity::Owner
    }

    /// The other atSign whose server it has proved to be.
    pub(crate) fn peer(&self) -> Option<&AtSign> {
        match &self.identity {
            Identity::Peer(at_sign) => Some(at_sign),
            Identity::Stranger | Identity::Owner => None,
        }
    }

    /// What stands behind an answer. Nothing on a connection that is told of notifications: their lines must not begin
    /// with anything else.
    fn prompt(&self, own: &AtSign) -> String {
        if self.watching.is_some() {
            return String::new();
        }
        let prompt = match &self.identity {
            Identity::Stranger => Prompt::Stranger,
            Identity::Owner => Prompt::Proven(own),
            Identity::Peer(at_sign) => Prompt::Proven(at_sign),
        };
        prompt.text()
    }

    fn error_style(&self) -> ErrorStyle {
        ErrorStyle { owner: self.is_owner(), json: self.json_errors }
    }

    /// Whose memory its commands and answers take.
    pub(crate) fn taker(&self) -> Taker {
        if self.is_owner() { Taker::Command } else { Taker::Guest }
    }

    fn room<'a, S>(&self, server: &'a AtServer<S>) -> Room<'a> {
        let taker = match self.identity {
            Identity::Stranger => Taker::Stranger,
            Identity::Owner | Identity::Peer(_) => self.taker(),
        };
        Room { longest: self.longest_command(&server.limits()), taker, budget: &server.budget }
    }

    fn longest_command(&self, limits: &Limits) -> usize {
        match self.identity {
            Identity::Owner => limits.proven_command,
            Identity::Peer(_) => limits.peer_command,
            Identity::Stranger => limits.stranger_command,
        }
    }
}

/// Whether clients of an enrollment are told of a notification.
pub(crate) fn hears(access: &Access, notification: &Notification) -> bool {
    match notification.kind {
        Kind::Own => access.namespaces.0.contains_key(MANAGE),
        Kind::Received | Kind::Sent => access.allows(Intent::Read, &notification.key),
    }
}

/// Serves one client until it leaves, is silent for too long, or the server goes down.
pub(crate) async fn run<S, T>(
    server: &AtServer<S>,
    stream: &mut T,
    certificates: Vec<CertificateDer<'static>>,
    slot: Slot,
    draining: watch::Receiver<bool>,
) where
    S: Store,
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    // A client that goes away in the middle is no event.
    if let Err(error) = converse(server, stream, certificates, &slot, draining).await {
        tracing::debug!(%error, "connection lost");
    }
}

async fn converse<S, T>(
    server: &AtServer<S>,
    stream: &mut T,
    certificates: Vec<CertificateDer<'static>>,
    slot: &Slot,
    mut draining: watch::Receiver<bool>,
) -> io::Result<()>
where
    S: Store,
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut client = Client { certificates, ..Client::new(slot.origin()) };
    let mut lines = Lines::default();
    let patience = server.limits().write;
    Writer::new(stream, patience).finish(&Prompt::Stranger.text()).await?;
    slot.written();
    loop {
        let room = client.room(server);
        slot.set_taker(room.taker);
        let line = tokio::select! {
            biased;
            () = slot.evicted() => return Ok(()),
            line = lines.next(stream, room) => line?,
            event = streaming::next(&mut client.streaming) => {
                let parts = (&mut *stream, &mut lines);
                // Boxed: connections without a stream carry nothing of it.
                if !Box::pin(follow(server, &client, event, parts, slot, &mut draining)).await? {
                    return Ok(());
                }
                continue;
            }
            told = next_told(server, &mut client.watching) => {
                let mut writer = Writer::new(stream, patience);
                let (told, _lease) = match told {
                    Ok(told) => told,
                    // Its enrollment has ended, or the store has nothing more to tell.
                    Err(error) => return refuse(server, &client, &mut writer, &error).await,
                };
                writer.push(told.as_bytes()).await?;
                writer.finish("").await?;
                slot.written();
                continue;
            }
            () = last_call(&mut draining) => return Ok(()),
        };
        if *draining.borrow() && !matches!(line, Line::End) {
            let paused = "Server is temporarily paused and should be available again shortly";
            let error = AtError::new(ErrorCode::ServerIsPaused, paused);
            return refuse(server, &client, &mut Writer::new(stream, patience), &error).await;
        }
        match line {
            Line::End => return Ok(()),
            Line::TooLong => {
                let text = format!("a command has at most {} bytes", room.longest);
                let error = AtError::new(ErrorCode::BufferOverflow, text);
                refuse(server, &client, &mut Writer::new(stream, patience), &error).await?;
                discard(stream, server.limits().proven_command).await;
                return Ok(());
            }
            Line::Refused(bytes) => {
                server.budget.account().want(room.taker, bytes.saturating_mul(COPIES));
                let error = no_memory_for(bytes, server.budget.limit());
                refuse(server, &client, &mut Writer::new(stream, patience), &error).await?;
                slot.written();
            }
            Line::Command(line) => {
                // Boxed: what a command needs is not kept by an idle connection.
                let writer = Writer::new(stream, patience).with(server.budget.lease(client.taker()));
                let stays = Box::pin(obey(server, &mut client, line, writer)).await?;
                if !slot.set_proven(client.is_owner(), &server.budget) {
                    let text = "Inbound connection limit exceeded";
                    let error = AtError::new(ErrorCode::InboundConnectionLimit, text);
                    return refuse(server, &client, &mut Writer::new(stream, patience), &error).await;
                }
                slot.set_known_as(client.known_as());
                slot.written();
                if !stays {
                    return Ok(());
                }
            }
        }
    }
}

/// Does what comes next of a connection's stream; false ends the session.
async fn follow<S, T>(
    server: &AtServer<S>,
    client: &Client,
    event: Event,
    (stream, lines): (&mut T, &mut Lines),
    slot: &Slot,
    draining: &mut watch::Receiver<bool>,
) -> io::Result<bool>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    match (event, client.streaming.as_deref()) {
        (Event::Bytes(Some(bytes)), _) => {
            let mut writer = Writer::new(stream, server.limits().write);
            writer.push(&bytes).await?;
            writer.finish("").await?;
            slot.written();
            return Ok(true);
        }
        (Event::Sending(Progress::Accepted(chunks)), Some(Streaming::Sending(sending))) => {
            streaming::relay(server, (stream, lines), sending, chunks, slot, draining).await?;
        }
        (Event::Sending(Progress::Done), Some(Streaming::Sending(sending))) => {
            streaming::say(server, stream, "done", &sending.id).await?;
        }
        (Event::Bytes(None) | Event::Sending(_), _) => {}
    }
    Ok(false)
}

/// What a monitoring client is told next; nothing, for ever, for others.
async fn next_told<S: Store>(
    server: &AtServer<S>,
    watching: &mut Option<Box<Watching>>,
) -> Result<(String, Option<Lease>), AtError> {
    match watching {
        // Boxed: connections that are told of nothing carry nothing of it.
        Some(watching) => Box::pin(watching.next(server)).await,
        None => std::future::pending().await,
    }
}

/// Does what a line asks for and answers it; false ends the session.
async fn obey<S, T>(
    server: &AtServer<S>,
    client: &mut Client,
    line: Vec<u8>,
    mut writer: Writer<'_, T>,
) -> io::Result<bool>
where
    S: Store,
    T: AsyncWrite + Unpin + Send,
{
    let command = match String::from_utf8(line) {
        Ok(line) => Command::parse(&line, client.is_owner()),
        Err(_) => Err(AtError::invalid_command()),
    };
    if command == Ok(Command::Exit) {
        return Ok(false);
    }
    // Another client may have revoked the enrollment, or its time may be over.
    if let Some(access) = &client.access {
        match enrollments::access(server, &access.enrollment_id).await {
            Ok((_, access)) => client.access = Some(access),
            Err(error) => {
                client.forget();
                refuse(server, client, &mut writer, &error).await?;
                return Ok(false);
            }
        }
    }
    let is_login = matches!(command, Ok(Command::Cram(_) | Command::Pkam(_)));
    let answer = match command {
        Ok(command) => verb::execute(server, client, command, &mut writer).await?,
        Err(error) => Err(error),
    };
    let answer = match answer {
        Err(error) if is_login && error.code() == ErrorCode::Unauthenticated => {
            let may_stay = server.failures.failed(client.origin).await;
            Err(if may_stay { error } else { error.and_close() })
        }
        answer => answer,
    };
    match answer {
        Ok(Answer::Nothing) => Ok(true),
        Ok(answer) => {
            writer.answer(answer).await?;
            writer.finish(&client.prompt(&server.at_sign)).await?;
            Ok(true)
        }
        // A part of the answer is out already: nothing that follows could be told from it.
        Err(_) if writer.has_sent() => Ok(false),
        Err(error) => {
            refuse(server, client, &mut writer, &error).await?;
            Ok(!error.closes())
        }
    }
}

async fn refuse<S, T>(
    server: &AtServer<S>,
    client: &Client,
    writer: &mut Writer<'_, T>,
    error: &AtError,
) -> io::Result<()>
where
    T: AsyncWrite + Unpin,
{
    writer.clear();
    writer.push(error.line(client.error_style()).as_bytes()).await?;
    writer.push(b"\n").await?;
    // Another server is told its errors as a stranger is (reference page section 1.3).
    let as_stranger = client.peer().is_some() && !error.is_of_enrollment_state();
    let prompt = if as_stranger { Prompt::Stranger.text() } else { client.prompt(&server.at_sign) };
    writer.finish(&prompt).await
}

fn no_memory_for(bytes: u64, limit: u64) -> AtError {
    let text = format!(
        "there is no room for a command of {bytes} bytes in the {limit} bytes of memory of this server; send less, or try \
         again later"
    );
    AtError::new(ErrorCode::BufferOverflow, text).and_stay()
}

async fn last_call(draining: &mut watch::Receiver<bool>) {
    // An error means that nobody can say it any more: the server is gone.
    let _ = draining.wait_for(|down| *down).await;
    tokio::time::sleep(LAST_CALL).await;
}

async fn discard<T: AsyncRead + Unpin>(stream: &mut T, most: usize) {
    let mut scrap = vec![0; 4096];
    let mut left = most;
    let reading = async {
        while left > 0 {
            match stream.read(&mut scrap).await {
                Ok(read @ 1..) => left = left.saturating_sub(read),
                _ => return,
            }
        }
    };
    let _ = tokio::time::timeout(OVERFLOW_PATIENCE, reading).await;
}
