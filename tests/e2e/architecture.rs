//! The rules of ARCHITECTURE.md that a program can check.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The dependencies of a package of ours, development ones aside.
fn dependencies(metadata: &Value, package: &str) -> Vec<String> {
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages
        .iter()
        .find(|found| found["name"] == package)
        .unwrap();
    let normal = package["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|dependency| dependency["kind"].is_null());
    normal
        .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn imports_point_one_way_and_each_library_has_one_home() {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(ROOT)
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let has = |package: &str, dependency: &str| {
        dependencies(&metadata, package)
            .iter()
            .any(|name| name == dependency)
    };
    let never = [
        (
            "zarpar-router",
            [
                "zarpar-store",
                "zarpar-engine",
                "zarpar-builder",
                "zarpar-receiver",
            ]
            .as_slice(),
        ),
        ("zarpar-receiver", &["zarpar-builder", "zarpar-engine"]),
        (
            "zarpar-hooks",
            &["zarpar-store", "zarpar-engine", "zarpar-receiver"],
        ),
        ("zarpar-model", &["tokio", "zarpar-store", "zarpar-control"]),
    ];
    for (package, banned) in never {
        for dependency in banned {
            assert!(!has(package, dependency), "{package} → {dependency}");
        }
    }
    let packages = metadata["packages"].as_array().unwrap();
    let homes = [
        ("sled", &["zarpar-store"][..]),
        ("bollard", &["zarpar-engine"]),
        ("gix", &["zarpar-builder", "zarpar-receiver"]),
        ("axum", &["zarpar-receiver", "zarpar"]),
    ];
    for (library, homes) in homes {
        for package in packages {
            let name = package["name"].as_str().unwrap();
            assert!(
                homes.contains(&name) || !has(name, library),
                "{name} → {library}"
            );
        }
    }
}

#[test]
fn files_are_one_idea_each_and_the_map_names_what_exists() {
    let listed = Command::new("git")
        .args(["ls-files", "*.rs"])
        .current_dir(ROOT)
        .output()
        .unwrap();
    for path in String::from_utf8(listed.stdout).unwrap().lines() {
        let lines = std::fs::read_to_string(Path::new(ROOT).join(path))
            .unwrap()
            .lines()
            .count();
        assert!(lines <= 500, "{path} has {lines} lines");
    }
    let map = std::fs::read_to_string(Path::new(ROOT).join("ARCHITECTURE.md")).unwrap();
    for word in map
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.contains('/') && word.ends_with(".rs"))
    {
        assert!(
            Path::new(ROOT).join(word).exists(),
            "ARCHITECTURE.md names `{word}`, which does not exist"
        );
    }
}
