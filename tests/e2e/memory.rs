//! Memory of both processes after twenty deployments, and while large things pass through.

use std::fs;

use crate::project::Project;
use crate::world::{World, text};

/// A value of /proc/PID/status in KiB.
fn memory(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The goals are those of a release build; a debug build's code alone is twice as large, so its
/// bounds are only there to catch growth.
fn bounds() -> (u64, u64) {
    if cfg!(debug_assertions) {
        (64, 32)
    } else {
        (25, 12)
    }
}

#[test]
fn memory_stays_small_after_twenty_deployments_and_with_large_things() {
    let world = World::start();
    let remote = world.app("app", &[]);
    let project = Project::tiny(&world, "site", "0");
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
    for _ in 0..20 {
        world.ok(&["deploy", "app"]);
    }
    let edge = world.edge_pid().unwrap();
    let (serve_bound, edge_bound) = bounds();
    let (serve_now, edge_now) = (memory(world.serve_pid(), "VmRSS"), memory(edge, "VmRSS"));
    eprintln!(
        "after 20 deployments: control plane {:.1} MiB, edge {:.1} MiB",
        serve_now as f64 / 1024.0,
        edge_now as f64 / 1024.0
    );
    assert!(
        serve_now <= serve_bound * 1024,
        "control plane: {serve_now} KiB"
    );
    assert!(edge_now <= edge_bound * 1024, "edge: {edge_now} KiB");

    // A context of 300 MB, most of it one file, and a static set of 10,000 files.
    let piece: Vec<u8> = (0..1_000_000u32)
        .flat_map(|number| (number / 7).to_le_bytes())
        .collect();
    let mut large = Vec::new();
    for _ in 0..63 {
        large.extend_from_slice(&piece);
    }
    fs::write(project.folder.join("large.bin"), &large).unwrap();
    for number in 0..6 {
        fs::write(
            project.folder.join(format!("large-{number}.bin")),
            [&piece[..], &[number; 64], &piece[..]].concat(),
        )
        .unwrap();
    }
    drop(large);
    fs::create_dir(project.folder.join("s")).unwrap();
    for number in 0..10_000 {
        fs::write(
            project.folder.join(format!("s/{number}.txt")),
            format!("file {number}"),
        )
        .unwrap();
    }
    project.write(
        "zarpar.toml",
        "[static]\nurl = \"/static/\"\nroot = \"/app/s\"\n",
    );
    project.write("VERSION", "large");
    project.commit("large");
    for pid in [world.serve_pid(), edge] {
        fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    }
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
    assert_eq!(
        world.get("app.localhost", "/static/9999.txt").text(),
        "file 9999"
    );
    for (name, pid, before) in [
        ("control plane", world.serve_pid(), serve_now),
        ("edge", edge, edge_now),
    ] {
        let peak = memory(pid, "VmHWM");
        eprintln!(
            "{name}: peak grew by {:.1} MiB",
            (peak.saturating_sub(before)) as f64 / 1024.0
        );
        assert!(
            peak <= before + 20 * 1024,
            "{name}: {before} KiB, then {peak} KiB"
        );
    }
}
