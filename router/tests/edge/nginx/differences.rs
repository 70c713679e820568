//! What the edge does otherwise than nginx, and why.

/// One way in which answers differ, and all the requests where they do.
pub struct Difference {
    /// `status`, `body`, `connection` or the name of a field; of a second answer with `2: `
    /// before it.
    pub what: &'static str,
    /// What the edge has there; `-` is nothing.
    pub ours: &'static str,
    pub nginx: &'static str,
    pub requests: &'static [&'static str],
    /// Why ours is right, or harmless. Sections without a name are those of RFC 9110.
    pub why: &'static str,
}

/// The table; a request may stand in it once for each thing that differs.
pub const DIFFERENCES: &[Difference] = &[
    // Conditions.
    Difference {
        what: "status",
        ours: "304",
        nginx: "200",
        requests: &["If-Modified-Since: Tue, 14 Nov 2023 22:13:21 GMT"],
        why: "13.1.3: not modified when the file is as old as the date or older; nginx asks for \
              the very same date (its `if_modified_since exact`)",
    },
    Difference {
        what: "status",
        ours: "304",
        nginx: "200",
        requests: &["If-None-Match: {etag}\r\nIf-Modified-Since: Tue, 14 Nov 2023 22:13:19 GMT"],
        why: "13.1.3: the date must be ignored beside a tag; nginx wants both to agree",
    },
    Difference {
        what: "status",
        ours: "304",
        nginx: "400",
        requests: &["If-None-Match: \"x\"\r\nIf-None-Match: {etag}"],
        why: "5.3: a list may come in several lines",
    },
    Difference {
        what: "status",
        ours: "200",
        nginx: "400",
        requests: &[
            "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT\r\nIf-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT",
        ],
        why: "13.1.3: more than one date must be ignored",
    },
    Difference {
        what: "status",
        ours: "200",
        nginx: "412",
        requests: &[
            "If-Match: {etag}\r\nIf-Unmodified-Since: Tue, 14 Nov 2023 22:13:19 GMT",
            "If-Unmodified-Since: yesterday",
        ],
        why: "13.1.4: the date must be ignored beside If-Match, and when it is none",
    },
    // Ranges.
    Difference {
        what: "status",
        ours: "200",
        nginx: "206",
        requests: &[
            "Range: bytes=0-1,8-9",
            "Range: bytes=0-0,20-30",
            "a thousand ranges",
        ],
        why: "14.2: a server may ignore Range. Browsers ask for one part at a time; several would \
              be an answer larger than the file, which 17.15 warns of",
    },
    Difference {
        what: "status",
        ours: "200",
        nginx: "206",
        requests: &["Range: bytes=0-1\r\nRange: bytes=2-3"],
        why: "5.3: Range may not come twice, so which one is meant cannot be known; nginx takes \
              the first",
    },
    Difference {
        what: "status",
        ours: "200",
        nginx: "416",
        requests: &[
            "Range: bytes=20-30,40-50",
            "Range: bytes=4-2",
            "Range: bytes=a-b",
            "Range: bytes=-",
            "Range: bytes=0-0,x",
        ],
        why: "14.2: several ranges may be ignored, and an invalid one ignored or rejected; the \
              whole file serves everybody",
    },
    Difference {
        what: "status",
        ours: "206",
        nginx: "416",
        requests: &["Range: bytes=0-99999999999999999999999"],
        why: "14.1.2: an end beyond the file means its end, however many digits it has",
    },
    Difference {
        what: "status",
        ours: "200",
        nginx: "206",
        requests: &["HEAD with a range"],
        why: "14.2: Range means something with GET alone and must be ignored with HEAD",
    },
    Difference {
        what: "status",
        ours: "200",
        nginx: "416",
        requests: &["HEAD with a range beyond the end"],
        why: "14.2: Range means something with GET alone and must be ignored with HEAD",
    },
    Difference {
        what: "status",
        ours: "206",
        nginx: "200",
        requests: &["Accept-Encoding: gzip\r\nRange: bytes=0-1"],
        why: "the range is one of the file as it is, whose tag it carries; nginx gives no ranges \
              while it compresses, so a download cannot go on",
    },
    Difference {
        what: "accept-ranges",
        ours: "bytes",
        nginx: "-",
        requests: &[
            "Range: bytes=0-0",
            "Range: bytes=2-4",
            "Range: bytes=4-",
            "Range: bytes=-3",
            "Range: bytes=-100",
            "Range: bytes=0-100",
            "Range: bytes=9-9",
            "Range: BYTES=0-1",
            "Range: bytes= 0-1",
            "Range: bytes=0-1\r\nIf-Range: {etag}",
            "Range: bytes=0-1\r\nIf-Range: Tue, 14 Nov 2023 22:13:20 GMT",
        ],
        why: "14.3 lets every answer have it; a 206 says it already, so nginx leaves it out",
    },
    // Codings.
    Difference {
        what: "body",
        ours: "in gzip",
        nginx: "0123456789",
        requests: &["Accept-Encoding: *", "Accept-Encoding: x-gzip"],
        why: "12.5.3: `*` is every coding; 8.4.1.3: `x-gzip` is another name of gzip",
    },
    Difference {
        what: "body",
        ours: "0123456789",
        nginx: "in gzip",
        requests: &["Accept-Encoding: gzip;q=0.5, identity"],
        why: "12.5.3: the client prefers the file as it is; nginx reads no order of preference",
    },
    Difference {
        what: "vary",
        ours: "accept-encoding",
        nginx: "-",
        requests: &[
            "/static/plain.txt",
            "/static/app.js",
            "/static/empty.txt",
            "/static/css%2fbase.css",
            "/static/%2561.txt",
            "/static/con%20espacio.txt",
            "/static/a+b.txt",
            "/static/%C3%B1and%C3%BA.txt",
            "/static/%c3%b1and%c3%ba.txt",
            "/static/ñandú.txt",
            "/static/100%25.txt",
            "/static/a\\b.txt",
            "/static/a;b.txt",
            "a range of an empty file",
            "a suffix of an empty file",
        ],
        why: "12.5.5: variants are made after the release is live, so the answer of a \
              compressible file may depend on the field a moment later; nginx says so only once \
              the variant is there",
    },
    // Methods.
    Difference {
        what: "allow",
        ours: "get, head",
        nginx: "-",
        requests: &[
            "POST",
            "PUT",
            "DELETE",
            "PATCH",
            "OPTIONS",
            "PROPFIND",
            "POST with a body",
            "PUT with a failing condition",
            "a GET after a refused POST with a body",
        ],
        why: "15.5.6: a 405 must have Allow",
    },
    Difference {
        what: "status",
        ours: "501",
        nginx: "405",
        requests: &["TRACE", "CONNECT"],
        why: "9.1: 501 for a method that nothing here implements",
    },
    Difference {
        what: "status",
        ours: "405",
        nginx: "400",
        requests: &["get"],
        why: "9.1: methods are case-sensitive tokens, so it is well-formed and another method \
              than GET; refused on both sides",
    },
    Difference {
        what: "status",
        ours: "405",
        nginx: "404",
        requests: &["POST to a missing file"],
        why: "15.5.6: the folder is only read, whatever is in it; refused on both sides",
    },
    Difference {
        what: "status",
        ours: "200",
        nginx: "400",
        requests: &["OPTIONS *"],
        why: "9.3.7 makes it a request about the server; it is the app's to answer, as every \
              target is that no folder of ours has",
    },
    // Paths.
    Difference {
        what: "status",
        ours: "404",
        nginx: "301",
        requests: &["/static/css", "/media/sub"],
        why: "15.5.5: there are files here and no folders to show; nginx leads on to a 403",
    },
    Difference {
        what: "status",
        ours: "404",
        nginx: "403",
        requests: &["/static/", "/static/css/", "/media/sub/"],
        why: "15.5.4: 404 is right for who does not want to say that there is a folder",
    },
    Difference {
        what: "status",
        ours: "404",
        nginx: "200",
        requests: &[
            "/static/./a.txt",
            "/static/css/../a.txt",
            "/static/css/%2e%2e/a.txt",
            "/static/../a.txt",
            "/static/%2E%2E/a.txt",
            "/media/../secret.txt",
            "/media/%2e%2e%2fsecret.txt",
        ],
        why: "RFC 3986, 5.2.4: dot segments are removed by the client, and browsers do. What still \
              has them means to confuse. The last four leave the folder, and nginx lets the app \
              answer",
    },
    Difference {
        what: "status",
        ours: "404",
        nginx: "200",
        requests: &["/static//a.txt", "/static/css//base.css"],
        why: "RFC 3986, 3.3: an empty segment is a segment, so it is another path; nginx merges \
              slashes, and each file has many addresses in caches",
    },
    Difference {
        what: "body",
        ours: "from the app",
        nginx: "0123456789",
        requests: &["//static/a.txt"],
        why: "RFC 3986, 3.3: it is not below the folder, so it is the app's, byte for byte as it \
              came; nginx merges slashes",
    },
    Difference {
        what: "status",
        ours: "404",
        nginx: "400",
        requests: &["/static/%00", "/static/a.txt%00", "/static/../../a.txt"],
        why: "no file can have such a name; RFC 3986 allows the path, so it is not malformed",
    },
    Difference {
        what: "status",
        ours: "404",
        nginx: "200",
        requests: &[
            "/media/.hidden",
            "/media/.git/config",
            "/media/inside.jpg",
            "/media/outside.txt",
            "/media/up/secret.txt",
        ],
        why: "15.5.5: hidden files and links are never handed out, because an app's container \
              may put them there; nginx shows what lies outside of the folder",
    },
    Difference {
        what: "content-disposition",
        ours: "attachment",
        nginx: "-",
        requests: &["/media/page.html"],
        why: "a page that a stranger uploaded must not run in the site's origin",
    },
    // Messages.
    Difference {
        what: "status",
        ours: "200",
        nginx: "400",
        requests: &["both framings"],
        why: "RFC 9112, 6.3: may be read by Transfer-Encoding alone if the connection is closed \
              after it; it is, and the app never sees both (smuggling.rs)",
    },
    Difference {
        what: "status",
        ours: "400",
        nginx: "404",
        requests: &["HTTP/1.0 without a host"],
        why: "no site is meant, and there is no first one to guess; refused on both sides",
    },
    Difference {
        what: "status",
        ours: "400",
        nginx: "200",
        requests: &["HTTP/1.2"],
        why: "2.5 would have it read as HTTP/1.1, but no such version exists and none will \
              (RFC 9112 has no successor under that name)",
    },
    Difference {
        what: "status",
        ours: "400",
        nginx: "505",
        requests: &["HTTP/3.0"],
        why: "15.6.6 offers 505 and does not demand it; no client sends this over TCP",
    },
    Difference {
        what: "status",
        ours: "400",
        nginx: "200",
        requests: &["the absolute form of another host"],
        why: "on purpose against RFC 9112, 3.2.2, which has Host ignored: no honest client sends \
              two hosts that disagree (3.2 forbids it), and apps, logs and caches that believe \
              the other one are how such requests do harm",
    },
    Difference {
        what: "status",
        ours: "400",
        nginx: "200",
        requests: &["two spaces before the version"],
        why: "RFC 9112, 3: one space; reading more is allowed and is what smuggling lives on",
    },
    Difference {
        what: "connection",
        ours: "kept",
        nginx: "closed",
        requests: &[
            "/static/%zz",
            "/static/a%4",
            "HTTP/1.1 without a host",
            "a host with a slash",
            "an empty host",
            "two hosts",
            "a path of 20,000 bytes",
        ],
        why: "RFC 9112, 9.3: the head was read to its end, so it is known where the next one \
              begins; what is wrong is its meaning",
    },
];
