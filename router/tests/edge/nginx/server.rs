//! A real nginx with the two folders of the edge, on a socket file in the test's own folder, so
//! that no port can be taken; it ends with the value.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::world::PATIENCE;

/// Where Debian has it; a user's PATH often lacks the second.
const PROGRAMS: [&str; 2] = ["nginx", "/usr/sbin/nginx"];

pub struct Nginx {
    socket: PathBuf,
    child: Child,
}

impl Nginx {
    /// Serves `folder/static` and `folder/media` as the edge does, all else is the app's.
    pub fn start(folder: &Path, media: &Path, app: std::net::SocketAddr) -> Nginx {
        let socket = folder.join("nginx.sock");
        let config = folder.join("nginx.conf");
        fs::write(&config, configuration(folder, media, app)).unwrap();
        let mut nginx = Nginx {
            child: spawn(folder, &config),
            socket,
        };
        let until = Instant::now() + PATIENCE;
        while UnixStream::connect(&nginx.socket).is_err() {
            let errors = || fs::read_to_string(folder.join("error.log")).unwrap_or_default();
            let ended = nginx.child.try_wait().unwrap();
            assert!(ended.is_none(), "nginx: {ended:?}\n{}", errors());
            assert!(Instant::now() < until, "nginx is silent\n{}", errors());
            std::thread::park_timeout(Duration::from_millis(10));
        }
        nginx
    }

    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the environment is emptied here as well"
)]
fn spawn(folder: &Path, config: &Path) -> Child {
    let start = |program| {
        Command::new(program)
            .arg("-p")
            .arg(folder)
            .arg("-e")
            .arg(folder.join("error.log"))
            .arg("-c")
            .arg(config)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    };
    let [first, second] = PROGRAMS.map(|program| move || start(program));
    first()
        .or_else(|_| second())
        .unwrap_or_else(|error| panic!("nginx: {error}\nhint: scripts/setup --test installs it"))
}

/// One process, which is killed at the end. What an operator may choose freely is chosen as the
/// edge has it (cache times, media types, compressed files beside the plain ones), so that what
/// differs is what the servers make of the requests. `mime.types` is not Debian's, or another
/// version of the package would change the test.
fn configuration(folder: &Path, media: &Path, app: std::net::SocketAddr) -> String {
    let (folder, media) = (folder.display(), media.display());
    format!(
        r#"daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    types {{
        text/css css;
        text/javascript js;
        text/plain txt;
        text/html html;
        image/jpeg jpg;
        image/svg+xml svg;
    }}
    default_type application/octet-stream;
    charset utf-8;
    charset_types text/css text/javascript text/plain;
    gzip_static on;
    gzip_vary on;
    server {{
        listen unix:{folder}/nginx.sock default_server;
        return 404;
    }}
    server {{
        listen unix:{folder}/nginx.sock;
        server_name a.test;
        location /static/ {{
            alias {folder}/static/;
            add_header Cache-Control "public, max-age=2592000";
        }}
        location /media/ {{
            alias {media}/;
            add_header Cache-Control "public, max-age=604800";
        }}
        location / {{ proxy_pass http://{app}; }}
    }}
}}
"#
    )
}
