//! A disk in memory that forgets what was not synced, and fails or dies at a chosen operation.
//!
//! It is harsher than file systems are: unsynced writes survive a crash each for itself or in half,
//! the names of each directory survive as they were synced last or as they are, and what a failed
//! sync should have written is never written by a later one.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::operations::{Files, Guard, Kind, Lock, OpenFile, Space, Stat, parent};

/// What happens at the chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails; later ones work.
    Once,
    /// It and all later ones fail, as if the machine had stopped.
    Crash,
}

#[derive(Clone, Default)]
struct Inode {
    directory: bool,
    /// What readers see.
    data: Vec<u8>,
    /// What a crash leaves for certain.
    durable: Vec<u8>,
    /// Writes since the last sync.
    pending: Vec<(u64, Vec<u8>)>,
}

#[derive(Default)]
struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    /// Directories with a failed sync.
    broken: BTreeSet<String>,
    locks: BTreeSet<String>,
    /// Directories that nothing can be read or looked up in.
    unreadable: BTreeSet<String>,
    /// Bytes that all files together may have.
    capacity: Option<u64>,
    operations: u64,
    fault: Option<(u64, Fault)>,
}

/// Clones share the disk.
#[derive(Clone, Default)]
pub(crate) struct MemoryFiles(Arc<Mutex<Disk>>);

impl MemoryFiles {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    /// Lets the operation fail that comes after `after` others from now.
    pub(crate) fn set_fault(&self, after: u64, fault: Fault) {
        let mut disk = self.disk();
        disk.fault = Some((disk.operations + after, fault));
    }

    /// Makes a directory unreadable, or readable again.
    pub(crate) fn set_unreadable(&self, dir: &str, unreadable: bool) {
        let mut disk = self.disk();
        if unreadable {
            disk.unreadable.insert(dir.to_owned());
        } else {
            disk.unreadable.remove(dir);
        }
    }

    /// Limits what all files together may have.
    pub(crate) fn set_capacity(&self, bytes: u64) {
        self.disk().capacity = Some(bytes);
    }

    /// Whether the fault was reached.
    pub(crate) fn faulted(&self) -> bool {
        let disk = self.disk();
        disk.fault.is_some_and(|(at, _)| disk.operations > at)
    }

    /// The disk as the next process finds it when this one was killed: what was not synced is seen,
    /// but still not safe.
    pub(crate) fn after_kill(&self) -> Self {
        let disk = self.disk();
        Self(Arc::new(Mutex::new(Disk {
            inodes: disk.inodes.clone(),
            names: disk.names.clone(),
            durable: disk.durable.clone(),
            ..Disk::default()
        })))
    }

    /// A disk as this one may be found after a crash; which of the possible ones, `seed` tells.
    pub(crate) fn after_crash(&self, seed: u64) -> Self {
        let disk = self.disk();
        let mut random = Random(seed);
        let mut directories: BTreeMap<&str, bool> = BTreeMap::new();
        let mut names = BTreeMap::new();
        let both = disk
            .durable
            .iter()
            .map(|entry| (entry, false))
            .chain(disk.names.iter().map(|entry| (entry, true)));
        for ((name, inode), newer) in both {
            let keeps_newer = *directories
                .entry(parent(name))
                .or_insert_with(|| random.flip());
            if keeps_newer == newer {
                names.insert(name.clone(), *inode);
            }
        }
        // What hangs on a lost directory is lost.
        let reachable = |name: &&String| {
            let mut above = parent(name);
            while !above.is_empty() {
                if !names.contains_key(above) {
                    return false;
                }
                above = parent(above);
            }
            true
        };
        let names: BTreeMap<_, _> = names
            .keys()
            .filter(reachable)
            .map(|name| (name.clone(), names[name]))
            .collect();
        let survive = |inode: &Inode| {
            let mut data = inode.durable.clone();
            for (offset, bytes) in &inode.pending {
                match random.next() % 3 {
                    0 => {}
                    1 => write(&mut data, *offset, bytes),
                    _ => write(&mut data, *offset, &bytes[..bytes.len() / 2]),
                }
            }
            Inode {
                durable: data.clone(),
                data,
                pending: Vec::new(),
                ..*inode
            }
        };
        let inodes = disk.inodes.iter().map(survive).collect();
        Self(Arc::new(Mutex::new(Disk {
            inodes,
            durable: names.clone(),
            names,
            ..Disk::default()
        })))
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn flip(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }
}

fn write(data: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let (begin, end) = (offset as usize, offset as usize + bytes.len());
    if data.len() < end {
        data.resize(end, 0);
    }
    data[begin..end].copy_from_slice(bytes);
}

impl Disk {
    /// Counts an operation and says whether it goes wrong.
    fn step(&mut self) -> io::Result<()> {
        let now = self.operations;
        self.operations += 1;
        match self.fault {
            Some((at, Fault::Once)) if now == at => Err(io::Error::other("injected failure")),
            Some((at, Fault::Crash)) if now >= at => Err(io::Error::other("injected crash")),
            _ => Ok(()),
        }
    }

    /// Bytes that can still be written; an inode without a name takes none.
    fn free(&self) -> u64 {
        let Some(capacity) = self.capacity else {
            return u64::MAX;
        };
        let sizes = self
            .names
            .values()
            .map(|inode| self.inodes[*inode].data.len() as u64);
        capacity.saturating_sub(sizes.sum())
    }

    fn enter(&self, dir: &str) -> io::Result<()> {
        if self.unreadable.contains(dir) {
            return Err(io::Error::other("injected failure of a directory"));
        }
        Ok(())
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.enter(parent(name))?;
        self.names
            .get(name)
            .copied()
            .ok_or(io::ErrorKind::NotFound.into())
    }

    fn make(&mut self, name: &str, directory: bool) -> io::Result<usize> {
        let above = parent(name);
        if !above.is_empty() && !self.inodes[self.find(above)?].directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        if self.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.inodes.push(Inode {
            directory,
            ..Inode::default()
        });
        self.names.insert(name.to_owned(), self.inodes.len() - 1);
        Ok(self.inodes.len() - 1)
    }
}

impl Files for MemoryFiles {
    fn create(&self, name: &str) -> io::Result<Box<dyn OpenFile>> {
        let mut disk = self.disk();
        disk.step()?;
        let inode = disk.make(name, false)?;
        Ok(Box::new(MemoryFile {
            files: self.clone(),
            inode,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn OpenFile>> {
        let mut disk = self.disk();
        disk.step()?;
        let inode = disk.find(name)?;
        Ok(Box::new(MemoryFile {
            files: self.clone(),
            inode,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.step()?;
        let inode = disk.find(from)?;
        if !parent(to).is_empty() {
            disk.find(parent(to))?;
        }
        disk.names.remove(from);
        disk.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.step()?;
        disk.find(name)?;
        disk.names.remove(name);
        Ok(())
    }

    fn create_dir(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.step()?;
        disk.make(name, true).map(drop)
    }

    fn sync_dir(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        if let Err(error) = disk.step() {
            disk.broken.insert(name.to_owned());
            return Err(error);
        }
        if !disk.broken.contains(name) {
            let inside = |entry: &(&String, &usize)| parent(entry.0) == name;
            let now: Vec<_> = disk
                .names
                .iter()
                .filter(inside)
                .map(|(name, inode)| (name.clone(), *inode))
                .collect();
            disk.durable.retain(|entry, _| parent(entry) != name);
            disk.durable.extend(now);
        }
        Ok(())
    }

    fn entries(&self, name: &str) -> io::Result<Vec<(OsString, Kind)>> {
        let mut disk = self.disk();
        disk.step()?;
        disk.enter(name)?;
        let inside = disk.names.iter().filter(|(entry, _)| parent(entry) == name);
        let entry = |(name, inode): (&String, &usize)| {
            let kind = if disk.inodes[*inode].directory {
                Kind::Directory
            } else {
                Kind::File
            };
            (name.rsplit('/').next().unwrap().into(), kind)
        };
        Ok(inside.map(entry).collect())
    }

    fn stat(&self, name: &str) -> io::Result<Option<Stat>> {
        let mut disk = self.disk();
        disk.step()?;
        disk.enter(parent(name))?;
        let Some(&inode) = disk.names.get(name) else {
            return Ok(None);
        };
        let found = &disk.inodes[inode];
        let kind = if found.directory {
            Kind::Directory
        } else {
            Kind::File
        };
        Ok(Some(Stat {
            kind,
            mode: 0o600,
            len: found.data.len() as u64,
            inode: inode as u64,
            changed: 0,
        }))
    }

    fn space(&self) -> io::Result<Space> {
        let disk = self.disk();
        let total = disk.capacity.unwrap_or(u64::MAX);
        Ok(Space {
            free: disk.free(),
            total,
        })
    }

    fn lock(&self, name: &str, _: Lock) -> io::Result<Option<Box<dyn Guard>>> {
        let mut disk = self.disk();
        disk.step()?;
        if !disk.locks.insert(name.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(MemoryGuard {
            files: self.clone(),
            name: name.to_owned(),
        })))
    }
}

struct MemoryGuard {
    files: MemoryFiles,
    name: String,
}

impl Guard for MemoryGuard {}

impl Drop for MemoryGuard {
    fn drop(&mut self) {
        self.files.disk().locks.remove(&self.name);
    }
}

struct MemoryFile {
    files: MemoryFiles,
    inode: usize,
}

impl OpenFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.files.disk();
        disk.step()?;
        let data = &disk.inodes[self.inode].data;
        let rest = data.get(offset as usize..).unwrap_or(&[]);
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.files.disk();
        let mut result = disk.step();
        let end = offset + bytes.len() as u64;
        let grows = end.saturating_sub(disk.inodes[self.inode].data.len() as u64);
        if grows > disk.free() {
            result = result.and(Err(io::ErrorKind::StorageFull.into()));
        }
        // A write that fails may have written something.
        let written = if result.is_ok() {
            bytes
        } else if disk.capacity.is_some() {
            &[]
        } else {
            &bytes[..bytes.len() / 2]
        };
        let inode = &mut disk.inodes[self.inode];
        write(&mut inode.data, offset, written);
        inode.pending.push((offset, written.to_vec()));
        result
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.files.disk();
        let result = disk.step();
        let inode = &mut disk.inodes[self.inode];
        let pending = std::mem::take(&mut inode.pending);
        if result.is_ok() {
            pending
                .iter()
                .for_each(|(offset, bytes)| write(&mut inode.durable, *offset, bytes));
        }
        result
    }

    fn len(&self) -> io::Result<u64> {
        let mut disk = self.files.disk();
        disk.step()?;
        Ok(disk.inodes[self.inode].data.len() as u64)
    }
}
