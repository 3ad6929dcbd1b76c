//! The house rules that a compiler does not know: layers, sizes, unsafe, words.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of the library; each line uses only itself and the lines above it.
const LAYERS: [&[&str]; 12] = [
    &["limits", "clock"],
    &["metrics", "config"],
    &["log"],
    &["ts", "http", "ring"],
    &["egress"],
    &["upstream", "viewer"],
    &["stream"],
    &["resource", "door"],
    &["worker"],
    &["notify", "side", "operator"],
    &["boot"],
    &["cli"],
];

/// What the repository's top level holds, and nothing else.
const TOP_LEVEL: [&str; 14] = [
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "sys",
    "tests",
    "image",
    "systemd",
    "README.md",
    "LICENSE",
    ".ci",
    ".gitignore",
    "rustfmt.toml",
    "clippy.toml",
    ".git",
];

/// Where dependencies are listed.
const MANIFESTS: [&str; 5] = [
    "Cargo.toml",
    "sys/Cargo.toml",
    "image/manual/Cargo.toml",
    "tests/appliance/Cargo.toml",
    "tests/bench/Cargo.toml",
];

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_CHARACTERS_MAX: usize = 100;

/// Words that the vocabulary replaces, each with its replacement. Looked for in names and prose.
const BANNED: [(&str, &str); 8] = [
    ("subscriber", "viewer"),
    ("whitelist", "allow"),
    ("blacklist", "deny"),
    ("todo!", "working code"),
    ("unimplemented!", "working code"),
    ("fixme", "working code"),
    ("println!(\"debug", "the log"),
    ("#[ignore]", "a command of its own"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &str) -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    assert!(!found.is_empty(), "no source in {folder}");
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path.strip_prefix(root()).unwrap().to_owned(), text)
        })
        .collect()
}

fn is_test(path: &Path) -> bool {
    path.starts_with("tests") || path.ends_with("tests.rs") || path.iter().any(|p| p == "tests")
}

/// A file without its tests.
fn production(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests").next().unwrap()
}

fn complain(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn each_layer_uses_only_those_below_it() {
    let mut complaints = Vec::new();
    let level = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    for (path, text) in rust_files("src") {
        let module = path.iter().nth(1).unwrap().to_str().unwrap().trim_end_matches(".rs");
        if module == "lib" || module == "main" {
            continue;
        }
        let Some(ours) = level(module) else {
            complaints.push(format!("{}: module {module} has no layer", path.display()));
            continue;
        };
        for (number, line) in production(&text).lines().enumerate() {
            for used in line.split("crate::").skip(1) {
                let used: String =
                    used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if level(&used).is_none_or(|theirs| theirs > ours) {
                    complaints.push(format!(
                        "{}:{}: {module} may not use {used}",
                        path.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    complain(&complaints);
}

#[test]
fn every_module_of_the_library_has_its_layer() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let modules: BTreeSet<_> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let layered: BTreeSet<_> = LAYERS.iter().copied().flatten().copied().collect();
    assert_eq!(modules, layered);
}

#[test]
fn files_functions_and_lines_are_short() {
    let mut complaints = Vec::new();
    for (path, text) in ["src", "sys", "image", "tests"].into_iter().flat_map(rust_files) {
        let lines = production(&text).lines().count();
        if !is_test(&path) && lines > FILE_LINES_MAX {
            complaints.push(format!("{}: {lines} lines", path.display()));
        }
        let mut begun: Option<(usize, usize)> = None;
        for (number, line) in text.lines().enumerate() {
            if line.chars().count() > LINE_CHARACTERS_MAX {
                complaints.push(format!("{}:{}: a long line", path.display(), number + 1));
            }
            let indent = line.len() - line.trim_start().len();
            let code = line.trim_start();
            let is_function = code.starts_with("fn ")
                || (code.starts_with("pub") || code.starts_with("const fn"))
                    && code.split('(').next().is_some_and(|head| head.contains("fn "));
            if is_function && !code.ends_with(';') {
                begun = Some((number, indent));
            }
            if let Some((first, depth)) = begun
                && line.starts_with(&format!("{}}}", " ".repeat(depth)))
                && indent == depth
            {
                let length = number - first + 1;
                if !is_test(&path) && length > FUNCTION_LINES_MAX {
                    let at = format!("{}:{}", path.display(), first + 1);
                    complaints.push(format!("{at}: a function of {length} lines"));
                }
                begun = None;
            }
        }
    }
    complain(&complaints);
}

#[test]
fn unsafe_is_fenced_in_sys_and_says_why() {
    let mut complaints = Vec::new();
    for file in ["src/lib.rs", "src/main.rs", "tests/bench/src/main.rs", "image/manual/src/lib.rs"]
    {
        let text = fs::read_to_string(root().join(file)).unwrap();
        assert!(text.contains("#![forbid(unsafe_code)]"), "{file} does not forbid unsafe");
    }
    for (path, text) in rust_files("sys") {
        let lines: Vec<_> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap();
            if !code.contains("unsafe {") && !code.contains("unsafe fn") {
                continue;
            }
            let before = &lines[number.saturating_sub(6)..number];
            if !before.iter().any(|line| line.contains("// SAFETY: ")) {
                complaints.push(format!(
                    "{}:{}: unsafe, and no word why",
                    path.display(),
                    number + 1
                ));
            }
        }
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for dependency in ["nix", "libc"] {
        if manifest.lines().any(|line| line.starts_with(&format!("{dependency} ="))) {
            complaints.push(format!("Cargo.toml: {dependency} belongs to sys alone"));
        }
    }
    complain(&complaints);
}

#[test]
fn every_dependency_has_its_reason() {
    let mut complaints = Vec::new();
    for file in MANIFESTS {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let mut listed = false;
        for line in text.lines() {
            if line.starts_with('[') {
                listed = line.contains("dependencies]");
            } else if listed && line.contains(" = ") && !line.contains("# ") {
                complaints.push(format!("{file}: no reason given: {line}"));
            }
        }
    }
    complain(&complaints);
}

#[test]
fn every_module_says_what_it_is() {
    let mut complaints = Vec::new();
    for (path, text) in ["src", "sys", "image"].into_iter().flat_map(rust_files) {
        if !is_test(&path) && !text.starts_with("//! ") {
            complaints.push(format!("{}: begins without a word about itself", path.display()));
        }
    }
    complain(&complaints);
}

#[test]
fn words_of_the_vocabulary() {
    let mut complaints = Vec::new();
    for (path, text) in ["src", "sys", "image", "tests"].into_iter().flat_map(rust_files) {
        if path.ends_with("tidy.rs") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            for (word, instead) in BANNED {
                if line.to_lowercase().contains(word) {
                    let at = format!("{}:{}", path.display(), number + 1);
                    complaints.push(format!("{at}: {word:?}, better {instead}"));
                }
            }
        }
    }
    complain(&complaints);
}

#[test]
fn the_top_level_holds_nothing_else() {
    let mut complaints = Vec::new();
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !TOP_LEVEL.contains(&name.as_str()) && name != "target" {
            complaints.push(format!("{name} does not belong to the top level"));
        }
    }
    complain(&complaints);
}

#[test]
fn bounds_are_kept_in_one_place() {
    let mut complaints = Vec::new();
    for (path, text) in rust_files("src") {
        let of_limits = path == Path::new("src/limits.rs") || path.starts_with("src/limits");
        if of_limits || is_test(&path) {
            continue;
        }
        for (number, line) in production(&text).lines().enumerate() {
            let bound = line.trim_start().trim_start_matches("pub ");
            if bound.starts_with("const ") && bound.split(':').next().unwrap().ends_with("_MAX") {
                complaints.push(format!("{}:{}: {bound}", path.display(), number + 1));
            }
        }
    }
    complain(&complaints);
}
