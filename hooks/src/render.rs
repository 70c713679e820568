//! Events of a deployment as lines for people: what a pusher sees after `remote:` and what
//! `zarpar deployments follow` prints. Output of builds is foreign text, so escape sequences and
//! control characters are taken out before they reach a terminal.

use std::time::Duration;

use zarpar_model::{Event, EventKind, Outcome, WorkPhase, show_span};

/// Longest line shown, in characters.
const LINE: usize = 400;

/// The lines of one event; none for events that say nothing to a reader.
pub fn render(event: &Event) -> Vec<String> {
    match &event.kind {
        EventKind::Accepted { deployment } => vec![format!("-----> deployment {deployment}")],
        EventKind::Waiting { reason } => vec![format!("       waiting: {}", clean(reason))],
        EventKind::Began { phase } => vec![format!("-----> {}", title(*phase))],
        // A step that took no time to speak of needs no line.
        EventKind::Ended { ms, .. } if *ms < 100 => Vec::new(),
        EventKind::Ended { ms, .. } => vec![format!(
            "       done in {}",
            show_span(Duration::from_millis(*ms))
        )],
        EventKind::Output { text } => vec![format!("       {}", clean(text))],
        EventKind::Note { text } => text
            .lines()
            .map(|line| format!("       {}", clean(line)))
            .collect(),
        EventKind::Finished {
            outcome: Outcome::Live,
            text,
        } => text
            .lines()
            .map(|line| format!("=====> {}", clean(line)))
            .collect(),
        EventKind::Finished { outcome, text } => {
            let word = match outcome {
                Outcome::Superseded => "superseded",
                Outcome::Cancelled => "cancelled",
                Outcome::Failed | Outcome::Live => "failed",
            };
            let mut lines = text.lines().map(clean);
            let first = format!(" !     {word}: {}", lines.next().unwrap_or_default());
            std::iter::once(first)
                .chain(lines.map(|line| format!(" !     {line}")))
                .collect()
        }
    }
}

fn title(phase: WorkPhase) -> &'static str {
    match phase {
        WorkPhase::CheckingOut => "checking out",
        WorkPhase::Planning => "planning",
        WorkPhase::Pulling => "pulling the image",
        WorkPhase::Building => "building the image",
        WorkPhase::Releasing => "releasing: migrations and static files",
        WorkPhase::Starting => "starting the new release",
        WorkPhase::Probing => "probing its health",
    }
}

/// Without ANSI sequences and control characters, cut to [`LINE`] characters.
fn clean(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(LINE));
    let mut count = 0;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            // CSI: ESC [ parameters, ends with a letter or one of @…~. Others are one character.
            if characters.next_if_eq(&'[').is_some() {
                while characters
                    .next()
                    .is_some_and(|next| !('@'..='~').contains(&next))
                {}
            } else {
                characters.next();
            }
            continue;
        }
        let character = if character == '\t' { ' ' } else { character };
        if character.is_control() {
            continue;
        }
        if count == LINE {
            shown.push('…');
            break;
        }
        shown.push(character);
        count += 1;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use zarpar_model::Timestamp;

    fn lines(kind: EventKind) -> Vec<String> {
        render(&Event {
            at: Timestamp(0),
            kind,
        })
    }

    #[test]
    fn a_failure_shows_its_reason_and_its_hint() {
        let text = "`migrate` ended with exit code 1\nhint: mend it".to_owned();
        let shown = lines(EventKind::Finished {
            outcome: Outcome::Failed,
            text,
        });
        assert_eq!(
            shown,
            [
                " !     failed: `migrate` ended with exit code 1",
                " !     hint: mend it"
            ]
        );
    }

    #[test]
    fn foreign_output_cannot_paint_the_terminal() {
        let text = "\u{1b}[2J\u{1b}[31mred\u{1b}[0m\u{7}\r end\u{1b}]0;title".to_owned();
        assert_eq!(lines(EventKind::Output { text }), ["       red end0;title"]);
        let long = lines(EventKind::Output {
            text: "x".repeat(100_000),
        });
        assert!(long[0].chars().count() < 420);
    }
}
