//! Tables as files: the formats there are, and how rows become them, a piece at a time. Knows neither who asks
//! for a file nor where it goes.

mod csv;
mod xlsx;

use serde::{Serialize, Serializer};

use crate::db::DbError;
use crate::db::read::export::{Cell, Export};

pub use xlsx::workbook;

/// A piece of a file, in bytes: what is read ahead for somebody who reads slowly.
const PIECE: usize = 64 * 1024;

/// What a table becomes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExportFormat {
    Csv,
    Ndjson,
    Xlsx,
}

impl ExportFormat {
    pub const ALL: [ExportFormat; 3] = [ExportFormat::Csv, ExportFormat::Ndjson, ExportFormat::Xlsx];

    /// As the contract and the command line write it, and a file's name ends.
    pub fn as_str(self) -> &'static str {
        match self {
            ExportFormat::Csv => "csv",
            ExportFormat::Ndjson => "ndjson",
            ExportFormat::Xlsx => "xlsx",
        }
    }

    /// The inverse of [`ExportFormat::as_str`].
    pub fn parse(text: &str) -> Option<ExportFormat> {
        ExportFormat::ALL.into_iter().find(|format| format.as_str() == text)
    }

    pub fn content_type(self) -> &'static str {
        match self {
            ExportFormat::Csv => "text/csv; charset=utf-8",
            ExportFormat::Ndjson => "application/x-ndjson",
            ExportFormat::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        }
    }
}

/// Why a file was not finished.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("a row cannot be written: {0}")]
    Row(String),
    #[error("the temporary file: {0}")]
    File(#[from] std::io::Error),
}

/// The lines of a text format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lines {
    Csv,
    Ndjson,
}

/// A table as text, piece by piece.
pub struct TextFile {
    export: Export,
    lines: Lines,
    begun: bool,
    /// CsvRows written so far.
    pub rows: u64,
}

impl TextFile {
    pub fn new(export: Export, lines: Lines) -> TextFile {
        TextFile { export, lines, begun: false, rows: 0 }
    }

    /// The next piece of the file; none after the last.
    pub async fn piece(&mut self) -> Result<Option<Vec<u8>>, ExportError> {
        let mut piece = ExportChunk::new(self.lines);
        if !self.begun {
            self.begun = true;
            piece.head(&self.export.columns)?;
        }
        while piece.len() < PIECE {
            let Some(cells) = self.export.next().await? else { break };
            piece.row(&self.export.columns, &cells)?;
            self.rows += 1;
        }
        let bytes = piece.into_bytes()?;
        Ok((!bytes.is_empty()).then_some(bytes))
    }
}

/// A piece that is being written.
enum ExportChunk {
    Csv(Box<csv::CsvRows>),
    Ndjson(Vec<u8>),
}

impl ExportChunk {
    fn new(lines: Lines) -> ExportChunk {
        match lines {
            Lines::Csv => ExportChunk::Csv(Box::new(csv::CsvRows::new())),
            Lines::Ndjson => ExportChunk::Ndjson(Vec::new()),
        }
    }

    fn head(&mut self, columns: &[String]) -> Result<(), ExportError> {
        match self {
            ExportChunk::Csv(rows) => rows.head(columns),
            // Each line names its values.
            ExportChunk::Ndjson(_) => Ok(()),
        }
    }

    fn row(&mut self, columns: &[String], cells: &[Cell]) -> Result<(), ExportError> {
        match self {
            ExportChunk::Csv(rows) => rows.row(cells),
            ExportChunk::Ndjson(bytes) => {
                serde_json::to_writer(&mut *bytes, &Object(columns, cells))
                    .map_err(|error| ExportError::Row(error.to_string()))?;
                bytes.push(b'\n');
                Ok(())
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            ExportChunk::Csv(rows) => rows.len(),
            ExportChunk::Ndjson(bytes) => bytes.len(),
        }
    }

    fn into_bytes(self) -> Result<Vec<u8>, ExportError> {
        match self {
            ExportChunk::Csv(rows) => rows.into_bytes(),
            ExportChunk::Ndjson(bytes) => Ok(bytes),
        }
    }
}

/// A row as a JSON object, in the order of the columns.
struct Object<'a>(&'a [String], &'a [Cell]);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().zip(self.1))
    }
}

/// A cell as one text: a list's values stand with spaces between them.
fn text(cell: &Cell) -> String {
    fn spaced(values: impl Iterator<Item = String>) -> String {
        values.collect::<Vec<_>>().join(" ")
    }
    match cell {
        Cell::Nothing => String::new(),
        Cell::Number(number) => number.to_string(),
        Cell::Text(text) => text.clone(),
        Cell::Time(time) => time.to_string(),
        Cell::Id(id) => id.to_string(),
        Cell::Numbers(numbers) => spaced(numbers.iter().map(u8::to_string)),
        Cell::Ids(ids) => spaced(ids.iter().map(uuid::Uuid::to_string)),
    }
}
