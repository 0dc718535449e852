//! Keys of rows: fixed-width big-endian numbers, so that ranges are prefixes and order is acceptance order.

use crate::domain::message::Origin;
use crate::domain::publication::{ClientNo, Ordinal};
use crate::domain::{AccountId, QueueNo, Seq, SessionId, SessionKey, Timestamp, UserId};

/// Rows of the `registry` table, by first byte.
pub(super) mod tag {
    /// Next sequence number.
    pub const NEXT_SEQ: u8 = b'#';
    /// Session records by account and id.
    pub const SESSION: u8 = b'S';
    /// Accounts by session id.
    pub const SESSION_ID: u8 = b'I';
    /// Sessions by access key.
    pub const ACCESS_KEY: u8 = b'K';
    /// Sessions by identity.
    pub const IDENTITY: u8 = b'D';
    /// Sessions by end of life.
    pub const TTL: u8 = b'X';
    /// How many sessions a user has, and since when.
    pub const MEMBER: u8 = b'M';
    /// Queue numbers by name.
    pub const QUEUE_NAME: u8 = b'N';
    /// Queue records by number.
    pub const QUEUE: u8 = b'Q';
    /// Names of queues deleted in the last minute.
    pub const DELETED_NAME: u8 = b'G';
    /// Queues whose rows are still to be removed.
    pub const PURGE: u8 = b'P';
    /// Broadcast cursors by queue.
    pub const CURSOR: u8 = b'C';
    /// Receipts promised and not yet made.
    pub const PROMISE: u8 = b'J';
    /// Counter leases by queue.
    pub const LEASE: u8 = b'L';
}

/// Rows of the `shared` and `history` tables, by first byte.
pub(super) mod scope {
    /// A broadcast to everyone.
    pub const EVERYONE: u8 = b'E';
    /// A broadcast to an account.
    pub const ACCOUNT: u8 = b'A';
    /// The body of a message to several queues.
    pub const BODY: u8 = b'B';
    /// A user's own history.
    pub const USER: u8 = b'U';
    /// What a user has read.
    pub const MARK: u8 = b'R';
    /// When a user had sessions, once ended.
    pub const INTERVAL: u8 = b'V';
    /// A publication to several clients, or to one and retained.
    pub const PUBLICATION: u8 = b'T';
}

/// Rows of the `topics` table, by first byte.
pub(super) mod plane {
    /// Client records by number.
    pub const CLIENT: u8 = b'C';
    /// Client numbers by client id.
    pub const CLIENT_ID: u8 = b'I';
    /// Clients whose rows are still to be removed.
    pub const PURGE: u8 = b'P';
    /// Places in clients' queues.
    pub const PLACE: u8 = b'M';
    /// Packet ids of QoS 2 messages that were taken and not yet released.
    pub const PACKET_ID: u8 = b'Q';
    /// Retained messages by topic.
    pub const RETAINED: u8 = b'T';
    /// Rooms' histories: where they begin and end.
    pub const ROOM: u8 = b'R';
    /// What was said in rooms, by offset.
    pub const SAID: u8 = b'H';
}

/// Signed numbers with the sign bit flipped sort by value.
fn signed(value: i64) -> [u8; 8] {
    ((value as u64) ^ (1 << 63)).to_be_bytes()
}

fn unsigned(bytes: &[u8]) -> Option<i64> {
    let bytes: [u8; 8] = bytes.try_into().ok()?;
    Some((u64::from_be_bytes(bytes) ^ (1 << 63)) as i64)
}

/// Joins parts into one key.
pub(super) fn key(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    out.push(tag);
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// A queue's row in `messages`.
pub(super) fn message(queue: QueueNo, seq: Seq) -> [u8; 16] {
    let mut out = [0; 16];
    out[..8].copy_from_slice(&queue.0.to_be_bytes());
    out[8..].copy_from_slice(&seq.0.to_be_bytes());
    out
}

/// The sequence number at the end of a key.
pub(super) fn trailing_seq(key: &[u8]) -> Option<Seq> {
    let start = key.len().checked_sub(8)?;
    Some(Seq(u64::from_be_bytes(key[start..].try_into().ok()?)))
}

/// The queue number at the start of a key.
pub(super) fn leading_queue(key: &[u8]) -> Option<QueueNo> {
    Some(QueueNo(u64::from_be_bytes(key.get(..8)?.try_into().ok()?)))
}

/// A message's state in `states`.
pub(super) fn state(queue: QueueNo, seq: Seq) -> [u8; 17] {
    let mut out = [0; 17];
    out[..8].copy_from_slice(&queue.0.to_be_bytes());
    out[8] = b's';
    out[9..].copy_from_slice(&seq.0.to_be_bytes());
    out
}

/// All of a queue's states in `states`.
pub(super) fn states_of(queue: QueueNo) -> Vec<u8> {
    [&queue.0.to_be_bytes()[..], b"s"].concat()
}

/// A remembered deduplication id in `states`.
pub(super) fn dedup(queue: QueueNo, group: Option<&str>, id: &str) -> Vec<u8> {
    let mut out = dedups_of(queue);
    out.extend_from_slice(id.as_bytes());
    // Neither part may contain a zero byte (SQS allows punctuation and alphanumerics only).
    out.push(0);
    out.extend_from_slice(group.unwrap_or_default().as_bytes());
    out
}

/// All of a queue's remembered deduplication ids in `states`.
pub(super) fn dedups_of(queue: QueueNo) -> Vec<u8> {
    [&queue.0.to_be_bytes()[..], b"d"].concat()
}

/// The log of an origin in `shared` or `history`, without the sequence number.
pub(super) fn log(origin: Origin) -> Vec<u8> {
    match origin {
        Origin::Everyone => vec![scope::EVERYONE],
        Origin::Account(account) => key(scope::ACCOUNT, &[&signed(account.0)]),
        Origin::Own => vec![scope::BODY],
    }
}

/// A row of a log.
pub(super) fn logged(origin: Origin, seq: Seq) -> Vec<u8> {
    let mut out = log(origin);
    out.extend_from_slice(&seq.0.to_be_bytes());
    out
}

/// The body of a message to several queues, in `shared`.
pub(super) fn body(seq: Seq) -> Vec<u8> {
    key(scope::BODY, &[&seq.0.to_be_bytes()])
}

/// Everything of a user under one tag of `history`.
pub(super) fn of_user(tag: u8, user: UserId) -> Vec<u8> {
    key(tag, &[&signed(user.0)])
}

/// One row of a user under one tag of `history`.
pub(super) fn user_row(tag: u8, user: UserId, seq: Seq) -> Vec<u8> {
    key(tag, &[&signed(user.0), &seq.0.to_be_bytes()])
}

/// A session's record.
pub(super) fn session(of: &SessionKey) -> Vec<u8> {
    key(
        tag::SESSION,
        &[&signed(of.account.0), of.session.as_str().as_bytes()],
    )
}

/// All sessions of an account.
pub(super) fn sessions_of(account: AccountId) -> Vec<u8> {
    key(tag::SESSION, &[&signed(account.0)])
}

/// A session id's accounts; ids have no control characters, so a zero byte ends one.
pub(super) fn accounts_of(session: &SessionId) -> Vec<u8> {
    key(tag::SESSION_ID, &[session.as_str().as_bytes(), &[0]])
}

/// A session id in one account.
pub(super) fn session_id(of: &SessionKey) -> Vec<u8> {
    key(
        tag::SESSION_ID,
        &[of.session.as_str().as_bytes(), &[0], &signed(of.account.0)],
    )
}

/// The account at the end of a [`session_id`] key.
pub(super) fn trailing_account(key: &[u8]) -> Option<AccountId> {
    let start = key.len().checked_sub(8)?;
    unsigned(&key[start..]).map(AccountId)
}

/// A session's end of life.
pub(super) fn ttl(at: Timestamp, of: &SessionKey) -> Vec<u8> {
    key(
        tag::TTL,
        &[
            &at.0.to_be_bytes(),
            &signed(of.account.0),
            of.session.as_str().as_bytes(),
        ],
    )
}

/// Time and session of a [`ttl`] key.
pub(super) fn parse_ttl(key: &[u8]) -> Option<(Timestamp, SessionKey)> {
    let at = Timestamp(u64::from_be_bytes(key.get(1..9)?.try_into().ok()?));
    let account = AccountId(unsigned(key.get(9..17)?)?);
    let session = SessionId::parse(std::str::from_utf8(key.get(17..)?).ok()?).ok()?;
    Some((at, SessionKey { account, session }))
}

/// How a user's membership is kept: in any account, or in one.
pub(super) fn member(user: UserId, account: Option<AccountId>) -> Vec<u8> {
    key(tag::MEMBER, &[&membership(user, account)])
}

/// An ended time of membership, in `history`.
pub(super) fn interval(user: UserId, account: Option<AccountId>, from: Seq) -> Vec<u8> {
    key(
        scope::INTERVAL,
        &[&membership(user, account), &from.0.to_be_bytes()],
    )
}

/// User and account of a membership, as part of a key.
fn membership(user: UserId, account: Option<AccountId>) -> Vec<u8> {
    let mut out = signed(user.0).to_vec();
    if let Some(account) = account {
        out.extend_from_slice(&signed(account.0));
    }
    out
}

/// Which account the key of a membership names, and the rest of the key. `after` is the key behind its user.
pub(super) fn split_membership(after: &[u8], rest: usize) -> Option<(Option<AccountId>, &[u8])> {
    let (account, rest) = after.split_at_checked(after.len().checked_sub(rest)?)?;
    match account.len() {
        0 => Some((None, rest)),
        8 => Some((Some(AccountId(unsigned(account)?)), rest)),
        _ => None,
    }
}

/// Everything of a client under one tag of `topics`.
pub(super) fn of_client(tag: u8, client: ClientNo) -> Vec<u8> {
    key(tag, &[&client.0.to_be_bytes()])
}

/// The client number behind the tag.
pub(super) fn client_of(key: &[u8]) -> Option<ClientNo> {
    Some(ClientNo(u64::from_be_bytes(
        key.get(1..9)?.try_into().ok()?,
    )))
}

/// A place in a client's queue.
pub(super) fn place(client: ClientNo, ordinal: Ordinal) -> [u8; 17] {
    let mut out = [plane::PLACE; 17];
    out[1..9].copy_from_slice(&client.0.to_be_bytes());
    out[9..].copy_from_slice(&ordinal.0.to_be_bytes());
    out
}

/// Client and ordinal of a [`place`] key.
pub(super) fn parse_place(key: &[u8]) -> Option<(ClientNo, Ordinal)> {
    let ordinal = key.get(9..)?.try_into().ok()?;
    Some((client_of(key)?, Ordinal(u64::from_be_bytes(ordinal))))
}

/// A packet id that a client used.
pub(super) fn packet_id(client: ClientNo, packet_id: u16) -> Vec<u8> {
    key(
        plane::PACKET_ID,
        &[&client.0.to_be_bytes(), &packet_id.to_be_bytes()],
    )
}

/// The packet id at the end of a [`packet_id`] key.
pub(super) fn trailing_packet_id(key: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(key.get(9..)?.try_into().ok()?))
}

/// Where a room's history begins and ends.
pub(super) fn room(room: &str) -> Vec<u8> {
    key(plane::ROOM, &[room.as_bytes()])
}

/// The room of a [`room`] key.
pub(super) fn parse_room(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(1..)?).ok()
}

/// Everything that was said in a room. Names have no control characters, so a zero byte ends one.
pub(super) fn said_in(room: &str) -> Vec<u8> {
    key(plane::SAID, &[room.as_bytes(), &[0]])
}

/// What was said in a room at an offset, which is the key's [`trailing_seq`].
pub(super) fn said(room: &str, offset: u64) -> Vec<u8> {
    key(plane::SAID, &[room.as_bytes(), &[0], &offset.to_be_bytes()])
}

/// A publication in `shared`.
pub(super) fn publication(seq: Seq) -> Vec<u8> {
    key(scope::PUBLICATION, &[&seq.0.to_be_bytes()])
}

/// A registry row by queue number.
pub(super) fn by_queue(tag: u8, queue: QueueNo) -> Vec<u8> {
    key(tag, &[&queue.0.to_be_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sort_by_value() {
        let values = [i64::MIN, -5, -1, 0, 1, 7, i64::MAX];
        for pair in values.windows(2) {
            assert!(signed(pair[0]) < signed(pair[1]));
            assert_eq!(unsigned(&signed(pair[0])), Some(pair[0]));
        }
    }

    #[test]
    fn a_ttl_key_comes_back() {
        let of = SessionKey {
            account: AccountId(-3),
            session: SessionId::parse("é/x").expect("valid"),
        };
        assert_eq!(parse_ttl(&ttl(Timestamp(9), &of)), Some((Timestamp(9), of)));
    }

    #[test]
    fn places_come_apart_and_sort() {
        let (client, ordinal) = (ClientNo(7), Ordinal(300));
        let key = place(client, ordinal);
        assert_eq!(parse_place(&key), Some((client, ordinal)));
        assert!(key < place(client, Ordinal(301)) && key < place(ClientNo(8), Ordinal(1)));
        assert_eq!(parse_place(&key[..16]), None);
        assert_eq!(trailing_packet_id(&packet_id(client, 513)), Some(513));
        assert_eq!(trailing_packet_id(&key), None);
    }

    #[test]
    fn memberships_come_apart() {
        let one = interval(UserId(4), Some(AccountId(2)), Seq(8));
        assert_eq!(
            split_membership(&one[9..], 8),
            Some((Some(AccountId(2)), &8u64.to_be_bytes()[..]))
        );
        let any = member(UserId(4), None);
        assert_eq!(split_membership(&any[9..], 0), Some((None, &[][..])));
    }
}
