//! `.dockerignore` as Docker reads it (docs.docker.com/build/concepts/context, moby's
//! patternmatcher): one pattern a line, `#` comments, `!` exceptions, the last match wins, a
//! match of a parent folder counts, `**` matches any number of folders.

/// The patterns of one file.
#[derive(Debug, Clone, Default)]
pub struct DockerIgnore {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    parts: Vec<Vec<u8>>,
    keep: bool,
}

impl DockerIgnore {
    /// Reads the text; lines that are empty or comments say nothing.
    pub fn parse(text: &str) -> DockerIgnore {
        let patterns = text
            .trim_start_matches('\u{feff}')
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let line = line.trim();
                let (keep, pattern) = line
                    .strip_prefix('!')
                    .map_or((false, line), |rest| (true, rest.trim()));
                let parts: Vec<Vec<u8>> = pattern
                    .split('/')
                    .filter(|part| !matches!(*part, "" | "."))
                    .map(|part| part.as_bytes().to_vec())
                    .collect();
                (!parts.is_empty()).then_some(Pattern { parts, keep })
            })
            .collect();
        DockerIgnore { patterns }
    }

    /// Whether a file stays out of the context.
    pub fn ignores(&self, path: &[u8]) -> bool {
        let parts: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
        let mut ignored = false;
        for pattern in &self.patterns {
            // A pattern that matches a parent folder matches all below it.
            if pattern.keep == ignored
                && (1..=parts.len()).any(|depth| parts_match(&pattern.parts, &parts[..depth]))
            {
                ignored = !pattern.keep;
            }
        }
        ignored
    }
}

fn parts_match(pattern: &[Vec<u8>], path: &[&[u8]]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((first, rest)) if first.as_slice() == b"**" => {
            (0..=path.len()).any(|skip| parts_match(rest, &path[skip..]))
        }
        Some((first, rest)) => path
            .split_first()
            .is_some_and(|(name, below)| name_matches(first, name) && parts_match(rest, below)),
    }
}

/// One path part against one pattern part: `*`, `?`, `[a-z]`, `[^a]`, `\x` (Go's
/// filepath.Match). `**` inside a part is as good as `*`.
fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.first() {
        None => name.is_empty(),
        Some(b'*') => (0..=name.len()).any(|skip| name_matches(&pattern[1..], &name[skip..])),
        Some(b'?') => !name.is_empty() && name_matches(&pattern[1..], &name[1..]),
        Some(b'[') => match (
            class(&pattern[1..], name.first().copied()),
            name.split_first(),
        ) {
            (Some((true, length)), Some((_, rest))) => name_matches(&pattern[1 + length..], rest),
            _ => false,
        },
        Some(b'\\') if pattern.len() > 1 => {
            name.first() == Some(&pattern[1]) && name_matches(&pattern[2..], &name[1..])
        }
        Some(byte) => name.first() == Some(byte) && name_matches(&pattern[1..], &name[1..]),
    }
}

/// Whether `byte` is in the class that starts after `[`, and how long the class is with its
/// `]`; `None` for a class without an end, which matches nothing.
fn class(pattern: &[u8], byte: Option<u8>) -> Option<(bool, usize)> {
    let byte = byte?;
    let negated = pattern.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    let start = at;
    loop {
        let low = *pattern.get(at)?;
        if low == b']' && at > start {
            return Some((found != negated, at + 1));
        }
        if pattern.get(at + 1) == Some(&b'-')
            && pattern.get(at + 2).is_some_and(|high| *high != b']')
        {
            found |= (low..=pattern[at + 2]).contains(&byte);
            at += 3;
        } else {
            found |= low == byte;
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_docker_matches_them() {
        // (patterns, path, ignored)
        let cases = [
            ("node_modules", "node_modules/a/b.js", true),
            ("node_modules", "web/node_modules/b.js", false),
            ("**/node_modules", "web/node_modules/b.js", true),
            ("*.md", "README.md", true),
            ("*.md", "docs/README.md", false),
            ("**/*.md", "README.md", true),
            ("*.md\n!README.md", "README.md", false),
            ("!README.md\n*.md", "README.md", true),
            ("docs/\n!docs/a.md", "docs/a.md", false),
            ("docs\n!docs/a.md", "docs/b.md", true),
            ("/media", "media/x", true),
            ("# media", "media/x", false),
            ("tmp?", "tmp1/x", true),
            ("[a-c].py", "b.py", true),
            ("[^a-c].py", "b.py", false),
            ("[a", "a", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("**", "anything", true),
            ("./x", "x", true),
            (r"\*.md", "a.md", false),
        ];
        for (patterns, path, ignored) in cases {
            assert_eq!(
                DockerIgnore::parse(patterns).ignores(path.as_bytes()),
                ignored,
                "{patterns:?} {path}"
            );
        }
    }
}
