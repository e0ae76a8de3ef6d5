//! OCI image archives made without a container engine: files laid over an empty root.
//!
//! An archive is an [OCI image layout](https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md) in a
//! tar, as `ctr images import` and `docker load` take it. It depends on nothing but its [`Image`]: the same files give
//! the same bytes, and so the same digest, on every machine of one architecture.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// Who the process in the image runs as: numeric, as an image from scratch has no `/etc/passwd`.
pub(crate) const USER: &str = "65532:65532";

/// The pod's first process; its image is built by [`pause`].
const PAUSE_SOURCE: &str = include_str!("../cluster/pause/pause.c");

/// The full name of the sandbox image that [`pause`] builds.
pub(crate) const PAUSE: &str = "docker.io/library/pause:dev";

/// One file of an image.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Where it stands in the image, without the leading slash: `usr/local/bin/atsign-operator`.
    pub(crate) path: String,
    /// The file on this machine whose content it takes.
    pub(crate) host: PathBuf,
    /// Permission bits, such as `0o755`.
    pub(crate) mode: u32,
}

/// What an image holds and how it starts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    /// The full name with its tag, as the kubelet will ask for it: `docker.io/library/atsign-operator:dev`.
    pub(crate) name: String,
    /// The files of its only layer. Parent directories come by themselves.
    pub(crate) files: Vec<Entry>,
    /// The program and its first arguments.
    pub(crate) entrypoint: Vec<String>,
    /// Environment variables, `NAME=value`.
    pub(crate) env: Vec<String>,
    /// Labels of the image's configuration.
    pub(crate) labels: BTreeMap<String, String>,
}

impl Image {
    /// The image of one of our servers: the binary at `/usr/local/bin/<program>`, which is also what starts, tagged `dev`.
    pub(crate) fn of_program(program: &str, binary: &Path) -> Self {
        Self {
            name: format!("docker.io/library/{program}:dev"),
            files: vec![Entry {
                path: format!("usr/local/bin/{program}"),
                host: binary.to_owned(),
                mode: 0o755,
            }],
            entrypoint: vec![format!("/usr/local/bin/{program}")],
            env: Vec::new(),
            labels: BTreeMap::from([("org.opencontainers.image.title".to_owned(), program.to_owned())]),
        }
    }

    /// Writes the archive to `archive` and returns the digest of the image's manifest, `sha256:…`.
    ///
    /// The file appears whole or not at all.
    ///
    /// # Errors
    /// A file of the image cannot be read, the archive cannot be written, or the name has no tag.
    pub(crate) fn write(&self, archive: &Path) -> Result<String> {
        let Some((_, tag)) = self.name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) else {
            bail!("image name {:?} has no tag", self.name);
        };
        let layer = Blob::new("application/vnd.oci.image.layer.v1.tar", self.layer()?);
        let config = Blob::json("application/vnd.oci.image.config.v1+json", &self.config(&layer));
        let manifest = Blob::json(
            "application/vnd.oci.image.manifest.v1+json",
            &json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config.descriptor(),
                "layers": [layer.descriptor()],
            }),
        );
        let mut named = manifest.descriptor();
        named["annotations"] = json!({
            "io.containerd.image.name": self.name,
            "org.opencontainers.image.ref.name": tag,
        });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [named],
        });

        let partial = archive.with_extension("partial");
        let file = File::create(&partial).with_context(|| format!("creating {}", partial.display()))?;
        let mut tar = Builder::new(BufWriter::new(file));
        append_file(&mut tar, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        append_file(&mut tar, "index.json", 0o644, index.to_string().as_bytes())?;
        append_directory(&mut tar, "blobs/")?;
        append_directory(&mut tar, "blobs/sha256/")?;
        for blob in [&manifest, &config, &layer] {
            append_file(&mut tar, &format!("blobs/sha256/{}", blob.sha256), 0o644, &blob.bytes)?;
        }
        tar.into_inner()?.into_inner()?;
        fs::rename(&partial, archive).with_context(|| format!("writing {}", archive.display()))?;
        Ok(manifest.digest())
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        let mut directories = Vec::new();
        for Entry { path, host, mode } in &self.files {
            ensure!(!path.starts_with('/'), "{path:?} must not start with a slash");
            for (end, _) in path.match_indices('/') {
                let directory = &path[..=end];
                if !directories.contains(&directory) {
                    directories.push(directory);
                    append_directory(&mut tar, directory)?;
                }
            }
            let mut content = Vec::new();
            File::open(host)
                .and_then(|mut file| file.read_to_end(&mut content))
                .with_context(|| format!("reading {}", host.display()))?;
            append_file(&mut tar, path, *mode, &content)?;
        }
        Ok(tar.into_inner()?)
    }

    fn config(&self, layer: &Blob) -> Value {
        json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "User": USER,
                "Entrypoint": self.entrypoint,
                "Env": self.env,
                "Labels": self.labels,
                "WorkingDir": "/",
            },
            // The layer is not compressed, so its digest is also its diff id.
            "rootfs": { "type": "layers", "diff_ids": [layer.digest()] },
            "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "cargo xtask" }],
        })
    }
}

/// Builds the archive of the sandbox image, [`PAUSE`], in `cache` and returns its path.
///
/// # Errors
/// There is no C compiler that links statically, or the cache cannot be written.
pub(crate) fn pause(cache: &Path) -> Result<PathBuf> {
    let archive = cache.join(format!("pause-{}.tar", &hex(&Sha256::digest(PAUSE_SOURCE))[..16]));
    if archive.exists() {
        return Ok(archive);
    }
    fs::create_dir_all(cache)?;
    let work = tempfile::tempdir_in(cache)?;
    let (source, program) = (work.path().join("pause.c"), work.path().join("pause"));
    fs::write(&source, PAUSE_SOURCE)?;
    let compiled = Command::new("cc")
        .args(["-static", "-Os", "-s", "-Wall", "-Werror", "-o"])
        .args([&program, &source])
        .output()
        .context("running cc (Debian packages gcc and libc6-dev)")?;
    ensure!(compiled.status.success(), "cc: {}", String::from_utf8_lossy(&compiled.stderr));
    Image {
        name: PAUSE.to_owned(),
        files: vec![Entry { path: "pause".to_owned(), host: program, mode: 0o755 }],
        entrypoint: vec!["/pause".to_owned()],
        ..Image::default()
    }
    .write(&archive)?;
    Ok(archive)
}

/// Imports an archive into the containerd that listens on `socket`, where the kubelet finds it.
///
/// # Errors
/// What `ctr` says.
pub(crate) fn import(socket: &Path, archive: &Path) -> Result<()> {
    let output = Command::new("ctr")
        .arg("--address")
        .arg(socket)
        .args(["--namespace", "k8s.io", "images", "import"])
        .arg(archive)
        .output()
        .context("running ctr (Debian package containerd)")?;
    ensure!(
        output.status.success(),
        "importing {}: {}",
        archive.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Content that is addressed by its hash.
struct Blob {
    media_type: &'static str,
    sha256: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        Self { media_type, sha256: hex(&Sha256::digest(&bytes)), bytes }
    }

    /// `serde_json` keeps an object's keys sorted, so equal values have equal bytes.
    fn json(media_type: &'static str, value: &Value) -> Self {
        Self::new(media_type, value.to_string().into_bytes())
    }

    fn digest(&self) -> String {
        format!("sha256:{}", self.sha256)
    }

    fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest(), "size": self.bytes.len() })
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Go's name for this machine, which is what an image's configuration uses.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn append_file(tar: &mut Builder<impl Write>, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    append(tar, path, EntryType::Regular, mode, content)
}

fn append_directory(tar: &mut Builder<impl Write>, path: &str) -> Result<()> {
    append(tar, path, EntryType::Directory, 0o755, &[])
}

/// Everything belongs to root and was made at the epoch: nothing of this machine goes into an image.
fn append(
    tar: &mut Builder<impl Write>,
    path: &str,
    kind: EntryType,
    mode: u32,
    content: &[u8],
) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content).with_context(|| format!("adding {path} to an archive"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file of an archive by its path.
    fn unpacked(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), content);
        }
        files
    }

    fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let bytes = &files[&format!("blobs/sha256/{digest}")];
        assert_eq!(hex(&Sha256::digest(bytes)), digest);
        assert_eq!(descriptor["size"], bytes.len());
        bytes
    }

    fn archive_of(image: &Image, directory: &Path) -> (String, Vec<u8>) {
        let path = directory.join("image.tar");
        let digest = image.write(&path).unwrap();
        (digest, fs::read(path).unwrap())
    }

    #[test]
    fn the_same_files_give_the_same_bytes_whenever_they_were_written() {
        let work = tempfile::tempdir().unwrap();
        let binary = work.path().join("server");
        fs::write(&binary, "content").unwrap();
        let image = Image::of_program("atsign-secondary", &binary);
        let first = archive_of(&image, work.path());
        File::options()
            .write(true)
            .open(&binary)
            .unwrap()
            .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000))
            .unwrap();
        assert!(first == archive_of(&image, work.path()));

        fs::write(&binary, "changed").unwrap();
        assert_ne!(first.0, archive_of(&image, work.path()).0);
    }

    #[test]
    fn every_blob_has_the_digest_that_the_index_the_manifest_and_the_config_give_it() {
        let work = tempfile::tempdir().unwrap();
        let binary = work.path().join("server");
        fs::write(&binary, "content").unwrap();
        let (digest, archive) = archive_of(&Image::of_program("atsign-secondary", &binary), work.path());
        let files = unpacked(&archive);

        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let named = &index["manifests"][0];
        assert_eq!(named["digest"], *digest);
        assert_eq!(
            named["annotations"]["io.containerd.image.name"],
            "docker.io/library/atsign-secondary:dev"
        );
        let manifest: Value = serde_json::from_slice(blob(&files, named)).unwrap();
        let config: Value = serde_json::from_slice(blob(&files, &manifest["config"])).unwrap();
        let layer = blob(&files, &manifest["layers"][0]);
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", hex(&Sha256::digest(layer))));
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Entrypoint"][0], "/usr/local/bin/atsign-secondary");
        let root = unpacked(layer);
        assert_eq!(root["usr/local/bin/atsign-secondary"], b"content");
        assert_eq!(
            root.keys().collect::<Vec<_>>(),
            ["usr/", "usr/local/", "usr/local/bin/", "usr/local/bin/atsign-secondary"]
        );
    }

    #[test]
    fn a_name_without_a_tag_is_refused() {
        let image = Image { name: "localhost:5000/secondary".to_owned(), ..Image::default() };
        assert!(image.write(Path::new("unused")).is_err());
    }

    #[test]
    fn the_pause_program_is_compiled_once() {
        let cache = tempfile::tempdir().unwrap();
        let archive = pause(cache.path()).unwrap();
        let built = fs::metadata(&archive).unwrap().modified().unwrap();
        assert_eq!(pause(cache.path()).unwrap(), archive);
        assert_eq!(fs::metadata(&archive).unwrap().modified().unwrap(), built);
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1);
    }
}
