//! CSV (RFC 4180) as spreadsheets write it: read piece by piece, so that a file is never in memory whole, and written so
//! that no cell is taken for a formula.

use std::collections::VecDeque;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

/// The largest record, bytes without its quotes.
pub const RECORD_MAX: usize = 64 * 1024;

/// The most cells of a record.
pub const CELLS_MAX: usize = 1_024;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// Its cells, or why it has none.
    pub cells: Result<Vec<String>, RecordError>,
}

/// Why a record cannot be read. The next one can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It is not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// It is larger than [`RECORD_MAX`], or has more than [`CELLS_MAX`] cells: a quote may be missing.
    #[error("has more than 64 KiB or 1024 cells; is a closing quotation mark missing?")]
    TooLarge,
}

/// Reads records out of pieces of a file. The delimiter is a comma or a semicolon, whichever the first record has more
/// of; a byte order mark is skipped, and so are empty lines.
#[derive(Debug)]
pub struct Records {
    input: VecDeque<u8>,
    /// `None` until the first record is there, which tells the delimiter.
    reader: Option<Box<Reader>>,
    is_complete: bool,
    /// The line of the next byte.
    line: u64,
    /// The record that is being read, if one is.
    begun_on: Option<u64>,
    is_too_large: bool,
    text: Vec<u8>,
    text_len: usize,
    ends: Vec<usize>,
    ends_len: usize,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            input: VecDeque::new(),
            reader: None,
            is_complete: false,
            line: 1,
            begun_on: None,
            is_too_large: false,
            text: vec![0; RECORD_MAX],
            text_len: 0,
            ends: vec![0; CELLS_MAX],
            ends_len: 0,
        }
    }
}

impl Records {
    /// Takes the next piece. Take out what can be read of it before the next one.
    pub fn push(&mut self, piece: &[u8]) {
        self.input.extend(piece);
    }

    /// There are no more pieces.
    pub fn complete(&mut self) {
        self.is_complete = true;
    }

    /// Whether there are no more pieces.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The next record; `None` when more pieces are needed, or there are no more.
    pub fn next_record(&mut self) -> Option<Record> {
        if self.reader.is_none() {
            self.reader = Some(self.reader_by_first_record()?);
        }
        loop {
            if self.begun_on.is_none() {
                self.skip_line_ends();
            }
            if self.input.is_empty() && (!self.is_complete || self.begun_on.is_none()) {
                return None;
            }
            let begun_on = *self.begun_on.get_or_insert(self.line);
            let reader = self.reader.as_mut()?;
            // An empty input tells the reader that there is no more.
            let (input, _) = self.input.as_slices();
            let (result, read, written, ended) = reader.read_record(
                input,
                &mut self.text[self.text_len..],
                &mut self.ends[self.ends_len..],
            );
            for byte in &input[..read] {
                self.line += u64::from(*byte == b'\n');
            }
            self.input.drain(..read);
            self.text_len += written;
            self.ends_len += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    self.is_too_large = true;
                    (self.text_len, self.ends_len) = (0, 0);
                }
                ReadRecordResult::Record => {
                    let cells = self.cells();
                    self.begun_on = None;
                    self.is_too_large = false;
                    (self.text_len, self.ends_len) = (0, 0);
                    return Some(Record {
                        line: begun_on,
                        cells,
                    });
                }
                ReadRecordResult::End => {
                    self.begun_on = None;
                    return None;
                }
            }
        }
    }

    fn cells(&self) -> Result<Vec<String>, RecordError> {
        if self.is_too_large {
            return Err(RecordError::TooLarge);
        }
        let mut cells = Vec::with_capacity(self.ends_len);
        let mut start = 0;
        for end in &self.ends[..self.ends_len] {
            let cell = std::str::from_utf8(&self.text[start..*end]);
            cells.push(cell.map_err(|_| RecordError::NotUtf8)?.to_owned());
            start = *end;
        }
        Ok(cells)
    }

    fn skip_line_ends(&mut self) {
        while let Some(byte @ (b'\r' | b'\n')) = self.input.front() {
            self.line += u64::from(*byte == b'\n');
            self.input.pop_front();
        }
    }

    /// A reader with the file's delimiter, once the first record is there; or as much of it as a record may have.
    fn reader_by_first_record(&mut self) -> Option<Box<Reader>> {
        let input = self.input.make_contiguous();
        let (mut commas, mut semicolons, mut is_quoted, mut is_whole) = (0, 0, false, false);
        let text = input.strip_prefix(BYTE_ORDER_MARK).unwrap_or(input);
        let content = text.iter().skip_while(|byte| matches!(byte, b'\r' | b'\n'));
        for byte in content {
            match byte {
                b'"' => is_quoted = !is_quoted,
                b'\r' | b'\n' if !is_quoted => {
                    is_whole = true;
                    break;
                }
                b',' if !is_quoted => commas += 1,
                b';' if !is_quoted => semicolons += 1,
                _ => {}
            }
        }
        if !is_whole && !self.is_complete && input.len() <= RECORD_MAX {
            return None;
        }
        if input.starts_with(BYTE_ORDER_MARK) {
            self.input.drain(..BYTE_ORDER_MARK.len());
        }
        let delimiter = if semicolons > commas { b';' } else { b',' };
        Some(Box::new(ReaderBuilder::new().delimiter(delimiter).build()))
    }
}

/// A record as a line of a file, its cells guarded.
///
/// # Panics
/// Never: memory takes what is written to it.
pub fn line<'a>(cells: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    let cells = cells.into_iter().map(guarded);
    let written = writer.write_record(cells.map(String::into_bytes));
    written.expect("writing to memory does not fail");
    writer
        .into_inner()
        .expect("writing to memory does not fail")
}

/// A cell that no spreadsheet takes for a formula: one that begins like a formula, behind any number of apostrophes, gets
/// an apostrophe more, which spreadsheets take for "this is text". [`unguarded`] takes it away again.
fn guarded(cell: &str) -> String {
    if is_like_formula(cell) {
        format!("'{cell}")
    } else {
        cell.to_owned()
    }
}

/// A cell as it was before it was guarded. One that never was is left as it is, unless it looks as if.
pub fn unguarded(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if is_like_formula(rest) => rest,
        Some(_) | None => cell,
    }
}

fn is_like_formula(cell: &str) -> bool {
    let cell = cell.trim_start_matches('\'');
    // Spreadsheets of East Asia take the full-width forms as well.
    cell.starts_with([
        '=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The records of a file that arrives in pieces of that size.
    fn records(file: &[u8], piece: usize) -> Vec<Record> {
        let mut records = Records::default();
        let mut all = Vec::new();
        for piece in file.chunks(piece) {
            records.push(piece);
            all.extend(std::iter::from_fn(|| records.next_record()));
        }
        records.complete();
        all.extend(std::iter::from_fn(|| records.next_record()));
        all
    }

    fn read(file: &[u8]) -> Vec<(u64, Vec<String>)> {
        let whole = records(file, file.len().max(1));
        for piece in [1, 2, 3, 7] {
            assert_eq!(records(file, piece), whole, "in pieces of {piece}");
        }
        let cells = whole.into_iter();
        cells.map(|it| (it.line, it.cells.unwrap())).collect()
    }

    fn cells(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|&cell| cell.to_owned()).collect()
    }

    #[test]
    fn records_know_their_lines_whatever_ends_them() {
        for end in ["\n", "\r\n"] {
            let file = ["a,b", "1,\"x", "y\"", "", "", "2,z"].join(end);
            let expected = [
                (1, cells(&["a", "b"])),
                (2, cells(&["1", &format!("x{end}y")])),
                (6, cells(&["2", "z"])),
            ];
            assert_eq!(read(file.as_bytes()), expected);
            assert_eq!(read(format!("{file}{end}").as_bytes()), expected);
        }
        assert_eq!(read(b""), []);
        assert_eq!(read(b"\n\r\n"), []);
    }

    #[test]
    fn the_first_record_tells_the_delimiter_and_a_mark_is_skipped() {
        assert_eq!(
            read(b"\xef\xbb\xbfname;\"a,b,c\"\n1,5;2"),
            [(1, cells(&["name", "a,b,c"])), (2, cells(&["1,5", "2"]))]
        );
        assert_eq!(
            read(b"name\nx;y"),
            [(1, cells(&["name"])), (2, cells(&["x;y"]))]
        );
        assert_eq!(read(b"\"na\"\"me\",b"), [(1, cells(&["na\"me", "b"]))]);
    }

    #[test]
    fn a_record_that_cannot_be_read_does_not_spoil_the_next() {
        let mut file = b"name\n".to_vec();
        file.extend(b"\xff\xfe\n");
        file.extend(vec![b'x'; RECORD_MAX + 1]);
        file.push(b'\n');
        file.extend(vec![b','; CELLS_MAX + 1]);
        file.extend(b"\nlast\n");
        for piece in [1_000, file.len()] {
            let read: Vec<_> = records(&file, piece)
                .into_iter()
                .map(|it| (it.line, it.cells))
                .collect();
            assert_eq!(
                read,
                [
                    (1, Ok(cells(&["name"]))),
                    (2, Err(RecordError::NotUtf8)),
                    (3, Err(RecordError::TooLarge)),
                    (4, Err(RecordError::TooLarge)),
                    (5, Ok(cells(&["last"]))),
                ]
            );
        }
    }

    #[test]
    fn what_looks_like_a_formula_is_guarded_and_nothing_else() {
        for (cell, written) in [
            ("=1+1", "'=1+1"),
            ("@x", "'@x"),
            ("'=1", "''=1"),
            ("'s-Hertogenbosch", "'s-Hertogenbosch"),
            ("1-2", "1-2"),
            ("", ""),
        ] {
            assert_eq!(guarded(cell), written);
            assert_eq!(unguarded(written), cell);
        }
        assert_eq!(unguarded("=by hand"), "=by hand");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            rows in prop::collection::vec(
                prop::collection::vec("[-=+@'\",;\\r\\n\\ta ü＝]{0,6}", 2..4), 1..5),
            piece in 1_usize..9,
        ) {
            // A header of its own: the first record tells the delimiter.
            let mut file = line(["a", "b"]);
            for row in &rows {
                file.extend(line(row.iter().map(String::as_str)));
            }
            let read: Vec<Vec<String>> = records(&file, piece)
                .into_iter()
                .skip(1)
                .map(|it| it.cells.unwrap().iter().map(|cell| unguarded(cell).to_owned()).collect())
                .collect();
            prop_assert_eq!(read, rows);
        }

        #[test]
        fn any_bytes_are_read_alike_in_any_pieces(
            file in prop::collection::vec(prop_oneof![Just(b','), Just(b'"'), Just(b'\n'), Just(b'\r'), any::<u8>()], 0..60),
            piece in 1_usize..9,
        ) {
            prop_assert_eq!(records(&file, piece), records(&file, file.len().max(1)));
        }
    }
}
