//! The man pages.
//!
//! Owns what they say beyond the definition of the command line and README.md, as man-pages(7)
//! arranges it. Never knows a key or an option by itself. Driven by `write`.

use clap::Command;
use clap_mangen::Man;
use roff::{Inline, Roff, bold, roman};

use crate::markdown::{self, MarkdownError};

/// The chapter of README.md that explains the configuration.
const CHAPTER: &str = "Serving your streams";

/// What follows the options of the program: heading, then terms and what they mean.
const SECTIONS: [(&str, &[(&str, &str)]); 4] = [
    (
        "EXIT STATUS",
        &[
            ("0", "It was told to end, or what was asked for holds."),
            ("1", "It cannot serve, or what was asked for does not hold; standard error says why."),
            ("2", "The command line is not understood."),
        ],
    ),
    (
        "SIGNALS",
        &[
            (
                "SIGTERM, SIGINT",
                "Take no more viewers, end those there are at the end of a packet, and exit.",
            ),
            ("SIGUSR1", "Open the log file again, after it was renamed."),
        ],
    ),
    (
        "ENVIRONMENT",
        &[(
            "HTTP_PROXY, HTTPS_PROXY, NO_PROXY",
            "By which proxies upstreams are reached, and which are not; small letters do as well.",
        )],
    ),
    (
        "FILES",
        &[
            (
                "/etc/restreamer/restreamer.json",
                "What the service restreamer.service serves; see restreamer.json(5).",
            ),
            ("/usr/share/restreamer/demo.ts", "The test picture that it serves until told other."),
        ],
    ),
];

/// The pages of the program and of each of its commands, with the names of their files.
pub(super) fn commands(command: Command) -> Vec<(String, String)> {
    let mut command = without_help(command);
    command.build();
    let mut pages = Vec::new();
    for one in subcommands(&command) {
        below(one, page_name(&command), &mut pages);
    }
    let also = subcommands(&command).map(page_name);
    let also: Vec<_> = also.chain(["restreamer.json.5".to_owned()]).collect();
    pages.push((page_name(&command), render(command, &SECTIONS, &also)));
    pages
}

/// The pages of a command that belongs to the one on page `above`, and of all that belong to it.
fn below(command: &Command, above: String, pages: &mut Vec<(String, String)>) {
    for one in subcommands(command) {
        below(one, page_name(command), pages);
    }
    let also = std::iter::once(above).chain(subcommands(command).map(page_name));
    let also: Vec<_> = also.collect();
    pages.push((page_name(command), render(command.clone(), &[], &also)));
}

fn subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|one| !one.is_hide_set())
}

/// A page has no use for the command `help`, which every command with commands of its own has.
fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}

/// The page of the configuration file.
pub(super) fn configuration(readme: &str) -> Result<String, MarkdownError> {
    let mut page = Roff::new();
    let source = format!("restreamer {}", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["restreamer.json", "5", "", source.as_str(), ""]);
    page.control("SH", ["NAME"]);
    page.text([roman("restreamer.json - what a restreamer node serves, and to whom")]);
    page.control("SH", ["DESCRIPTION"]);
    markdown::chapter(readme, CHAPTER, &mut page)?;
    see_also(&mut page, &["restreamer.1".to_owned()]);
    Ok(page.render())
}

fn page_name(command: &Command) -> String {
    Man::new(command.clone()).get_filename()
}

fn render(command: Command, sections: &[(&str, &[(&str, &str)])], also: &[String]) -> String {
    let has_commands = command.has_subcommands();
    let source = format!("restreamer {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command).date("").source(source).manual("");
    let mut page = Vec::new();
    man.render_title(&mut page)
        .and_then(|()| man.render_name_section(&mut page))
        .and_then(|()| man.render_synopsis_section(&mut page))
        .and_then(|()| man.render_description_section(&mut page))
        .and_then(|()| man.render_options_section(&mut page))
        .and_then(
            |()| if has_commands { man.render_subcommands_section(&mut page) } else { Ok(()) },
        )
        .expect("memory takes everything");
    let mut rest = Roff::new();
    for (heading, entries) in sections {
        rest.control("SH", [*heading]);
        for (term, meaning) in *entries {
            rest.control("TP", []).text([bold(*term)]).text([roman(*meaning)]);
        }
    }
    see_also(&mut rest, also);
    String::from_utf8(page).expect("a page is text") + &rest.to_roff()
}

/// Refers to other pages, given by the names of their files.
fn see_also(page: &mut Roff, pages: &[String]) {
    page.control("SH", ["SEE ALSO"]);
    let mut line: Vec<Inline> = Vec::new();
    for name in pages {
        let (name, section) = name.rsplit_once('.').expect("name and section");
        let comma = if line.is_empty() { "" } else { ", " };
        line.extend([roman(comma), bold(name), roman(format!("({section})"))]);
    }
    page.text(line);
}
