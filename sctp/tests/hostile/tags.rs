//! Tags, cookies, restarts: who may speak for an association.

use std::net::IpAddr;
use std::time::Duration;

use towpath_sctp::packet::{Cause, Init};
use towpath_sctp::{CloseReason, Message, PathId};

use crate::peer::{OUR_TAG, Peer, address};

fn init(tag: u32) -> Init<'static> {
    Init::new(tag, 100_000, 10, 10, 5_000)
}

#[test]
fn forged_tags_change_nothing_and_are_not_answered() {
    let mut peer = Peer::connected();
    for forged in [
        1,
        peer.tag ^ 1,
        peer.tag.wrapping_add(1),
        !peer.tag,
        OUR_TAG,
    ] {
        peer.send_tagged(forged, |writer| assert!(writer.abort(false, None)));
        peer.send_tagged(forged, |writer| assert!(writer.shutdown(0)));
        peer.send_tagged(forged, |writer| assert!(writer.shutdown_ack()));
        let data = peer.data(0, 0, b"forged");
        peer.send_tagged(forged, |writer| assert!(writer.data(&data).is_some()));
    }
    assert_eq!(peer.words(), [""; 0]);
    assert!(peer.is_up());
    let handle = peer.handle.expect("up");
    assert_eq!(peer.server.recv(handle), None);
}

#[test]
fn the_t_bit_is_believed_with_the_right_tag_alone() {
    let mut peer = Peer::connected();
    let tag = peer.tag;
    peer.send_tagged(tag, |writer| assert!(writer.abort(true, None)));
    peer.send_tagged(tag, |writer| assert!(writer.shutdown_complete(true)));
    peer.send_tagged(OUR_TAG ^ 1, |writer| assert!(writer.abort(true, None)));
    assert!(peer.is_up());
    peer.send_tagged(OUR_TAG, |writer| assert!(writer.abort(true, None)));
    assert_eq!(
        peer.closed,
        Some(CloseReason::AbortedByPeer {
            cause: None,
            reason: Vec::new()
        })
    );
}

#[test]
fn an_abort_is_never_answered() {
    let mut peer = Peer::connected();
    peer.send(|writer| assert!(writer.abort(false, Some(Cause::OutOfResource))));
    assert_eq!(peer.words(), [""; 0]);
    assert_eq!(
        peer.closed,
        Some(CloseReason::AbortedByPeer {
            cause: Some(4),
            reason: Vec::new()
        })
    );
}

#[test]
fn errors_end_nothing() {
    let mut peer = Peer::connected();
    for cause in [
        Cause::StaleCookie(5),
        Cause::InvalidStream(3),
        Cause::Other(999),
        Cause::ProtocolViolation(b"you"),
    ] {
        peer.send(|writer| assert!(writer.error(&[cause])));
    }
    assert_eq!(peer.words(), [""; 0]);
    assert!(peer.is_up());
}

#[test]
fn an_altered_cookie_is_met_with_silence() {
    let mut peer = Peer::new();
    peer.init(&init(OUR_TAG));
    peer.learn();
    for at in 0..peer.cookie.len() {
        peer.cookie[at] ^= 0x10;
        peer.echo();
        peer.cookie[at] ^= 0x10;
    }
    // Nor is another port, or another tag, its owner.
    peer.port += 1;
    peer.echo();
    peer.port -= 1;
    let cookie = peer.cookie.clone();
    peer.send_tagged(peer.tag ^ 1, |writer| assert!(writer.cookie_echo(&cookie)));
    assert_eq!((peer.words().len(), peer.server.associations()), (0, 0));
    peer.echo();
    assert_eq!(
        (peer.words().len(), peer.server.associations()),
        (1, 1),
        "the right one still works"
    );
}

#[test]
fn a_stale_cookie_is_reported() {
    let mut peer = Peer::new();
    peer.init(&init(OUR_TAG));
    peer.learn();
    peer.wait(Duration::from_secs(61));
    peer.echo();
    assert_eq!(peer.words(), ["ERROR [3]"]);
    assert_eq!(peer.server.associations(), 0);
}

#[test]
fn a_replayed_cookie_makes_no_second_association_nor_revives_one() {
    let mut peer = Peer::connected();
    for _ in 0..3 {
        peer.echo();
        assert_eq!(peer.words(), ["COOKIE ACK"], "it may have been lost");
    }
    assert_eq!(peer.server.associations(), 1);
    peer.send(|writer| assert!(writer.abort(false, None)));
    assert_eq!(peer.server.associations(), 0);
    peer.closed = None;
    peer.echo();
    assert_eq!((peer.words().len(), peer.server.associations()), (0, 0));
}

#[test]
fn a_cookie_from_elsewhere_proves_only_where_it_was_sent_to() {
    let mut peer = Peer::new();
    peer.init(&init(OUR_TAG));
    peer.learn();
    let home = peer.path.local;
    peer.path = PathId::new(address("10.0.0.66:9899"), peer.path.remote);
    peer.echo();
    let replies = peer.replies();
    let words: Vec<String> = replies
        .iter()
        .map(|(_, packet)| crate::peer::text(packet))
        .collect();
    assert_eq!(
        words,
        ["COOKIE ACK + HEARTBEAT"],
        "the victim is asked whether it wants this"
    );
    let handle = peer.handle.expect("an association");
    peer.server
        .send(handle, Message::new(0, vec![0; 50_000]))
        .expect("taken");
    peer.collect();
    let replies = peer.replies();
    assert!(
        !replies.is_empty() && replies.iter().all(|(path, _)| path.remote == home),
        "data goes to the proven one"
    );
}

#[test]
fn a_restart_is_reported_as_loss_and_begins_anew() {
    let mut peer = Peer::connected();
    let old = peer.handle;
    peer.init(&init(0x7777));
    peer.learn();
    assert!(peer.is_up(), "an INIT alone ends nothing");
    peer.echo();
    assert_eq!(peer.words(), ["COOKIE ACK"]);
    assert_eq!(peer.closed, Some(CloseReason::Restarted));
    assert_ne!(peer.handle, old, "a handle of its own");
    assert_eq!(peer.server.associations(), 1);
}

#[test]
fn a_restart_that_adds_an_address_is_refused() {
    let mut peer = Peer::connected();
    let added = [address("10.0.5.5:1").ip()];
    peer.send_tagged(0, |writer| {
        assert!(writer.init(&init(0x7777), &added, None, 0))
    });
    assert_eq!(peer.words(), ["ABORT [11]"]);
    assert!(peer.is_up());
}

#[test]
fn an_init_from_a_new_port_or_address_is_another_association() {
    let mut peer = Peer::connected();
    let (first, home) = (peer.handle, peer.path);
    // A victim's address in the INIT does not make it the victim's association.
    for (from, listed) in [
        ("10.0.0.1:1234", vec![]),
        ("10.0.0.66:9899", vec![home.local.ip()]),
    ] {
        peer.path.local = address(from);
        peer.send_tagged(0, |writer| {
            assert!(writer.init(&init(0x7777), &listed, None, 0))
        });
        peer.learn();
        peer.echo();
        peer.replies();
        assert_ne!(peer.handle, first);
    }
    assert_eq!((peer.server.associations(), &peer.closed), (3, &None));
}

#[test]
fn claiming_an_address_does_not_keep_its_owner_out() {
    let mut peer = Peer::new();
    let victim = address("10.0.0.50:9899");
    peer.send_tagged(0, |writer| {
        assert!(writer.init(&init(OUR_TAG), &[victim.ip()], None, 0))
    });
    peer.learn();
    peer.echo();
    peer.replies();
    peer.path.local = victim;
    peer.init(&init(0x5555));
    peer.learn();
    peer.echo();
    assert_eq!(peer.words(), ["COOKIE ACK"]);
    assert_eq!(peer.server.associations(), 2);
}

#[test]
fn packets_from_a_new_port_are_heard_and_answered_only_after_proof() {
    let mut peer = Peer::connected();
    let home = peer.path.local;
    peer.path.local = address("10.0.0.1:1234");
    peer.message(0, 0, b"from behind another port");
    let handle = peer.handle.expect("up");
    assert!(peer.server.recv(handle).is_some());
    for (path, packet) in peer.replies() {
        let words = crate::peer::text(&packet);
        assert!(
            path.remote == home || words == "HEARTBEAT",
            "{words} to {path}"
        );
    }
}

#[test]
fn all_addresses_of_an_init_fit_the_cookie_so_that_a_restart_adds_none() {
    for family in ["10.1.0.", "2001:db8::"] {
        let mut peer = Peer::new();
        if family.contains(':') {
            peer.path = PathId::new(
                address("[2001:db8::99]:9899"),
                address("[2001:db8::ffff]:9899"),
            );
        }
        let list: Vec<IpAddr> = (1..=8)
            .map(|n| format!("{family}{n}").parse().expect("an address"))
            .collect();
        peer.send_tagged(0, |writer| {
            assert!(writer.init(&init(OUR_TAG), &list, None, 0))
        });
        peer.learn();
        peer.echo();
        peer.replies();
        let handle = peer.handle.expect("an association");
        let mut known: Vec<IpAddr> = peer
            .server
            .paths(handle)
            .iter()
            .map(|path| path.path.remote.ip())
            .collect();
        known.retain(|known| list.contains(known));
        assert_eq!(known, list);
        peer.send_tagged(0, |writer| {
            assert!(writer.init(&init(0x7777), &list, None, 0))
        });
        assert_eq!(peer.words(), ["INIT ACK"]);
        // A bare INIT of a restart is answered too, within three times its length.
        peer.send_tagged(0, |writer| {
            assert!(writer.init(&init(0x7778), &[], None, 0))
        });
        assert_eq!(peer.words(), ["INIT ACK"]);
    }
}
