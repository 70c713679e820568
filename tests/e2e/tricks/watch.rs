//! The canary, and the secrets that must stay where they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::world::{World, text};

type Secrets = Arc<Mutex<Vec<(&'static str, String)>>>;

pub struct Watch {
    canary: PathBuf,
    key: Vec<u8>,
    secrets: Secrets,
    stop: Arc<AtomicBool>,
    /// Ends with the command lines in which it saw a secret.
    processes: Option<JoinHandle<Vec<String>>>,
}

impl Watch {
    pub fn new(world: &World) -> Watch {
        let secrets = Secrets::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, ended) = (secrets.clone(), stop.clone());
        Watch {
            canary: world.path("canary"),
            key: fs::read(world.data().join("zarpar.key")).unwrap(),
            secrets,
            stop,
            processes: Some(std::thread::spawn(move || look(&seen, &ended))),
        }
    }

    /// From now on this text must be seen nowhere.
    pub fn secret(&mut self, what: &'static str, text: &str) {
        assert!(text.len() >= 16, "{what} is too short to be looked for");
        self.secrets.lock().unwrap().push((what, text.to_owned()));
    }

    /// What would make the canary, in every way a shell or a program with options could be told.
    pub fn tricks(&self) -> Vec<String> {
        let touch = format!("touch {}", self.canary.display());
        vec![
            format!("$({touch})"),
            format!("`{touch}`"),
            format!(";{touch}"),
            format!("|{touch}"),
            format!("&& {touch}"),
            format!("x\n{touch}\n"),
            format!("'; {touch}; '"),
            format!("\"; {touch}; \""),
            format!("--upload-pack={touch}"),
            format!("-oProxyCommand={touch}"),
            "../../../etc/passwd".to_owned(),
            "\u{1b}[2J\u{7}<script>".to_owned(),
        ]
    }

    pub fn canary(&self) -> &Path {
        &self.canary
    }

    /// What a client was told: nothing ran, nothing leaked.
    #[track_caller]
    pub fn check(&self, what: &str, said: &[u8]) {
        assert!(!self.canary.exists(), "{what} was run");
        let leaks = |secret: &[u8]| said.windows(secret.len()).any(|window| window == secret);
        assert!(!leaks(&self.key), "{what} shows the key");
        for (name, secret) in self.secrets.lock().unwrap().iter() {
            assert!(!leaks(secret.as_bytes()), "{what} shows {name}");
        }
    }

    /// A command that must be refused with these words.
    #[track_caller]
    pub fn refused(&self, what: &str, output: &Output, says: &[&str]) {
        let said = text(output);
        assert!(!output.status.success(), "{what}: {said}");
        assert!(
            says.iter().any(|says| said.contains(says)),
            "{what}: none of {says:?} in:\n{said}"
        );
        self.check(what, said.as_bytes());
    }

    /// Nothing is written down either, and no process had a secret among its words.
    pub fn end(mut self, world: &World) {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.processes.take().unwrap().join().unwrap();
        assert_eq!(seen, Vec::<String>::new());
        let mut files = vec![world.log()];
        let mut folders = vec![world.data().join("logs")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => files.push(path),
                }
            }
        }
        assert!(files.len() > 1, "{files:?}");
        for file in files {
            self.check(&file.display().to_string(), &fs::read(&file).unwrap());
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Reads the words of every process of the machine again and again.
fn look(secrets: &Secrets, stop: &AtomicBool) -> Vec<String> {
    let mut seen = Vec::new();
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) || rounds == 0 {
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            for (what, secret) in secrets.lock().unwrap().iter() {
                if line.contains(secret) {
                    seen.push(format!("{what} in `{line}`"));
                }
            }
        }
        rounds += 1;
        std::thread::park_timeout(Duration::from_millis(20));
    }
    seen.sort();
    seen.dedup();
    seen
}
