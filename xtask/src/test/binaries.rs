//! Rust's test programs: compiled once by cargo, then run by us, on the machine or inside a cluster's network.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::Tally;
use crate::progress::step;
use crate::servers::cargo;

/// A test program that says nothing for so long will never end: the longest test of any takes half of it. The soak's take
/// hours.
const SILENCE: Duration = Duration::from_mins(10);
const SILENCE_OF_THE_SOAK: Duration = Duration::from_hours(12);

/// A compiled test program.
#[derive(Debug)]
pub(super) struct TestBinary {
    /// The cargo target that it is made from: a file of `tests/`, a library, a binary.
    pub(super) target: String,
    /// The program.
    pub(super) executable: PathBuf,
    /// Its package's folder, which cargo makes the working directory.
    package: PathBuf,
}

/// Compiles the tests of the whole workspace.
///
/// # Errors
/// They do not compile.
pub(super) fn compile() -> Result<Vec<TestBinary>> {
    step("tests", "compiling the tests of the workspace", || compile_these(&["--workspace"]))
}

/// Compiles the tests that run in a cluster, of whatever package.
///
/// # Errors
/// They do not compile.
pub(super) fn compile_those_of_the_cluster() -> Result<Vec<TestBinary>> {
    step("tests", "compiling the tests of the cluster", || {
        compile_these(&["--workspace", "--test", "cluster_*"])
    })
}

/// Compiles one target of one package.
///
/// # Errors
/// It does not compile.
pub(super) fn compile_one(package: &str, target: &str) -> Result<TestBinary> {
    let tests = step("tests", &format!("compiling {target}"), || {
        compile_these(&["--package", package, "--test", target])
    })?;
    tests.into_iter().next().context("cargo names no test program")
}

fn compile_these(which: &[&str]) -> Result<Vec<TestBinary>> {
    let output = cargo()
        .arg("test")
        .args(which)
        .args(["--no-run", "--message-format=json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("running cargo")?;
    ensure!(output.status.success(), "the tests do not compile: see above");
    let mut tests: Vec<_> = output.stdout.split(|&byte| byte == b'\n').filter_map(test_binary).collect();
    tests.sort_by(|one, other| (&one.package, &one.target).cmp(&(&other.package, &other.target)));
    Ok(tests)
}

/// One line of cargo's report, if it is about a test program.
fn test_binary(line: &[u8]) -> Option<TestBinary> {
    let message: Value = serde_json::from_slice(line).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    Some(TestBinary {
        target: message["target"]["name"].as_str()?.to_owned(),
        executable: message["executable"].as_str()?.into(),
        package: PathBuf::from(message["manifest_path"].as_str()?).parent()?.to_owned(),
    })
}

impl TestBinary {
    /// Runs it by `command`, which starts the program in whatever surroundings, and counts.
    pub(super) fn run(
        &self,
        mut command: Command,
        filter: Option<&str>,
        environment: &[(&str, PathBuf)],
    ) -> Tally {
        println!("\n--- {} ({})", self.target, self.package.file_name().unwrap_or_default().display());
        command.args(filter).current_dir(&self.package).env("CARGO_MANIFEST_DIR", &self.package);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let is_soak = environment.iter().any(|(name, _)| *name == "ATSIGN_SOAK");
        count(command, if is_soak { SILENCE_OF_THE_SOAK } else { SILENCE })
    }
}

/// The examples in the documentation, which only cargo knows how to run.
pub(super) fn documentation() -> Tally {
    println!("\n--- examples in the documentation");
    let mut command = cargo();
    command.args(["test", "--quiet", "--workspace", "--doc"]);
    count(command, SILENCE)
}

/// Shows what a test program prints, and adds up what it says at the end. One that dies before that has failed, and so has
/// one that says nothing for `silence`.
fn count(mut command: Command, silence: Duration) -> Tally {
    let mut tally = Tally::default();
    let ran = command.stdout(Stdio::piped()).spawn().context("starting a test program");
    let succeeded = ran.and_then(|mut child| {
        let listened = listen(&mut child, silence, |line| {
            if let Some(found) = result_line(line) {
                tally += found;
            }
        });
        if listened.is_err() {
            // The servers that it started notice, and end.
            child.kill()?;
        }
        let status = child.wait()?;
        listened.map(|()| status.success())
    });
    let succeeded = succeeded.unwrap_or_else(|error| {
        eprintln!("FAILED: {error:#}");
        false
    });
    if !succeeded && tally.failed == 0 {
        tally.failed = 1;
    }
    tally
}

/// Shows each line that it prints, until it ends.
fn listen(child: &mut Child, silence: Duration, mut heard: impl FnMut(&str)) -> Result<()> {
    let output = child.stdout.take().context("a pipe")?;
    let (lines, said) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n') {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
    loop {
        match said.recv_timeout(silence) {
            Ok(line) => {
                let line = String::from_utf8_lossy(&line?).into_owned();
                heard(&line);
                writeln!(std::io::stdout(), "{line}")?;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                bail!("the test program said nothing for {} s: one of its tests hangs", silence.as_secs_f32())
            }
        }
    }
}

/// `test result: ok. 3 passed; 0 failed; 0 ignored; …`
fn result_line(line: &str) -> Option<Tally> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |what: &str| {
        rest.split(['.', ';']).find_map(|part| part.trim().strip_suffix(what)?.trim().parse::<u64>().ok())
    };
    Some(Tally { passed: number(" passed")?, failed: number(" failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_harness_says_is_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(result_line(line), Some(Tally { passed: 12, failed: 3 }));
        assert_eq!(result_line("running 3 tests"), None);
    }

    #[test]
    fn a_program_that_dies_without_a_result_has_failed() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'running 1 test'; kill -9 $$"]);
        assert_eq!(count(command, SILENCE), Tally { passed: 0, failed: 1 });
    }

    #[test]
    fn a_program_that_hangs_has_failed_and_is_ended() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'test result: ok. 1 passed; 0 failed'; exec sleep 1000"]);
        assert_eq!(count(command, Duration::from_millis(500)), Tally { passed: 1, failed: 1 });
    }
}
