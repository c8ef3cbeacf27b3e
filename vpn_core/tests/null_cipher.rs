//! No release build can be without a cipher: the module that says so is compiled as each kind of build would.

use std::{path::Path, process::Command};

/// Whether the module compiles, and what the compiler says.
fn compiles(options: &[&str]) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/src/symmetric/null_cipher.rs");
    let output = Command::new(Path::new(env!("CARGO")).with_file_name("rustc"))
        .args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "--out-dir"])
        .arg(folder.path())
        .args(options)
        .arg(module)
        .output()
        .expect("the compiler is beside cargo");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_release_build_without_a_cipher_does_not_compile() {
    let (compiled, said) = compiles(&["--cfg", "null_cipher", "-C", "opt-level=3"]);
    assert!(!compiled && said.contains("no release build may have it"), "{said}");
}

#[test]
fn other_builds_compile() {
    for options in [&["-C", "opt-level=3"][..], &["--cfg", "null_cipher", "-C", "debug-assertions=yes"]] {
        let (compiled, said) = compiles(options);
        assert!(compiled, "{options:?}: {said}");
    }
}

#[test]
fn this_build_has_a_cipher() {
    const { assert!(!vpn_core::symmetric::NULL_CIPHER) };
}
