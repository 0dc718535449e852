//! A topic store in memory for tests: the contract of `TopicStore`, written as plainly as possible.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use tokio::sync::watch;

use crate::backends::Commit;
use crate::backends::rooms::{Append, Head, RoomStore, Said};
use crate::backends::topics::{DurablePublish, Placed, Queued, Recipient, TopicStore};
use crate::domain::publication::{ClientNo, ClientRecord, Ordinal, Publication};
use crate::domain::room::{Epoch, Mark, Place};
use crate::domain::topic::TopicName;
use crate::domain::{Seq, StoreError, Timestamp};

/// See the module. What is changed can be seen at once; that it was committed is told when the disk is let go.
pub(super) struct Memory {
    rows: Mutex<Rows>,
    disk: watch::Sender<Disk>,
}

/// What the disk does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Disk {
    Works,
    /// Nothing is committed until it works again.
    Hangs,
    /// Nothing that grows is taken.
    Full,
}

#[derive(Default)]
struct Rows {
    last_client: u64,
    last_retained: u64,
    clients: BTreeMap<ClientNo, ClientRecord>,
    last_ordinal: BTreeMap<ClientNo, u64>,
    queued: BTreeMap<(ClientNo, Ordinal), Queued>,
    packet_ids: BTreeSet<(ClientNo, u16)>,
    rooms: BTreeMap<TopicName, (Epoch, u64, BTreeMap<u64, Said>)>,
    retained: BTreeMap<TopicName, (Arc<Publication>, Timestamp)>,
}

impl Memory {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            rows: Mutex::default(),
            disk: watch::Sender::new(Disk::Works),
        })
    }

    pub(super) fn disk(&self, disk: Disk) {
        self.disk.send_replace(disk);
    }

    /// The payloads in a client's queue.
    pub(super) fn payloads(&self, client: &str) -> Vec<String> {
        let rows = self.rows.lock().unwrap();
        let mut found = rows.queued.iter().filter(|((no, _), _)| {
            let record = rows.clients.get(no);
            record.is_some_and(|record| record.id.as_str() == client)
        });
        found
            .by_ref()
            .map(|(_, queued)| String::from_utf8(queued.publication.payload.to_vec()).unwrap())
            .collect()
    }

    fn commit<T: Send + 'static>(
        &self,
        grows: bool,
        change: impl FnOnce(&mut Rows) -> T,
    ) -> Commit<T> {
        if grows && *self.disk.borrow() == Disk::Full {
            return async { Err(StoreError::Full("for the test".into())) }.boxed();
        }
        let result = change(&mut self.rows.lock().unwrap());
        let mut disk = self.disk.subscribe();
        async move {
            let _ = disk.wait_for(|disk| *disk != Disk::Hangs).await;
            Ok(result)
        }
        .boxed()
    }
}

impl Rows {
    fn close(&mut self, client: ClientNo) {
        self.clients.remove(&client);
        self.queued.retain(|(no, _), _| *no != client);
        self.packet_ids.retain(|(no, _)| *no != client);
    }

    fn has_room(&self, to: &Recipient) -> bool {
        let depth = self.queued.keys().filter(|(no, _)| *no == to.client);
        self.clients.contains_key(&to.client) && (depth.count() as u64) < to.limit
    }

    fn append(&mut self, publication: &Publication, append: &Append) -> Mark {
        let fresh = || (append.epoch, 0, BTreeMap::new());
        let room = self.rooms.entry(publication.topic.clone());
        let (epoch, last, said) = room.or_insert_with(fresh);
        *last += 1;
        let one = Said {
            offset: *last,
            at: append.at,
            publication: publication.clone(),
        };
        said.insert(*last, one);
        while said.len() as u64 > append.keep.messages {
            said.pop_first();
        }
        let place = Place {
            epoch: *epoch,
            offset: *last,
        };
        Mark {
            place,
            at: append.at,
        }
    }

    fn publish(&mut self, mut publish: DurablePublish) -> Placed {
        if publish
            .from
            .is_some_and(|from| self.packet_ids.contains(&from))
        {
            return Placed {
                repeated: true,
                ..Placed::default()
            };
        }
        let is_nowhere = !publish.to.is_empty() && !publish.to.iter().any(|to| self.has_room(to));
        if is_nowhere && publish.history.is_none() {
            return Placed {
                places: vec![None; publish.to.len()],
                ..Placed::default()
            };
        }
        self.packet_ids.extend(publish.from);
        let history = publish.history.take();
        let mark = history.map(|append| self.append(&publish.publication, &append));
        if mark.is_some() {
            let marked = (*publish.publication).clone().marked(mark);
            publish.publication = Arc::new(marked);
        }
        let publication = &publish.publication;
        let retained = publish.retain.map(|_| {
            self.last_retained += 1;
            Seq(self.last_retained)
        });
        if let Some(at) = publish.retain {
            if publication.payload.is_empty() {
                self.retained.remove(&publication.topic);
            } else {
                self.retained
                    .insert(publication.topic.clone(), (publication.clone(), at));
            }
        }
        let places = publish.to.into_iter().map(|to| {
            if !self.has_room(&to) {
                return None;
            }
            let last = self.last_ordinal.entry(to.client).or_default();
            *last += 1;
            let ordinal = Ordinal(*last);
            let queued = Queued {
                ordinal,
                publication: publication.clone(),
                qos: to.qos,
                retain: to.retain,
                ids: to.ids,
                sent: false,
                received: false,
            };
            self.queued.insert((to.client, ordinal), queued);
            Some(ordinal)
        });
        Placed {
            places: places.collect(),
            repeated: false,
            mark,
            retained,
        }
    }
}

impl RoomStore for Memory {
    fn head(&self, room: &TopicName) -> Result<Option<Head>, StoreError> {
        let rows = self.rows.lock().unwrap();
        Ok(rows.rooms.get(room).map(|(epoch, last, said)| Head {
            epoch: *epoch,
            first: said.keys().next().map_or(last + 1, |first| *first),
            last: *last,
        }))
    }

    fn said(
        &self,
        room: &TopicName,
        from: u64,
        limit: usize,
        _: Timestamp,
    ) -> Result<Vec<Said>, StoreError> {
        let rows = self.rows.lock().unwrap();
        let said = rows.rooms.get(room).map(|(_, _, said)| said);
        let said = said.into_iter().flat_map(|said| said.range(from..));
        Ok(said.take(limit).map(|(_, said)| said.clone()).collect())
    }
}

impl TopicStore for Memory {
    fn clients(&self, each: &mut dyn FnMut(ClientRecord)) -> Result<(), StoreError> {
        let records: Vec<_> = self
            .rows
            .lock()
            .unwrap()
            .clients
            .values()
            .cloned()
            .collect();
        records.into_iter().for_each(each);
        Ok(())
    }

    fn retained(
        &self,
        _: Timestamp,
        each: &mut dyn FnMut(Publication, Timestamp),
    ) -> Result<(), StoreError> {
        let kept: Vec<_> = self
            .rows
            .lock()
            .unwrap()
            .retained
            .values()
            .cloned()
            .collect();
        kept.into_iter()
            .for_each(|(kept, at)| each((*kept).clone(), at));
        Ok(())
    }

    fn open(&self, mut record: ClientRecord) -> Commit<ClientNo> {
        self.commit(true, |rows| {
            let old = rows.clients.values().find(|old| old.id == record.id);
            if let Some(old) = old.map(|old| old.no) {
                rows.close(old);
            }
            rows.last_client += 1;
            record.no = ClientNo(rows.last_client);
            rows.clients.insert(record.no, record.clone());
            record.no
        })
    }

    fn save(&self, record: ClientRecord) -> Commit<()> {
        self.commit(false, |rows| {
            if let Some(old) = rows.clients.get_mut(&record.no) {
                *old = record;
            }
        })
    }

    fn close(&self, client: ClientNo) -> Commit<()> {
        self.commit(false, |rows| rows.close(client))
    }

    fn publish(&self, publish: DurablePublish) -> Commit<Placed> {
        self.commit(true, |rows| rows.publish(publish))
    }

    fn queued(
        &self,
        client: ClientNo,
        after: Option<Ordinal>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Queued>, StoreError> {
        let from = (client, Ordinal(after.map_or(0, |after| after.0 + 1)));
        let rows = self.rows.lock().unwrap();
        let found = rows.queued.range(from..=(client, Ordinal(u64::MAX)));
        let found = found.map(|(_, queued)| queued);
        let alive = found.filter(|queued| {
            let expires = queued.publication.expires;
            queued.sent || queued.received || expires.is_none_or(|at| at > now)
        });
        Ok(alive.take(limit).cloned().collect())
    }

    fn depth(&self, client: ClientNo) -> Result<u64, StoreError> {
        let rows = self.rows.lock().unwrap();
        Ok(rows.queued.keys().filter(|(no, _)| *no == client).count() as u64)
    }

    fn sent(&self, client: ClientNo, message: Ordinal) {
        let mut rows = self.rows.lock().unwrap();
        if let Some(queued) = rows.queued.get_mut(&(client, message)) {
            queued.sent = queued.publication.expires.is_some();
        }
    }

    fn received(&self, client: ClientNo, message: Ordinal) -> Commit<()> {
        self.commit(false, |rows| {
            if let Some(queued) = rows.queued.get_mut(&(client, message)) {
                queued.received = true;
            }
        })
    }

    /// Nobody waits for it, so that a disk that hangs loses it.
    fn done(&self, client: ClientNo, messages: Vec<Ordinal>) {
        if *self.disk.borrow() == Disk::Hangs {
            return;
        }
        let mut rows = self.rows.lock().unwrap();
        for message in messages {
            rows.queued.remove(&(client, message));
        }
    }

    fn packet_ids(&self, client: ClientNo) -> Result<Vec<u16>, StoreError> {
        let rows = self.rows.lock().unwrap();
        let ids = rows.packet_ids.iter().filter(|(no, _)| *no == client);
        Ok(ids.map(|(_, id)| *id).collect())
    }

    fn release(&self, client: ClientNo, packet_id: u16) -> Commit<()> {
        self.commit(false, |rows| {
            rows.packet_ids.remove(&(client, packet_id));
        })
    }
}
