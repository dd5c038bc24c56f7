//! # Purpose
//! Writes and reads the journal's rows, each with its seal.
//!
//! # Invariants kept here
//! - Nothing is believed before its seal was checked: a row that was changed, lost or swapped is a [`Flaw`], never
//!   passed over.
//! - An append builds on checked rows only, so that it never seals what is damaged.
//!
//! # Not here
//! What a seal is made of: `seal`. The tables: `schema`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row as SqlRow, Transaction, params};

use super::damage::Flaw;
use super::seal::{Chain, Row, Seal, Sum, Totals};
use crate::access::journal::{Entry, JournalError, Record, Standing, Subject};
use crate::domain::GrantId;

/// Rows could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowError {
    /// They are not what was written.
    #[error("damaged")]
    Flaw(Flaw),
    /// SQLite.
    #[error("SQLite failed")]
    Sqlite(#[source] rusqlite::Error),
    /// An entry that cannot be written as JSON.
    #[error("an entry cannot be written")]
    Json(#[source] serde_json::Error),
    /// An entry that is sound, but is not understood.
    #[error("an entry cannot be understood")]
    Entry(#[source] JournalError),
}

impl From<rusqlite::Error> for RowError {
    fn from(error: rusqlite::Error) -> Self {
        if Flaw::is_told_by(&error) { Self::Flaw(Flaw::Pages(error)) } else { Self::Sqlite(error) }
    }
}

/// The totals, checked against their own seal.
pub(super) fn totals(connection: &Connection) -> Result<Totals, RowError> {
    let mut statement =
        connection.prepare_cached("SELECT \"commit\", subjects, entries, sum, seal FROM totals")?;
    let found = statement
        .query_row([], |row| {
            let totals = Totals {
                commit: row.get(0)?,
                subjects: row.get(1)?,
                entries: row.get(2)?,
                sum: Sum::from_bytes(row.get_ref(3)?.as_bytes()?).unwrap_or_default(),
            };
            Ok((totals, sealed(row, 4)?))
        })
        .optional()?;
    match found {
        Some((totals, seal)) if seal == Some(Seal::of_totals(&totals)) => Ok(totals),
        Some(_) | None => Err(RowError::Flaw(Flaw::Totals)),
    }
}

/// Stores the totals. There is one row of them.
pub(super) fn put_totals(connection: &Connection, totals: &Totals) -> Result<(), rusqlite::Error> {
    let sql = "INSERT OR REPLACE INTO totals (one, \"commit\", subjects, entries, sum, seal) VALUES (1, ?1, ?2, ?3, ?4, ?5)";
    let Totals { commit, subjects, entries, sum } = totals;
    let seal = Seal::of_totals(totals);
    connection.prepare_cached(sql)?.execute(params![commit, subjects, entries, sum.bytes(), seal.bytes()])?;
    Ok(())
}

/// Appends in one transaction, and says what the totals are then.
pub(super) fn append(
    connection: &mut Connection,
    entries: &[Entry],
    standing: &[Standing],
) -> Result<Totals, RowError> {
    let transaction = connection.transaction()?;
    let mut totals = totals(&transaction)?;
    let mut touched: BTreeMap<String, Touched> = BTreeMap::new();
    for entry in entries {
        let subject = entry.record.subject().to_string();
        let chain = &mut touch(&transaction, &mut touched, &subject)?.now;
        let (at, record) =
            (entry.at.to_string(), serde_json::to_string(&entry.record).map_err(RowError::Json)?);
        totals.entries += 1;
        let seq = i64::try_from(totals.entries).unwrap_or(i64::MAX);
        let row = Row { seq, subject: &subject, at: at.as_bytes(), record: record.as_bytes() };
        let seal = Seal::of_entry(chain.last, row);
        chain.last = seal;
        chain.entries += 1;
        transaction
            .prepare_cached(
                "INSERT INTO entries (seq, subject, at, record, seal) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![seq, subject, at, record, seal.bytes()])?;
    }
    for standing in standing {
        let subject = standing.subject.to_string();
        touch(&transaction, &mut touched, &subject)?.now.open = standing.open;
    }
    for (subject, Touched { before, now }) in &touched {
        let seal = Seal::of_subject(subject, now);
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO subjects (subject, open, entries, last, seal) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![subject, now.open, now.entries, now.last.bytes(), seal.bytes()])?;
        totals.sum = before.map_or(totals.sum, |seal| totals.sum.minus(seal)).plus(seal);
        totals.subjects += u64::from(before.is_none());
    }
    totals.commit += 1;
    put_totals(&transaction, &totals)?;
    transaction.commit()?;
    Ok(totals)
}

/// A subject of an append.
struct Touched {
    /// The seal of its row, if it has one.
    before: Option<Seal>,
    now: Chain,
}

fn touch<'a>(
    transaction: &Transaction<'_>,
    touched: &'a mut BTreeMap<String, Touched>,
    subject: &str,
) -> Result<&'a mut Touched, RowError> {
    if !touched.contains_key(subject) {
        let found = chain_of(transaction, subject)?;
        let before = found.map(|chain| Seal::of_subject(subject, &chain));
        touched.insert(subject.to_owned(), Touched { before, now: found.unwrap_or_default() });
    }
    // What was just put there is there.
    touched.get_mut(subject).ok_or(RowError::Flaw(Flaw::Totals))
}

/// A subject's row, checked, if there is one.
fn chain_of(connection: &Connection, subject: &str) -> Result<Option<Chain>, RowError> {
    let mut statement = connection
        .prepare_cached("SELECT subject, open, entries, last, seal FROM subjects WHERE subject = ?1")?;
    let mut rows = statement.query([subject])?;
    match rows.next()? {
        None => Ok(None),
        Some(row) => chain(row).map(|(_, chain, _)| Some(chain)),
    }
}

/// One row of `subjects`, checked: which, what, and its seal.
fn chain(row: &SqlRow<'_>) -> Result<(String, Chain, Seal), RowError> {
    let read = || -> Result<_, rusqlite::Error> {
        let open = match row.get::<_, i64>(1)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        };
        let last = sealed(row, 3)?;
        let entries = row.get(2)?;
        let chain = open.zip(last).map(|(open, last)| Chain { open, entries, last });
        Ok((chain, sealed(row, 4)?))
    };
    let subject = String::from_utf8_lossy(row.get_ref(0)?.as_bytes().unwrap_or_default()).into_owned();
    if let Ok((Some(chain), Some(seal))) = read()
        && seal == Seal::of_subject(&subject, &chain)
    {
        return Ok((subject, chain, seal));
    }
    Err(RowError::Flaw(Flaw::Subject { subject }))
}

/// The entries of all open subjects, after every row of `subjects` was checked against the totals.
pub(super) fn open_entries(connection: &Connection) -> Result<Vec<Entry>, RowError> {
    let (mut open, total) = chains(connection)?;
    open.retain(|(_, chain)| chain.open);
    // Looked up one by one, entries cost a page each; when many are open, all of them are read in a row.
    let asked: u64 = open.iter().map(|(_, chain)| chain.entries).sum();
    let mut entries = Vec::new();
    if asked.saturating_mul(8) > total {
        scan(connection, open, |entry| entries.push(entry))?;
        return Ok(entries);
    }
    let mut statement = entries_of(connection)?;
    let mut numbered = Vec::new();
    for (subject, chain) in &open {
        follow(&mut statement, subject, *chain, &mut numbered)?;
    }
    numbered.sort_unstable_by_key(|(seq, _)| *seq);
    Ok(numbered.into_iter().map(|(_, entry)| entry).collect())
}

/// Checks every row there is, and says how many entries there are.
pub(super) fn check_all(connection: &Connection) -> Result<i64, RowError> {
    let (all, total) = chains(connection)?;
    scan(connection, all, drop)?;
    Ok(i64::try_from(total).unwrap_or(i64::MAX))
}

/// So many entries after one, as they are: [`check_all`] checks them.
pub(super) fn after(connection: &Connection, seq: i64, many: i64) -> Result<Vec<Entry>, RowError> {
    let sql = "SELECT seq, subject, at, record FROM entries WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![seq, many])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let subject = String::from_utf8_lossy(row.get_ref(1)?.as_bytes().unwrap_or_default());
        let bytes = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_bytes()?);
        entries.push(entry(row.get(0)?, &subject, bytes(2)?, bytes(3)?).map_err(RowError::Entry)?);
    }
    Ok(entries)
}

/// Whether a subject is open.
pub(super) fn is_open(connection: &Connection, subject: &str) -> Result<bool, RowError> {
    Ok(chain_of(connection, subject)?.is_some_and(|chain| chain.open))
}

/// Every subject, checked against the totals, and how many entries there are.
fn chains(connection: &Connection) -> Result<(Vec<(String, Chain)>, u64), RowError> {
    let expected = totals(connection)?;
    let mut found = Totals { commit: expected.commit, ..Totals::default() };
    let mut all: Vec<(String, Chain)> = Vec::new();
    let mut statement =
        connection.prepare("SELECT subject, open, entries, last, seal FROM subjects ORDER BY subject")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (subject, chain, seal) = chain(row)?;
        // Out of order, a search would pass it by.
        if all.last().is_some_and(|(before, _)| subject <= *before) {
            return Err(RowError::Flaw(Flaw::Subject { subject }));
        }
        found.subjects += 1;
        found.entries += chain.entries;
        found.sum = found.sum.plus(seal);
        all.push((subject, chain));
    }
    let last: Option<u64> = connection.query_row("SELECT max(seq) FROM entries", [], |row| row.get(0))?;
    if found != expected || last.unwrap_or(0) != expected.entries {
        return Err(RowError::Flaw(Flaw::Totals));
    }
    Ok((all, expected.entries))
}

/// The entries of these subjects, by reading those of all.
fn scan(
    connection: &Connection,
    subjects: Vec<(String, Chain)>,
    mut look: impl FnMut(Entry),
) -> Result<(), RowError> {
    let mut walks: HashMap<_, _> =
        subjects.into_iter().map(|(subject, chain)| (subject, Walk::along(chain))).collect();
    let mut statement =
        connection.prepare("SELECT seq, subject, at, record, seal FROM entries ORDER BY seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        // One that was changed to another's is missed where it was.
        let subject = String::from_utf8_lossy(row.get_ref(1)?.as_bytes().unwrap_or_default());
        if let Some(walk) = walks.get_mut(&*subject) {
            look(walk.step(&subject, row)?.1);
        }
    }
    walks.iter().try_for_each(|(subject, walk)| walk.end(subject))
}

/// The entries of one subject.
pub(super) fn history(connection: &Connection, subject: &str) -> Result<Vec<Entry>, RowError> {
    let chain = chain_of(connection, subject)?.unwrap_or_default();
    let mut entries = Vec::new();
    follow(&mut entries_of(connection)?, subject, chain, &mut entries)?;
    Ok(entries.into_iter().map(|(_, entry)| entry).collect())
}

/// The tasks that may have asked about a grant, among so many entries from `first` on; nothing past the last one.
pub(super) fn asking(
    connection: &Connection,
    grant: &GrantId,
    first: u64,
    many: u64,
) -> Result<Option<BTreeSet<String>>, RowError> {
    if first > totals(connection)?.entries {
        return Ok(None);
    }
    // As it stands in the record of a task that was taken. Text that only looks like it is sorted out by `about`.
    let sought = format!("\"grant\":{}", serde_json::to_string(grant).map_err(RowError::Json)?);
    let sql = "SELECT DISTINCT subject FROM entries
               WHERE seq BETWEEN ?1 AND ?2 AND subject LIKE 'task:%' AND instr(record, ?3) > 0";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map(params![first, first + many - 1, sought], |row| row.get(0))?;
    Ok(Some(found.collect::<Result<_, _>>()?))
}

/// The entries of a grant, and of those of these tasks that have asked about it.
pub(super) fn about(
    connection: &Connection,
    grant: &GrantId,
    tasks: &BTreeSet<String>,
) -> Result<Vec<Entry>, RowError> {
    let mut entries = Vec::new();
    let mut statement = entries_of(connection)?;
    let grants_own = Subject::Grant(grant.clone()).to_string();
    for subject in tasks.iter().chain([&grants_own]) {
        let chain = chain_of(connection, subject)?.unwrap_or_default();
        let before = entries.len();
        follow(&mut statement, subject, chain, &mut entries)?;
        if !entries[before..].iter().any(|(_, entry)| entry.record.is_about(grant)) {
            entries.truncate(before);
        }
    }
    entries.sort_unstable_by_key(|(seq, _)| *seq);
    Ok(entries.into_iter().map(|(_, entry)| entry).collect())
}

/// All entries that can be read, without a look at any seal, and how many cannot: of a damaged journal, for a person.
pub(super) fn salvage(connection: &Connection) -> (Vec<Entry>, usize) {
    let (mut entries, mut lost) = (Vec::new(), 0);
    let Ok(mut statement) = connection.prepare("SELECT seq, at, record, subject FROM entries ORDER BY seq")
    else {
        return (entries, 1);
    };
    let Ok(mut rows) = statement.query([]) else {
        return (entries, 1);
    };
    loop {
        match rows.next() {
            Ok(None) => return (entries, lost),
            Ok(Some(row)) => match salvaged(row) {
                Some(entry) => entries.push(entry),
                None => lost += 1,
            },
            // Pages that SQLite cannot read: what comes after them cannot be reached either.
            Err(_) => return (entries, lost + 1),
        }
    }
}

fn salvaged(row: &SqlRow<'_>) -> Option<Entry> {
    let bytes = |column| row.get_ref(column).ok()?.as_bytes().ok();
    let subject = std::str::from_utf8(bytes(3)?).ok()?;
    entry(row.get(0).ok()?, subject, bytes(1)?, bytes(2)?).ok()
}

fn entries_of(connection: &Connection) -> Result<CachedStatement<'_>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT seq, subject, at, record, seal FROM entries WHERE subject = ?1 ORDER BY seq")
}

/// Reads a subject's entries along their chain.
fn follow(
    statement: &mut CachedStatement<'_>,
    subject: &str,
    chain: Chain,
    into: &mut Vec<(i64, Entry)>,
) -> Result<(), RowError> {
    let mut walk = Walk::along(chain);
    let mut rows = statement.query([subject])?;
    while let Some(row) = rows.next()? {
        into.push(walk.step(subject, row)?);
    }
    walk.end(subject)
}

/// A way along a subject's entries.
struct Walk {
    chain: Chain,
    sound: u64,
    last: Seal,
}

impl Walk {
    fn along(chain: Chain) -> Self {
        Self { chain, sound: 0, last: Seal::default() }
    }

    /// The next entry, checked.
    fn step(&mut self, subject: &str, row: &SqlRow<'_>) -> Result<(i64, Entry), RowError> {
        let read = || -> Result<_, rusqlite::Error> {
            let (at, record) = (row.get_ref(2)?.as_bytes()?, row.get_ref(3)?.as_bytes()?);
            let is_its = row.get_ref(1)?.as_bytes()? == subject.as_bytes();
            Ok((row.get(0)?, is_its, at, record, sealed(row, 4)?))
        };
        let Ok((seq, true, at, record, Some(seal))) = read() else {
            return Err(self.broken(subject));
        };
        self.last = Seal::of_entry(self.last, Row { seq, subject, at, record });
        if self.last != seal {
            return Err(self.broken(subject));
        }
        self.sound += 1;
        Ok((seq, entry(seq, subject, at, record).map_err(RowError::Entry)?))
    }

    /// That none is missing.
    fn end(&self, subject: &str) -> Result<(), RowError> {
        let is_whole = (self.sound, self.last) == (self.chain.entries, self.chain.last);
        if is_whole { Ok(()) } else { Err(self.broken(subject)) }
    }

    fn broken(&self, subject: &str) -> RowError {
        let (subject, expected) = (subject.to_owned(), self.chain.entries);
        RowError::Flaw(Flaw::Entries { subject, sound: self.sound, expected })
    }
}

/// The subject says what kind of record it is and whose, so that its text is gone through once.
fn read(subject: &str, record: &[u8]) -> Result<Record, serde_json::Error> {
    match subject.split_once(':') {
        Some(("grant", id)) => {
            serde_json::from_slice(record).map(|event| Record::Grant { id: id.into(), event })
        }
        Some(("task", id)) => {
            serde_json::from_slice(record).map(|event| Record::Task { id: id.into(), event })
        }
        Some(_) | None => serde_json::from_slice(record),
    }
}

fn entry(seq: i64, subject: &str, at: &[u8], record: &[u8]) -> Result<Entry, JournalError> {
    let at = String::from_utf8_lossy(at)
        .parse()
        .map_err(|error: jiff::Error| JournalError::Read(Box::new(error)))?;
    let record = read(subject, record).map_err(|source| JournalError::Entry { seq, source })?;
    Ok(Entry { at, record })
}

fn sealed(row: &SqlRow<'_>, column: usize) -> Result<Option<Seal>, rusqlite::Error> {
    Ok(Seal::from_bytes(row.get_ref(column)?.as_bytes()?))
}
