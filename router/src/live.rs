//! The table in force.
//!
//! Kept: one immutable table behind an atomic pointer, and a register of the targets that are in
//! it or still hold requests. What can never happen: a table visible before it is durable, a
//! target marked before a table without it is visible, a generation that goes back. A crash
//! leaves the last durable table.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use zarpar_control::TargetLoad;
use zarpar_model::{ConsoleRoute, Route, RouteTable, StaticRoute, TableError};

use crate::console;
use crate::error::EdgeError;
use crate::hold::Hold;
use crate::media::Media;
use crate::metrics::{AppMetrics, Metrics};
use crate::persist;
use crate::rotation::{self, Standing};
use crate::static_files::StaticFiles;
use crate::static_set::{StaticSet, StaticSetError};
use crate::target::{Choice, Target};

/// What workers read: the pointer to the table in force.
pub(crate) type TablePointer = Arc<ArcSwap<LiveTable>>;

/// A table ready to serve from.
#[derive(Debug, Default)]
pub(crate) struct LiveTable {
    pub(crate) generation: u64,
    pub(crate) hosts: HashMap<Box<str>, Arc<LiveRoute>>,
    /// Each app with its hosts.
    pub(crate) apps: Arc<[(String, Vec<String>)]>,
    /// The holds that are on, by app.
    pub(crate) holds: HashMap<Box<str>, Arc<Hold>>,
}

/// A route ready to serve from.
#[derive(Debug)]
pub(crate) struct LiveRoute {
    pub(crate) targets: Box<[Arc<Target>]>,
    pub(crate) static_files: Option<StaticFiles>,
    pub(crate) media: Option<Media>,
    pub(crate) maintenance: bool,
    pub(crate) stream_requests: bool,
    pub(crate) hold: Option<Arc<Hold>>,
    pub(crate) body_limit: u64,
    pub(crate) response_timeout: Duration,
    pub(crate) metrics: Arc<AppMetrics>,
    /// Whether this is the console's own host; the routes of apps have none.
    pub(crate) console: Option<console::Key>,
    /// Whose turn it is among equally loaded targets.
    pub(crate) turn: AtomicUsize,
}

/// The table in force and what changing it needs.
#[derive(Debug)]
pub(crate) struct Live {
    pointer: TablePointer,
    /// Where the table is kept; a table written by hand is kept by its writer.
    file: Option<PathBuf>,
    /// Whether the file is another edge's now.
    handed_over: AtomicBool,
    /// Held while a table is applied; never by a request.
    register: Mutex<Register>,
}

#[derive(Debug, Default)]
struct Register {
    current: HashMap<SocketAddr, Arc<Target>>,
    draining: Vec<Arc<Target>>,
    holds: HashMap<Box<str>, Arc<Hold>>,
    sets: HashMap<(PathBuf, String), Weak<StaticSet>>,
    metrics: Arc<Metrics>,
}

/// Why a table was not put in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("generation {offered} is older than generation {current}, which is in force")]
    Older { offered: u64, current: u64 },
    #[error(
        "this edge serves a table written by hand and takes no other\nhint: start `zarpar router` without `--table`"
    )]
    Fixed,
    #[error("the route table contradicts itself")]
    Table(#[from] TableError),
    #[error("the newest static set of a route cannot be served")]
    StaticSet(#[from] StaticSetError),
    #[error("the route table cannot be written to `{path}`")]
    Save {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// What to do about a static set that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MissingSets {
    /// Refuse when it is the newest of its route.
    Refuse,
    /// Serve what there is: after a restart nobody is there to be told.
    Skip,
}

impl Live {
    /// Starts from the last table on disk, or empty. When an edge that serves is to be replaced,
    /// the table must be one of `at_least` this generation: rather no new version than one that
    /// cannot read the table of the old one.
    ///
    /// # Errors
    /// [`EdgeError::Table`] in that case.
    pub(crate) fn start(file: PathBuf, at_least: Option<u64>) -> Result<Live, EdgeError> {
        let live = Live {
            pointer: Arc::default(),
            file: Some(file),
            handed_over: AtomicBool::new(false),
            register: Mutex::default(),
        };
        let damaged = match at_least {
            Some(_) => persist::Damaged::Leave,
            None => persist::Damaged::MoveAside,
        };
        let kept = live.file.as_deref();
        if let Some(table) = kept.and_then(|file| persist::load(file, damaged)) {
            let mut register = live.register();
            match register.build(&table, MissingSets::Skip) {
                Ok((table, targets)) => live.publish(&mut register, table, targets),
                Err(error) => tracing::error!(%error, "cannot serve the last route table"),
            }
        }
        match at_least {
            Some(current) if live.generation() < current => {
                let text = format!(
                    "the running edge serves generation {current}, and what can be read here is generation {}",
                    live.generation()
                );
                Err(EdgeError::Table(text.into()))
            }
            _ => Ok(live),
        }
    }

    /// Another edge keeps the table on disk from now on.
    pub(crate) fn hand_over(&self) {
        self.handed_over.store(true, Relaxed);
    }

    /// Serves this table and no other.
    ///
    /// # Errors
    /// [`ApplyError`] when it contradicts itself or names files that are not there.
    pub(crate) fn fixed(table: &RouteTable) -> Result<Live, ApplyError> {
        let live = Live {
            pointer: Arc::default(),
            file: None,
            handed_over: AtomicBool::new(false),
            register: Mutex::default(),
        };
        table.check()?;
        let mut register = live.register();
        let (ready, targets) = register.build(table, MissingSets::Refuse)?;
        live.publish(&mut register, ready, targets);
        drop(register);
        Ok(live)
    }

    pub(crate) fn pointer(&self) -> TablePointer {
        self.pointer.clone()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.pointer.load().generation
    }

    /// What is counted, for all tables alike.
    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        self.register().metrics.clone()
    }

    /// The apps of the table in force with their hosts.
    pub(crate) fn apps(&self) -> Arc<[(String, Vec<String>)]> {
        self.pointer.load().apps.clone()
    }

    /// Puts a table in force: checked, loaded, durable, visible, old targets marked, in this
    /// order. The same generation again is applied again, which changes nothing.
    pub(crate) fn apply(&self, table: &RouteTable) -> Result<u64, ApplyError> {
        let file = self.file.as_ref().ok_or(ApplyError::Fixed)?;
        let mut register = self.register();
        let current = self.generation();
        if table.generation < current {
            return Err(ApplyError::Older {
                offered: table.generation,
                current,
            });
        }
        table.check()?;
        let (ready, targets) = register.build(table, MissingSets::Refuse)?;
        if !self.handed_over.load(Relaxed) {
            persist::save(file, table).map_err(|source| ApplyError::Save {
                path: file.clone(),
                source,
            })?;
        }
        self.publish(&mut register, ready, targets);
        tracing::info!(generation = table.generation, "route table in force");
        Ok(table.generation)
    }

    /// Waits until the addresses hold no request, at most `limit`; returns those that still do.
    pub(crate) async fn wait_drained(
        &self,
        addresses: &[SocketAddr],
        limit: Duration,
    ) -> Vec<TargetLoad> {
        let draining: Vec<Arc<Target>> = self
            .register()
            .draining
            .iter()
            .filter(|target| addresses.contains(&target.address()))
            .cloned()
            .collect();
        let all = async {
            for target in &draining {
                target.drained().await;
            }
        };
        // Whether it ended or ran out of time shows in the counters.
        let _ = tokio::time::timeout(limit, all).await;
        self.loads(addresses)
    }

    fn loads(&self, addresses: &[SocketAddr]) -> Vec<TargetLoad> {
        let mut register = self.register();
        register.draining.retain(|target| target.requests() > 0);
        addresses
            .iter()
            .filter_map(|&address| {
                let requests = register
                    .current
                    .values()
                    .chain(&register.draining)
                    .filter(|target| target.address() == address)
                    .map(|target| target.requests())
                    .sum();
                (requests > 0).then_some(TargetLoad { address, requests })
            })
            .collect()
    }

    fn publish(
        &self,
        register: &mut Register,
        table: LiveTable,
        targets: HashMap<SocketAddr, Arc<Target>>,
    ) {
        let holds = std::mem::replace(&mut register.holds, table.holds.clone());
        self.pointer.store(Arc::new(table));
        for (app, hold) in holds {
            if !register.holds.contains_key(&app) {
                hold.end();
            }
        }
        let before = std::mem::replace(&mut register.current, targets);
        for (address, target) in before {
            let now = register.current.get(&address);
            if now.is_none_or(|now| !Arc::ptr_eq(now, &target)) {
                target.drain();
                register.draining.push(target);
            }
        }
        register.draining.retain(|target| target.requests() > 0);
    }

    fn register(&self) -> MutexGuard<'_, Register> {
        // Nothing in here panics half-way; if something did, the data is still whole.
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn app_hosts(route: &Route) -> (String, Vec<String>) {
    let hosts = route.hosts.iter().map(ToString::to_string).collect();
    (route.app.to_string(), hosts)
}

impl Register {
    fn build(
        &mut self,
        table: &RouteTable,
        missing: MissingSets,
    ) -> Result<(LiveTable, HashMap<SocketAddr, Arc<Target>>), StaticSetError> {
        let mut targets = HashMap::new();
        let mut hosts = HashMap::new();
        let mut holds = HashMap::new();
        for route in &table.routes {
            let ready = Arc::new(self.build_route(route, missing, &mut targets)?);
            if let Some(hold) = &ready.hold {
                holds.insert(route.app.as_str().into(), hold.clone());
            }
            for host in &route.hosts {
                hosts.insert(host.as_str().into(), ready.clone());
            }
        }
        let mut apps: Vec<_> = table.routes.iter().map(app_hosts).collect();
        if let Some(own) = &table.console {
            let ready = Arc::new(self.build_console(own, &mut targets));
            hosts.insert(own.host.as_str().into(), ready);
            apps.push((console::NAME.to_owned(), vec![own.host.to_string()]));
        }
        self.sets.retain(|_, set| set.strong_count() > 0);
        let table = LiveTable {
            generation: table.generation,
            hosts,
            apps: apps.into(),
            holds,
        };
        Ok((table, targets))
    }

    fn build_route(
        &mut self,
        route: &Route,
        missing: MissingSets,
        targets: &mut HashMap<SocketAddr, Arc<Target>>,
    ) -> Result<LiveRoute, StaticSetError> {
        let static_files = match &route.static_files {
            Some(files) => Some(StaticFiles::new(files, self.sets(files, missing)?)),
            None => None,
        };
        let begun = self.holds.get(route.app.as_str());
        // Nobody waits for a page that says no.
        let held = route.hold_ms > 0 && !route.maintenance;
        let hold = held.then(|| match begun {
            Some(hold) => hold.clone(),
            None => Hold::new(route.app.as_str(), Duration::from_millis(route.hold_ms)),
        });
        // With a hold targets begin anew, so that the requests from before can be waited for.
        let anew = held && begun.is_none();
        let current = &self.current;
        let targets = route
            .targets
            .iter()
            .map(|&address| {
                // An address that is only draining gets a new target: another container has it.
                let known = || current.get(&address).filter(|_| !anew).cloned();
                targets
                    .entry(address)
                    .or_insert_with(|| known().unwrap_or_else(|| Target::new(address)))
                    .clone()
            })
            .collect();
        Ok(LiveRoute {
            targets,
            static_files,
            media: route.media.as_ref().map(Media::new),
            maintenance: route.maintenance,
            stream_requests: route.stream_requests,
            hold,
            body_limit: route.body_limit,
            response_timeout: Duration::from_millis(route.response_timeout_ms),
            metrics: self.metrics.app(route.app.as_str()),
            console: None,
            turn: AtomicUsize::new(0),
        })
    }

    /// The route of the control plane's own host. Its bodies are git's: streamed, and as large as
    /// git allows.
    fn build_console(
        &self,
        own: &ConsoleRoute,
        targets: &mut HashMap<SocketAddr, Arc<Target>>,
    ) -> LiveRoute {
        let known = self.current.get(&own.target).cloned();
        let target = targets
            .entry(own.target)
            .or_insert_with(|| known.unwrap_or_else(|| Target::new(own.target)));
        LiveRoute {
            targets: Box::new([target.clone()]),
            static_files: None,
            media: None,
            maintenance: false,
            stream_requests: true,
            hold: None,
            body_limit: u64::MAX,
            response_timeout: console::RESPONSE_TIMEOUT,
            metrics: self.metrics.app(console::NAME),
            console: Some(console::Key::of(own)),
            turn: AtomicUsize::new(0),
        }
    }

    fn sets(
        &mut self,
        files: &StaticRoute,
        missing: MissingSets,
    ) -> Result<Vec<Arc<StaticSet>>, StaticSetError> {
        let mut sets = Vec::with_capacity(files.sets.len());
        for (position, id) in files.sets.iter().enumerate() {
            let key = (files.root.clone(), id.clone());
            if let Some(set) = self.sets.get(&key).and_then(Weak::upgrade) {
                sets.push(set);
                continue;
            }
            match StaticSet::load(&files.root, id) {
                Ok(set) => {
                    let set = Arc::new(set);
                    self.sets.insert(key, Arc::downgrade(&set));
                    sets.push(set);
                }
                // An older set is a courtesy to open pages, no reason to refuse a deploy.
                Err(error) if position == 0 && missing == MissingSets::Refuse => return Err(error),
                Err(error) => tracing::error!(%error, "static set skipped"),
            }
        }
        Ok(sets)
    }
}

impl LiveRoute {
    /// The least loaded target of those in the rotation, in turn among equals; not `avoid` when
    /// there is another. When all are out, all are in: a try may help, a refusal helps nobody
    /// (Envoy's panic threshold).
    pub(crate) fn pick<'a>(&'a self, avoid: Option<SocketAddr>) -> Option<Choice<'a>> {
        let count = self.targets.len();
        if count <= 1 {
            let standing = Standing::Only;
            return self
                .targets
                .first()
                .map(|target| Choice { target, standing });
        }
        let start = self.turn.fetch_add(1, Relaxed);
        let all = (0..count).map(|step| &self.targets[start.wrapping_add(step) % count]);
        let is_out = |target: &Arc<Target>| target.rotation().is_out();
        // Who failed to connect once has waited enough and is not sent to find out.
        if avoid.is_none() && self.targets.iter().any(is_out) {
            let now = rotation::now();
            let trial = |target: &'a Arc<Target>| {
                let standing = target.rotation().try_again(now)?;
                Some(Choice { target, standing })
            };
            if let Some(trial) = all.clone().find_map(trial) {
                return Some(trial);
            }
        }
        let load = |target: &&Arc<Target>| {
            let avoided = Some(target.address()) == avoid;
            (is_out(target), avoided, target.requests())
        };
        let target = all.min_by_key(load)?;
        let standing = if is_out(target) {
            Standing::LastResort
        } else {
            Standing::In
        };
        Some(Choice { target, standing })
    }
}

#[cfg(test)]
mod tests;
