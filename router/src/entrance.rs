//! Where the listening sockets come from: systemd holds them and passes them to each edge it
//! starts (sd_listen_fds(3)), or the edge that runs hands them over, or they are bound. In the
//! first two cases a visitor who comes while edges change waits in the socket's queue and is not
//! refused.

use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use rustix::net::sockopt;

use crate::bind::bind;
use crate::error::EdgeError;

/// Listening sockets that are open already.
#[derive(Debug, Default)]
pub struct Entrance {
    from_systemd: Vec<TcpListener>,
    handed: Vec<TcpListener>,
}

impl Entrance {
    /// With the sockets systemd passed, when it did. Called once, before there are threads,
    /// because it takes the variables out of the environment.
    ///
    /// # Errors
    /// [`EdgeError::Passed`] when one of them is not a listening TCP socket.
    pub fn from_systemd() -> Result<Entrance, EdgeError> {
        let mut passed = ListenFd::from_env();
        let mut from_systemd = Vec::new();
        for number in 0..passed.len() {
            let wrong = |source| EdgeError::Passed { number, source };
            let Some(listener) = passed.take_tcp_listener(number).map_err(wrong)? else {
                continue;
            };
            let listens =
                sockopt::socket_acceptconn(&listener).map_err(|error| wrong(error.into()))?;
            if !listens {
                let message = "it does not listen; `Accept=no` is needed in the socket unit";
                return Err(wrong(std::io::Error::other(message)));
            }
            from_systemd.push(listener);
        }
        Ok(Entrance {
            from_systemd,
            handed: Vec::new(),
        })
    }

    /// Adds what the edge before handed over.
    pub fn extend(&mut self, handed: impl IntoIterator<Item = TcpListener>) {
        self.handed.extend(handed);
    }

    /// A socket that listens on `address`: one that is there, or a new one. Of those that systemd
    /// passed, the port decides: its unit says on which addresses.
    ///
    /// # Errors
    /// [`EdgeError`] as for [`bind`].
    pub fn open(&mut self, address: SocketAddr) -> Result<TcpListener, EdgeError> {
        let port = |own: SocketAddr| own.port() == address.port();
        if let Some(listener) = take(&mut self.from_systemd, port) {
            return Ok(listener);
        }
        match take(&mut self.handed, |own| own == address) {
            Some(listener) => Ok(listener),
            None => bind(address),
        }
    }

    /// Ports that systemd passed and nobody wanted: the configuration and the unit disagree.
    pub fn unused_ports(&self) -> Vec<u16> {
        let addresses = self
            .from_systemd
            .iter()
            .filter_map(|own| own.local_addr().ok());
        addresses.map(|own| own.port()).collect()
    }
}

fn take(all: &mut Vec<TcpListener>, wanted: impl Fn(SocketAddr) -> bool) -> Option<TcpListener> {
    let place = all
        .iter()
        .position(|listener| listener.local_addr().is_ok_and(&wanted))?;
    Some(all.swap_remove(place))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn on(ip: &str) -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[test]
    fn an_open_socket_is_taken_only_where_it_is_meant() {
        let (passed, passed_address) = on("127.0.0.1");
        let (handed, handed_address) = on("127.0.0.1");
        let mut entrance = Entrance {
            from_systemd: vec![passed],
            handed: vec![handed],
        };
        let any = SocketAddr::new("0.0.0.0".parse().unwrap(), passed_address.port());
        // The unit's address, whatever ours says.
        assert_eq!(
            entrance.open(any).unwrap().local_addr().unwrap(),
            passed_address
        );
        let elsewhere = SocketAddr::new("127.0.0.2".parse().unwrap(), handed_address.port());
        assert_eq!(
            entrance.open(elsewhere).unwrap().local_addr().unwrap(),
            elsewhere
        );
        // It is open already, so it can only be the one that was handed over.
        let ours = entrance.open(handed_address).unwrap();
        assert_eq!(ours.local_addr().unwrap(), handed_address);
        assert!(entrance.unused_ports().is_empty());
        assert!(matches!(
            entrance.open(handed_address),
            Err(EdgeError::AddressInUse { .. })
        ));
    }
}
