//! What krew is told of the plugin: it installs what the build makes, and nothing that is not there.

use std::path::Path;

use serde_json::Value;

fn manifest() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("krew/atsign.yaml");
    serde_yaml::from_str(&std::fs::read_to_string(file).expect("the manifest")).expect("YAML")
}

#[test]
fn krew_installs_the_program_that_the_build_makes_under_the_name_that_kubectl_looks_for() {
    let plugin = manifest();
    assert_eq!(plugin["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!(plugin["kind"], "Plugin");
    let built = Path::new(env!("CARGO_BIN_EXE_kubectl-atsign")).file_name().expect("a name");
    assert_eq!(
        built.to_str(),
        Some(format!("kubectl-{}", plugin["metadata"]["name"].as_str().unwrap()).as_str())
    );
    let platforms = plugin["spec"]["platforms"].as_array().expect("platforms");
    assert!(!platforms.is_empty());
    for platform in platforms {
        let of =
            |label: &str| platform["selector"]["matchLabels"][label].as_str().expect("a selector").to_owned();
        let (os, arch) = (of("os"), of("arch"));
        assert_eq!(platform["bin"].as_str(), built.to_str(), "{os} {arch}");
        let uri = platform["uri"].as_str().expect("a uri");
        assert!(uri.ends_with(&format!("/kubectl-atsign-{os}-{arch}.tar.gz")), "{uri}");
        let sum = format!("SHA256_{os}_{arch}").to_uppercase();
        assert_eq!(platform["sha256"], *sum);
        let files: Vec<_> =
            platform["files"].as_array().expect("files").iter().map(|file| &file["from"]).collect();
        assert_eq!(files, ["kubectl-atsign", "LICENSE"], "{os} {arch}");
    }
}

#[test]
fn krew_finds_nothing_to_complain_of_in_the_words() {
    let spec = manifest()["spec"].clone();
    let short = spec["shortDescription"].as_str().expect("a short description");
    // krew's own rules for its index.
    assert!(short.len() <= 50 && !short.ends_with('.'), "{short}");
    assert!(!short.to_lowercase().contains("kubectl"), "{short}");
    // What krew cannot install is said once it has installed the rest.
    assert!(
        spec["caveats"].as_str().is_some_and(|caveats| caveats.contains("kubectl atsign install-create"))
    );
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    assert!(workspace.join("LICENSE").exists(), "it is packed");
}
