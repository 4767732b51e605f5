//! `docs/compatibility.md` says what the source says: functions, return codes, mechanisms, attributes, tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cryptoki_sys::{
    CK_MECHANISM_TYPE, CKM_EC_KEY_PAIR_GEN, CKM_ECDH1_DERIVE, CKM_ECDSA, CKM_ECDSA_SHA1, CKM_ECDSA_SHA224,
    CKM_ECDSA_SHA256, CKM_ECDSA_SHA384, CKM_ECDSA_SHA512,
};
use holdfast_pkcs11::abi::tables::NAMES;
use holdfast_pkcs11::mapped::mechanism::merged_list;
use holdfast_tests::artefacts::workspace;

/// The numbers of the expectations that a client has of the module: subject, and how many there are.
const EXPECTATIONS: [(char, std::ops::RangeInclusive<u32>); 8] =
    [('A', 1..=8), ('B', 1..=9), ('C', 1..=10), ('D', 1..=4), ('E', 1..=9), ('I', 7..=7), ('J', 1..=4), ('K', 1..=7)];

const MECHANISMS: [(&str, CK_MECHANISM_TYPE); 8] = [
    ("CKM_EC_KEY_PAIR_GEN", CKM_EC_KEY_PAIR_GEN),
    ("CKM_ECDSA", CKM_ECDSA),
    ("CKM_ECDSA_SHA1", CKM_ECDSA_SHA1),
    ("CKM_ECDSA_SHA224", CKM_ECDSA_SHA224),
    ("CKM_ECDSA_SHA256", CKM_ECDSA_SHA256),
    ("CKM_ECDSA_SHA384", CKM_ECDSA_SHA384),
    ("CKM_ECDSA_SHA512", CKM_ECDSA_SHA512),
    ("CKM_ECDH1_DERIVE", CKM_ECDH1_DERIVE),
];

fn read(path: &str) -> Result<String> {
    fs::read_to_string(workspace().join(path)).with_context(|| path.to_owned())
}

/// A section of the document, without those of higher or equal rank after it.
fn section(title: &str) -> Result<String> {
    let document = read("docs/compatibility.md")?;
    let (_, rest) = document.split_once(&format!("\n## {title}\n")).with_context(|| format!("no section {title:?}"))?;
    Ok(rest.split("\n## ").next().unwrap_or(rest).to_owned())
}

/// The rows of a section's tables, as cells, without their heads.
fn rows(section: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = section.lines().collect();
    let is_rule = |line: &str| line.starts_with("|---");
    lines
        .iter()
        .enumerate()
        .filter(|(index, line)| {
            line.starts_with('|') && !is_rule(line) && !lines.get(index + 1).is_some_and(|next| is_rule(next))
        })
        .map(|(_, line)| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

/// What stands between backquotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The words of a text that begin with `prefix`.
fn words<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with(prefix)).collect()
}

/// Every file below a directory of the workspace with this ending.
fn files(directory: &Path, ending: &str, found: &mut Vec<std::path::PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files(&path, ending, found)?;
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    Ok(())
}

/// The text of every entry point and of the functions that it calls in its own file, and the macro that wrote it.
struct EntryPoint {
    text: String,
    written_by: String,
}

/// The functions of a file: what follows each `fn`, up to the next one.
fn functions(text: &str) -> BTreeMap<&str, &str> {
    let mut found = BTreeMap::new();
    for (at, _) in text.match_indices("fn ") {
        let rest = &text[at + 3..];
        let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        found.insert(name, rest.split("fn ").next().unwrap_or(rest));
    }
    found
}

fn entry_points() -> Result<BTreeMap<String, EntryPoint>> {
    let mut sources = Vec::new();
    files(&workspace().join("shim/src/abi"), ".rs", &mut sources)?;
    let mut found = BTreeMap::new();
    for path in sources.iter().filter(|path| !path.ends_with("entry.rs")) {
        let source = fs::read_to_string(path)?;
        let all = functions(&source);
        for part in source.split("\n}\n") {
            let Some(written_by) = ["entry! {", "forwarded! {", "forwarded_init! {"]
                .into_iter()
                .find(|start| part.lines().any(|line| line == *start))
            else {
                continue;
            };
            for (name, text) in functions(part).into_iter().filter(|(name, _)| name.starts_with("C_")) {
                let mut text = text.to_owned();
                let helpers = all.iter().filter(|(helper, _)| {
                    text.contains(&format!(" {helper}(")) || text.contains(&format!("({helper}("))
                });
                let helpers: String = helpers.map(|(_, body)| *body).collect();
                text += &helpers;
                let written_by = written_by.trim_end_matches("! {").to_owned();
                found.insert(name.to_owned(), EntryPoint { text, written_by });
            }
        }
    }
    Ok(found)
}

/// The return code of every error of the module, by the name of its variant.
fn codes() -> Result<BTreeMap<String, String>> {
    let source = read("shim/src/error.rs")?;
    let mut codes = BTreeMap::new();
    for line in source.lines() {
        if let Some((left, right)) = line.trim().split_once(" => CKR_")
            && let Some(variant) = left.strip_prefix("Self::")
        {
            let variant = variant.split('(').next().unwrap_or(variant);
            codes.insert(variant.to_owned(), format!("CKR_{}", right.trim_end_matches(',')));
        }
    }
    ensure!(codes.len() > 30, "shim/src/error.rs is not written as this test reads it");
    Ok(codes)
}

#[test]
fn every_function_has_its_row() -> Result<()> {
    let rows = rows(&section("Functions")?);
    let documented: Vec<&str> = rows.iter().filter_map(|row| row.first()?.split('`').nth(1)).collect();
    let once: BTreeSet<&str> = documented.iter().copied().collect();
    ensure!(once.len() == documented.len(), "a function has two rows");
    let names = NAMES.iter().map(|name| name.to_str()).collect::<Result<BTreeSet<_>, _>>()?;
    let missing: Vec<_> = names.difference(&once).collect();
    let unknown: Vec<_> = once.difference(&names).collect();
    ensure!(missing.is_empty() && unknown.is_empty(), "missing: {missing:?}; unknown: {unknown:?}");
    Ok(())
}

#[test]
fn functions_are_what_their_rows_say() -> Result<()> {
    let (entry_points, codes) = (entry_points()?, codes()?);
    let mut wrong = Vec::new();
    for row in rows(&section("Functions")?) {
        let [name, class, _, documented] = row.as_slice() else { anyhow::bail!("not four cells: {row:?}") };
        let name = name.trim_matches('`');
        let entry = entry_points.get(name).with_context(|| format!("no entry point {name}"))?;
        let mapped = [
            "Object::Mapped",
            "mapped::",
            "mapped.",
            "signs(",
            "verifies(",
            "sign::",
            "find::",
            "mechanism::is_added",
            "mechanism::merged_list",
        ]
        .iter()
        .any(|mark| entry.text.contains(mark));
        let right = match (class.as_str(), entry.written_by.as_str()) {
            ("forwarded", "forwarded") => true,
            ("forwarded", "entry") => !mapped,
            ("refused", "forwarded_init") => true,
            ("refused" | "mapped", "entry") => mapped,
            ("ours", "entry") => true,
            _ => false,
        };
        if !right {
            wrong.push(format!("{name} is written with {}! and documented as {class}", entry.written_by));
        }
        if entry.written_by == "forwarded_init" && !documented.contains("CKR_KEY_FUNCTION_NOT_PERMITTED") {
            wrong.push(format!("{name} answers CKR_KEY_FUNCTION_NOT_PERMITTED"));
        }
        for variant in words(&entry.text.replace("Error::", " Error__"), "Error__") {
            let Some(code) = codes.get(variant.trim_start_matches("Error__")) else { continue };
            if !documented.contains(code.as_str()) && !class.contains("ours") && !documented.starts_with("as ") {
                wrong.push(format!("{name} answers {code}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[test]
fn every_return_code_of_ours_is_explained() -> Result<()> {
    let rows = rows(&section("Return codes")?);
    let documented: BTreeSet<&str> = rows.iter().filter_map(|row| quoted(row.first()?).first().copied()).collect();
    let source = read("shim/src/error.rs")?;
    let (_, product) = source.split_once("impl Error {").context("shim/src/error.rs has no impl Error")?;
    let used = words(product.split("#[cfg(test)]").next().unwrap_or(product), "CKR_");
    ensure!(used == documented, "used: {used:#?}\ndocumented: {documented:#?}");
    // Codes that the functions' rows name come from somewhere.
    let functions = section("Functions")?;
    let unknown: Vec<_> =
        words(&functions, "CKR_").difference(&used).copied().filter(|code| *code != "CKR_OK").collect();
    ensure!(unknown.is_empty(), "no error has the code {unknown:?}");
    Ok(())
}

#[test]
fn every_added_mechanism_has_its_row() -> Result<()> {
    let rows = rows(&section("Mechanisms")?);
    let documented: BTreeSet<&str> = rows.iter().filter_map(|row| quoted(row.first()?).first().copied()).collect();
    let named: BTreeSet<&str> = MECHANISMS.iter().map(|(name, _)| *name).collect();
    ensure!(documented == named, "{documented:?}");
    let added: BTreeSet<_> = merged_list(Vec::new()).into_iter().collect();
    ensure!(added == MECHANISMS.iter().map(|(_, number)| *number).collect(), "the module adds {added:x?}");
    Ok(())
}

#[test]
fn every_attribute_that_is_looked_at_has_its_row() -> Result<()> {
    let rows = rows(&section("Attributes")?);
    let documented: BTreeSet<&str> =
        rows.iter().flat_map(|row| row.first().map(|cell| quoted(cell))).flatten().collect();
    let sources = read("shim/src/mapped/template.rs")? + &read("shim/src/mapped/attributes.rs")?;
    let known = words(&sources, "CKA_");
    ensure!(known == documented, "in the source: {known:#?}\ndocumented: {documented:#?}");
    Ok(())
}

/// The names of all test functions of the workspace.
fn tests() -> Result<BTreeSet<String>> {
    let mut sources = Vec::new();
    files(workspace(), ".rs", &mut sources)?;
    let mut found = BTreeSet::new();
    for path in sources {
        let source = fs::read_to_string(path)?;
        for after in source.split("#[test]").skip(1) {
            let name = after.split("fn ").nth(1).and_then(|rest| rest.split('(').next());
            found.extend(name.map(ToOwned::to_owned));
        }
    }
    Ok(found)
}

#[test]
fn every_expectation_has_its_row_and_every_test_named_is_there() -> Result<()> {
    let tests = tests()?;
    let rows = rows(&section("What clients expect, and the tests that hold it")?);
    let expected: Vec<String> = EXPECTATIONS
        .into_iter()
        .flat_map(|(subject, numbers)| numbers.map(move |number| format!("{subject}{number}")))
        .collect();
    let numbers: Vec<&String> = rows.iter().filter_map(|row| row.first()).collect();
    ensure!(numbers == expected.iter().collect::<Vec<_>>(), "{numbers:?}");
    let mut wrong = Vec::new();
    for row in &rows {
        let [number, _, answer] = row.as_slice() else { anyhow::bail!("not three cells: {row:?}") };
        let named: Vec<&str> = quoted(answer).into_iter().filter(|name| !name.starts_with("CK")).collect();
        if named.is_empty() && !answer.starts_with("Does not apply") {
            wrong.push(format!("{number} names no test"));
        }
        wrong.extend(
            named.iter().filter(|name| !tests.contains(**name)).map(|name| format!("{number}: no test {name}")),
        );
    }
    // Test functions, unlike values and commands, have underscores and nothing else besides letters and digits.
    let is_function = |name: &&str| {
        name.contains('_') && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let comparison = section("How it is compared with the bare module")?;
    let gone = quoted(&comparison).into_iter().filter(is_function).filter(|name| !tests.contains(*name));
    wrong.extend(gone.map(|name| format!("no test {name}")));
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}
