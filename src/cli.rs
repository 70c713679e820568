//! The command line: what may be said. Each group of words has a file of its own; none of them
//! touches the store or Docker.

mod apps;
mod build;
mod certificates;
mod client;
mod compress;
mod deploy;
mod environment;
mod keys;
mod laptop;
mod output;
mod run;
mod shell;
mod table;
mod webhooks;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use zarpar_control::Request;
use zarpar_model::{AppName, BranchName, HostName, ImageReference, ProcessName, ReleaseNumber};

use crate::config::ServerArgs;
use webhooks::WebhooksCommand;

pub(crate) use self::laptop::say;

/// git push production main, and a Django project is live on your own server
#[derive(Debug, Parser)]
#[command(name = "zarpar", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Where a client finds the control plane.
#[derive(Debug, Clone, Args)]
pub(crate) struct Remote {
    /// Data folder of `zarpar serve` (default /var/lib/zarpar)
    #[arg(long, env = "ZARPAR_DATA", value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    /// Set by `shell` alone: whose word it is.
    #[arg(skip)]
    as_key: Option<shell::KeyRoad>,
}

/// Listings can be read by programs.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Listing {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the control plane: pushes, builds, deployments
    Serve(ServerArgs),
    /// Run the edge: the router that visitors reach (`serve` starts one by itself); takes over from
    /// one that runs for the same data folder
    Router {
        #[command(flatten)]
        server: ServerArgs,
        /// Serve this hand-written route table (JSON) alone, without a control plane; README of
        /// examples/edge shows one
        #[arg(long, value_name = "FILE")]
        table: Option<PathBuf>,
    },
    /// Make, list and remove apps
    Apps {
        #[command(flatten)]
        remote: Remote,
        #[command(subcommand)]
        command: AppsCommand,
    },
    /// Make, list and revoke the tokens that pushes need
    Tokens {
        #[command(flatten)]
        remote: Remote,
        #[command(subcommand)]
        command: TokensCommand,
    },
    /// Let keys in over SSH, to push and to say these words; list and remove them
    Keys {
        #[command(flatten)]
        remote: Remote,
        #[command(subcommand)]
        command: keys::KeysCommand,
    },
    /// Add, remove and list the hosts of an app
    Domains {
        #[command(flatten)]
        remote: Remote,
        #[command(subcommand)]
        command: DomainsCommand,
    },
    /// Add, remove and list the certificates that hosts are served with
    Certificates {
        #[command(flatten)]
        remote: Remote,
        #[command(subcommand)]
        command: CertificatesCommand,
    },
    /// Set, unset, list, import and export the variables of an app
    Env {
        #[command(flatten)]
        remote: Remote,
        #[command(subcommand)]
        command: EnvCommand,
    },
    /// Deploy a commit that the app's repository has (default: the tip of the deploy branch, or of
    /// the branch that the app follows at a forge), or an image that was built elsewhere
    Deploy {
        #[command(flatten)]
        remote: Remote,
        app: AppName,
        /// A full commit id or a branch
        commit: Option<String>,
        /// An image instead, such as registry.example/shop:1.2; pulled, or else the one of this name
        /// on the server
        #[arg(long, value_name = "REF", conflicts_with = "commit")]
        image: Option<ImageReference>,
    },
    /// List the deployments of an app, follow one from its start, or cancel one that is not live
    #[command(
        after_help = "Such as:\n  zarpar deployments tienda       the deployments of an app with their ids\n  zarpar deployments follow 12    the log of one from its start, to its end\n  zarpar deployments cancel 12    undo one that is not live; the next one begins"
    )]
    Deployments {
        #[command(flatten)]
        remote: Remote,
        #[command(flatten)]
        listing: Listing,
        /// The app, or `follow ID`, or `cancel ID` (undoes what it made)
        #[arg(required = true, num_args = 1..=3, value_name = "APP | follow ID | cancel ID")]
        words: Vec<String>,
    },
    /// List the kept releases of an app
    Releases {
        #[command(flatten)]
        remote: Remote,
        app: AppName,
        #[command(flatten)]
        listing: Listing,
    },
    /// Make an earlier release live again (default: the one before), without a build
    Rollback {
        #[command(flatten)]
        remote: Remote,
        app: AppName,
        /// Such as v3
        release: Option<ReleaseNumber>,
    },
    /// Show what an app prints
    Logs {
        #[command(flatten)]
        remote: Remote,
        app: AppName,
        /// Go on with what comes
        #[arg(short, long)]
        follow: bool,
        /// Last lines of each container
        #[arg(short = 'n', long, default_value_t = 100)]
        lines: u32,
        /// One process alone, such as web
        #[arg(long)]
        process: Option<ProcessName>,
    },
    /// Run a command in a container of its own of the live release
    Run {
        #[command(flatten)]
        remote: Remote,
        app: AppName,
        #[command(flatten)]
        window: run::Window,
        /// The command and its arguments, after `--`
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// List the processes of an app, or change how many containers they have
    Ps {
        #[command(flatten)]
        remote: Remote,
        #[command(flatten)]
        listing: Listing,
        /// The app, or `scale APP web=2`
        #[arg(required = true, num_args = 1.., value_name = "APP | scale APP NAME=COUNT")]
        words: Vec<String>,
    },
    /// Show visitors of an app a maintenance page (503), or the app again
    Maintenance {
        #[command(flatten)]
        remote: Remote,
        /// `on` or `off`
        switch: Switch,
        app: AppName,
    },
    /// Follow a repository at GitHub, GitLab, Gitea, Forgejo or Bitbucket: each push there is
    /// deployed
    Webhooks {
        #[command(flatten)]
        remote: Remote,
        #[command(subcommand)]
        command: WebhooksCommand,
    },
    /// Look at how a project would be built, without a server
    Build {
        /// Print the Dockerfile that a push would use
        #[arg(long, required = true)]
        print_dockerfile: bool,
        /// A git work tree
        path: PathBuf,
    },
    /// What sshd starts for a key that `keys add` let in
    #[command(hide = true)]
    Shell {
        /// The key's name
        #[arg(long)]
        key: AppName,
        /// The socket of the control plane
        #[arg(long)]
        socket: PathBuf,
    },
    /// Compress the static files of a release (`serve` does it by itself)
    #[command(hide = true)]
    CompressStatic {
        /// The app's folder of static files
        root: PathBuf,
        /// The id of the set
        set: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Debug, Subcommand)]
enum AppsCommand {
    /// Make an app
    Create {
        name: AppName,
        /// A host it answers for; the first is the main one (default NAME.localhost)
        #[arg(long = "domain", value_name = "HOST")]
        domains: Vec<HostName>,
        /// Give it a Postgres 17 of its own
        #[arg(long)]
        postgres: bool,
        /// Pushes to this branch are deployed
        #[arg(long, default_value = "main")]
        branch: BranchName,
    },
    /// List the apps
    List(Listing),
    /// Show one app
    Info {
        name: AppName,
        #[command(flatten)]
        listing: Listing,
    },
    /// Remove an app with its containers, images, database and files
    Destroy {
        name: AppName,
        /// Do not ask
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Subcommand)]
enum TokensCommand {
    /// Make a token and print it, this once
    Create {
        name: AppName,
        /// An app it may touch (default: all)
        #[arg(long = "app", value_name = "APP")]
        apps: Vec<AppName>,
        /// It may clone and fetch, not push
        #[arg(long)]
        read_only: bool,
        /// How long it is good for, such as 12h, 90d or 8w (default: until it is revoked)
        #[arg(long, value_name = "TIME", value_parser = zarpar_model::parse_lifetime)]
        expires: Option<std::time::Duration>,
    },
    /// List the tokens
    List(Listing),
    /// Make a token worthless
    Revoke { name: AppName },
}

#[derive(Debug, Subcommand)]
enum DomainsCommand {
    /// Add hosts to an app
    Add {
        app: AppName,
        #[arg(required = true)]
        hosts: Vec<HostName>,
    },
    /// Take hosts from an app
    Remove {
        app: AppName,
        #[arg(required = true)]
        hosts: Vec<HostName>,
    },
    /// List the hosts of an app
    List {
        app: AppName,
        #[command(flatten)]
        listing: Listing,
    },
}

#[derive(Debug, Subcommand)]
enum CertificatesCommand {
    /// Serve hosts of an app, or the console, with a certificate of your own, from now on
    Add {
        /// An app, or the host of the console
        #[arg(value_name = "APP | HOST")]
        subject: certificates::Subject,
        /// The certificate with its chain, PEM, such as fullchain.pem; `-` here and for the key:
        /// both on standard input
        cert: PathBuf,
        /// Its private key, PEM, without a passphrase, such as privkey.pem
        key: PathBuf,
    },
    /// Forget a certificate that was added
    Remove {
        /// A host it is for
        name: String,
    },
    /// Order a certificate for an app, or the console, now, whatever its last tries say
    Renew {
        /// An app, or the host of the console
        #[arg(value_name = "APP | HOST")]
        subject: certificates::Subject,
    },
    /// List the certificates
    List(Listing),
}

#[derive(Debug, Subcommand)]
enum EnvCommand {
    /// Set variables and restart the app with them
    Set {
        app: AppName,
        /// NAME=VALUE
        #[arg(required = true, value_name = "NAME=VALUE")]
        values: Vec<String>,
        /// Only record them; the next deployment uses them
        #[arg(long)]
        no_restart: bool,
    },
    /// Remove variables and restart the app without them
    Unset {
        app: AppName,
        #[arg(required = true, value_name = "NAME")]
        names: Vec<zarpar_model::EnvKey>,
        /// Only record it; the next deployment uses it
        #[arg(long)]
        no_restart: bool,
    },
    /// List the variables
    List {
        app: AppName,
        #[command(flatten)]
        listing: Listing,
    },
    /// Read NAME=VALUE lines from a file (`-` for standard input)
    Import {
        app: AppName,
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Only record them; the next deployment uses them
        #[arg(long)]
        no_restart: bool,
    },
    /// Print NAME=VALUE lines that `import` reads
    Export { app: AppName },
}

/// Runs what was said.
pub(crate) fn dispatch(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Serve(args) => crate::daemon::serve(&args),
        Command::Router { server, table } => crate::daemon::router(&server, table.as_deref()),
        Command::Apps { remote, command } => apps::apps(&remote, command),
        Command::Tokens { remote, command } => apps::tokens(&remote, command),
        Command::Domains { remote, command } => apps::domains(&remote, command),
        Command::Keys { remote, command } => keys::keys(&remote, command),
        Command::Shell { key, socket } => shell::shell(key, socket),
        Command::Maintenance {
            remote,
            switch,
            app,
        } => {
            let on = switch == Switch::On;
            client::follow(&remote, &Request::Maintenance { app, on })
        }
        Command::Certificates { remote, command } => certificates::certificates(&remote, command),
        Command::Env { remote, command } => environment::env(&remote, command),
        Command::Deploy {
            remote,
            app,
            commit,
            image,
        } => deploy::deploy(&remote, app, commit, image),
        Command::Deployments {
            remote,
            listing,
            words,
        } => deploy::deployments(&remote, listing, &words),
        Command::Releases {
            remote,
            app,
            listing,
        } => deploy::releases(&remote, app, listing),
        Command::Rollback {
            remote,
            app,
            release,
        } => deploy::rollback(&remote, app, release),
        Command::Logs {
            remote,
            app,
            follow,
            lines,
            process,
        } => run::logs(&remote, app, follow, lines, process),
        Command::Run {
            remote,
            app,
            window,
            command,
        } => run::run(&remote, app, window, command),
        Command::Ps {
            remote,
            listing,
            words,
        } => run::ps(&remote, listing, &words),
        Command::Webhooks { remote, command } => webhooks::webhooks(&remote, command),
        Command::Build {
            print_dockerfile: _,
            path,
        } => build::print_dockerfile(&path),
        Command::CompressStatic { root, set } => compress::compress_static(&root, &set),
    }
}
