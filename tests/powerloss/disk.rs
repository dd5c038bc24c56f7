//! What a disk may hold after a loss of power, by the trace of what was done to it.
//!
//! A file's content is durable when the file was synced after the write, its name when the folder was. Of everything
//! later, any part may be there, in sectors of 512 bytes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// No disk writes less than this at once.
const SECTOR: usize = 512;

/// One thing that was done.
#[derive(Clone, Debug)]
pub struct Operation {
    /// How many operations that can fail there were, with this one; 0 if it is not one of them.
    pub number: u32,
    kind: u8,
    name: String,
    inode: u64,
    offset: usize,
    data: Vec<u8>,
}

/// Reads the shim's trace.
pub fn read_trace(mut bytes: &[u8]) -> Vec<Operation> {
    let mut operations = Vec::new();
    while !bytes.is_empty() {
        let (header, rest) = bytes.split_at(32);
        let long = |at: usize| u64::from_ne_bytes(header[at..at + 8].try_into().unwrap());
        let name_length = usize::from(u16::from_ne_bytes(header[6..8].try_into().unwrap()));
        let (name, rest) = rest.split_at(name_length);
        let (data, rest) = rest.split_at(usize::try_from(long(24)).unwrap());
        operations.push(Operation {
            number: u32::from_ne_bytes(header[0..4].try_into().unwrap()),
            kind: header[4],
            name: String::from_utf8(name.to_vec()).unwrap(),
            inode: long(8),
            offset: usize::try_from(long(16)).unwrap(),
            data: data.to_vec(),
        });
        bytes = rest;
    }
    operations
}

impl Operation {
    /// What the writer said about its appends, if this is that.
    pub fn said(&self) -> Option<&str> {
        (self.kind == b'W' && self.name == "acks")
            .then(|| std::str::from_utf8(&self.data).unwrap().trim_end())
    }

    /// Whether it waits for the disk.
    pub fn is_sync(&self) -> bool {
        matches!(self.kind, b'S' | b'D')
    }

    /// Whether it makes, renames or removes a file.
    pub fn is_naming(&self) -> bool {
        matches!(self.kind, b'O' | b'R' | b'U')
    }

    /// Whether it writes to the file of this name.
    pub fn writes_to(&self, name: &str) -> bool {
        self.kind == b'W' && self.name == name
    }
}

/// The files of a folder.
pub type Image = BTreeMap<String, Vec<u8>>;

/// A disk on which operations are done, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: Vec<Content>,
    /// By the number that the machine has for it. It is used again when a file is gone.
    inodes: BTreeMap<u64, usize>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<Naming>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Length(usize),
    Write { offset: usize, data: Vec<u8> },
}

#[derive(Clone, Debug)]
enum Naming {
    Put(String, usize),
    Take(String),
    Move(String, String),
}

impl Disk {
    /// One that holds the files of `folder`, durably.
    pub fn of(folder: &Path) -> Self {
        let mut disk = Self::default();
        for (file, entry) in fs::read_dir(folder).unwrap().enumerate() {
            let entry = entry.unwrap();
            let now = fs::read(entry.path()).unwrap();
            disk.files.push(Content { durable: now.clone(), now, pending: Vec::new() });
            disk.inodes.insert(entry.metadata().unwrap().ino(), file);
            disk.names.insert(entry.file_name().into_string().unwrap(), file);
        }
        disk.durable_names.clone_from(&disk.names);
        disk
    }

    /// Does one operation.
    pub fn apply(&mut self, operation: &Operation) {
        let Operation { kind, name, inode, offset, data, .. } = operation;
        if name == "acks" {
            return;
        }
        match kind {
            b'O' => {
                let file = self.files.len();
                self.files.push(Content::default());
                self.inodes.insert(*inode, file);
                self.rename(Naming::Put(name.clone(), file));
            }
            b'T' => self.change(*inode, Change::Length(0)),
            b'L' => self.change(*inode, Change::Length(*offset)),
            b'W' => self.change(*inode, Change::Write { offset: *offset, data: data.clone() }),
            b'S' => {
                let file = &mut self.files[self.inodes[inode]];
                file.durable.clone_from(&file.now);
                file.pending.clear();
            }
            b'D' => {
                self.durable_names.clone_from(&self.names);
                self.pending_names.clear();
            }
            b'U' => self.rename(Naming::Take(name.clone())),
            b'R' => self.rename(Naming::Move(name.clone(), String::from_utf8(data.clone()).unwrap())),
            other => panic!("the trace has a {other}"),
        }
    }

    fn change(&mut self, inode: u64, change: Change) {
        let file = &mut self.files[self.inodes[&inode]];
        change.apply(&mut file.now);
        file.pending.push(change);
    }

    fn rename(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.pending_names.push(naming);
    }

    /// All that was done is there, as after the death of the process alone.
    pub fn all(&self) -> Image {
        self.names.iter().map(|(name, file)| (name.clone(), self.files[*file].now.clone())).collect()
    }

    /// Nothing is there but what was synced.
    pub fn synced(&self) -> Image {
        self.durable_names
            .iter()
            .map(|(name, file)| (name.clone(), self.files[*file].durable.clone()))
            .collect()
    }

    /// What was synced, and by chance this or that sector of the rest.
    pub fn torn(&self, random: &mut Random) -> Image {
        let mut names = self.durable_names.clone();
        for naming in self.pending_names.iter().filter(|_| random.chance()) {
            naming.apply(&mut names);
        }
        let content = |file: usize, random: &mut Random| {
            let file = &self.files[file];
            let mut content = file.durable.clone();
            for change in &file.pending {
                for part in change.sectors() {
                    if random.chance() {
                        part.apply(&mut content);
                    }
                }
            }
            content
        };
        names.into_iter().map(|(name, file)| (name, content(file, random))).collect()
    }
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Length(length) => to.resize(*length, 0),
            Self::Write { offset, data } => {
                let end = offset + data.len();
                to.resize(to.len().max(end), 0);
                to[*offset..end].copy_from_slice(data);
            }
        }
    }

    /// The parts of which each can be there or not.
    fn sectors(&self) -> Vec<Self> {
        match self {
            Self::Length(_) => vec![self.clone()],
            Self::Write { offset, data } => {
                let (mut at, mut rest, mut parts) = (*offset, &data[..], Vec::new());
                while !rest.is_empty() {
                    let (part, later) = rest.split_at(rest.len().min(SECTOR - at % SECTOR));
                    parts.push(Self::Write { offset: at, data: part.to_vec() });
                    at += part.len();
                    rest = later;
                }
                parts
            }
        }
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Put(name, file) => {
                names.insert(name.clone(), *file);
            }
            Self::Take(name) => {
                names.remove(name);
            }
            Self::Move(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
}

/// Writes the files of `image` to `folder`, and nothing else is there then.
pub fn lay_out(image: &Image, folder: &Path) {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).unwrap();
    for (name, content) in image {
        fs::write(folder.join(name), content).unwrap();
    }
}

/// Chance that can be repeated (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Heads or tails.
    pub fn chance(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }

    /// Below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }
}
