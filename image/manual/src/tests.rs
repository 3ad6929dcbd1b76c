use std::process::Command;

use restreamer::config::RemoteKind;

use super::*;

/// All that is made, by its path.
fn made() -> (tempfile::TempDir, Vec<(PathBuf, String)>) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path()).unwrap();
    let mut files = Vec::new();
    for name in ["man", "completions", "."] {
        for entry in fs::read_dir(folder.path().join(name)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(folder.path()).unwrap().to_owned(), text));
            }
        }
    }
    files.sort();
    (folder, files)
}

fn text<'a>(files: &'a [(PathBuf, String)], path: &str) -> &'a str {
    let found = files.iter().find(|(name, _)| name == Path::new(path));
    &found.unwrap_or_else(|| panic!("no {path}")).1
}

/// The keys of every part of the configuration file, as they stand in the parser's source.
fn keys() -> Vec<String> {
    let folder = repository().join("src/config");
    let below = fs::read_dir(folder.join("file")).unwrap().map(|entry| entry.unwrap().path());
    let mut keys = Vec::new();
    let mut lists = 0;
    for path in below.chain([folder.join("file.rs")]) {
        let source = fs::read_to_string(path).unwrap();
        for list in source.split("_KEYS: &[&str] = &[").skip(1) {
            lists += 1;
            let list = list.split(']').next().unwrap();
            keys.extend(list.split('"').skip(1).step_by(2).map(str::to_owned));
        }
    }
    assert!(lists >= 6, "{lists} lists of keys: where are the others?");
    keys
}

#[test]
fn the_page_of_the_file_knows_every_key() {
    let (_folder, files) = made();
    let page = text(&files, "man/restreamer.json.5");
    let is_there = |key: &String| {
        page.contains(&format!("\\fB{key}\\fR")) || page.contains(&format!("\"{key}\""))
    };
    let missing: Vec<_> = keys().into_iter().filter(|key| !is_there(key)).collect();
    assert!(missing.is_empty(), "README.md says nothing of {missing:?}");
}

#[test]
fn pages_and_completions_know_every_option_and_command() {
    let (_folder, files) = made();
    let mut program = Cli::command();
    program.build();
    let shells = ["restreamer.bash", "_restreamer", "restreamer.fish"];
    let shells = shells.map(|name| text(&files, &format!("completions/{name}")));
    let mut left = vec![&program];
    let (mut pages, mut options) = (0, 0);
    while let Some(command) = left.pop() {
        let name = command.get_display_name().unwrap_or(command.get_name());
        let page = text(&files, &format!("man/{name}.1"));
        pages += 1;
        for one in command.get_subcommands().filter(|one| one.get_name() != "help") {
            let title = one.get_display_name().unwrap();
            let reference = format!("{}(1)", title.replace('-', "\\-"));
            assert!(page.contains(&reference), "{title}: {page}");
            assert!(shells.iter().all(|shell| shell.contains(one.get_name())), "{title}");
            left.push(one);
        }
        for option in command.get_arguments().filter_map(clap::Arg::get_long) {
            options += 1;
            assert!(page.contains(&option.replace('-', "\\-")), "{name}: {option}");
            assert!(shells.iter().all(|shell| shell.contains(option)), "{name}: {option}");
        }
        assert!(!page.contains("help\\-") && !page.contains("\\-help(1)"), "{name}: {page}");
    }
    assert!(pages >= 9 && options >= 20, "only {pages} pages and {options} options");
    let made = files.iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "1"));
    assert_eq!(made.count(), pages, "a page for every command, and no other");
}

#[test]
fn bash_understands_its_completions() {
    let (folder, _) = made();
    let script = folder.path().join("completions/restreamer.bash");
    let status = Command::new("bash").arg("-n").arg(script).status().unwrap();
    assert!(status.success());
}

#[test]
fn the_same_source_gives_the_same_bytes() {
    assert_eq!(made().1, made().1);
}

#[test]
fn what_is_linked_in_comes_with_its_terms_and_nothing_else_does() {
    let (_folder, files) = made();
    let copyright = text(&files, "copyright");
    for linked in ["serde", "mio", "ring", "rustls-webpki", "subtle", "nix"] {
        assert!(copyright.contains(&format!("vendor/{linked}-")), "{linked}");
    }
    // Of tests, of builds, a macro, and ourselves.
    for absent in ["proptest", "cc", "serde_derive", "restreamer"] {
        assert!(!copyright.contains(&format!("vendor/{absent}-")), "{absent}");
    }
    for words in ["Permission to use, copy, modify", "Permission is hereby granted, free of charge"]
    {
        assert!(copyright.contains(words), "{words}");
    }
    assert!(!copyright.contains("\n\n\n") && copyright.lines().all(|line| line != " "));
}

#[test]
fn the_newest_entry_of_the_changelog_is_of_this_version() {
    let changelog = fs::read_to_string(repository().join("image/debian/changelog")).unwrap();
    let newest = format!("restreamer ({}-", env!("CARGO_PKG_VERSION"));
    assert!(changelog.starts_with(&newest), "{:?} begins otherwise", changelog.lines().next());
}

#[test]
fn the_default_configuration_is_sound_and_open_to_its_host_alone() {
    let file = repository().join("image/debian/restreamer.json");
    let parsed = restreamer::config::load(&file).unwrap();
    let problems = parsed.errors.iter().chain(&parsed.warnings);
    let problems: Vec<_> = problems.map(|one| one.display("default").to_string()).collect();
    assert!(problems.is_empty(), "{problems:?}");
    let config = parsed.config.unwrap();
    for address in [&config.listen, config.side.as_ref().unwrap()] {
        assert!(format!("{address:?}").contains("127.0.0.1"), "{address:?}");
    }
    let installed = fs::read_to_string(repository().join("image/debian/restreamer.install"));
    assert!(installed.unwrap().contains("demo.ts usr/share/restreamer\n"));
    let RemoteKind::File(played) = config.streams[0].remotes[0].kind() else {
        panic!("{:?}", config.streams[0]);
    };
    assert_eq!(played, Path::new("/usr/share/restreamer/demo.ts"));
}
