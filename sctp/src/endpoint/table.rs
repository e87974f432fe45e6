//! The associations of an endpoint, found by handle, by verification tag, by address and by
//! deadline.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use super::ready::ReadyQueue;
use crate::association::Association;
use crate::cookie::Ports;
use crate::event::{AssociationHandle, CloseReason, Datagram, Event, Message};
use crate::limits::MAX_RETIRED_TAGS;

#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    live: usize,
    tags: BTreeMap<u32, u32>,
    /// The peer's transport addresses, UDP port included, with the SCTP ports.
    addresses: BTreeMap<(SocketAddr, Ports), u32>,
    deadlines: BTreeSet<(Instant, u32)>,
    /// Associations that may have packets to send.
    sending: ReadyQueue<u32>,
    /// Associations that may have events.
    eventful: ReadyQueue<u32>,
    /// Tags of closed associations, with the time from which they may be used again.
    retired: VecDeque<(Instant, u32)>,
    retired_tags: BTreeSet<u32>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    entry: Entry,
    deadline: Option<Instant>,
    addresses: Vec<(SocketAddr, Ports)>,
}

#[derive(Debug)]
enum Entry {
    Free,
    Live(Box<Association>),
    /// Closed, but the application has not polled all events or read all messages.
    Ended {
        events: VecDeque<Event>,
        messages: VecDeque<Message>,
        reason: Option<CloseReason>,
    },
}

impl Table {
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    pub(crate) fn insert(&mut self, association: Association) -> AssociationHandle {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                entry: Entry::Free,
                deadline: None,
                addresses: Vec::new(),
            });
            // Bounded by the number of associations, which a u32 counts.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        self.tags.insert(association.local_tag, index);
        let slot = &mut self.slots[index as usize];
        slot.entry = Entry::Live(Box::new(association));
        self.live += 1;
        let handle = AssociationHandle {
            index,
            generation: slot.generation,
        };
        self.touch(index);
        handle
    }

    pub(crate) fn by_handle(
        &mut self,
        handle: AssociationHandle,
    ) -> Option<(u32, &mut Association)> {
        let slot = self.slots.get_mut(handle.index as usize)?;
        match &mut slot.entry {
            Entry::Live(association) if slot.generation == handle.generation => {
                Some((handle.index, association))
            }
            _ => None,
        }
    }

    pub(crate) fn by_handle_ref(&self, handle: AssociationHandle) -> Option<&Association> {
        let slot = self.slots.get(handle.index as usize)?;
        match &slot.entry {
            Entry::Live(association) if slot.generation == handle.generation => Some(association),
            _ => None,
        }
    }

    pub(crate) fn by_tag(&self, tag: u32) -> Option<u32> {
        self.tags.get(&tag).copied()
    }

    /// The association of a peer at a transport address: for packets without a tag of ours.
    pub(crate) fn by_address(&self, remote: SocketAddr, ports: Ports) -> Option<u32> {
        self.addresses.get(&(remote, ports)).copied()
    }

    pub(crate) fn association(&mut self, index: u32) -> Option<&mut Association> {
        match &mut self.slots.get_mut(index as usize)?.entry {
            Entry::Live(association) => Some(association),
            _ => None,
        }
    }

    /// Whether a tag belongs to an association or is retired.
    pub(crate) fn is_used(&self, tag: u32) -> bool {
        self.tags.contains_key(&tag) || self.is_retired(tag)
    }

    pub(crate) fn is_retired(&self, tag: u32) -> bool {
        self.retired_tags.contains(&tag)
    }

    /// Updates the indexes after a change of an association. If that has ended, gives its final
    /// packets; its tag stays retired until `until`.
    pub(crate) fn settle(&mut self, index: u32, until: Instant, now: Instant) -> Vec<Datagram> {
        let Some(association) = self.association(index) else {
            return Vec::new();
        };
        if association.is_closed() {
            return self.end(index, until, now);
        }
        self.touch(index);
        Vec::new()
    }

    /// The association from which the next packet is to be polled.
    pub(crate) fn pop_sending(&mut self) -> Option<u32> {
        self.sending.pop()
    }

    /// An association may have packets to send.
    pub(crate) fn mark_sending(&mut self, index: u32) {
        self.sending.insert(index);
    }

    /// Updates the deadline after packets were polled.
    pub(crate) fn refresh_deadline(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        let deadline = match &slot.entry {
            Entry::Live(association) => association.poll_timeout(),
            _ => None,
        };
        if slot.deadline != deadline {
            if let Some(old) = slot.deadline {
                self.deadlines.remove(&(old, index));
            }
            if let Some(new) = deadline {
                self.deadlines.insert((new, index));
            }
            slot.deadline = deadline;
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// An association whose deadline has passed.
    pub(crate) fn expired(&self, now: Instant) -> Option<u32> {
        self.deadlines
            .first()
            .filter(|(deadline, _)| *deadline <= now)
            .map(|&(_, index)| index)
    }

    pub(crate) fn poll_event(&mut self) -> Option<(AssociationHandle, Event)> {
        while let Some(index) = self.eventful.first() {
            let slot = &mut self.slots[index as usize];
            let handle = AssociationHandle {
                index,
                generation: slot.generation,
            };
            let event = match &mut slot.entry {
                Entry::Live(association) => association.poll_event(),
                Entry::Ended { events, .. } => events.pop_front(),
                Entry::Free => None,
            };
            if let Some(event) = event {
                if matches!(event, Event::Closed(_)) {
                    self.eventful.pop();
                    self.release(index);
                }
                return Some((handle, event));
            }
            self.eventful.pop();
        }
        None
    }

    /// The next message of an association, which may have been shut down.
    pub(crate) fn recv(&mut self, handle: AssociationHandle) -> Option<Message> {
        let slot = self.slots.get_mut(handle.index as usize)?;
        if slot.generation != handle.generation {
            return None;
        }
        match &mut slot.entry {
            Entry::Live(association) => association.recv(),
            Entry::Ended {
                events,
                messages,
                reason,
            } => {
                let message = messages.pop_front();
                if messages.is_empty()
                    && let Some(reason) = reason.take()
                {
                    events.push_back(Event::Closed(reason));
                    self.eventful.insert(handle.index);
                }
                message
            }
            Entry::Free => None,
        }
    }

    /// Marks an association as having something to send and updates its indexes.
    fn touch(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        let Entry::Live(association) = &mut slot.entry else {
            return;
        };
        if std::mem::take(&mut association.addresses_changed) {
            let ports = association.ports;
            for key in slot.addresses.drain(..) {
                if self.addresses.get(&key) == Some(&index) {
                    self.addresses.remove(&key);
                }
            }
            for remote in association.known_remotes() {
                // The first association with a transport address keeps it: listing it gives no
                // other one access.
                let key = (remote, ports);
                if *self.addresses.entry(key).or_insert(index) == index {
                    slot.addresses.push(key);
                }
            }
        }
        let eventful = association.has_events();
        self.mark_sending(index);
        if eventful {
            self.eventful.insert(index);
        }
        self.refresh_deadline(index);
    }

    fn end(&mut self, index: u32, until: Instant, now: Instant) -> Vec<Datagram> {
        let slot = &mut self.slots[index as usize];
        let Entry::Live(mut association) = std::mem::replace(&mut slot.entry, Entry::Free) else {
            return Vec::new();
        };
        let tag = association.local_tag;
        for key in slot.addresses.drain(..) {
            self.addresses.remove(&key);
        }
        let mut events: VecDeque<Event> = std::iter::from_fn(|| association.poll_event()).collect();
        let (messages, reason, final_packets) = association.into_ended();
        let reason = if messages.is_empty() {
            events.push_back(Event::Closed(reason));
            None
        } else {
            Some(reason)
        };
        slot.entry = Entry::Ended {
            events,
            messages,
            reason,
        };
        self.live -= 1;
        self.tags.remove(&tag);
        self.retire(tag, until, now);
        self.eventful.insert(index);
        self.refresh_deadline(index);
        final_packets
    }

    fn retire(&mut self, tag: u32, until: Instant, now: Instant) {
        while let Some(&(moment, old)) = self.retired.front() {
            if moment > now && self.retired.len() < MAX_RETIRED_TAGS {
                break;
            }
            self.retired.pop_front();
            self.retired_tags.remove(&old);
        }
        if self.retired_tags.insert(tag) {
            self.retired.push_back((until, tag));
        }
    }

    /// The application has polled [`Event::Closed`]: the handle is void from now on.
    fn release(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        slot.entry = Entry::Free;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
    }
}
