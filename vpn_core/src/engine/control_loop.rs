//! The control thread: the one owner of the [`Device`].

use super::{Notice, NoticeSink, mailbox::Mailbox};
use crate::{base::DropReason, device::Device, udp::UdpSocket};
use std::time::Instant;

/// Serves `device` until the mailbox says stop.
pub(super) fn run(mut device: Device, mailbox: &Mailbox, udp: &UdpSocket, notices: &NoticeSink) {
    // What was started before there was a socket: a client's first init.
    emit(&mut device, udp, notices);
    loop {
        let mail = mailbox.wait(device.poll_timeout());
        if mail.stop {
            return;
        }
        let now = Instant::now();
        for command in mail.commands {
            command(&mut device, now);
        }
        for peer in mail.attention {
            device.handle_attention(peer, now);
        }
        for (peer, packet) in mail.staged {
            device.handle_outbound(peer, &packet, now);
        }
        for (datagram, from) in mail.answers.into_iter().chain(mail.inits) {
            device.handle_control(&datagram, from, now);
        }
        if device.poll_timeout().is_some_and(|at| at <= now) {
            device.handle_timeout(now);
        }
        emit(&mut device, udp, notices);
    }
}

fn emit(device: &mut Device, udp: &UdpSocket, notices: &NoticeSink) {
    while let Some(transmit) = device.poll_transmit() {
        if let Err(error) = udp.send_to(transmit.endpoint, &transmit.datagram) {
            // The network may be gone for a while; the timers repeat what matters.
            tracing::debug!(endpoint = %transmit.endpoint.remote, %error, "a control message could not be sent");
            device.plane().drops().count(DropReason::Refused);
        }
    }
    while let Some(event) = device.poll_event() {
        notices(Notice::Event(event));
    }
}
