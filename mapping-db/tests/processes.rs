//! Many processes, killed processes, and processes that may only read.
//!
//! The parts that other processes play are tests of this binary too, run by name with `HOLDFAST_TEST_PART` set; without
//! it they do nothing.

mod common;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{add_key, location, public_keys, wallet};
use holdfast_mapping_db::{Location, ObjectFilter, Store, StoreError};

const DIRECTORY: &str = "HOLDFAST_TEST_PART";

fn part() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

fn command(name: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(DIRECTORY, directory);
    command
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The same as a user without rights: for root that is somebody else, and for anybody else it is himself, so that
/// directories must be closed to their owner too.
fn command_without_rights(name: &str, directory: &Path) -> Command {
    if !is_root() {
        return command(name, directory);
    }
    // Where the build directory is, others may not be let in.
    let copy = directory.join("test-binary");
    if !copy.exists() {
        std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy);
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(DIRECTORY, directory);
    command
}

fn succeeds(mut command: Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn temporary_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn twenty_processes_open_a_new_store() {
    for _ in 0..3 {
        let directory = temporary_directory();
        let start = |n: usize| {
            let mut command = command("part_first_opener", directory.path());
            command.env("HOLDFAST_TEST_NUMBER", n.to_string()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        };
        let children: Vec<Child> = (0..20).map(start).collect();
        std::fs::write(directory.path().join("go"), b"").unwrap();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let mut store = Store::open(&location(directory.path())).unwrap().unwrap();
        let wallets = store.read::<_, StoreError>(|rows| rows.wallets()).unwrap();
        assert_eq!(wallets.len(), 20, "nobody wrote to a store that another one replaced");
        let mut names: Vec<_> = std::fs::read_dir(directory.path().join("store"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["mapping.db", "mapping.db.owners"], "nothing half-made is left");
    }
}

#[test]
fn part_first_opener() {
    let Some(directory) = part() else { return };
    while !directory.join("go").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let number = std::env::var("HOLDFAST_TEST_NUMBER").unwrap();
    let mut store = Store::open_or_create(&location(&directory)).unwrap();
    let mut wallet = wallet();
    wallet.name = number;
    store.write::<_, StoreError>(|tx| tx.insert_wallet(&wallet)).unwrap();
}

#[test]
fn killed_in_the_middle_of_writing_loses_nothing() {
    let directory = temporary_directory();
    let location = location(directory.path());
    let id =
        Store::open_or_create(&location).unwrap().write::<_, StoreError>(|tx| tx.insert_wallet(&wallet())).unwrap();
    let mut acknowledged = 0;
    for round in 0..25u64 {
        let mut child = command("part_writer", directory.path()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn(move || {
            // The first one stands behind what the test harness says before it.
            let index = |line: String| line.split_once("index ")?.1.parse::<u32>().ok();
            lines.map_while(Result::ok).filter_map(index).last()
        });
        std::thread::sleep(Duration::from_millis(60 + 7 * (round % 11)));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = reader.join().unwrap().map_or(acknowledged, |last| last + 1);
        let mut store = Store::open(&location).unwrap().unwrap();
        let next = store.read::<_, StoreError>(|rows| rows.wallet(id)).unwrap().unwrap().next_index;
        assert!(next == acknowledged || next == acknowledged + 1, "{next} after {acknowledged} were acknowledged");
        acknowledged = next;
        assert!(!store.write::<_, StoreError>(|tx| tx.is_older_copy()).unwrap());
    }
    assert!(acknowledged > 0);
    let check = rusqlite::Connection::open(&location.database).unwrap();
    let verdict: String = check.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

#[test]
fn part_writer() {
    let Some(directory) = part() else { return };
    let mut store = Store::open(&location(&directory)).unwrap().unwrap();
    let id = store.read::<_, StoreError>(|rows| rows.wallets()).unwrap()[0].id;
    loop {
        let child = store.write::<_, StoreError>(|tx| tx.reserve_index(id)).unwrap();
        println!("index {}", child.index());
    }
}

/// A store with some keys, whose owner may not write it any more, and a journal that a killed writer left.
fn store_with_hot_journal(directory: &Path) -> Location {
    let location = location(directory);
    let mut store = Store::open_or_create(&location).unwrap();
    let id = store.write::<_, StoreError>(|tx| tx.insert_wallet(&wallet())).unwrap();
    for (n, key) in public_keys(20).iter().enumerate() {
        add_key(&mut store, id, key, &[n as u8], b"before").unwrap();
    }
    drop(store);
    let killed = command("part_killed_writer", directory).output().unwrap();
    assert!(!killed.status.success(), "{}", String::from_utf8_lossy(&killed.stderr));
    let journal = location.database.with_file_name("mapping.db-journal");
    assert!(journal.metadata().unwrap().len() > 512, "the journal is there");
    set_mode(&journal, 0o444);
    set_mode(&location.database, 0o444);
    set_mode(location.database.parent().unwrap(), 0o555);
    location
}

fn make_writable(location: &Location) {
    set_mode(location.database.parent().unwrap(), 0o750);
    set_mode(&location.database, 0o640);
    if !is_root() {
        set_mode(&location.database.with_file_name("mapping.db-journal"), 0o640);
    }
}

#[test]
fn part_killed_writer() {
    let Some(directory) = part() else { return };
    let connection = rusqlite::Connection::open(location(&directory).database).unwrap();
    // A cache so small that pages are written to the file before the end of the transaction.
    connection.execute_batch("PRAGMA cache_size=2; PRAGMA cache_spill=1; BEGIN IMMEDIATE;").unwrap();
    for n in 0..2000 {
        connection.execute("UPDATE objects SET label = zeroblob(900), cka_id = zeroblob(?1)", [n % 64]).unwrap();
        if n > 3 {
            nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::Signal::SIGKILL).unwrap();
        }
    }
}

#[test]
fn a_reader_without_rights_reads_past_a_crash() {
    let directory = temporary_directory();
    let location = store_with_hot_journal(directory.path());
    let before = std::fs::read(&location.database).unwrap();
    succeeds(command_without_rights("part_reader_of_hot_journal", directory.path()));
    assert_eq!(std::fs::read(&location.database).unwrap(), before, "a reader changes nothing");
    make_writable(&location);
    let mut store = Store::open(&location).unwrap().unwrap();
    let rows = store.read::<_, StoreError>(|rows| rows.find("1234", None, &ObjectFilter::default())).unwrap();
    assert!(rows.len() == 40 && rows.iter().all(|(object, _)| object.label == b"before"));
}

#[test]
fn part_reader_of_hot_journal() {
    let Some(directory) = part() else { return };
    let mut store = Store::open(&location(&directory)).unwrap().unwrap();
    assert!(store.write_obstacle().is_some());
    for _ in 0..3 {
        let rows = store.read::<_, StoreError>(|rows| rows.find("1234", None, &ObjectFilter::default())).unwrap();
        assert_eq!(rows.len(), 40);
        assert!(rows.iter().all(|(object, _)| object.label == b"before"), "what the killed writer did is not seen");
    }
    let error = store.write::<_, StoreError>(|tx| tx.retire_all_wallets()).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
    // What was opened to copy the store does not go to a forked child, beside what its SQLite has open.
    let database = location(&directory).database.canonicalize().unwrap();
    let open = || {
        let links = std::fs::read_dir("/proc/self/fd").unwrap();
        links.filter(|entry| std::fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(|to| to == database)).count()
    };
    let before = open();
    holdfast_mapping_db::forget_after_fork();
    assert_eq!(open(), before - 1);
}

#[test]
fn a_reader_sees_the_file_again_once_a_writer_has_rolled_back() {
    let directory = temporary_directory();
    let location = store_with_hot_journal(directory.path());
    let mut command = command_without_rights("part_patient_reader", directory.path());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.by_ref().map_while(Result::ok).find(|line| line.contains("seen the past")).unwrap();
    make_writable(&location);
    if is_root() {
        // The reader comes in by the permissions of others.
        set_mode(location.database.parent().unwrap(), 0o755);
        set_mode(&location.database, 0o644);
    }
    let mut store = Store::open(&location).unwrap().unwrap();
    store.write::<_, StoreError>(|tx| tx.retire_all_wallets()).unwrap();
    drop(store);
    assert!(child.wait().unwrap().success());
}

#[test]
fn part_patient_reader() {
    let Some(directory) = part() else { return };
    let mut store = Store::open(&location(&directory)).unwrap().unwrap();
    assert!(!store.read::<_, StoreError>(|rows| rows.wallets()).unwrap()[0].retired);
    println!("seen the past");
    for _ in 0..1000 {
        if store.read::<_, StoreError>(|rows| rows.wallets()).unwrap()[0].retired {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the change was never seen");
}

#[test]
fn a_reader_without_rights_reads_while_writers_are_killed() {
    let directory = temporary_directory();
    let location = location(directory.path());
    let mut store = Store::open_or_create(&location).unwrap();
    store.write::<_, StoreError>(|tx| tx.insert_wallet(&wallet())).unwrap();
    drop(store);
    if !is_root() {
        return; // The writers here need rights that the reader lacks.
    }
    set_mode(&location.database, 0o644);
    set_mode(location.database.parent().unwrap(), 0o755);
    let mut reader =
        command_without_rights("part_endless_reader", directory.path()).stderr(Stdio::piped()).spawn().unwrap();
    for round in 0..12u64 {
        let mut writer = command("part_writer", directory.path()).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(50 + 13 * (round % 7)));
        writer.kill().unwrap();
        writer.wait().unwrap();
    }
    std::fs::write(directory.path().join("stop"), b"").unwrap();
    let output = {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut reader.stderr.take().unwrap(), &mut text).unwrap();
        text
    };
    assert!(reader.wait().unwrap().success(), "{output}");
}

#[test]
fn part_endless_reader() {
    let Some(directory) = part() else { return };
    let mut store = Store::open(&location(&directory)).unwrap().unwrap();
    let mut last = 0;
    while !directory.join("stop").exists() {
        let next = store.read::<_, StoreError>(|rows| rows.wallets()).unwrap()[0].next_index;
        assert!(next >= last, "{next} after {last}: time went back");
        last = next;
    }
    assert!(last > 0);
}

#[test]
fn made_with_its_final_mode_and_group_whatever_the_umask() {
    for (mode, directory_mode) in [(0o660, 0o2770), (0o640, 0o2750)] {
        let directory = temporary_directory();
        let mut shell = Command::new("sh");
        let inner = command("part_maker", directory.path());
        shell.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
        shell.env(DIRECTORY, directory.path()).env("HOLDFAST_TEST_MODE", mode.to_string());
        succeeds(shell);
        let gid = if is_root() { 12345 } else { nix::unistd::getegid().as_raw() };
        let store = directory.path().join("store");
        for (path, expected) in
            [(store.clone(), directory_mode), (store.join("mapping.db"), mode), (store.join("mapping.db.owners"), mode)]
        {
            let metadata = path.metadata().unwrap();
            assert_eq!(metadata.mode() & 0o7777, expected, "{}", path.display());
            assert_eq!(metadata.gid(), gid, "{}", path.display());
        }
    }
}

#[test]
fn part_maker() {
    let Some(directory) = part() else { return };
    let mode = std::env::var("HOLDFAST_TEST_MODE").unwrap().parse().unwrap();
    let group = if is_root() { "12345".to_owned() } else { nix::unistd::getegid().to_string() };
    let location = Location { group: Some(group), mode, ..location(&directory) };
    let mut store = Store::open_or_create(&location).unwrap();
    store
        .write::<_, StoreError>(|tx| {
            tx.insert_wallet(&wallet())?;
            let journal = location.database.with_file_name("mapping.db-journal").metadata().unwrap();
            assert_eq!(journal.mode() & 0o7777, mode, "the journal");
            Ok(())
        })
        .unwrap();
}

#[test]
fn strangers_are_refused() {
    if !is_root() {
        return; // Only root can give files to somebody else.
    }
    let directory = temporary_directory();
    let location = location(directory.path());
    drop(Store::open_or_create(&location).unwrap());
    let (file, parent) = (location.database.clone(), location.database.parent().unwrap().to_owned());
    let refused = |what: &str| match Store::open(&location) {
        Err(StoreError::Permissions { .. }) => {}
        other => panic!("{what}: {other:?}"),
    };
    for path in [&file, &parent] {
        let mode = path.metadata().unwrap().mode() & 0o7777;
        set_mode(path, mode | 0o002);
        refused("written by everybody");
        set_mode(path, mode);
        std::os::unix::fs::chown(path, Some(4711), None).unwrap();
        refused("belongs to a stranger");
        std::os::unix::fs::chown(path, Some(0), None).unwrap();
    }
    let grouped = Location { group: Some("12345".into()), ..location.clone() };
    assert!(matches!(Store::open(&grouped), Err(StoreError::Permissions { .. })), "another group may write");
    for path in [&file, &parent] {
        std::os::unix::fs::chown(path, Some(4711), Some(12345)).unwrap();
    }
    assert!(Store::open(&grouped).unwrap().is_some(), "a member of the group may have made it");
    let missing = Location { group: Some("holdfast-no-such-group".into()), ..location.clone() };
    let error = Store::open(&missing).unwrap_err().to_string();
    assert!(error.contains("groupadd"), "{error}");
}

#[test]
fn read_only_whatever_the_reason() {
    let directory = temporary_directory();
    let location = location(directory.path());
    let mut store = Store::open_or_create(&location).unwrap();
    store.write::<_, StoreError>(|tx| tx.insert_wallet(&wallet())).unwrap();
    drop(store);
    set_mode(&location.database, 0o444);
    drop(Store::open(&location).unwrap().unwrap().owner());
    set_mode(&location.database.with_file_name("mapping.db.owners"), 0o444);
    set_mode(location.database.parent().unwrap(), 0o555);
    succeeds(command_without_rights("part_reader", directory.path()));
    // The file could be written, but no journal made beside it.
    if is_root() {
        std::os::unix::fs::chown(&location.database, Some(65534), None).unwrap();
    }
    set_mode(&location.database, 0o644);
    succeeds(command_without_rights("part_reader", directory.path()));
    set_mode(location.database.parent().unwrap(), 0o755);
}

#[test]
fn who_may_not_read_is_told_what_to_do() {
    let directory = temporary_directory();
    let location = location(directory.path());
    drop(Store::open_or_create(&location).unwrap());
    for (directory_mode, mode) in [(0o755, 0o000), (0o000, 0o644)] {
        set_mode(&location.database, mode);
        set_mode(location.database.parent().unwrap(), directory_mode);
        succeeds(command_without_rights("part_stranger", directory.path()));
        set_mode(location.database.parent().unwrap(), 0o755);
    }
}

#[test]
fn part_stranger() {
    let Some(directory) = part() else { return };
    let location = Location { group: Some("holdfast".into()), ..location(&directory) };
    for outcome in [Store::open(&location).map(|_| ()), Store::open_or_create(&location).map(|_| ())] {
        let error = outcome.unwrap_err();
        assert!(matches!(error, StoreError::Permissions { .. }), "{error}");
        assert!(error.to_string().contains("usermod -aG holdfast"), "{error}");
    }
}

#[test]
fn part_reader() {
    let Some(directory) = part() else { return };
    let location = location(&directory);
    let mut store = Store::open(&location).unwrap().unwrap();
    assert_eq!(store.read::<_, StoreError>(|rows| rows.wallets()).unwrap().len(), 1);
    let error = store.write::<_, StoreError>(|tx| tx.retire_all_wallets()).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
    let owner = holdfast_mapping_db::OwnerId::NOBODY;
    assert!(!store.owner_alive(owner).unwrap(), "owners can be asked for");
    let beside = Location { database: location.database.with_file_name("other.db"), ..location };
    let error = Store::open_or_create(&beside).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
}
