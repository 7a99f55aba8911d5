//! Which files the patterns lead to now. Walks folders and looks at names; opens no file and keeps nothing.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use super::identity::{Key, Stat};
use super::options::Options;
use super::pattern::{Component, Pattern};

/// Deepest folder below a pattern's root that `**` goes down to.
pub const DEPTH_MAX: usize = 64;

/// Most entries that are looked at when a file that lost its name is searched by inode.
pub const SEARCH_MAX: usize = 100_000;

/// A file that a source wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub path: PathBuf,
    /// Index of the first source that wants it.
    pub source: usize,
    pub stat: Stat,
}

/// What one walk met.
#[derive(Debug, Default)]
pub struct Survey {
    /// Files in the order of sources and patterns; one with several names stands there once for each.
    pub files: Vec<Found>,
    /// Folders in which a change matters; those found without a symbolic link first.
    pub folders: Vec<(Key, PathBuf)>,
    /// Folders and files that could not be looked at.
    pub troubles: Vec<(PathBuf, io::Error)>,
}

/// The patterns of one source, made absolute.
#[derive(Debug)]
struct Wanted {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

/// Knows what to look for.
#[derive(Debug)]
pub struct Discovery {
    sources: Vec<Wanted>,
    own_paths: Vec<PathBuf>,
}

impl Discovery {
    /// Relative patterns and paths are taken from `folder`. What lies at or below one of `own_paths` is never wanted,
    /// nor are the rotated names of a file among them.
    pub fn new(sources: &[Options], own_paths: &[PathBuf], folder: &Path) -> Self {
        let rooted = |patterns: &[Pattern]| patterns.iter().map(|pattern| pattern.rooted(folder)).collect();
        let mut own: Vec<PathBuf> = own_paths.iter().map(|path| folder.join(path)).collect();
        let canonical: Vec<PathBuf> = own.iter().filter_map(|path| path.canonicalize().ok()).collect();
        own.extend(canonical);
        Discovery {
            sources: sources
                .iter()
                .map(|source| Wanted { include: rooted(&source.include), exclude: rooted(&source.exclude) })
                .collect(),
            own_paths: own,
        }
    }

    /// The first source that wants this path, by its name alone.
    pub fn source_of(&self, path: &Path) -> Option<usize> {
        if self.is_own(path) {
            return None;
        }
        self.sources.iter().position(|source| {
            source.include.iter().any(|pattern| pattern.matches(path))
                && !source.exclude.iter().any(|pattern| pattern.matches(path))
        })
    }

    /// The columns that a source's patterns capture from a path; empty where none matches.
    pub fn captures(&self, source: usize, path: &Path) -> Vec<(String, String)> {
        let patterns = self.sources.get(source).map(|source| source.include.as_slice()).unwrap_or_default();
        patterns.iter().find_map(|pattern| pattern.captures(path)).unwrap_or_default()
    }

    /// Looks at one path.
    ///
    /// # Errors
    /// Where a wanted path cannot be looked at.
    pub fn look(&self, path: &Path) -> io::Result<Option<Found>> {
        let Some(source) = self.source_of(path) else { return Ok(None) };
        let stat = Stat::of(path)?;
        Ok(stat.regular.then(|| Found { path: path.to_path_buf(), source, stat }))
    }

    fn is_own(&self, path: &Path) -> bool {
        self.own_paths.iter().any(|own| path.starts_with(own) || is_rotated_name(path, own))
    }

    /// Files that are logferry's own, whatever name they are met under.
    fn own_files(&self) -> HashSet<Key> {
        self.own_paths
            .iter()
            .filter_map(|path| Stat::of(path).ok())
            .filter(|stat| stat.regular)
            .map(|stat| stat.key)
            .collect()
    }

    /// Walks everything that the patterns reach.
    pub fn survey(&self) -> Survey {
        let own_files = self.own_files();
        let mut survey = Survey::default();
        let mut known = HashSet::new();
        for (source, wanted) in self.sources.iter().enumerate() {
            for pattern in &wanted.include {
                let (root, components) = pattern.root();
                let mut walk =
                    Walk { survey: &mut survey, known_folders: &mut known, paths: Vec::new(), linked: Vec::new() };
                walk.descend(&root, components, 0);
                // What is reached through links comes last, so that a file is known by its real path where it has one.
                while let Some((folder, components, depth)) = walk.linked.pop() {
                    walk.descend(&folder, components, depth);
                }
                let paths = walk.paths;
                for path in paths {
                    let excluded = self.is_own(&path) || wanted.exclude.iter().any(|pattern| pattern.matches(&path));
                    if excluded {
                        continue;
                    }
                    match Stat::of(&path) {
                        Ok(stat) if stat.regular && !own_files.contains(&stat.key) => {
                            survey.files.push(Found { path, source, stat });
                        }
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => survey.troubles.push((path, error)),
                    }
                }
            }
        }
        survey
    }
}

/// Whether `path` is what rotation makes of the file `own`: the same name with `.` or `-` and more behind it.
fn is_rotated_name(path: &Path, own: &Path) -> bool {
    let (Some(name), Some(own_name)) = (path.file_name(), own.file_name()) else { return false };
    path.parent() == own.parent()
        && name
            .as_encoded_bytes()
            .strip_prefix(own_name.as_encoded_bytes())
            .is_some_and(|rest| matches!(rest.first(), Some(b'.' | b'-')))
}

/// One walk below the root of one pattern.
struct Walk<'a, 'p> {
    survey: &'a mut Survey,
    known_folders: &'a mut HashSet<Key>,
    /// Paths whose name matches.
    paths: Vec<PathBuf>,
    /// Folders behind symbolic links, for later.
    linked: Vec<(PathBuf, &'p [Component], usize)>,
}

impl<'p> Walk<'_, 'p> {
    /// Goes on in `folder`, which all components before `components` led to.
    fn descend(&mut self, folder: &Path, components: &'p [Component], depth: usize) {
        let Some((first, rest)) = components.split_first() else { return };
        if let Component::Literal(name) = first {
            let path = folder.join(name);
            self.note_folder(folder);
            if rest.is_empty() {
                self.paths.push(path);
            } else {
                self.descend(&path, rest, depth);
            }
            return;
        }
        if !self.note_folder(folder) || depth > DEPTH_MAX {
            return;
        }
        let mut entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries.filter_map(Result::ok).collect::<Vec<_>>(),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    self.survey.troubles.push((folder.to_path_buf(), error));
                }
                return;
            }
        };
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let (Ok(kind), name) = (entry.file_type(), entry.file_name()) else { continue };
            match first {
                Component::Folders => {
                    // No folder at all: the rest of the pattern is tried on this very entry.
                    self.enter(&entry, kind, &name, rest, depth);
                    // One folder more. Links are not followed here, or a link upwards would never end.
                    if kind.is_dir() {
                        self.descend(&folder.join(&name), components, depth + 1);
                    }
                }
                _ => self.enter(&entry, kind, &name, components, depth),
            }
        }
    }

    /// Takes one entry where the first of `components` matches its name.
    fn enter(
        &mut self,
        entry: &std::fs::DirEntry,
        kind: std::fs::FileType,
        name: &std::ffi::OsStr,
        components: &'p [Component],
        depth: usize,
    ) {
        let Some((first, rest)) = components.split_first() else { return };
        if !first.matches(name, &mut Vec::new()) {
            return;
        }
        let path = entry.path();
        if rest.is_empty() {
            if !kind.is_dir() {
                self.paths.push(path);
            }
        } else if kind.is_dir() {
            self.descend(&path, rest, depth + 1);
        } else if kind.is_symlink() {
            self.linked.push((path, rest, depth + 1));
        }
    }

    /// Remembers a folder to be watched; false where there is none.
    fn note_folder(&mut self, folder: &Path) -> bool {
        match Stat::of(folder) {
            Ok(stat) if stat.folder => {
                if self.known_folders.insert(stat.key) {
                    self.survey.folders.push((stat.key, folder.to_path_buf()));
                }
                true
            }
            Ok(_) => false,
            Err(error) => {
                if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
                    self.survey.troubles.push((folder.to_path_buf(), error));
                }
                false
            }
        }
    }
}

/// Looks for a file by its inode, in a folder and the folders right below it: where rotation puts files.
/// Gives every name that has it, at most [`SEARCH_MAX`] entries are looked at.
pub fn search_inode(folder: &Path, ino: u64) -> Vec<PathBuf> {
    let mut matching = Vec::new();
    let mut folders = vec![(folder.to_path_buf(), 0)];
    let mut left = SEARCH_MAX;
    while let Some((folder, depth)) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.filter_map(Result::ok) {
            left = left.saturating_sub(1);
            if left == 0 {
                return matching;
            }
            if entry.ino() == ino {
                matching.push(entry.path());
            } else if depth == 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push((entry.path(), 1));
            }
        }
    }
    matching
}
