//! `console` of the configuration: an address alone, or a table with the host that the edge passes
//! on to it.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use zarpar_model::HostName;

/// `console = "IP:PORT"`, or `[console]`.
#[derive(Debug, Default)]
pub(super) struct RawConsole {
    pub(super) address: Option<String>,
    pub(super) host: Option<HostName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    address: Option<String>,
    host: Option<HostName>,
}

impl<'de> Deserialize<'de> for RawConsole {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<RawConsole, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

/// By hand, because an untagged enum would not say what is wrong inside the table.
struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = RawConsole;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address such as \"127.0.0.1:7070\", or a table with `address` and `host`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<RawConsole, E> {
        Ok(RawConsole {
            address: Some(text.to_owned()),
            host: None,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawConsole, A::Error> {
        let table = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(RawConsole {
            address: table.address,
            host: table.host,
        })
    }
}
