#!/usr/bin/env python3
"""Runs the test suites of three PKCS#11 clients, unmodified, against one module.

    run.py --module FILE --work DIR [--suite NAME ...]

The suites are those that ship with the crate `cryptoki` (crates.io) and in the source distributions of
`python-pkcs11` and `PyKCS11` (PyPI). Each gets a fresh SoftHSM2 token in DIR; downloads and builds are kept in
DIR/cache for the next run. Other settings of the module (HOLDFAST_CONFIG and the like) come from the environment.

Prints one JSON object: for every suite, the tests that passed, failed and were skipped, by name.
"""

import argparse
import fcntl
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

CRYPTOKI = "0.12.1"
PYTHON_PKCS11 = "0.10.1"
PYKCS11 = "1.5.20"


def run(*command, **options):
    """Runs a command, its output to our standard error; raises when it fails."""
    subprocess.run(command, check=True, stdout=sys.stderr, **options)


def fresh_token(work, name, label, user_pin, so_pin):
    """A SoftHSM2 token of its own; returns the environment that selects it."""
    directory = work / f"token-{name}-{os.getpid()}"
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "tokens").mkdir(parents=True)
    configuration = directory / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {directory}/tokens\nlog.level = ERROR\n")
    environment = dict(os.environ, SOFTHSM2_CONF=str(configuration))
    command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", user_pin, "--so-pin", so_pin]
    run(*command, env=environment)
    return directory, environment


def python(cache):
    """The interpreter of a virtual environment with both Python clients built from their source distributions."""
    venv = cache / "venv"
    interpreter = venv / "bin" / "python"
    ready = venv / "ready"
    if not ready.exists():
        run(sys.executable, "-m", "venv", "--clear", str(venv))
        pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run(*pip, "pytest", "parameterized", "cryptography", "asn1crypto", "oscrypto")
        run(*pip, str(sdist(cache, "python-pkcs11", PYTHON_PKCS11)))
        run(*pip, str(sdist(cache, "PyKCS11", PYKCS11)))
        ready.touch()
    return interpreter


def sdist(cache, name, version):
    """Downloads and unpacks a source distribution, with the virtual environment's pip: Debian has none of its own."""
    interpreter = cache / "venv" / "bin" / "python"
    command = [str(interpreter), "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    directory = cache / name
    if not directory.exists():
        temporary = cache / f"{name}.download"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        run(*command, "--no-binary", name, "--dest", str(temporary), f"{name}=={version}")
        (archive,) = temporary.glob("*.tar.gz")
        shutil.unpack_archive(archive, temporary)
        (unpacked,) = (entry for entry in temporary.iterdir() if entry.is_dir())
        unpacked.rename(directory)
        shutil.rmtree(temporary)
    return directory


def cryptoki(cache):
    """The source of the `cryptoki` crate as crates.io serves it."""
    source = cache / f"cryptoki-{CRYPTOKI}"
    if not source.exists():
        metadata = json.loads(subprocess.check_output(["cargo", "metadata", "--format-version", "1"]))
        (package,) = (p for p in metadata["packages"] if p["name"] == "cryptoki" and p["version"] == CRYPTOKI)
        shutil.copytree(pathlib.Path(package["manifest_path"]).parent, source)
    return source


def prepare(cache, suites):
    """Downloads and builds what the suites need, one process at a time."""
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if "cryptoki" in suites:
            cryptoki(cache)
        if set(suites) - {"cryptoki"}:
            python(cache)


def pytest(interpreter, tests, environment, directory):
    """Runs a Python suite; returns its results by test name."""
    report = directory / "report.xml"
    # The suite runs from a copy without the package's own folder beside it, which would shadow the installed one.
    copy = directory / "suite"
    shutil.copytree(tests, copy / tests.name)
    command = [str(interpreter), "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", tests.name]
    subprocess.run(command, cwd=copy, env=environment, stdout=sys.stderr, stderr=sys.stderr, check=False)
    results = {"passed": [], "failed": [], "skipped": []}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        # A test may both pass and fail while it is taken down: the worst counts.
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            results["failed"].append(name)
        elif "skipped" in kinds:
            results["skipped"].append(name)
        else:
            results["passed"].append(name)
    return results


def suite_cryptoki(module, work, cache):
    """The suite of the `cryptoki` crate, built from the crate as crates.io serves it."""
    source = cryptoki(cache)
    directory, environment = fresh_token(work, "cryptoki", "Test Token", "fedcba123456", "abcdef654321")
    environment.update(TEST_PKCS11_MODULE=str(module), TEST_PRETEND_LIBRARY="softhsm")
    environment.update(CARGO_TARGET_DIR=str(cache / "cryptoki-target"))
    command = ["cargo", "test", "--quiet", "--no-fail-fast", "--", "--test-threads=1", "--format=pretty"]
    done = subprocess.run(command, cwd=source, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    results = {"passed": [], "failed": [], "skipped": []}
    kinds = {"ok": "passed", "FAILED": "failed", "ignored": "skipped"}
    for name, outcome in re.findall(r"^test (.+?) \.\.\. (?:[^\n]*?)(ok|FAILED|ignored)", done.stdout, re.MULTILINE):
        results[kinds[outcome]].append(name)
    if not results["passed"]:
        sys.stderr.write(done.stdout)
    # An aborted test binary leaves no line for the test that killed it.
    if done.returncode != 0 and not results["failed"]:
        results["failed"].append(f"cargo test ended with {done.returncode}")
    shutil.rmtree(directory)
    return results


def suite_python_pkcs11(module, work, cache):
    """The suite of python-pkcs11."""
    interpreter = python(cache)
    directory, environment = fresh_token(work, "python-pkcs11", "TEST", "1234", "5678")
    environment.update(PKCS11_MODULE=str(module), PKCS11_TOKEN_LABEL="TEST")
    environment.update(PKCS11_TOKEN_PIN="1234", PKCS11_TOKEN_SO_PIN="5678")
    results = pytest(interpreter, sdist(cache, "python-pkcs11", PYTHON_PKCS11) / "tests", environment, directory)
    shutil.rmtree(directory)
    return results


def suite_pykcs11(module, work, cache):
    """The suite of PyKCS11."""
    interpreter = python(cache)
    directory, environment = fresh_token(work, "pykcs11", "A token", "1234", "123456")
    environment.update(PYKCS11LIB=str(module))
    results = pytest(interpreter, sdist(cache, "PyKCS11", PYKCS11) / "test", environment, directory)
    shutil.rmtree(directory)
    return results


SUITES = {"cryptoki": suite_cryptoki, "python-pkcs11": suite_python_pkcs11, "pykcs11": suite_pykcs11}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--module", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--suite", action="append", choices=SUITES)
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    cache = work / "cache"
    suites = arguments.suite or list(SUITES)
    prepare(cache, suites)
    results = {name: SUITES[name](arguments.module.resolve(), work, cache) for name in suites}
    json.dump(results, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
