//! The control thread: the one owner of the [`Device`].

use super::{Notice, NoticeSink, Shared, downlink::Delivery, mailbox::Mailbox};
use crate::{
    base::{DropReason, Endpoint, since_unix_epoch},
    device::{Device, IcmpAnswers},
    tunnel::{Event, StagedPacket, Transmit},
    udp::UdpSocket,
    wire::{
        icmp::{MAX_ANSWER, datagram_too_big},
        ip::IpHeader,
    },
};
use arc_swap::ArcSwap;
use std::{
    io,
    time::{Instant, SystemTime},
};

/// Serves `device` until `mailbox` says stop. Its own datagrams go through the queue in `outward`, looked up in each
/// round: its socket may be replaced.
pub(super) fn run(mut device: Device, mailbox: &Mailbox, outward: &ArcSwap<Shared>, notices: &NoticeSink) {
    let mut answers = IcmpAnswers::default();
    // What was started before there was a socket: a client's first init.
    emit(&mut device, &outward.load_full(), notices);
    loop {
        let mail = mailbox.wait(device.poll_timeout());
        if mail.stop {
            return;
        }
        let now = Instant::now();
        device.note_unix_time(since_unix_epoch(SystemTime::now()), now);
        for command in mail.commands {
            command(&mut device, now);
        }
        for peer in mail.attention {
            device.handle_attention(peer, now);
        }
        for (peer, messages) in mail.path_messages {
            for message in messages {
                device.handle_path_message(peer, message, now);
            }
        }
        for (peer, packet) in mail.staged {
            device.handle_outbound(peer, packet, now);
        }
        device.note_backlog(mail.strangers_waiting, mail.reachable_waiting, now);
        for (datagram, from) in mail.handshakes.in_order() {
            device.handle_control(&datagram, from, now);
        }
        if device.poll_timeout().is_some_and(|at| at <= now) {
            device.handle_timeout(now);
        }
        let shared = outward.load_full();
        tell_senders(&mut device, &mut answers, &shared, now);
        emit(&mut device, &shared, notices);
        deliver_early(&mut device, &shared, now);
    }
}

/// Tells the senders of packets that were given up: their peer does not answer, or they are too long for it.
fn tell_senders(device: &mut Device, answers: &mut IcmpAnswers, shared: &Shared, now: Instant) {
    while let Some((StagedPacket { bytes, from }, error)) = device.poll_undelivered() {
        let destination = IpHeader::parse(&bytes).map(|header| header.destination);
        if destination.is_none_or(|destination| shared.plane.routes().is_broadcast(destination)) {
            continue;
        }
        let Some(answer) = answers.to(&bytes, error, now) else { continue };
        if let Some(peer) = from {
            device.handle_outbound(peer, StagedPacket::local(answer.to_vec()), now);
        } else if let Err(error) = shared.tun.write(answer) {
            tracing::debug!(%error, "the local system does not take an ICMP message");
        }
    }
}

fn emit(device: &mut Device, shared: &Shared, notices: &NoticeSink) {
    while let Some(transmit) = device.poll_transmit() {
        if transmit.is_about_path {
            // What does not fit is not sent, and so not answered: that is the answer. Nor does it wait for room in the socket:
            // a peer that asks for many would hold up what all others need.
            let Transmit { endpoint, datagram, may_be_cut, .. } = &transmit;
            let send = if *may_be_cut { UdpSocket::send_now } else { UdpSocket::send_whole };
            if let Err(error) = send(&shared.udp, *endpoint, datagram) {
                tracing::debug!(endpoint = %endpoint.remote, %error, "a message about the path was not sent");
            }
        } else if let Err(error) = shared.udp.send_to(transmit.endpoint, &transmit.datagram) {
            // The network may be gone for a while; the timers repeat what matters.
            tracing::debug!(endpoint = %transmit.endpoint.remote, %error, "a control message could not be sent");
            shared.plane.drops().count(DropReason::Refused);
            if error.kind() == io::ErrorKind::PermissionDenied {
                device.handle_forbidden(&transmit, Instant::now());
            }
            if error.kind() != io::ErrorKind::WouldBlock {
                device.handle_unsent(&transmit, Instant::now());
            }
        }
    }
    while let Some(event) = device.poll_event() {
        if let Event::PathLosesDatagrams { endpoint, .. } = event {
            tell_kernel(endpoint, shared);
        }
        notices(Notice::Event(event));
    }
}

/// Tells the kernel what a router on the path should have: that it takes 1280 bytes and no more. The kernel then cuts
/// what is longer, to this endpoint and no other, as it always does for a path that it knows. The message comes in
/// through the tunnel interface, because that is the one that we can speak through.
fn tell_kernel(endpoint: Endpoint, shared: &Shared) {
    let mut message = [0; MAX_ANSWER];
    let Some(len) = datagram_too_big(endpoint, shared.udp.local_addr().port(), &mut message) else { return };
    match shared.tun.write(&message[..len]) {
        Ok(()) => {
            tracing::debug!(endpoint = %endpoint.remote, "the path loses datagrams: they are cut from now on");
        }
        Err(error) => tracing::debug!(%error, "the local system does not take an ICMP message"),
    }
}

/// Data that overtook the verification of its finish. The first few packets of a session, so one by one.
fn deliver_early(device: &mut Device, shared: &Shared, now: Instant) {
    let mut delivery = None; // Seldom needed, and large.
    while let Some((mut datagram, from)) = device.poll_early() {
        let delivery = delivery.get_or_insert_with(|| Delivery::new(shared));
        let len = datagram.len();
        delivery.open(&mut datagram, 0..len, len, from, now);
        delivery.deliver(&mut datagram, now);
    }
}
