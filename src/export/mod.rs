//! Writes tables as files: the formats, and how rows become a file, chunk by chunk. This file knows neither
//! who requests the file nor where it is sent.

mod csv;
mod xlsx;

use serde::{Serialize, Serializer};

use crate::db::DbError;
use crate::db::read::export::{Cell, Export};

pub use xlsx::workbook;

/// The size of a chunk in bytes. At most one chunk is read ahead for a slow client.
const CHUNK_BYTES: usize = 64 * 1024;

/// The file formats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExportFormat {
    Csv,
    Ndjson,
    Xlsx,
}

impl ExportFormat {
    pub const ALL: [ExportFormat; 3] = [ExportFormat::Csv, ExportFormat::Ndjson, ExportFormat::Xlsx];

    /// As the API and the command line write it; also the ending of the file's name.
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

/// Why a file could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("a row cannot be written: {0}")]
    Row(String),
    #[error("the temporary file: {0}")]
    File(#[from] std::io::Error),
}

/// The formats that are text, one line for each row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TextFormat {
    Csv,
    Ndjson,
}

/// A table as text, chunk by chunk.
pub struct TextFile {
    export: Export,
    format: TextFormat,
    header_written: bool,
    /// The number of rows written so far.
    pub rows: u64,
}

impl TextFile {
    pub fn new(export: Export, format: TextFormat) -> TextFile {
        TextFile { export, format, header_written: false, rows: 0 }
    }

    /// The next chunk of the file; `None` after the last.
    pub async fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, ExportError> {
        let mut chunk = ExportChunk::new(self.format);
        if !self.header_written {
            self.header_written = true;
            chunk.header(&self.export.columns)?;
        }
        while chunk.len() < CHUNK_BYTES {
            let Some(cells) = self.export.next().await? else { break };
            chunk.row(&self.export.columns, &cells)?;
            self.rows += 1;
        }
        let bytes = chunk.into_bytes()?;
        Ok((!bytes.is_empty()).then_some(bytes))
    }
}

/// A chunk that is being written.
enum ExportChunk {
    Csv(Box<csv::CsvRows>),
    Ndjson(Vec<u8>),
}

impl ExportChunk {
    fn new(format: TextFormat) -> ExportChunk {
        match format {
            TextFormat::Csv => ExportChunk::Csv(Box::new(csv::CsvRows::new())),
            TextFormat::Ndjson => ExportChunk::Ndjson(Vec::new()),
        }
    }

    fn header(&mut self, columns: &[String]) -> Result<(), ExportError> {
        match self {
            ExportChunk::Csv(rows) => rows.header(columns),
            // NDJSON has no header: each line contains the names of its values.
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

/// A cell as text; the values of a list are separated by spaces.
fn text(cell: &Cell) -> String {
    fn spaced(values: impl Iterator<Item = String>) -> String {
        values.collect::<Vec<_>>().join(" ")
    }
    match cell {
        Cell::Null => String::new(),
        Cell::Number(number) => number.to_string(),
        Cell::Text(text) => text.clone(),
        Cell::Time(time) => time.to_string(),
        Cell::Id(id) => id.to_string(),
        Cell::Numbers(numbers) => spaced(numbers.iter().map(u8::to_string)),
        Cell::Ids(ids) => spaced(ids.iter().map(uuid::Uuid::to_string)),
    }
}
