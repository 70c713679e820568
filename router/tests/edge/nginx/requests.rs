//! What both are asked. A request's name is what is odd about it; `{etag}` stands for the tag
//! that the asked server itself has for `/static/a.txt`.

/// One request, or two in one piece.
pub struct Request {
    pub name: String,
    pub text: String,
    pub answers: usize,
}

/// Fields of a GET of `/static/a.txt`, ten bytes.
const FIELDS: &[&str] = &[
    "",
    // 13.1.2
    "If-None-Match: {etag}",
    "If-None-Match: W/{etag}",
    "If-None-Match: \"x\", {etag}, \"y\"",
    "If-None-Match: \"x,y\", {etag}",
    "If-None-Match: *",
    "If-None-Match: \"x\"",
    "If-None-Match: unquoted",
    "If-None-Match: \"x\"\r\nIf-None-Match: {etag}",
    "If-None-Match:",
    // 13.1.3
    "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT",
    "If-Modified-Since: Tue, 14 Nov 2023 22:13:19 GMT",
    "If-Modified-Since: Tue, 14 Nov 2023 22:13:21 GMT",
    "If-Modified-Since: yesterday",
    "If-Modified-Since: Tuesday, 14-Nov-23 22:13:20 GMT",
    "If-Modified-Since: Tue Nov 14 22:13:20 2023",
    "If-Modified-Since: 1700000000",
    "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT\r\nIf-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT",
    "If-None-Match: \"x\"\r\nIf-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT",
    "If-None-Match: {etag}\r\nIf-Modified-Since: Tue, 14 Nov 2023 22:13:19 GMT",
    // 13.1.1
    "If-Match: {etag}",
    "If-Match: W/{etag}",
    "If-Match: *",
    "If-Match: \"x\"",
    "If-Match: \"x\", {etag}",
    "If-Match: \"x\"\r\nIf-None-Match: {etag}",
    // 13.1.4
    "If-Unmodified-Since: Tue, 14 Nov 2023 22:13:20 GMT",
    "If-Unmodified-Since: Tue, 14 Nov 2023 22:13:19 GMT",
    "If-Unmodified-Since: Tue, 14 Nov 2023 22:13:21 GMT",
    "If-Unmodified-Since: yesterday",
    "If-Match: {etag}\r\nIf-Unmodified-Since: Tue, 14 Nov 2023 22:13:19 GMT",
    // 14.2
    "Range: bytes=0-0",
    "Range: bytes=2-4",
    "Range: bytes=4-",
    "Range: bytes=-3",
    "Range: bytes=-0",
    "Range: bytes=-100",
    "Range: bytes=0-100",
    "Range: bytes=9-9",
    "Range: bytes=10-",
    "Range: bytes=10-20",
    "Range: bytes=99999999999999999999999-",
    "Range: bytes=0-99999999999999999999999",
    "Range: bytes=4-2",
    "Range: bytes=a-b",
    "Range: bytes=-",
    "Range: bytes=",
    "Range: bytes",
    "Range: lines=0-1",
    "Range: BYTES=0-1",
    "Range: bytes=0-1,8-9",
    "Range: bytes=0-5,2-7",
    "Range: bytes=0-0,20-30",
    "Range: bytes=20-30,40-50",
    "Range: bytes=0-0,x",
    "Range: bytes= 0-1",
    "Range: bytes=0-1\r\nRange: bytes=2-3",
    "Range: bytes=0-1\r\nIf-None-Match: {etag}",
    // 13.1.5
    "Range: bytes=0-1\r\nIf-Range: {etag}",
    "Range: bytes=0-1\r\nIf-Range: W/{etag}",
    "Range: bytes=0-1\r\nIf-Range: \"x\"",
    "Range: bytes=0-1\r\nIf-Range: Tue, 14 Nov 2023 22:13:20 GMT",
    "Range: bytes=0-1\r\nIf-Range: Tue, 14 Nov 2023 22:13:21 GMT",
    "Range: bytes=10-\r\nIf-Range: \"x\"",
    "If-Range: {etag}",
    // 12.5.3
    "Accept-Encoding: gzip",
    "Accept-Encoding: GZIP",
    "Accept-Encoding: x-gzip",
    "Accept-Encoding: gzip;q=0",
    "Accept-Encoding: gzip;q=0.5, identity",
    "Accept-Encoding: *",
    "Accept-Encoding: br",
    "Accept-Encoding: identity;q=0",
    "Accept-Encoding: gzip\r\nRange: bytes=0-1",
    "Accept-Encoding: gzip\r\nIf-None-Match: {etag}",
    // Odd, and nobody's business.
    "TE: trailers",
    "Expect: 100-continue-not",
    "X-Under_score: 1",
    "Upgrade: h2c\r\nConnection: Upgrade",
    "Connection: close",
    "Connection: keep-alive",
    "Content-Length: 0",
];

/// Paths of a GET.
const PATHS: &[&str] = &[
    "/static/site.css",
    "/static/app.js",
    "/static/plain.txt",
    "/static/empty.txt",
    "/static/LICENSE",
    "/static/data.unknown",
    "/static/A.TXT",
    "/static/a.txt?v=1&w=%zz",
    "/static/a.txt#part",
    "/static/a.txt/",
    "/static/a.txt/b",
    "/static/a.txt%3Fv=1",
    "/static/missing.txt",
    "/static",
    "/static/",
    "/static/css",
    "/static/css/",
    "/static//a.txt",
    "/static/css//base.css",
    "//static/a.txt",
    "/static/./a.txt",
    "/static/css/../a.txt",
    "/static/../a.txt",
    "/static/../../a.txt",
    "/static/css/%2e%2e/a.txt",
    "/static/%2E%2E/a.txt",
    "/static/css%2fbase.css",
    "/static%2fa.txt",
    "/%73tatic/a.txt",
    "/static/%61.txt",
    "/static/%2561.txt",
    "/static/a.txt%00",
    "/static/%00",
    "/static/%zz",
    "/static/a%4",
    "/static/con%20espacio.txt",
    "/static/con+espacio.txt",
    "/static/a+b.txt",
    "/static/%C3%B1and%C3%BA.txt",
    "/static/%c3%b1and%c3%ba.txt",
    "/static/ñandú.txt",
    "/static/%F1and%FA.txt",
    "/static/100%25.txt",
    "/static/a\\b.txt",
    "/static/a;b.txt",
    "/media/foto.jpg",
    "/media/sub/note.txt",
    "/media/page.html",
    "/media/image.svg",
    "/media/sub",
    "/media/sub/",
    "/media/missing.jpg",
    "/media/.hidden",
    "/media/.git/config",
    "/media/inside.jpg",
    "/media/outside.txt",
    "/media/up/secret.txt",
    "/media/../secret.txt",
    "/media/%2e%2e%2fsecret.txt",
    "/elsewhere",
];

/// Methods on `/static/a.txt`.
const METHODS: &[&str] = &[
    "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get",
];

/// Heads written out.
const HEADS: &[(&str, &str)] = &[
    (
        "HEAD with a range",
        "HEAD /static/a.txt HTTP/1.1\r\nHost: a.test\r\nRange: bytes=0-1\r\n\r\n",
    ),
    (
        "HEAD with a range beyond the end",
        "HEAD /static/a.txt HTTP/1.1\r\nHost: a.test\r\nRange: bytes=10-\r\n\r\n",
    ),
    (
        "HEAD with a matching tag",
        "HEAD /static/a.txt HTTP/1.1\r\nHost: a.test\r\nIf-None-Match: {etag}\r\n\r\n",
    ),
    (
        "HEAD of a missing file",
        "HEAD /static/missing.txt HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ),
    (
        "HEAD compressed",
        "HEAD /static/a.txt HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: gzip\r\n\r\n",
    ),
    (
        "a range of an empty file",
        "GET /static/empty.txt HTTP/1.1\r\nHost: a.test\r\nRange: bytes=0-0\r\n\r\n",
    ),
    (
        "a suffix of an empty file",
        "GET /static/empty.txt HTTP/1.1\r\nHost: a.test\r\nRange: bytes=-5\r\n\r\n",
    ),
    (
        "POST with a body",
        "POST /static/a.txt HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi",
    ),
    (
        "POST to a missing file",
        "POST /static/missing.txt HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        "PUT with a failing condition",
        "PUT /static/a.txt HTTP/1.1\r\nHost: a.test\r\nIf-Match: \"x\"\r\nContent-Length: 0\r\n\r\n",
    ),
    ("OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n"),
    (
        "GET with a body",
        "GET /static/a.txt HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi",
    ),
    (
        "GET with a chunked body",
        "GET /static/a.txt HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ),
    (
        "both framings",
        "GET /static/a.txt HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "two lengths",
        "GET /static/a.txt HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n",
    ),
    (
        "a length that is none",
        "GET /static/a.txt HTTP/1.1\r\nHost: a.test\r\nContent-Length: +1\r\n\r\n",
    ),
    (
        "HTTP/1.0",
        "GET /static/a.txt HTTP/1.0\r\nHost: a.test\r\n\r\n",
    ),
    (
        "HTTP/1.0 kept",
        "GET /static/a.txt HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n",
    ),
    (
        "HTTP/1.0 without a host",
        "GET /static/a.txt HTTP/1.0\r\n\r\n",
    ),
    (
        "HTTP/1.1 without a host",
        "GET /static/a.txt HTTP/1.1\r\n\r\n",
    ),
    (
        "HTTP/1.2",
        "GET /static/a.txt HTTP/1.2\r\nHost: a.test\r\n\r\n",
    ),
    (
        "HTTP/3.0",
        "GET /static/a.txt HTTP/3.0\r\nHost: a.test\r\n\r\n",
    ),
    (
        "an empty host",
        "GET /static/a.txt HTTP/1.1\r\nHost:\r\n\r\n",
    ),
    (
        "two hosts",
        "GET /static/a.txt HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n",
    ),
    (
        "a host in capitals with a port",
        "GET /static/a.txt HTTP/1.1\r\nHost: A.TEST:8080\r\n\r\n",
    ),
    (
        "a host with a last dot",
        "GET /static/a.txt HTTP/1.1\r\nHost: a.test.\r\n\r\n",
    ),
    (
        "a host with a slash",
        "GET /static/a.txt HTTP/1.1\r\nHost: a.test/\r\n\r\n",
    ),
    (
        "another host",
        "GET /static/a.txt HTTP/1.1\r\nHost: b.test\r\n\r\n",
    ),
    (
        "the absolute form",
        "GET http://a.test/static/a.txt HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ),
    (
        "the absolute form of another host",
        "GET http://a.test/static/a.txt HTTP/1.1\r\nHost: b.test\r\n\r\n",
    ),
    (
        "a path without a slash",
        "GET static/a.txt HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ),
    (
        "a space in the path",
        "GET /static/con espacio.txt HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ),
    (
        "two spaces before the version",
        "GET /static/a.txt  HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ),
    (
        "a space before the colon",
        "GET /static/a.txt HTTP/1.1\r\nHost: a.test\r\nX-Odd : 1\r\n\r\n",
    ),
    (
        "a folded field",
        "GET /static/a.txt HTTP/1.1\r\nHost: a.test\r\nX-Odd: 1\r\n 2\r\n\r\n",
    ),
    (
        "line feeds alone",
        "GET /static/a.txt HTTP/1.1\nHost: a.test\n\n",
    ),
    (
        "an empty line before",
        "\r\nGET /static/a.txt HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ),
];

/// Two requests in one piece; the second shows whether the first was read to its right end.
const PIPELINED: &[(&str, &str)] = &[
    (
        "two at once",
        "GET /static/a.txt HTTP/1.1\r\nHost: a.test\r\n\r\nGET /static/site.css HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ),
    (
        "a HEAD and a GET at once",
        "HEAD /static/a.txt HTTP/1.1\r\nHost: a.test\r\n\r\nGET /static/site.css HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ),
    (
        "a GET after a 304",
        "GET /static/a.txt HTTP/1.1\r\nHost: a.test\r\nIf-None-Match: {etag}\r\n\r\nGET /static/site.css HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ),
    (
        "a GET after a refused POST with a body",
        "POST /static/a.txt HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhiGET /static/site.css HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ),
    (
        "a GET after a last one",
        "GET /static/a.txt HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\nGET /static/site.css HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ),
];

/// All of them.
pub fn all() -> Vec<Request> {
    let one = |name: &str, text: String| Request {
        name: name.to_owned(),
        text,
        answers: 1,
    };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut all: Vec<Request> = Vec::new();
    for fields in FIELDS {
        let name = if fields.is_empty() { "plain" } else { fields };
        let end = if fields.is_empty() { "" } else { "\r\n" };
        let text = format!("GET /static/a.txt HTTP/1.1\r\nHost: a.test\r\n{fields}{end}\r\n");
        all.push(one(name, text));
    }
    all.extend(PATHS.iter().map(|path| one(path, get(path))));
    for (name, length) in [
        ("a name of 300 bytes", 300),
        ("a path of 4,000 bytes", 4_000),
        ("a path of 20,000 bytes", 20_000),
    ] {
        all.push(one(name, get(&format!("/static/{}", "x".repeat(length)))));
    }
    let many: Vec<String> = (0..1000).map(|at| format!("{at}-{at}")).collect();
    let many = format!("Range: bytes={}", many.join(","));
    all.push(one(
        "a thousand ranges",
        format!("GET /static/a.txt HTTP/1.1\r\nHost: a.test\r\n{many}\r\n\r\n"),
    ));
    for method in METHODS {
        let text = format!("{method} /static/a.txt HTTP/1.1\r\nHost: a.test\r\n\r\n");
        all.push(one(method, text));
    }
    all.extend(
        HEADS
            .iter()
            .map(|(name, text)| one(name, (*text).to_owned())),
    );
    all.extend(PIPELINED.iter().map(|(name, text)| Request {
        name: (*name).to_owned(),
        text: (*text).to_owned(),
        answers: 2,
    }));
    all
}
