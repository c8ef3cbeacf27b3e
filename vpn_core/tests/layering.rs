//! Checks that the modules of `vpn_core` and of the crates inside it form layers: each imports only from layers below its own.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Where the sources are. That no crate imports from one above or beside it is the compiler's to check.
const SOURCES: &[&str] = &["proto/src", "engine/src", "system/src", "src"];

/// Module and layer, as documented in `src/lib.rs`. Modules of one layer may not import each other, except where
/// [`SIBLINGS`] says so.
const LAYERS: &[(&str, u8)] = &[
    ("base", 0),
    ("asymmetric", 1),
    ("symmetric", 1),
    ("wire", 1),
    ("handshake", 2),
    ("session", 2),
    ("tunnel", 3),
    ("routing", 3),
    ("device", 4),
    ("local_tun", 5),
    ("udp", 5),
    ("gateway", 5),
    ("routes", 5),
    ("network", 5),
    ("kill_switch", 5),
    ("dns", 5),
    ("journal", 5),
    ("engine", 6),
    ("config", 7),
    ("control", 7),
    ("node", 7),
    ("uapi", 7),
    ("cli", 7),
];

/// Arrows inside a layer, from module to module.
const SIBLINGS: &[(&str, &str)] = &[
    ("wire", "asymmetric"), // sizes of keys and ciphertexts
    ("wire", "symmetric"),  // sizes of tags and nonces, suites
    ("session", "handshake"),
    ("gateway", "journal"),
    ("routes", "journal"),
    ("network", "journal"), // its netlink socket
    ("kill_switch", "journal"),
    ("kill_switch", "routes"), // what is reached beside the tunnel, and the mark of our datagrams
    ("dns", "journal"),
    ("dns", "network"), // macOS: the uplink
    ("node", "config"),
    ("node", "control"),
    ("uapi", "control"), // how a socket is made that only its owner may use
    ("cli", "config"),
    ("cli", "control"),
    ("cli", "node"),
];

#[test]
fn modules_import_only_from_layers_below() {
    let layers: BTreeMap<&str, u8> = LAYERS.iter().copied().collect();
    let mut wrong = Vec::new();
    for path in modules() {
        let name = path.file_stem().expect("entries have names").to_string_lossy().into_owned();
        if name == "lib" {
            continue;
        }
        let Some(own) = layers.get(name.as_str()) else {
            wrong.push(format!("module {name} has no layer in the table"));
            continue;
        };
        for (file, text) in rust_files(&path) {
            for target in crate_imports(&text) {
                let allowed = target == name
                    || SIBLINGS.contains(&(name.as_str(), target.as_str()))
                    || layers.get(target.as_str()).is_some_and(|layer| layer < own);
                if !allowed {
                    wrong.push(format!("{file}: {name} (layer {own}) imports {target}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that the layers do not allow:\n{}", wrong.join("\n"));
}

#[test]
fn clocks_sleep_and_global_randomness_stay_above_layer_4() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/src");
    let mut wrong = Vec::new();
    for (name, _) in LAYERS.iter().filter(|(_, layer)| *layer <= 4) {
        let files = rust_files(&source.join(name));
        assert!(!files.is_empty(), "{name} is in {}", source.display());
        for (file, text) in files {
            if file.ends_with("/tests.rs") {
                continue; // A module's tests that have a file of their own.
            }
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for forbidden in
                ["Instant::now", "SystemTime::now", "SysRng", "thread::sleep", "std::fs", "UdpSocket"]
            {
                if code.contains(forbidden) {
                    wrong.push(format!("{file}: {forbidden}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "I/O, clock or randomness below layer 5:\n{}", wrong.join("\n"));
}

/// The files and folders of all modules.
fn modules() -> Vec<PathBuf> {
    let crates = SOURCES.iter().map(|source| Path::new(env!("CARGO_MANIFEST_DIR")).join(source));
    crates
        .flat_map(|source| fs::read_dir(source).expect("src is readable"))
        .map(|entry| entry.expect("src is readable").path())
        .collect()
}

fn rust_files(path: &Path) -> Vec<(String, String)> {
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("module folders are readable");
        return entries.flat_map(|entry| rust_files(&entry.expect("readable").path())).collect();
    }
    if path.extension().is_some_and(|extension| extension == "rs") {
        let text = fs::read_to_string(path).expect("source is readable");
        return vec![(path.display().to_string(), text)];
    }
    Vec::new()
}

/// The top-level modules that `text` names behind `crate::`, in lists too.
fn crate_imports(text: &str) -> Vec<String> {
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut item = String::new();
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => found.push(std::mem::take(&mut item)),
                    _ => {}
                }
                if depth == 0 && c != ',' {
                    item.push(c);
                }
            }
            found.push(item);
        } else {
            found.push(rest.to_owned());
        }
    }
    let name = |item: String| -> String {
        item.trim()
            .chars()
            .take_while(|c| c.is_ascii_lowercase() || *c == '_' || c.is_ascii_digit())
            .collect()
    };
    found.into_iter().map(name).filter(|name| !name.is_empty()).collect()
}

#[test]
fn the_scanner_sees_every_form_of_import() {
    let text = "use crate::a::B;\nuse crate::{b::{C, D}, c};\nfn f() { crate::d::g() } // crate::not_code";
    assert_eq!(crate_imports(text), ["a", "b", "c", "d"]);
}
