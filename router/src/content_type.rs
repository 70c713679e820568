//! The media type of a file by its extension, and whether a browser would run scripts in it.

const OCTETS: &str = "application/octet-stream";

/// The media type of a file name; text is UTF-8.
pub(crate) fn of(name: &[u8]) -> &'static str {
    let file = name.rsplit(|&byte| byte == b'/').next().unwrap_or(name);
    let Some(dot) = file.iter().rposition(|&byte| byte == b'.') else {
        return OCTETS;
    };
    let mut lower = [0; 12];
    let extension = &file[dot + 1..];
    let Some(lower) = lower.get_mut(..extension.len()) else {
        return OCTETS;
    };
    lower.copy_from_slice(extension);
    lower.make_ascii_lowercase();
    by_extension(lower)
}

/// What a file may do in the site's origin when a stranger uploaded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Danger {
    /// Nothing.
    None,
    /// It is shown as an image, but opened alone it runs scripts.
    Image,
    /// It is a page.
    Page,
}

/// The danger of a media type.
pub(crate) fn danger(content_type: &str) -> Danger {
    let essence = content_type.split(';').next().unwrap_or(content_type);
    if essence == "image/svg+xml" {
        Danger::Image
    } else if essence.ends_with("html") || essence.ends_with("xml") {
        Danger::Page
    } else {
        Danger::None
    }
}

fn by_extension(lower: &[u8]) -> &'static str {
    match lower {
        b"css" => "text/css; charset=utf-8",
        b"js" | b"mjs" | b"cjs" => "text/javascript; charset=utf-8",
        b"html" | b"htm" | b"shtml" => "text/html; charset=utf-8",
        b"xhtml" | b"xht" => "application/xhtml+xml",
        b"txt" | b"text" | b"log" => "text/plain; charset=utf-8",
        b"md" | b"markdown" => "text/markdown; charset=utf-8",
        b"csv" => "text/csv; charset=utf-8",
        b"ics" => "text/calendar; charset=utf-8",
        b"vtt" => "text/vtt; charset=utf-8",
        b"vcf" => "text/vcard; charset=utf-8",
        b"xml" | b"xsd" => "text/xml; charset=utf-8",
        b"xsl" | b"xslt" => "application/xslt+xml",
        b"rss" => "application/rss+xml",
        b"atom" => "application/atom+xml",
        b"rdf" => "application/rdf+xml",
        b"kml" => "application/vnd.google-earth.kml+xml",
        b"gpx" => "application/gpx+xml",
        b"json" | b"map" => "application/json",
        b"jsonld" => "application/ld+json",
        b"geojson" => "application/geo+json",
        b"webmanifest" => "application/manifest+json",
        b"wasm" => "application/wasm",
        b"svg" | b"svgz" => "image/svg+xml",
        b"png" => "image/png",
        b"apng" => "image/apng",
        b"jpg" | b"jpeg" | b"jpe" => "image/jpeg",
        b"gif" => "image/gif",
        b"webp" => "image/webp",
        b"avif" => "image/avif",
        b"jxl" => "image/jxl",
        b"heic" => "image/heic",
        b"ico" | b"cur" => "image/x-icon",
        b"bmp" => "image/bmp",
        b"tif" | b"tiff" => "image/tiff",
        b"woff" => "font/woff",
        b"woff2" => "font/woff2",
        b"ttf" => "font/ttf",
        b"otf" => "font/otf",
        b"eot" => "application/vnd.ms-fontobject",
        b"mp3" => "audio/mpeg",
        b"m4a" => "audio/mp4",
        b"oga" | b"ogg" | b"opus" => "audio/ogg",
        b"wav" => "audio/wav",
        b"flac" => "audio/flac",
        b"aac" => "audio/aac",
        b"mp4" | b"m4v" => "video/mp4",
        b"webm" => "video/webm",
        b"ogv" => "video/ogg",
        b"mov" => "video/quicktime",
        b"m3u8" => "application/vnd.apple.mpegurl",
        b"pdf" => "application/pdf",
        b"zip" => "application/zip",
        b"gz" | b"tgz" => "application/gzip",
        b"tar" => "application/x-tar",
        b"7z" => "application/x-7z-compressed",
        b"epub" => "application/epub+zip",
        b"rtf" => "application/rtf",
        b"doc" => "application/msword",
        b"xls" => "application/vnd.ms-excel",
        b"ppt" => "application/vnd.ms-powerpoint",
        b"docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        b"xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        b"pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        b"odt" => "application/vnd.oasis.opendocument.text",
        b"ods" => "application/vnd.oasis.opendocument.spreadsheet",
        _ => OCTETS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_by_extension() {
        for (name, expected) in [
            ("css/site.0123456789ab.css", "text/css; charset=utf-8"),
            ("A.JPG", "image/jpeg"),
            ("x.d/LICENSE", OCTETS),
            ("x.", OCTETS),
            ("", OCTETS),
            ("x.averyveryverylongextension", OCTETS),
        ] {
            assert_eq!(of(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn what_could_run_scripts() {
        for (name, expected) in [
            ("a.html", Danger::Page),
            ("a.xhtml", Danger::Page),
            ("a.xml", Danger::Page),
            ("a.xsl", Danger::Page),
            ("a.rss", Danger::Page),
            ("a.SVG", Danger::Image),
            ("a.png", Danger::None),
            ("a.pdf", Danger::None),
            ("a.docx", Danger::None),
            ("a.unknown", Danger::None),
        ] {
            assert_eq!(danger(of(name.as_bytes())), expected, "{name}");
        }
    }
}
