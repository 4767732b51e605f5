//! What a set-user-ID process makes of its caller's environment. It takes a real one: the kernel says who is privileged.

use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use holdfast_config::{Config, Origin};

/// Run by the test below in a process of its own.
#[test]
#[ignore = "the child of k6_a_set_user_id_process_ignores_its_callers_environment"]
fn child() {
    let config = Config::load().unwrap();
    println!("origin={:?}", config.origin("mapping.policy").unwrap());
}

#[test]
fn k6_a_set_user_id_process_ignores_its_callers_environment() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: making a set-user-ID program for somebody else takes root");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = directory.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let origin = |program: &std::path::Path| {
        let output = Command::new(program)
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env("HOLDFAST_MAPPING_POLICY", "never")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text.lines().find_map(|line| line.split_once("origin=")).map(|(_, origin)| origin.to_owned()).unwrap()
    };
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(origin(&program), format!("{:?}", Origin::Variable("HOLDFAST_MAPPING_POLICY".to_owned())));
    // Nobody's: user and effective user differ after the exec.
    chown(&program, Some(65534), None).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o4755)).unwrap();
    assert_eq!(origin(&program), format!("{:?}", Origin::Default));
}
