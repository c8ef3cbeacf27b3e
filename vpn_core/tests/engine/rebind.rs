//! An engine that gets another socket while it runs.

use super::{End, PlainSocket, local, netns::Namespace, socket};

#[test]
fn sessions_go_on_over_a_new_socket_and_the_old_port_is_free_at_once() {
    if Namespace::enter("rebind::sessions_go_on_over_a_new_socket_and_the_old_port_is_free_at_once").is_none()
    {
        return;
    }
    Namespace::ip("link set lo up");
    let mut a = End::start("rebind0", 1, 2, socket(5001), Some(5002), "10.9.0.2");
    let b = End::start("rebind1", 2, 1, socket(5002), None, "10.9.1.1");
    a.reach(&b);
    b.reach(&a);
    assert_eq!(b.peer().endpoint, Some(local(5001)));

    a.engine.rebind(vec![socket(5003)]).expect("threads are left");
    assert_eq!(a.engine.local_addr().port(), 5003);
    drop(PlainSocket::bind(local(5001)).expect("the old port is free"));
    a.reach(&b);
    b.reach(&a);
    assert_eq!(b.peer().endpoint, Some(local(5003)), "the peer has followed");
    assert_eq!((a.peer().handshakes, b.peer().handshakes), (1, 1), "in the session of before");

    // Back again: nothing of the first socket may be left.
    a.engine.rebind(vec![socket(5001)]).expect("threads are left");
    a.reach(&b);
    assert_eq!(b.peer().endpoint, Some(local(5001)));
    assert_eq!(b.peer().handshakes, 1);
}

#[test]
fn a_wrong_number_of_sockets_changes_nothing() {
    if Namespace::enter("rebind::a_wrong_number_of_sockets_changes_nothing").is_none() {
        return;
    }
    Namespace::ip("link set lo up");
    let mut a = End::start("rebind0", 1, 2, socket(5001), Some(5002), "10.9.0.2");
    let b = End::start("rebind1", 2, 1, socket(5002), None, "10.9.1.1");
    assert!(a.engine.rebind(Vec::new()).is_err());
    assert_eq!(a.engine.local_addr().port(), 5001);
    a.reach(&b);
}
