//! Addresses to listen on: free, or taken by whom.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use crate::config::Config;
use crate::observe::findings::Finding;

/// The state of a socket that listens, in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// What a running server is called.
const OURSELVES: &str = "fanfare";

/// Every address that the settings name.
pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let (http, mqtt) = (&config.http, &config.mqtt);
    let mut listeners = vec![
        ("http.listen", Some(http.listen)),
        ("http.tls_listen", http.tls_listen),
    ];
    if mqtt.enabled {
        listeners.push(("mqtt.listen", Some(mqtt.listen)));
        listeners.push(("mqtt.tls_listen", mqtt.tls_listen));
    }
    listeners
        .into_iter()
        .filter_map(|(key, address)| Some(look(key, address?)))
        .collect()
}

fn look(key: &str, address: SocketAddr) -> Finding {
    let error = match TcpListener::bind(address) {
        Ok(_) => return Finding::ok(key, format!("{address} is free")),
        Err(error) => error,
    };
    let advice = match error.kind() {
        ErrorKind::AddrInUse => return taken(key, address),
        ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE: take a higher port, or give it to the service"
        }
        ErrorKind::AddrNotAvailable => {
            "this machine does not have this address: `ip address` shows which it has"
        }
        _ => "take another address",
    };
    Finding::fail(key, format!("{address}: {error}"), advice)
}

fn taken(key: &str, address: SocketAddr) -> Finding {
    let owner = owner(address.port());
    match owner {
        Some((pid, name)) if name == OURSELVES => {
            Finding::ok(key, format!("{address} is served by {name}, process {pid}"))
        }
        Some((pid, name)) => {
            let found = format!("{address} is taken by {name}, process {pid}");
            Finding::fail(key, found, format!("end that process, or set {key}"))
        }
        None => {
            let found = format!("{address} is taken by a process that this user can not see");
            Finding::fail(
                key,
                found,
                format!("look as root (`ss -ltnp`), or set {key}"),
            )
        }
    }
}

/// Who listens on a port: process and name. `None` if that can not be found out.
fn owner(port: u16) -> Option<(u32, String)> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let sockets: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listeners(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = fs::read_dir("/proc").ok()?.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        name.to_str()?.parse::<u32>().ok()
    });
    let mut owners = processes.filter(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten();
        let mut links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        links.any(|link| {
            sockets
                .iter()
                .any(|socket| link.as_os_str() == socket.as_str())
        })
    });
    let pid = owners.next()?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some((pid, name.trim().to_owned()))
}

/// The inodes of the sockets that listen on a port, in the form of `/proc/net/tcp`.
fn listeners(table: &str, port: u16) -> Vec<String> {
    let of_port = format!(":{port:04X}");
    let rows = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.len() > 9 && row[1].ends_with(&of_port) && row[3] == LISTENING)
        .map(|row| row[9].to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::findings::Level;

    #[test]
    fn a_free_port_is_free_and_a_taken_one_is_ours() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (pid, _) = owner(address.port()).unwrap();
        assert_eq!(pid, std::process::id());
        let found = look("http.listen", address);
        // The name of this process is not the server's.
        assert_eq!(found.level, Level::Fail);
        assert!(found.found.contains(&pid.to_string()), "{found:?}");
        drop(listener);
        assert_eq!(look("http.listen", address).level, Level::Ok);
    }

    #[test]
    fn an_address_of_another_machine_is_none_of_ours() {
        let found = look("http.listen", "192.0.2.1:80".parse().unwrap());
        assert_eq!(found.level, Level::Fail);
        assert!(found.advice.unwrap().contains("ip address"));
    }

    #[test]
    fn only_sockets_that_listen_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1\n\
            1: 0100007F:1F90 0100007F:A1B2 01 00000000:00000000 00:00000000 00000000     0        0 222 1\n\
            2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 333 1\n";
        assert_eq!(listeners(table, 8080), ["111"]);
        assert_eq!(listeners(table, 8081), ["333"]);
        assert_eq!(listeners(table, 80), Vec::<String>::new());
    }

    #[test]
    fn every_configured_address_is_looked_at() {
        let mut config = Config::default();
        let keys = |config: &Config| -> Vec<String> {
            examine(config).into_iter().map(|one| one.subject).collect()
        };
        assert_eq!(keys(&config), ["http.listen", "mqtt.listen"]);
        config.http.tls_listen = Some(config.http.listen);
        config.mqtt.enabled = false;
        assert_eq!(keys(&config), ["http.listen", "http.tls_listen"]);
    }
}
