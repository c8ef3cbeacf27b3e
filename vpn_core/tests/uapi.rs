//! The socket that `wg` talks to, with a stand-in for the device.
#![cfg(target_os = "linux")]

use std::{
    cell::RefCell,
    fs,
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use vpn_core::uapi::{
    Configurable, DeviceState, MAX_LINE, Model, SetRequest, UapiBindError, UapiError, UapiServer,
};

/// Takes everything but port 1, which is in use.
#[derive(Default)]
struct Device {
    model: RefCell<Model>,
    port: RefCell<u16>,
}

impl Configurable for Device {
    fn state(&self) -> DeviceState {
        let private_key = self.model.borrow().private_key().map(vpn_core::base::SecretBytes::duplicate);
        DeviceState { private_key, listen_port: *self.port.borrow(), fwmark: 0, peers: Vec::new() }
    }

    fn change(&self, request: SetRequest) -> Result<(), UapiError> {
        match request.listen_port {
            Some(1) => return Err(UapiError::PortInUse { port: 1 }),
            Some(port) => *self.port.borrow_mut() = port,
            None => {}
        }
        self.model.borrow_mut().apply(request);
        Ok(())
    }
}

/// Serves a device on this thread while `client` runs on another.
fn with_device(client: impl FnOnce(&Path) + Send) {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let server = runtime.block_on(async { UapiServer::bind(folder.path(), "wg0") }).expect("bound");
    let path = server.path().to_owned();
    let (done, ended) = oneshot::channel();
    std::thread::scope(|scope| {
        let client = scope.spawn(move || {
            client(&path);
            done.send(()).expect("the server waits");
        });
        let device = Device::default();
        runtime.block_on(async {
            tokio::select! {
                never = server.serve(&device) => match never {},
                _ = ended => {}
            }
        });
        client.join().expect("no panic");
    });
    let path: PathBuf = server.path().to_owned();
    drop(server);
    assert!(!path.exists(), "the socket goes with its server");
}

/// Says everything at once, then reads until the connection is closed.
fn talk(path: &Path, said: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    stream.write_all(said).expect("taken");
    stream.shutdown(Shutdown::Write).expect("connected");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

#[test]
fn several_operations_follow_each_other_on_one_connection() {
    with_device(|path| {
        let answer = talk(path, b"set=1\nlisten_port=7\n\nget=1\n\nset=1\nlisten_port=8\n\nget=1\n\n");
        assert_eq!(answer, "errno=0\n\nlisten_port=7\nerrno=0\n\nerrno=0\n\nlisten_port=8\nerrno=0\n\n");
    });
}

#[test]
fn a_refused_request_changes_nothing_and_the_next_one_is_served() {
    with_device(|path| {
        let key = "11".repeat(32);
        for (bad, errno) in [
            ("frobnicate=1", -libc::EINVAL),
            ("listen_port=7\nlisten_port", -libc::EPROTO),
            ("listen_port=1", -libc::EADDRINUSE),
        ] {
            let request = format!("set=1\nlisten_port=7\nprivate_key={key}\n{bad}\n\nget=1\n\n");
            assert_eq!(talk(path, request.as_bytes()), format!("errno={errno}\n\nerrno=0\n\n"), "{bad}");
        }
    });
}

#[test]
fn endless_lines_are_refused_and_do_not_break_the_conversation() {
    with_device(|path| {
        // Read in pieces of MAX_LINE + 1: in two cases the last piece is just a newline, and no empty line.
        for long in [MAX_LINE + 1, 10 * (MAX_LINE + 1), 100 * MAX_LINE] {
            let line = format!("fwmark={}", "0".repeat(long - "fwmark=".len()));
            let request = format!("set=1\n{line}\nlisten_port=7\n\nget=1\n\n");
            assert_eq!(
                talk(path, request.as_bytes()),
                format!("errno={}\n\nerrno=0\n\n", -libc::EMSGSIZE),
                "{long}"
            );
        }
    });
}

#[test]
fn a_request_that_breaks_off_is_not_carried_out() {
    with_device(|path| {
        assert_eq!(talk(path, b"set=1\nlisten_port=7\n"), "");
        assert_eq!(
            talk(path, b"get=1\n\n\nget=1\n\n"),
            "errno=0\n\n",
            "and an empty one ends the connection"
        );
    });
}

#[test]
fn a_client_that_is_slow_or_silent_holds_up_nobody() {
    with_device(|path| {
        let mut silent: Vec<UnixStream> =
            (0..300).map(|_| UnixStream::connect(path).expect("connected")).collect();
        silent[0].write_all(b"set=1\nlisten_por").expect("taken");
        let begun = Instant::now();
        assert_eq!(talk(path, b"get=1\n\n"), "errno=0\n\n");
        assert!(begun.elapsed() < Duration::from_secs(5));
        silent[0].write_all(b"t=9\n\n").expect("taken");
        let mut answer = [0; 9];
        silent[0].read_exact(&mut answer).expect("answered");
        assert_eq!(&answer, b"errno=0\n\n");
        assert_eq!(talk(path, b"get=1\n\n"), "listen_port=9\nerrno=0\n\n");
    });
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_a_live_one_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("made/wireguard");
    fs::create_dir_all(&folder).expect("made");
    drop(UnixListener::bind(folder.join("wg0.sock")).expect("bound")); // The file stays.
    let server = UapiServer::bind(&folder, "wg0").expect("replaced");
    let mode = fs::metadata(server.path()).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(UapiServer::bind(&folder, "wg0"), Err(UapiBindError::InUse(_))));
    assert!(server.path().exists(), "refusing leaves it alone");
    let names = |folder| -> Vec<_> {
        fs::read_dir(folder).expect("readable").flatten().map(|entry| entry.file_name()).collect()
    };
    assert_eq!(names(&folder), ["wg0.sock"], "no lock is left beside it");
    drop(server);
    assert!(names(&folder).is_empty());
}

#[tokio::test]
async fn the_server_hears_of_the_removal_of_its_socket_and_spares_a_successors() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = UapiServer::bind(folder.path(), "wg0").expect("bound");
    let still = tokio::time::timeout(Duration::from_millis(200), server.removed()).await;
    assert!(still.is_err(), "nobody has removed it");
    let path = server.path().to_owned();
    let removal = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        fs::remove_file(&path).expect("there");
    };
    let (heard, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(5), server.removed()), removal);
    heard.expect("in time").expect("watched");
    let _successor = UnixListener::bind(&path).expect("the name is free");
    server.removed().await.expect("still not ours");
    drop(server);
    assert!(path.exists());
}

#[test]
fn whoever_may_only_look_into_the_folder_cannot_hold_up_a_start_or_a_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    let stranger = fs::File::open(folder.path()).expect("readable");
    stranger.lock().expect("anybody may lock what they can open");
    let (done, ended) = std::sync::mpsc::channel();
    let path = folder.path().to_owned();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        drop(runtime.block_on(async { UapiServer::bind(&path, "wg0") }).expect("bound"));
        done.send(()).expect("the test waits");
    });
    ended.recv_timeout(Duration::from_secs(10)).expect("bound and stopped at once");
}

#[test]
fn of_many_that_start_at_once_one_gets_the_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_owned();
    let start = std::sync::Barrier::new(8);
    let winners = std::thread::scope(|scope| {
        let contenders: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .expect("a runtime");
                    start.wait();
                    let server = runtime.block_on(async { UapiServer::bind(&path, "wg0") });
                    start.wait(); // Nobody stops before all have tried.
                    server.is_ok()
                })
            })
            .collect();
        contenders.into_iter().map(|thread| thread.join().expect("no panic")).filter(|won| *won).count()
    });
    assert_eq!(winners, 1);
    assert_eq!(fs::read_dir(&path).expect("readable").count(), 0);
}

#[test]
fn a_folder_of_ours_that_others_may_write_to_is_closed_to_them() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).expect("ours");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _server = runtime.block_on(async { UapiServer::bind(folder.path(), "wg0") }).expect("bound");
    let mode = fs::metadata(folder.path()).expect("there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o1755);
}
