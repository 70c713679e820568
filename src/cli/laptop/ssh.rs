//! The user's own `ssh` with the words for the server: their configuration, agent and known hosts
//! count. It is the program that git would start for a push.

use std::process::ExitCode;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::address::Address;
use super::input::Input;
use crate::cli::output;
use crate::cli::run::terminal::{self, Terminal};

/// What ssh ends with when it could not do its part.
const SSH_FAILED: u8 = 255;

/// Why ssh was not started, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum SshError {
    #[error("cannot start `{program}`\nhint: `apt install openssh-client`, or put it into PATH")]
    Start {
        program: String,
        source: std::io::Error,
    },
    #[error("the connection to `ssh` broke")]
    Pipe(#[from] std::io::Error),
}

/// The arguments for `ssh`. The server gets the words as one text and splits it as
/// [`shell_words`] does.
fn arguments(address: &Address, words: &[String], interactive: bool) -> Vec<String> {
    // The key on the server allows no terminal; the one of `run` is made in the container.
    let mut arguments = vec!["-T".to_owned()];
    if interactive {
        // In a raw terminal Ctrl-C goes to the command, so a dead connection must end by itself.
        for option in ["ServerAliveInterval=15", "ServerAliveCountMax=3"] {
            arguments.extend(["-o".to_owned(), option.to_owned()]);
        }
    }
    if let Some(port) = address.port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    // From `--` on ssh looks for no options, not after the host either.
    arguments.extend(["--".to_owned(), address.destination()]);
    arguments.push(shell_words::join(words));
    arguments
}

/// Says the words to the server; gives the exit code that they had there.
pub(super) async fn say(
    program: &[String],
    address: &Address,
    words: &[String],
    input: Input,
    interactive: bool,
) -> Result<ExitCode, SshError> {
    let (name, first) = program
        .split_first()
        .map_or(("ssh", &[][..]), |(name, first)| (name.as_str(), first));
    #[expect(
        clippy::disallowed_methods,
        reason = "the user's own ssh, with the user's own environment: agent, DISPLAY, HOME"
    )]
    let mut command = Command::new(name);
    command
        .args(first)
        .args(arguments(address, words, interactive))
        .stdin(input.stdio()?)
        .kill_on_drop(true);
    if interactive {
        command.stdout(std::process::Stdio::piped());
    }
    let mut child = command.spawn().map_err(|source| SshError::Start {
        program: name.to_owned(),
        source,
    })?;
    let ended = tokio::select! {
        ended = carry(&mut child, &input, interactive) => ended?,
        code = signalled() => return Ok(ExitCode::from(code)),
    };
    if ended == SSH_FAILED {
        output::note(&format!(
            "zarpar: `ssh` to `{address}` ended with 255: it could not connect or log in, or the command itself ended so\nhint: `{} -v{} {}` shows why",
            shell_words::join(program),
            address
                .port
                .map(|port| format!(" -p {port}"))
                .unwrap_or_default(),
            address.destination(),
        ));
    }
    Ok(ExitCode::from(ended))
}

/// Carries what is ours to carry, until ssh ends.
async fn carry(child: &mut Child, input: &Input, interactive: bool) -> Result<u8, SshError> {
    if let (Input::Text(text), Some(mut stdin)) = (input, child.stdin.take()) {
        // ssh may end before it read all of it; its exit code says why.
        let _ = stdin.write_all(text.expose().as_bytes()).await;
    }
    // The terminal lives as long as this value: it is put back on every way out.
    let mut raw = None;
    if let (true, Some(stdout)) = (interactive, child.stdout.take())
        && let Some(code) = show(stdout, &mut raw).await?
    {
        return Ok(code);
    }
    let status = child.wait().await?;
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    let code = status.code().or(signal.map(|signal| 128 + signal));
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// Shows what a command with a terminal prints. The terminal becomes raw with its first byte, not
/// earlier: until then ssh may ask for a passphrase, and Ctrl-C ends a connection that hangs.
async fn show(mut stdout: ChildStdout, raw: &mut Option<Terminal>) -> Result<Option<u8>, SshError> {
    let mut piece = vec![0; 16 * 1024];
    loop {
        let count = tokio::select! {
            count = stdout.read(&mut piece) => count?,
            code = terminal::ended(raw) => return Ok(Some(code)),
        };
        if count == 0 {
            return Ok(None);
        }
        if raw.is_none() {
            *raw = Terminal::enter().ok();
        }
        if output::try_bytes(&piece[..count]).is_err() {
            return Ok(Some(1));
        }
    }
}

/// Waits for a signal that ends the program; gives the exit code a shell would show. Without this
/// an ssh whose parent was ended would go on.
async fn signalled() -> u8 {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let mut waiting = tokio::task::JoinSet::new();
    for kind in kinds {
        if let Ok(mut signal) = signal(kind) {
            waiting.spawn(async move {
                signal.recv().await;
                u8::try_from(128 + kind.as_raw_value()).unwrap_or(1)
            });
        }
    }
    match waiting.join_next().await {
        Some(Ok(code)) => code,
        _ => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn address() -> Address {
        Address {
            user: Some("zarpar".to_owned()),
            host: "barco".to_owned(),
            port: Some(2222),
            app: "tienda".parse().unwrap(),
        }
    }

    #[test]
    fn words_come_out_as_they_went_in() {
        // Every pair of odd pieces, with every third one between.
        let odd = [
            "",
            " ",
            "a b",
            "'",
            "''",
            "\"",
            "\\",
            "\\\\'",
            "$(touch /tmp/x)",
            "`id`",
            "${HOME}",
            "$X",
            "\n",
            "a\nb",
            "\r\n",
            "\t",
            ";",
            "&&",
            "|",
            ">x",
            "<x",
            "#",
            "!",
            "~",
            "~/x",
            "*",
            "?",
            "[a]",
            "{a,b}",
            "-",
            "--",
            "--tty",
            "-oProxyCommand=id",
            "A=it's $(x)",
            "ñandú",
            "日本",
            "🚀",
            "\u{7f}",
            "\u{1b}[31m",
            "%s",
            "\u{a0}",
        ];
        for first in odd {
            for second in odd {
                for third in odd.iter().step_by(3) {
                    let words = ["run", first, &format!("{first}{second}{third}"), second];
                    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
                    let arguments = arguments(&address(), &words, false);
                    let sent = arguments.last().unwrap();
                    assert_eq!(shell_words::split(sent).unwrap(), words, "{sent}");
                }
            }
        }
    }

    #[test]
    fn a_shell_reads_them_the_same_way() {
        // On a server whose key has no forced command it is the login shell that splits.
        let words = [
            "printf", "%s|", "a'b", "$(id)", "`id`", "x\ny", "", "\\", "ñ", "~", "*",
        ];
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        #[expect(clippy::disallowed_methods, reason = "a real shell splits the words")]
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(arguments(&address(), &words, false).last().unwrap())
            .output()
            .unwrap();
        let expected = "a'b|$(id)|`id`|x\ny||\\|ñ|~|*|";
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }

    #[test]
    fn nothing_of_an_address_is_an_option() {
        let arguments = arguments(&address(), &["logs".to_owned(), "-f".to_owned()], false);
        assert_eq!(
            arguments,
            ["-T", "-p", "2222", "--", "zarpar@barco", "logs -f"]
        );
    }
}
