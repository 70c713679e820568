//! What people write in `.env` files, and the way there and back.
#![allow(clippy::unwrap_used)]

use super::*;

fn value(text: &str, name: &str) -> String {
    let values = parse(text).unwrap();
    values[&name.parse::<EnvKey>().unwrap()].clone().unwrap()
}

#[test]
fn what_is_exported_reads_back_the_same() {
    let name: EnvKey = "X".parse().unwrap();
    for wanted in [
        "",
        "plain",
        "two words",
        "#hash",
        "a # b",
        "a\"b",
        r"c:\n\dir\",
        r"\",
        "line\nline",
        "\n",
        "crlf\r\nline\r",
        "'",
        " padded\t",
        "a=b",
        "$HOME `id` $(id)",
        "ñ\u{2028}\u{feff}",
        "-----BEGIN KEY-----\nMIIE==\n-----END KEY-----\n",
    ] {
        let text = format!("A=1\n{}\nZ=2\n", export(&name, wanted));
        assert_eq!(value(&text, "X"), wanted, "{text}");
        assert_eq!(value(&text, "Z"), "2", "{text}");
    }
}

#[test]
fn env_files_as_people_write_them() {
    let text = "\u{feff}# comment\r\n\nexport A=1\r\nB = two words\t# comment\nC='it is' # c\n  D=\"two  \nlines\"\nE=a#b\nF=\nG='a\\n$B'\nA=2\n";
    for (name, wanted) in [
        ("A", "2"),
        ("B", "two words"),
        ("C", "it is"),
        ("D", "two  \nlines"),
        ("E", "a#b"),
        ("F", ""),
        ("G", "a\\n$B"),
    ] {
        assert_eq!(value(text, name), wanted, "{name}");
    }
}

#[test]
fn an_error_names_the_place_and_never_the_text() {
    let line = Place::Line(2);
    for (text, wanted) in [
        ("A=1\nsecret\n", LineError::NoSign(line)),
        ("A=1\nsecret+x==\n", LineError::Name(line)),
        ("A=1\nB='secret\n\n", LineError::Open(line)),
        ("A=1\nB='secret''s'\n", LineError::Trailing(line)),
        ("A=1\nB=sec\0ret\n", LineError::Nul(line)),
        ("# nothing\n", LineError::Empty),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!(error, wanted);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let words = ["A=1".to_owned(), "secret".to_owned()];
    assert_eq!(
        assignments(&words),
        Err(LineError::NoSign(Place::Argument(2)))
    );
    assert_eq!(
        assignments(&["-A=1".to_owned()]),
        Err(LineError::Name(Place::Argument(1)))
    );
}
