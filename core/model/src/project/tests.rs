#![allow(clippy::unwrap_used)]
use super::*;

fn error(text: &str) -> String {
    ProjectConfig::from_toml(text).unwrap_err().to_string()
}

#[test]
fn an_empty_file_means_the_defaults() {
    let config = ProjectConfig::from_toml("").unwrap();
    assert_eq!(config, ProjectConfig::default());
    assert_eq!(config.web.health.path, "/");
    assert!(config.web.health.status.contains(302) && !config.web.health.status.contains(404));
}

#[test]
fn every_known_key_is_read() {
    let text = r#"
        [build]
        dockerfile = "docker/Dockerfile"
        context = "backend"
        args = { VERSION = "1" }
        python = "3.12"
        network = "host"
        [release]
        tasks = ["python manage.py migrate"]
        [web]
        command = "gunicorn sitio.wsgi"
        port = 9000
        scale = 2
        drain = "10s"
        stream_requests = true
        [web.health]
        path = "/salud/"
        timeout = "2m"
        interval = 2
        status = "200-299"
        [processes]
        worker = "celery -A sitio worker"
        [static]
        url = "/static/"
        root = "/app/static"
        [media]
        url = "/media/"
        root = "/app/media"
        [deploy]
        branch = "produccion"
        keep = 3
        during_migrations = "serve"
    "#;
    let config = ProjectConfig::from_toml(text).unwrap();
    assert_eq!(config.web.drain, Duration::from_secs(10));
    assert!(config.web.stream_requests);
    assert_eq!(config.web.health.timeout, Duration::from_secs(120));
    assert!(!config.web.health.status.contains(302));
    assert_eq!(
        config.deploy.branch.as_ref().unwrap().as_str(),
        "produccion"
    );
    // What is stored must read back the same, since releases keep it.
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(
        serde_json::from_str::<ProjectConfig>(&json).unwrap(),
        config
    );
    // Every key of the list stands in the text above, so the list names nothing the types lack.
    for known in keys::KNOWN {
        let key = known.trim_end_matches(".*").rsplit('.').next().unwrap();
        assert!(text.contains(key), "{known}");
    }
}

#[test]
fn requests_are_held_only_when_it_says_so() {
    let read = |text| ProjectConfig::from_toml(text).unwrap().deploy;
    assert_eq!(read("").during_migrations, DuringMigrations::Serve);
    let hold = "[deploy]\nduring_migrations = \"hold\"";
    assert_eq!(read(hold).during_migrations, DuringMigrations::Hold);
    assert!(error("[deploy]\nduring_migration = 1").contains("`deploy.during_migrations`?"));
}

#[test]
fn an_unknown_key_names_the_nearest_one_and_its_line() {
    let text = error("[web]\nport = 1\ncomand = \"x\"\n");
    assert!(
        text.contains("`web.comand` in line 3") && text.contains("did you mean `web.command`?"),
        "{text}"
    );
    assert!(error("[buidl]\npython = \"3\"").contains("did you mean `[build]`?"));
    assert!(error("command = \"x\"").contains("did you mean `web.command`?"));
    assert!(error("[qqqqqqqqqq]\nx = 1").contains("known keys are build.dockerfile"));
}

#[test]
fn keys_of_a_later_version_are_refused_in_words() {
    for text in [
        "[cron]\nlimpieza = \"0 3 * * * x\"",
        "[deploy]\nstrategy = \"blue-green\"",
    ] {
        assert!(error(text).contains("not supported yet"), "{text}");
    }
}

#[test]
fn values_that_cannot_be_meant_are_refused() {
    for text in [
        "[web.health]\npath = \"salud\"",
        "[web]\nport = 0",
        "[web]\nport = 70000",
        "[web]\ndrain = \"soon\"",
        "[web.health]\nstatus = \"999\"",
        "[build]\ndockerfile = \"../../etc/passwd\"",
        "[build]\ncontext = \"/etc\"",
        "[build]\nnetwork = \"container:db\"",
        "[build]\npython = \"3.13 AS x\"",
        "[static]\nurl = \"static\"",
        "[media]\nroot = \"media\"",
        "[processes]\nweb = \"x\"",
        "[deploy]\nkeep = 0",
        "[deploy]\nduring_migrations = \"wait\"",
        "[release]\ntasks = [\"x\"]\n[deploy]\nduring_migrations = \"hold\"",
        "[deploy]\nbranch = \"--upload-pack=x\"",
        "[web",
    ] {
        let message = error(text);
        assert!(message.contains("zarpar.toml"), "{text}: {message}");
    }
}
