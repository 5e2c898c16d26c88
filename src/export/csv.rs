//! CSV (RFC 4180, UTF-8) that is safe to open in a spreadsheet: a text that a spreadsheet would take for a
//! formula begins with an apostrophe (OWASP, CSV Injection). Numbers are never touched.

use std::borrow::Cow;

use csv::{Terminator, Writer, WriterBuilder};

use super::{ExportError, text};
use crate::db::read::export::Cell;

/// What makes a spreadsheet calculate, or what it skips before it looks.
const DANGEROUS: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\n'];

/// CsvRows of a piece.
pub struct CsvRows(Writer<Vec<u8>>);

impl CsvRows {
    pub fn new() -> CsvRows {
        CsvRows(WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new()))
    }

    pub fn head(&mut self, columns: &[String]) -> Result<(), ExportError> {
        self.0.write_record(columns).map_err(failed)
    }

    pub fn row(&mut self, cells: &[Cell]) -> Result<(), ExportError> {
        for cell in cells {
            let text = match cell {
                Cell::Text(text) => harmless(text),
                other => Cow::Owned(text(other)),
            };
            self.0.write_field(text.as_bytes()).map_err(failed)?;
        }
        self.0.write_record(None::<&[u8]>).map_err(failed)
    }

    /// Bytes so far, less what the writer still buffers.
    pub fn len(&self) -> usize {
        self.0.get_ref().len()
    }

    pub fn into_bytes(self) -> Result<Vec<u8>, ExportError> {
        self.0.into_inner().map_err(failed)
    }
}

fn failed(error: impl std::fmt::Display) -> ExportError {
    ExportError::Row(error.to_string())
}

fn harmless(text: &str) -> Cow<'_, str> {
    if text.starts_with(DANGEROUS) { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_text_and_numbers_stay_numbers() {
        let mut rows = CsvRows::new();
        rows.head(&["a".to_owned(), "b".to_owned()]).unwrap();
        for (words, number) in [("=1+1", -5), ("+7", 7), ("-x", 0), ("@x", 0), ("\tx", 0), ("\rx", 0)] {
            rows.row(&[Cell::Text(words.to_owned()), Cell::Number(number)]).unwrap();
        }
        rows.row(&[Cell::Text("a \"b\", c=d".to_owned()), Cell::Numbers(vec![1, 36])]).unwrap();
        let bytes = rows.into_bytes().unwrap();
        let expected =
            "a,b\r\n'=1+1,-5\r\n'+7,7\r\n'-x,0\r\n'@x,0\r\n'\tx,0\r\n\"'\rx\",0\r\n\"a \"\"b\"\", c=d\",1 36\r\n";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}
