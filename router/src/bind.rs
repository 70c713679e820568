//! Binds the listening socket the way the edge wants it: reusable right after a restart, with a
//! queue long enough for a burst.

use std::io;
use std::net::{SocketAddr, TcpListener};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::EdgeError;

/// Connections the kernel queues until they are accepted (it caps this at `somaxconn`).
const BACKLOG: i32 = 4096;

/// Listens on `address`.
///
/// # Errors
/// [`EdgeError`] that says whether the address is taken or the port needs a permission.
pub fn bind(address: SocketAddr) -> Result<TcpListener, EdgeError> {
    listen(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => EdgeError::AddressInUse { address },
        io::ErrorKind::PermissionDenied => EdgeError::Permission { address },
        _ => EdgeError::Bind { address, source },
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_taken_address_is_named() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let text = bind(address).unwrap_err().to_string();
        assert!(
            text.contains(&address.to_string()) && text.contains("ss -ltnp"),
            "{text}"
        );
    }

    #[test]
    fn an_address_of_another_machine_is_no_panic() {
        let error = bind("192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert!(matches!(error, EdgeError::Bind { .. }));
    }
}
