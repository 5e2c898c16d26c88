//! XLSX workbooks. The rows are written one by one to a temporary file, because the format's beginning can
//! only be written when the whole is known. When a sheet is full, the next rows go to another sheet.

use std::fs::File;
use std::io::{Seek, SeekFrom};

use rust_xlsxwriter::{Workbook, XlsxError};
use tokio::sync::mpsc;

use super::{ExportError, text};
use crate::db::read::export::{Cell, Export};

/// The most rows of a sheet, including the header. ECMA-376 sets no limit, but all spreadsheets have this
/// one.
const MAX_SHEET_ROWS: u32 = 1_048_576;
/// The most rows in the queue between the database and the file.
const QUEUED_ROWS: usize = 1024;
/// The largest integer that a spreadsheet stores exactly: its numbers are floats.
const MAX_EXACT_INTEGER: i64 = 1 << 53;

impl From<XlsxError> for ExportError {
    fn from(error: XlsxError) -> ExportError {
        ExportError::Row(error.to_string())
    }
}

/// Writes the whole table as a workbook to a file without a name, which is deleted when it is closed. Calls
/// `on_row` with the number of rows so far.
pub async fn workbook(mut export: Export, mut on_row: impl FnMut(u64)) -> Result<File, ExportError> {
    let (rows, mut waiting) = mpsc::channel::<Vec<Cell>>(QUEUED_ROWS);
    let columns = export.columns.clone();
    let writing = tokio::task::spawn_blocking(move || {
        let mut sheets = Sheets::new(columns, MAX_SHEET_ROWS)?;
        while let Some(cells) = waiting.blocking_recv() {
            sheets.row(&cells)?;
        }
        sheets.save()
    });
    let mut taken = 0;
    while let Some(cells) = export.next().await? {
        // The channel is closed when the writer has failed; `writing` below returns its error.
        if rows.send(cells).await.is_err() {
            break;
        }
        taken += 1;
        on_row(taken);
    }
    drop(rows);
    // The library panics if its temporary files cannot be written.
    writing.await.map_err(|error| std::io::Error::other(format!("is the disk full? {error}")))?
}

/// A workbook that is being written.
struct Sheets {
    workbook: Workbook,
    columns: Vec<String>,
    /// The index of the current sheet, and its next row.
    sheet: usize,
    row: u32,
    max_rows: u32,
}

impl Sheets {
    fn new(columns: Vec<String>, max_rows: u32) -> Result<Sheets, ExportError> {
        let mut sheets = Sheets { workbook: Workbook::new(), columns, sheet: 0, row: 0, max_rows };
        sheets.begin_sheet()?;
        Ok(sheets)
    }

    fn begin_sheet(&mut self) -> Result<(), ExportError> {
        let sheet = self.workbook.add_worksheet_with_constant_memory()?;
        for (column, name) in (0..).zip(&self.columns) {
            sheet.write_string(0, column, name)?;
        }
        self.row = 1;
        Ok(())
    }

    fn row(&mut self, cells: &[Cell]) -> Result<(), ExportError> {
        if self.row == self.max_rows {
            self.sheet += 1;
            self.begin_sheet()?;
        }
        let sheet = self.workbook.worksheet_from_index(self.sheet)?;
        for (column, cell) in (0..).zip(cells) {
            match cell {
                Cell::Null => &mut *sheet,
                Cell::Number(number) if number.abs() <= MAX_EXACT_INTEGER => {
                    sheet.write_number(self.row, column, *number as f64)?
                }
                // A string is never a formula.
                other => sheet.write_string(self.row, column, text(other))?,
            };
        }
        self.row += 1;
        Ok(())
    }

    fn save(mut self) -> Result<File, ExportError> {
        let mut file = tempfile::tempfile()?;
        self.workbook.save_to_writer(&file)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_full_sheet_is_followed_by_another_sheet() {
        let mut sheets = Sheets::new(vec!["n".to_owned(), "text".to_owned()], 3).unwrap();
        for number in 0..5 {
            sheets.row(&[Cell::Number(number), Cell::Text("=1+1".to_owned())]).unwrap();
        }
        let mut archive = zip::ZipArchive::new(sheets.save().unwrap()).unwrap();
        let mut rows = |sheet: usize| {
            let mut xml = String::new();
            let mut file = archive.by_name(&format!("xl/worksheets/sheet{sheet}.xml")).ok()?;
            file.read_to_string(&mut xml).unwrap();
            assert!(!xml.contains("<f>"), "no formula");
            Some(xml.matches("<row ").count())
        };
        assert_eq!([rows(1), rows(2), rows(3), rows(4)], [Some(3), Some(3), Some(2), None]);
    }
}
