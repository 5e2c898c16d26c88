//! XLSX workbooks: written row by row to a temporary file, since the format wants its whole before it begins.
//! A sheet that is full is followed by another.

use std::fs::File;
use std::io::{Seek, SeekFrom};

use rust_xlsxwriter::{Workbook, XlsxError};
use tokio::sync::mpsc;

use super::{ExportError, text};
use crate::db::read::export::{Cell, Export};

/// CsvRows of one sheet, the head included (ECMA-376 leaves it open; every spreadsheet ends there).
const SHEET: u32 = 1_048_576;
/// CsvRows on their way from the database to the file.
const WAITING: usize = 1024;
/// Beyond that a spreadsheet's numbers, which are floats, are no longer whole.
const WHOLE: i64 = 1 << 53;

impl From<XlsxError> for ExportError {
    fn from(error: XlsxError) -> ExportError {
        ExportError::Row(error.to_string())
    }
}

/// The whole table as a workbook in a file that is nowhere to be found and goes when it is closed. Tells how
/// many rows it has.
pub async fn workbook(mut export: Export, mut tell: impl FnMut(u64)) -> Result<File, ExportError> {
    let (rows, mut waiting) = mpsc::channel::<Vec<Cell>>(WAITING);
    let columns = export.columns.clone();
    let writing = tokio::task::spawn_blocking(move || {
        let mut sheets = Sheets::new(columns, SHEET)?;
        while let Some(cells) = waiting.blocking_recv() {
            sheets.row(&cells)?;
        }
        sheets.save()
    });
    let mut taken = 0;
    while let Some(cells) = export.next().await? {
        // It fails where the writing has: what went wrong is told there.
        if rows.send(cells).await.is_err() {
            break;
        }
        taken += 1;
        tell(taken);
    }
    drop(rows);
    // The library panics where its temporary files cannot grow.
    writing.await.map_err(|error| std::io::Error::other(format!("is its disk full? {error}")))?
}

/// A workbook that is being written.
struct Sheets {
    workbook: Workbook,
    columns: Vec<String>,
    /// The sheet that is written to, from 0 on, and its next row.
    sheet: usize,
    row: u32,
    rows_in_a_sheet: u32,
}

impl Sheets {
    fn new(columns: Vec<String>, rows_in_a_sheet: u32) -> Result<Sheets, ExportError> {
        let mut sheets = Sheets { workbook: Workbook::new(), columns, sheet: 0, row: 0, rows_in_a_sheet };
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
        if self.row == self.rows_in_a_sheet {
            self.sheet += 1;
            self.begin_sheet()?;
        }
        let sheet = self.workbook.worksheet_from_index(self.sheet)?;
        for (column, cell) in (0..).zip(cells) {
            match cell {
                Cell::Nothing => &mut *sheet,
                Cell::Number(number) if number.abs() <= WHOLE => {
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
