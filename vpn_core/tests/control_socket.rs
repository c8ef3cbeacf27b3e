//! The control socket between a node and those who ask it, with a stand-in for the node.

use std::{
    cell::Cell,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixListener, net::UnixStream},
    path::Path,
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use vpn_core::control::{
    BindError, ControlClient, ControlError, ControlServer, Handler, Status, socket_path,
};

#[derive(Default)]
struct Node {
    stopped: Notify,
    reloads: Cell<u32>,
}

impl Handler for Node {
    fn status(&self) -> Status {
        Status { role: "client".into(), ..Status::default() }
    }

    fn stop(&self) {
        self.stopped.notify_one();
    }

    /// Works once.
    async fn reload(&self) -> Result<Vec<String>, String> {
        self.reloads.set(self.reloads.get() + 1);
        if self.reloads.get() == 1 { Ok(vec!["noted".into()]) } else { Err("server.toml:3: bad".into()) }
    }
}

/// Runs a node on this thread until it is stopped, and `ask` on another.
fn with_node<T: Send>(folder: &Path, ask: impl FnOnce(ControlClient) -> T + Send) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let server = runtime.block_on(async { ControlServer::bind(folder, "vpn0") }).expect("bound");
    std::thread::scope(|scope| {
        let asker = scope.spawn(move || {
            let client = ControlClient::new(socket_path(folder, "vpn0"));
            let answer = ask(client.clone());
            client.stop(Duration::from_secs(10)).expect("stopped");
            answer
        });
        let node = Node::default();
        runtime.block_on(async {
            tokio::select! {
                never = server.serve(&node) => match never {},
                () = node.stopped.notified() => {}
            }
        });
        drop(server);
        asker.join().expect("no panic")
    })
}

#[test]
fn a_node_answers_status_and_reload_and_is_gone_after_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    with_node(folder.path(), |client| {
        assert_eq!(client.status().expect("status").role, "client");
        assert_eq!(client.reload().expect("reloaded"), ["noted"]);
        assert!(matches!(client.reload(), Err(ControlError::Refused(why)) if why.contains("server.toml:3")));
        let mode = fs::metadata(client.path()).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
    });
    let path = socket_path(folder.path(), "vpn0");
    assert!(!path.exists());
    assert!(matches!(ControlClient::new(path).status(), Err(ControlError::NotRunning(_))));
}

#[test]
fn nonsense_and_endless_requests_are_refused_and_the_next_one_is_served() {
    let folder = tempfile::tempdir().expect("a folder");
    with_node(folder.path(), |client| {
        let mut stream = UnixStream::connect(client.path()).expect("connected");
        let mut answers = BufReader::new(stream.try_clone().expect("a second handle")).lines();
        stream.write_all(b"{\"command\":\"dance\"}\n{\"command\":\"status\"}\n").expect("sent");
        assert!(answers.next().expect("an answer").expect("read").starts_with("{\"ok\":false,\"error\":"));
        assert!(answers.next().expect("an answer").expect("read").starts_with("{\"ok\":true,\"status\":"));
        stream.write_all(&[b'x'; 4096]).expect("sent");
        assert!(answers.next().expect("an answer").expect("read").contains("too long"));
        assert!(answers.next().is_none(), "the connection is closed");
        client.status().expect("still served");
    });
}

#[test]
fn a_connection_that_is_refused_again_and_again_is_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    with_node(folder.path(), |client| {
        let mut stream = UnixStream::connect(client.path()).expect("connected");
        let answers = BufReader::new(stream.try_clone().expect("a second handle")).lines();
        stream.write_all("nonsense\n".repeat(100).as_bytes()).expect("sent");
        let refusals =
            answers.map_while(Result::ok).filter(|answer| answer.starts_with("{\"ok\":false")).count();
        assert_eq!(refusals, 3, "and then the end");
        client.status().expect("still served");
    });
}

#[test]
fn silent_connections_do_not_keep_others_out() {
    let folder = tempfile::tempdir().expect("a folder");
    with_node(folder.path(), |client| {
        let silent: Vec<_> =
            (0..100).map(|_| UnixStream::connect(client.path()).expect("connected")).collect();
        let begin = Instant::now();
        client.status().expect("served");
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        let mut last = silent.last().expect("one");
        last.write_all(b"{\"command\":\"status\"}\n").expect("sent");
        let mut answer = String::new();
        BufReader::new(last).read_line(&mut answer).expect("the newest of them are served as well");
        assert!(answer.starts_with("{\"ok\":true"), "{answer}");
    });
}

#[test]
fn who_does_not_read_the_answer_delays_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    with_node(folder.path(), |client| {
        let slow: Vec<_> = (0..40)
            .map(|_| {
                let mut stream = UnixStream::connect(client.path()).expect("connected");
                // As many answers as no socket holds. Closed meanwhile, for somebody else's sake.
                let _ = stream.write_all("{\"command\":\"status\"}\n".repeat(2000).as_bytes());
                stream
            })
            .collect();
        let begin = Instant::now();
        client.status().expect("served");
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        drop(slow);
    });
}

#[test]
fn a_node_that_ends_or_says_nothing_is_told_apart_from_one_that_is_not_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = socket_path(folder.path(), "vpn0");
    let client = ControlClient::new(&path);
    let listener = UnixListener::bind(&path).expect("bound");
    let silent = client.status_within(Duration::from_millis(100)).expect_err("silent");
    let own = i32::try_from(std::process::id()).expect("a process id");
    assert!(matches!(silent, ControlError::Unresponsive { pid: Some(pid), .. } if pid == own), "{silent}");
    assert!(silent.to_string().contains(&format!("kill -9 {own}")), "{silent}");
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| client.status());
        drop(listener.accept().expect("the silent one")); // It has given up.
        drop(listener.accept().expect("connected")); // Closed with the request unread, as the kernel does after a kill.
        assert!(matches!(asker.join().expect("no panic"), Err(ControlError::Ended(_))));
    });
    drop(listener);
    assert!(matches!(client.status(), Err(ControlError::NotRunning(_))));
}

#[test]
fn a_folder_that_others_write_or_a_link_in_it_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let elsewhere = folder.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, folder.path().join("vpn0.lock")).expect("linked");
        assert!(matches!(ControlServer::bind(folder.path(), "vpn0"), Err(BindError::System { .. })));
        assert!(!elsewhere.exists(), "a link is not followed");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("allowed");
        assert!(matches!(ControlServer::bind(folder.path(), "vpn1"), Err(BindError::Folder(_))));
    });
}

#[test]
fn a_second_node_of_the_same_name_is_refused_and_a_dead_ones_socket_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let first = ControlServer::bind(folder.path(), "vpn0").expect("bound");
        assert!(matches!(ControlServer::bind(folder.path(), "vpn0"), Err(BindError::AlreadyRunning(_))));
        ControlServer::bind(folder.path(), "vpn1").expect("another name");
        drop(first);
        // A listener that is closed without unlinking its socket is what a crash leaves behind.
        drop(UnixListener::bind(socket_path(folder.path(), "vpn0")).expect("bound"));
        ControlServer::bind(folder.path(), "vpn0").expect("replaced");
        let _alive = UnixListener::bind(socket_path(folder.path(), "vpn2")).expect("bound");
        assert!(matches!(ControlServer::bind(folder.path(), "vpn2"), Err(BindError::AlreadyRunning(_))));
    });
}
