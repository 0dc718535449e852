//! The server to compare with.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where Debian puts it.
const DEBIANS: &str = "/usr/sbin/mosquitto";

/// Mosquitto on a port of its own.
pub struct Mosquitto {
    process: Child,
    pub address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Mosquitto {
    pub fn start() -> Option<Self> {
        // `cargo xtask test` says where it is, and then it must be there.
        let binary = std::env::var_os("FANFARE_TEST_MOSQUITTO").map(PathBuf::from);
        let binary = binary.or_else(|| Some(PathBuf::from(DEBIANS)).filter(|path| path.exists()));
        let Some(binary) = binary else {
            assert!(
                std::env::var_os("CI").is_none(),
                "there is no Mosquitto: apt-get install mosquitto"
            );
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nsys_interval 0\n\
             max_inflight_messages 0\nmax_queued_messages 0\nallow_duplicate_messages true\nset_tcp_nodelay true\n"
        );
        let path = folder.path().join("mosquitto.conf");
        std::fs::write(&path, config).unwrap();
        let process = Command::new(binary)
            .arg("-c")
            .arg(path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let since = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(
                since.elapsed() < Duration::from_secs(10),
                "Mosquitto does not start"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self {
            process,
            address,
            _folder: folder,
        })
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}
