//! The source itself: `unsafe` stays where it belongs, with its reasons, and nothing is left half done.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use holdfast_tests::artefacts::workspace;

/// Where product code may be unsafe; tests may, too.
const ALLOWED: [&str; 4] = ["shim/src/abi/", "shim/src/backend.rs", "device/src/ffi.rs", "emulator/src/abi/"];

/// Crates without any.
const FORBIDDEN: [&str; 6] = ["wallet", "mapping-db", "keystore", "config", "cli", "xtask"];

/// Every Rust source file of the workspace, with its path from the workspace's root.
fn sources() -> Result<Vec<(String, PathBuf)>> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                walk(&path, found)?;
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    walk(workspace(), &mut found)?;
    ensure!(found.len() > 50, "this is not the workspace");
    found.into_iter().map(|path| Ok((path.strip_prefix(workspace())?.display().to_string(), path))).collect()
}

fn is_test(name: &str) -> bool {
    name.starts_with("tests/")
        || name.starts_with("fuzz/")
        || name.contains("/tests/")
        || name.ends_with("_tests.rs")
        || name.ends_with("/tests.rs")
}

/// The code of a line: without what is in strings, and without a comment at its end.
fn code(line: &str) -> String {
    let mut code = String::new();
    let mut characters = line.chars().peekable();
    let mut in_string = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' if in_string => drop(characters.next()),
            '"' => in_string = !in_string,
            '/' if !in_string && characters.peek() == Some(&'/') => break,
            _ if in_string => {}
            other => code.push(other),
        }
    }
    code
}

fn mentions_unsafe(code: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
}

/// The lines of a file on which `unsafe` begins a block or an `impl`, or qualifies a function.
fn unsafe_lines(text: &str) -> Vec<usize> {
    text.lines().enumerate().filter(|(_, line)| mentions_unsafe(&code(line))).map(|(number, _)| number).collect()
}

#[test]
fn unsafe_is_only_where_it_is_allowed() -> Result<()> {
    let mut wrong = Vec::new();
    for (name, path) in sources()? {
        if is_test(&name) || ALLOWED.iter().any(|allowed| name.starts_with(allowed)) {
            continue;
        }
        let text = fs::read_to_string(path)?;
        // A file's own unit tests are tests.
        let product = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        wrong.extend(unsafe_lines(product).into_iter().map(|number| format!("{name}:{}", number + 1)));
    }
    ensure!(wrong.is_empty(), "unsafe code at {wrong:?}");
    Ok(())
}

#[test]
fn every_unsafe_block_gives_its_reason() -> Result<()> {
    let (mut blocks, mut wrong) = (0, Vec::new());
    for (name, path) in sources()? {
        // Tests that play a hostile client say so once, for the whole file; clippy sees to the others.
        if is_test(&name) {
            continue;
        }
        let text = fs::read_to_string(path)?;
        let lines: Vec<&str> = text.lines().collect();
        for number in unsafe_lines(&text) {
            let line = code(lines[number]);
            let begins_block = line.contains("unsafe {") || line.contains("unsafe impl");
            if !begins_block {
                continue;
            }
            blocks += 1;
            // The reason stands above the statement that has the block in it, which may begin a few lines earlier.
            let above = &lines[number.saturating_sub(8)..number];
            if !above.iter().any(|line| line.contains("SAFETY:")) && !lines[number].contains("SAFETY:") {
                wrong.push(format!("{name}:{}", number + 1));
            }
        }
    }
    ensure!(blocks > 50, "the scan finds only {blocks} blocks");
    ensure!(wrong.is_empty(), "no SAFETY reason for the unsafe blocks at {wrong:?}");
    Ok(())
}

#[test]
fn crates_without_unsafe_code_forbid_it() -> Result<()> {
    for name in FORBIDDEN {
        let root = ["src/lib.rs", "src/main.rs"].map(|file| workspace().join(name).join(file));
        let text = root.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        ensure!(text.contains("#![forbid(unsafe_code)]"), "{name} does not forbid unsafe code");
    }
    Ok(())
}

#[test]
fn nothing_is_left_half_done() -> Result<()> {
    // Put together here, so that this file does not find itself.
    let marks = [["to", "do!("].concat(), ["unimple", "mented!("].concat(), ["Place", "holder."].concat()];
    for (name, path) in sources()? {
        let text = fs::read_to_string(path)?;
        for mark in &marks {
            ensure!(!text.contains(mark.as_str()), "{name} has {mark:?}");
        }
    }
    Ok(())
}

#[test]
fn files_stay_readable() -> Result<()> {
    let mut long = Vec::new();
    for (name, path) in sources()? {
        let lines = fs::read_to_string(path)?.lines().count();
        if lines > 700 {
            long.push(format!("{name}: {lines} lines"));
        }
    }
    ensure!(long.is_empty(), "too long: {long:?}");
    Ok(())
}

#[test]
fn the_documents_that_readme_names_exist() -> Result<()> {
    let readme = fs::read_to_string(workspace().join("README.md"))?;
    let mut named = 0;
    for link in readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let file = link.split('#').next().unwrap_or_default();
        if file.is_empty() || file.contains("://") {
            continue;
        }
        named += 1;
        ensure!(workspace().join(file).exists(), "README.md names {file}, which is not there");
    }
    ensure!(named > 3, "README.md names no documents");
    for file in ["LICENSE", "CHANGELOG.md", "docs/architecture.md"] {
        ensure!(workspace().join(file).is_file(), "{file} is missing");
    }
    Ok(())
}
