use std::path::PathBuf;

/// Where the store is, and who may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The database file.
    pub database: PathBuf,
    /// The group to which file and directory are given; `None` leaves the group alone.
    pub group: Option<String>,
    /// The permission bits of the file, 0o660 or 0o640; the directory's follow from them (2770, 2750).
    pub mode: u32,
}
