//! The route of webhooks with raw requests over a real socket and a real store.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use zarpar_model::{
    App, AppName, DeliveryState, DeploymentId, Provider, ReleaseNumber, Source, Timestamp,
};
use zarpar_receiver::{Taken, WebhookState, webhook_routes};
use zarpar_store::{OpenOptions, SourceSecrets, Store};

const SECRET: &str = "It's a Secret to Everybody";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Without optimisation a digest of 25 MB takes seconds: nothing else waits for the processor then.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct World {
    store: Store,
    address: std::net::SocketAddr,
    taken: mpsc::UnboundedReceiver<Taken>,
    _folder: tempfile::TempDir,
    _tasks: JoinSet<()>,
}

fn name(text: &str) -> AppName {
    text.parse().unwrap()
}

impl World {
    async fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions {
            ballast: 1 << 20,
            ..OpenOptions::default()
        };
        let store = options
            .open(&folder.path().join("state"), &folder.path().join("key"))
            .unwrap();
        for app in ["tienda", "plain"] {
            let app = App {
                name: name(app),
                branch: "main".parse().unwrap(),
                domains: Vec::new(),
                postgres: false,
                created_at: Timestamp(1),
                active: None,
                next_release: ReleaseNumber(1),
                scale: Vec::new(),
                maintenance: false,
            };
            store.create_app(app, Default::default()).unwrap();
        }
        let source = Source {
            app: name("tienda"),
            provider: Provider::Github,
            url: "https://github.com/yo/tienda.git".parse().unwrap(),
            branch: "main".parse().unwrap(),
            poll_seconds: None,
            deploy_key_public: String::new(),
            host_keys: Vec::new(),
            forge_token: false,
            last_seen: None,
            created_at: Timestamp(1),
        };
        let secrets = SourceSecrets {
            webhook: SECRET.to_owned(),
            deploy_key: String::new(),
            forge_token: None,
        };
        store.put_source(&source, &secrets).unwrap();
        let (sender, taken) = mpsc::unbounded_channel();
        let routes = webhook_routes(WebhookState::new(store.clone(), sender));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        World {
            store,
            address,
            taken,
            _folder: folder,
            _tasks: tasks,
        }
    }

    async fn post(&self, app: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        post(self.address, app, headers, body).await
    }

    async fn deliver(&self, id: &str, body: &str) -> (u16, String) {
        let signature = sign(body.as_bytes());
        self.post("tienda", &signed(&signature, id), body.as_bytes())
            .await
    }

    fn settle(&self, number: u64, state: DeliveryState) {
        self.store
            .settle_deliveries(&name("tienda"), &[(number, state)])
            .unwrap();
    }
}

/// One request on a connection of its own; its answer's status and body.
async fn post(
    address: std::net::SocketAddr,
    app: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut head = format!(
        "POST /hooks/{app} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream
        .write_all(format!("{head}\r\n").as_bytes())
        .await
        .unwrap();
    // A refusal may come before the body was read.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{read:?} {answer}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

fn sign(body: &[u8]) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body);
    let digest = mac.finalize().into_bytes();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

fn signed<'a>(signature: &'a str, id: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("Content-Type", "application/json"),
        ("X-GitHub-Event", "push"),
        ("X-GitHub-Delivery", id),
        ("X-Hub-Signature-256", signature),
    ]
}

fn push(commit: &str) -> String {
    format!(
        r#"{{"ref":"refs/heads/main","after":"{commit}","repository":{{"full_name":"yo/tienda"}}}}"#
    )
}

/// What each of the other forges sends, as their documentation has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_forge_is_heard_in_its_own_words() {
    let mut world = World::new().await;
    let body = |kind: Provider| match kind {
        Provider::Bitbucket => format!(
            r#"{{"push":{{"changes":[{{"new":{{"type":"branch","name":"main","target":{{"hash":"{COMMIT}"}}}}}}]}},"repository":{{"full_name":"yo/tienda"}}}}"#
        ),
        Provider::Gitlab => format!(
            r#"{{"object_kind":"push","ref":"refs/heads/main","after":"{COMMIT}","project":{{"path_with_namespace":"yo/tienda"}}}}"#
        ),
        Provider::Github | Provider::Gitea => push(COMMIT),
    };
    for (number, provider) in [Provider::Gitlab, Provider::Gitea, Provider::Bitbucket]
        .into_iter()
        .enumerate()
    {
        let mut source = world.store.source(&name("tienda")).unwrap().unwrap();
        source.provider = provider;
        let secrets = SourceSecrets {
            webhook: SECRET.to_owned(),
            deploy_key: String::new(),
            forge_token: None,
        };
        world.store.put_source(&source, &secrets).unwrap();
        let body = body(provider);
        let signature = sign(body.as_bytes());
        let id = format!("delivery-{number}");
        let json = ("Content-Type", "application/json");
        let headers = |secret: &'static str, signature: &str| -> Vec<(&str, String)> {
            let own = |text: &str| text.to_owned();
            match provider {
                Provider::Gitlab => vec![
                    ("X-Gitlab-Event", own("Push Hook")),
                    ("X-Gitlab-Event-UUID", id.clone()),
                    ("X-Gitlab-Token", own(secret)),
                ],
                Provider::Gitea | Provider::Github => vec![
                    ("X-Gitea-Event", own("push")),
                    ("X-Gitea-Delivery", id.clone()),
                    (
                        "X-Gitea-Signature",
                        own(signature.trim_start_matches("sha256=")),
                    ),
                ],
                Provider::Bitbucket => vec![
                    ("X-Event-Key", own("repo:push")),
                    ("X-Request-UUID", id.clone()),
                    ("X-Hub-Signature", own(signature)),
                ],
            }
        };
        let wrong = format!("sha256={}", "0".repeat(64));
        for (secret, signature, expected) in [("guessed", &wrong, 401), (SECRET, &signature, 202)] {
            let own = headers(secret, signature);
            let mut sent = vec![json];
            sent.extend(own.iter().map(|(name, value)| (*name, value.as_str())));
            let (status, words) = world.post("tienda", &sent, body.as_bytes()).await;
            assert_eq!(status, expected, "{provider}: {words}");
        }
        let taken = world.taken.recv().await.unwrap();
        assert!(world.taken.try_recv().is_err(), "{provider}: {taken:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_secret_every_app_looks_alike() {
    let world = World::new().await;
    let json = ("Content-Type", "application/json");
    let right = sign(b"{}");
    let wrong = format!("sha256={}", "0".repeat(64));
    let sha1 = format!("sha1={}", "0".repeat(40));
    let mut answers = Vec::new();
    for (app, headers) in [
        ("tienda", vec![json]),
        ("tienda", vec![json, ("X-Hub-Signature-256", &wrong)]),
        ("tienda", vec![json, ("X-Hub-Signature", &sha1)]),
        ("plain", vec![json, ("X-Hub-Signature-256", &right)]),
        ("nobody", vec![json, ("X-Hub-Signature-256", &right)]),
        ("-..%2f", vec![json, ("X-Hub-Signature-256", &right)]),
    ] {
        answers.push(world.post(app, &headers, b"{}").await);
    }
    assert_eq!(answers[0].0, 401);
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    // Neither is looked into: what could not be read as JSON is refused for its signature.
    let garbage = vec![b'['; 100_000];
    for app in ["tienda", "nobody"] {
        let found = world.post(app, &[json], &garbage).await;
        assert_eq!(found, answers[0]);
    }
    // The type of the body is looked at first, for every app.
    for app in ["tienda", "nobody"] {
        for kind in [
            "application/x-www-form-urlencoded",
            "text/plain",
            "application/jsonx",
        ] {
            let found = world
                .post(app, &[("Content-Type", kind)], b"payload={}")
                .await;
            assert_eq!(found.0, 415, "{app} {kind}");
        }
    }
    assert!(
        world
            .store
            .deliveries(&name("tienda"), 9)
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_is_taken_once_and_again_after_a_failure() {
    let mut world = World::new().await;
    let body = push(COMMIT);
    let (status, text) = world.deliver("one", &body).await;
    assert_eq!(status, 202, "{text}");
    let taken = world.taken.try_recv().unwrap();
    assert_eq!((taken.app.as_str(), taken.number), ("tienda", 1));
    let kept = world.store.delivery(&name("tienda"), 1).unwrap().unwrap();
    assert_eq!(kept.state, DeliveryState::Waiting);
    assert_eq!(kept.commit.unwrap().as_str(), COMMIT);

    let repeat = world.deliver("one", &body).await;
    assert_eq!(repeat, (200, "already waiting: delivery 1\n".to_owned()));
    let deployment = DeploymentId(3);
    world.settle(1, DeliveryState::Deploying { deployment });
    assert_eq!(world.deliver("one", &body).await.0, 200);
    let failed = DeliveryState::Failed {
        reason: "no".to_owned(),
        deployment: Some(deployment),
    };
    world.settle(1, failed);
    assert!(
        world.taken.try_recv().is_err(),
        "a repeat is told to nobody"
    );
    assert_eq!(world.deliver("one", &body).await.0, 202);
    assert_eq!(world.taken.try_recv().unwrap().number, 2);
    let live = DeliveryState::Live {
        release: Some(ReleaseNumber(1)),
        deployment: Some(deployment),
    };
    world.settle(2, live);
    let repeat = world.deliver("one", &body).await;
    assert_eq!(repeat, (200, "already live: delivery 2\n".to_owned()));
    world.store.check_invariants().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_push_to_the_branch_is_ignored_with_the_reason() {
    let mut world = World::new().await;
    let null = "0".repeat(40);
    let fork = push(COMMIT).replace("yo/tienda", "fork/tienda");
    let tag = push(COMMIT).replace("heads/main", "tags/main");
    for (id, body, reason) in [
        ("a", push(&null), "was deleted"),
        ("b", fork, "`fork/tienda`"),
        ("c", tag, "`refs/tags/main`"),
    ] {
        let (status, text) = world.deliver(id, &body).await;
        assert_eq!(status, 200);
        assert!(
            text.starts_with("ignored: ") && text.contains(reason),
            "{text}"
        );
    }
    let signature = sign(b"{}");
    let mut headers = signed(&signature, "ping");
    headers[1] = ("X-GitHub-Event", "ping");
    let pong = world.post("tienda", &headers, b"{}").await;
    assert_eq!(pong, (200, "pong\n".to_owned()));
    let deep = "[".repeat(100_000);
    assert_eq!(world.deliver("deep", &deep).await.0, 400);
    assert_eq!(world.deliver("none", "{}").await.0, 400);
    assert!(world.taken.try_recv().is_err());
    let kept = world.store.deliveries(&name("tienda"), 9).unwrap();
    let ids: Vec<&str> = kept.iter().map(|delivery| delivery.id.as_str()).collect();
    assert_eq!(ids, ["ping", "c", "b", "a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_has_a_limit_while_it_is_read() {
    let _alone = ALONE.lock().await;
    let world = World::new().await;
    let too_long = [
        ("Content-Type", "application/json"),
        ("X-Hub-Signature-256", "sha256=00"),
    ];
    // 25 MiB and a byte, announced; then the same in chunks that announce nothing.
    let body = vec![b' '; 25 * 1024 * 1024 + 1];
    assert_eq!(world.post("tienda", &too_long, &body).await.0, 413);
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream
        .write_all(b"POST /hooks/tienda HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let (mut reader, mut writer) = stream.split();
    let send = async {
        for _ in 0..27 {
            let mut piece = b"100000\r\n".to_vec();
            piece.resize(piece.len() + (1 << 20), b' ');
            piece.extend_from_slice(b"\r\n");
            if writer.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    let mut start = [0; 12];
    let (_, read) = tokio::join!(send, reader.read_exact(&mut start));
    read.unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
    // One that is as large as they may be, signed, is read and judged.
    let mut whole = push(COMMIT);
    whole.push_str(&" ".repeat(25 * 1024 * 1024 - whole.len()));
    assert_eq!(world.deliver("large", &whole).await.0, 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_is_answered_and_every_answer_is_durable() {
    let _alone = ALONE.lock().await;
    let world = World::new().await;
    let mut burst = JoinSet::new();
    // As many connections as the console address takes at once, not more.
    let connections = Arc::new(Semaphore::new(60));
    for number in 0..300 {
        let address = world.address;
        let connections = connections.clone();
        burst.spawn(async move {
            let _connection = connections.acquire().await.unwrap();
            let body = push(&format!("{number:040x}").replacen('0', "a", 1));
            let signature = sign(body.as_bytes());
            let id = format!("id-{number}");
            post(address, "tienda", &signed(&signature, &id), body.as_bytes()).await
        });
    }
    while let Some(done) = burst.join_next().await {
        let (status, text) = done.unwrap();
        assert_eq!(status, 202, "{text}");
    }
    let kept = world.store.deliveries(&name("tienda"), 1000).unwrap();
    assert_eq!(kept.len(), 300);
    assert_eq!(kept[0].number, 300);
    world.store.check_invariants().unwrap();
}
