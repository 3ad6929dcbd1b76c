//! A chapter of README.md as the body of a man page.
//!
//! Owns how its headings, paragraphs, tables and examples look there: a row of a table becomes a
//! term with what it means. Never leaves anything out: what it does not know is an error.
//! Driven by `pages`.

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use roff::{Inline, Roff, bold, italic, roman};

/// Why a chapter cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum MarkdownError {
    /// There is none of this name.
    #[error("no chapter {0:?}")]
    NoChapter(String),
    /// Something that no man page has shown so far.
    #[error("{0} cannot be shown in a man page")]
    Unknown(String),
}

/// Appends the chapter with this heading, without the heading.
pub(super) fn chapter(text: &str, heading: &str, page: &mut Roff) -> Result<(), MarkdownError> {
    let mut events = Parser::new_ext(text, Options::ENABLE_TABLES);
    loop {
        let missing = || MarkdownError::NoChapter(heading.to_owned());
        let event = events.next().ok_or_else(missing)?;
        if matches!(event, Event::Start(Tag::Heading { level: HeadingLevel::H2, .. }))
            && matches!(events.next(), Some(Event::Text(found)) if &*found == heading)
        {
            break;
        }
    }
    let end = |event: &Event<'_>| {
        matches!(event, Event::Start(Tag::Heading { level: HeadingLevel::H2, .. }))
    };
    let mut body = Body { page, line: Vec::new(), code: None, strength: None, table: None };
    for event in events.skip(1).take_while(|event| !end(event)) {
        body.take(event)?;
    }
    Ok(())
}

/// A table that is being read.
#[derive(Default)]
struct Table {
    /// What its columns are called.
    headings: Vec<String>,
    /// The cells of the row so far.
    cells: Vec<Vec<Inline>>,
}

/// The page, and what is being read.
struct Body<'a> {
    page: &'a mut Roff,
    line: Vec<Inline>,
    /// The lines of an example.
    code: Option<String>,
    /// How text within emphasis looks.
    strength: Option<fn(String) -> Inline>,
    table: Option<Table>,
}

impl Body<'_> {
    fn take(&mut self, event: Event<'_>) -> Result<(), MarkdownError> {
        match event {
            Event::Start(tag) => self.start(&tag)?,
            Event::End(tag) => self.end(tag),
            Event::Text(text) => match (&mut self.code, self.strength) {
                (Some(code), _) => code.push_str(&text),
                (None, Some(look)) => self.line.push(look(text.into_string())),
                (None, None) => self.line.push(roman(text.into_string())),
            },
            Event::Code(text) => self.line.push(bold(text.into_string())),
            Event::SoftBreak | Event::HardBreak => self.line.push(roman(" ")),
            other => return Err(MarkdownError::Unknown(format!("{other:?}"))),
        }
        Ok(())
    }

    fn start(&mut self, tag: &Tag<'_>) -> Result<(), MarkdownError> {
        match tag {
            Tag::Paragraph => {
                self.page.control("PP", []);
            }
            Tag::CodeBlock(CodeBlockKind::Fenced(_)) => self.code = Some(String::new()),
            Tag::Emphasis => self.strength = Some(italic),
            Tag::Strong => self.strength = Some(bold),
            Tag::Table(_) => self.table = Some(Table::default()),
            Tag::Heading { .. }
            | Tag::Link { .. }
            | Tag::TableHead
            | Tag::TableRow
            | Tag::TableCell => {}
            other => return Err(MarkdownError::Unknown(format!("{other:?}"))),
        }
        Ok(())
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(_) => {
                let heading = plain(&std::mem::take(&mut self.line)).to_uppercase();
                self.page.control("SH", [heading.as_str()]);
            }
            TagEnd::Paragraph => {
                self.page.text(std::mem::take(&mut self.line));
            }
            TagEnd::CodeBlock => self.example(),
            TagEnd::Emphasis | TagEnd::Strong => self.strength = None,
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.line);
                self.table.as_mut().expect("a cell is in a table").cells.push(cell);
            }
            TagEnd::TableHead => {
                let table = self.table.as_mut().expect("a head is in a table");
                table.headings = table.cells.drain(..).map(|cell| plain(&cell)).collect();
            }
            TagEnd::TableRow => self.row(),
            TagEnd::Table => self.table = None,
            _ => {}
        }
    }

    fn example(&mut self) {
        let code = self.code.take().expect("what ends has begun");
        self.page.control("PP", []).control("RS", ["4"]).control("EX", []);
        for line in code.lines() {
            self.page.text([roman(line)]);
        }
        self.page.control("EE", []).control("RE", []);
    }

    /// The first cell is the term, the last one what it means; those in between are named.
    fn row(&mut self) {
        let table = self.table.as_mut().expect("a row is in a table");
        let mut cells: Vec<_> = table.cells.drain(..).zip(&table.headings).collect();
        if cells.is_empty() {
            return;
        }
        let (term, _) = cells.remove(0);
        self.page.control("TP", []).text(term);
        let mut line = cells.pop().map(|(meaning, _)| meaning).unwrap_or_default();
        for (cell, heading) in cells.into_iter().filter(|(cell, _)| !cell.is_empty()) {
            line.push(roman(format!(" ({heading}: ")));
            line.extend(cell);
            line.push(roman(")"));
        }
        self.page.text(line);
    }
}

fn plain(line: &[Inline]) -> String {
    let text = |part: &Inline| match part {
        Inline::Roman(text) | Inline::Italic(text) | Inline::Bold(text) => text.clone(),
        Inline::LineBreak => " ".to_owned(),
    };
    line.iter().map(text).collect()
}
