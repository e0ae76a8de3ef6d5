//! A server's admin port, reached by a forwarded port: the API server's proxy keeps the header with the token to itself.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt as _;
use kube::api::Api;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::server;

/// The key of the Secret that holds the token.
const TOKEN_KEY: &str = "token";
/// Bytes of an answer's head, and of a text.
const LONGEST: u64 = 64 * 1024;
/// How long a server may say nothing: it waits for its volume as long.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The admin port of one server.
pub struct AdminPort {
    pods: Api<Pod>,
    pod: String,
    token: String,
}

/// What it answers.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Bytes of the body.
    pub length: u64,
    /// The body.
    pub body: BufReader<DuplexStream>,
}

impl AdminPort {
    /// That of the AtSign of this name.
    pub async fn open(cluster: &Cluster, name: &str) -> Result<Self> {
        let pods: Api<Pod> = cluster.api();
        let found = server::pods(&pods, name).await?;
        let pod = found.iter().find(|pod| server::is_ready(pod)).with_context(|| {
            format!(
                "no server of {name} is ready; why: kubectl atsign status {name}{}",
                cluster.namespace_flag()
            )
        })?;
        let secret = format!("{name}-admin");
        let kept = cluster.api::<Secret>().get(&secret).await;
        let kept =
            kept.with_context(|| format!("reading Secret {secret}, which has the server's admin token"))?;
        let token = kept.data.and_then(|mut data| data.remove(TOKEN_KEY));
        let token = token.with_context(|| format!("Secret {secret} has no key {TOKEN_KEY}"))?;
        Ok(Self {
            pod: pod.name_any(),
            pods,
            token: String::from_utf8(token.0)
                .with_context(|| format!("the token in Secret {secret} is no text"))?,
        })
    }

    /// Sends a request and reads the head of its answer.
    pub async fn ask(&self, method: &str, path: &str) -> Result<Answer> {
        let port = server::ADMIN_PORT;
        let mut forwarder = self
            .pods
            .portforward(&self.pod, &[port])
            .await
            .with_context(|| format!("forwarding a port of pod {} (pods/portforward)", self.pod))?;
        let mut stream = forwarder.take_stream(port).context("the port is forwarded")?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: atsign\r\nAuthorization: Bearer {}\r\n\r\n",
            self.token.trim()
        );
        stream.write_all(request.as_bytes()).await?;
        let answer = timeout(PATIENCE, head(BufReader::new(stream))).await;
        answer.context("the server does not answer")?.context("reading the server's answer")
    }
}

impl Answer {
    /// The body as a text.
    pub async fn text(self) -> Result<String> {
        let mut text = String::new();
        let mut body = self.body.take(LONGEST);
        timeout(PATIENCE, body.read_to_string(&mut text))
            .await
            .context("the server does not answer to the end")??;
        Ok(text)
    }
}

async fn head(mut stream: BufReader<DuplexStream>) -> Result<Answer> {
    let mut head = String::new();
    let mut lines = (&mut stream).take(LONGEST);
    while !head.ends_with("\r\n\r\n") {
        if lines.read_line(&mut head).await? == 0 {
            bail!("the connection ended early");
        }
    }
    let (status, length) = status_and_length(&head).context("this is no answer of an admin port")?;
    Ok(Answer { status, length, body: stream })
}

fn status_and_length(head: &str) -> Option<(u16, u64)> {
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let lengths = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = lengths.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    Some((status, lengths.next()?.1.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_length_are_read_from_an_answers_head() {
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\nContent-Length: 12\r\n\r\n";
        assert_eq!(status_and_length(head), Some((200, 12)));
        for nonsense in [
            "\r\n\r\n",
            "HTTP/1.1 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "200 200\r\ncontent-length: x\r\n\r\n",
        ] {
            assert_eq!(status_and_length(nonsense), None, "{nonsense:?}");
        }
    }
}
