//! What is left to be done for a message, and how it stands in a file.
//!
//! A file is `[format: 1][errands: 4, big-endian][SHA-256 of what follows: 32][bincode]`. It is written once and never
//! appended to, so a digest over all of it tells a whole file from a torn or a damaged one.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{BorrowDecode, Encode};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::Missed;
use crate::backends::plane::Parcel;
use crate::config::limits::aws::SPILL_READ_BYTES;
use crate::domain::ids::InvalidId;
use crate::domain::{
    AccountId, MessageId, QueueName, SessionId, SessionKey, StoreError, Target, Timestamp, UserId,
};

/// The form of a file. One of a form that is not known is not read.
const FORMAT: u8 = 1;

/// What stands before the errands: the form, their number, and the digest.
const HEADER: usize = 1 + COUNT + 32;

const COUNT: usize = size_of::<u32>();

const CONFIG: Configuration<LittleEndian, Varint, Limit<SPILL_READ_BYTES>> =
    bincode::config::standard().with_limit::<SPILL_READ_BYTES>();

/// What is left to be done for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    /// The message, without the form of it that is not needed any more.
    pub parcel: Parcel,
    /// Sessions that do not have it, each with the queue that it is for. `None`: all that the target means, since not all of
    /// them could be found; and, if it names no user, the history of theirs.
    pub sessions: Option<Vec<(SessionKey, QueueName)>>,
    /// Users whose history does not have it.
    pub users: Vec<UserId>,
}

impl Errand {
    /// What is left to be done for a message that missed these.
    pub fn new(parcel: &Parcel, missed: Missed) -> Self {
        let mut parcel = parcel.clone();
        let sessions = (!missed.unknown).then_some(missed.sessions);
        let may_find_users = sessions.is_none() && parcel.target.user.is_none();
        if !parcel.keep || (missed.users.is_empty() && !may_find_users) {
            parcel.text = Bytes::new();
        }
        if sessions.as_ref().is_some_and(Vec::is_empty) {
            parcel.body = Bytes::new();
        }
        Self {
            parcel,
            sessions,
            users: missed.users,
        }
    }

    /// Bytes that it takes in a file, at most.
    pub fn bytes(&self) -> usize {
        // An integer takes at most 9 bytes, and there are a dozen; so do the lengths of texts.
        const NUMBERS: usize = 16 * 9;
        let Parcel {
            target,
            message_id,
            kind,
            body,
            text,
            ..
        } = &self.parcel;
        let id = target.session.as_ref().map_or(0, |id| id.as_str().len());
        let kind = kind.as_deref().map_or(0, str::len);
        let of_session = |(key, queue): &(SessionKey, QueueName)| {
            key.session.as_str().len() + queue.as_str().len() + 3 * 9
        };
        let sessions: usize = self.sessions.iter().flatten().map(of_session).sum();
        let texts = message_id.as_str().len() + id + kind + body.len() + text.len();
        NUMBERS + texts + sessions + 9 * self.users.len()
    }
}

#[derive(Encode, BorrowDecode)]
struct Row<'a> {
    account: Option<i64>,
    user: Option<i64>,
    session: Option<&'a str>,
    message_id: &'a str,
    kind: Option<&'a str>,
    keep: bool,
    body: &'a [u8],
    text: &'a [u8],
    accepted: u64,
    sessions: Option<Vec<(i64, &'a str, &'a str)>>,
    users: Vec<i64>,
}

impl<'a> Row<'a> {
    fn of(errand: &'a Errand) -> Self {
        let Parcel { target, .. } = &errand.parcel;
        let session = |(key, queue): &'a (SessionKey, QueueName)| {
            (key.account.0, key.session.as_str(), queue.as_str())
        };
        let sessions = errand.sessions.as_ref();
        Self {
            account: target.account.map(|account| account.0),
            user: target.user.map(|user| user.0),
            session: target.session.as_ref().map(SessionId::as_str),
            message_id: errand.parcel.message_id.as_str(),
            kind: errand.parcel.kind.as_deref(),
            keep: errand.parcel.keep,
            body: &errand.parcel.body,
            text: &errand.parcel.text,
            accepted: errand.parcel.now.micros(),
            sessions: sessions.map(|sessions| sessions.iter().map(session).collect()),
            users: errand.users.iter().map(|user| user.0).collect(),
        }
    }

    fn errand(self) -> Result<Errand, InvalidId> {
        let session = |(account, id, queue): (i64, &str, &str)| {
            let key = SessionKey {
                account: AccountId(account),
                session: SessionId::parse(id)?,
            };
            Ok((key, QueueName::parse(queue)?))
        };
        let sessions = self.sessions.map(|all| all.into_iter().map(session));
        Ok(Errand {
            parcel: Parcel {
                target: Target {
                    account: self.account.map(AccountId),
                    user: self.user.map(UserId),
                    session: self.session.map(SessionId::parse).transpose()?,
                },
                message_id: MessageId::parse(self.message_id)?,
                kind: self.kind.map(Into::into),
                keep: self.keep,
                body: Bytes::copy_from_slice(self.body),
                text: Bytes::copy_from_slice(self.text),
                now: Timestamp(self.accepted),
            },
            sessions: sessions.map(Iterator::collect).transpose()?,
            users: self.users.into_iter().map(UserId).collect(),
        })
    }
}

/// A file's content.
pub fn encode(errands: &[Errand]) -> Vec<u8> {
    let bytes: usize = errands.iter().map(Errand::bytes).sum();
    let mut content = Vec::with_capacity(HEADER + bytes);
    let count = u32::try_from(errands.len()).expect("a file has few errands");
    content.push(FORMAT);
    content.extend_from_slice(&count.to_be_bytes());
    content.resize(HEADER, 0);
    for errand in errands {
        bincode::encode_into_std_write(Row::of(errand), &mut content, CONFIG)
            .expect("a Vec takes all");
    }
    let digest = digest(&content);
    content[1 + COUNT..HEADER].copy_from_slice(&digest);
    content
}

/// The errands of a file.
///
/// # Errors
/// [`StoreError::Corrupt`] if it is not as it was written, or of another form.
pub fn decode(content: &[u8]) -> Result<Vec<Errand>, StoreError> {
    let corrupt = |what: String| StoreError::Corrupt(what);
    let Some(count) = count(content).filter(|_| content.len() >= HEADER) else {
        return Err(corrupt("not of a form that is known".into()));
    };
    if digest(content)[..] != content[1 + COUNT..HEADER] {
        return Err(corrupt("not as it was written".into()));
    }
    let (mut errands, mut rest) = (Vec::new(), &content[HEADER..]);
    for _ in 0..count {
        let (row, used) = bincode::borrow_decode_from_slice::<Row<'_>, _>(rest, CONFIG)
            .map_err(|error| corrupt(error.to_string()))?;
        errands.push(row.errand().map_err(|error| corrupt(error.to_string()))?);
        rest = &rest[used..];
    }
    match rest {
        [] => Ok(errands),
        _ => Err(corrupt("bytes after the end".into())),
    }
}

/// How many errands a file says it has, from how it begins.
pub fn count(content: &[u8]) -> Option<u32> {
    let (format, rest) = content.split_first()?;
    let count = rest.first_chunk::<COUNT>()?;
    (*format == FORMAT).then(|| u32::from_be_bytes(*count))
}

/// The digest of all but itself.
fn digest(content: &[u8]) -> [u8; 32] {
    let digest = Sha256::new()
        .chain_update(&content[..1 + COUNT])
        .chain_update(&content[HEADER..]);
    digest.finalize().into()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A message with something in every field, that missed a session and a user.
    pub fn errand(id: &str) -> Errand {
        let key = SessionKey {
            account: AccountId(3),
            session: SessionId::parse("é✓").unwrap(),
        };
        Errand {
            parcel: Parcel {
                target: Target {
                    user: Some(UserId(-7)),
                    account: Some(AccountId(3)),
                    session: Some(key.session.clone()),
                },
                message_id: MessageId::parse(id).unwrap(),
                kind: Some("t".into()),
                keep: true,
                body: Bytes::from_static(b"{\"a\":\"\\u00e9\"}"),
                text: Bytes::from_static("{\"a\":\"é\"}".as_bytes()),
                now: Timestamp(1_795_281_218_312_040),
            },
            sessions: Some(vec![(key, QueueName::parse("dev-fanfare-q").unwrap())]),
            users: vec![UserId(8), UserId(i64::MIN)],
        }
    }

    #[test]
    fn errands_come_back_as_they_were() {
        let mut all = errand("b");
        all.sessions = None;
        all.users.clear();
        all.parcel.target = Target::default();
        all.parcel.kind = None;
        let errands = [errand("a"), all, errand("c")];
        let content = encode(&errands);
        assert_eq!(decode(&content), Ok(errands.to_vec()));
        assert_eq!(count(&content), Some(3));
        let bytes: usize = errands.iter().map(Errand::bytes).sum();
        assert!(content.len() <= HEADER + bytes);
        assert_eq!(decode(&encode(&[])), Ok(Vec::new()));
    }

    #[test]
    fn whatever_is_damaged_is_noticed() {
        let content = encode(&[errand("a"), errand("b")]);
        for at in 0..content.len() {
            assert!(decode(&content[..at]).is_err(), "cut at {at}");
            let mut flipped = content.clone();
            flipped[at] ^= 1;
            assert!(decode(&flipped).is_err(), "a bit of byte {at}");
        }
        let mut longer = content;
        longer.push(0);
        assert!(decode(&longer).is_err());
    }

    #[test]
    fn a_forged_length_is_refused_before_it_is_allocated() {
        let mut content = encode(&[errand("a")]);
        content.truncate(HEADER);
        // No account, no user, and a session's id as long as can be written.
        content.extend_from_slice(&[0, 0, 1, 253, 255, 255, 255, 255, 255, 255, 255, 127]);
        let digest = digest(&content);
        content[1 + COUNT..HEADER].copy_from_slice(&digest);
        let refused = decode(&content).unwrap_err().to_string();
        assert!(refused.contains("LimitExceeded"), "{refused}");
    }

    #[test]
    fn only_what_is_needed_is_kept() {
        let check = |missed: Missed, keep: bool, body: bool, text: bool| {
            let mut parcel = errand("a").parcel;
            parcel.target.user = None;
            parcel.keep = keep;
            let kept = Errand::new(&parcel, missed).parcel;
            assert_eq!((!kept.body.is_empty(), !kept.text.is_empty()), (body, text));
        };
        let sessions = || errand("a").sessions.unwrap();
        let users = || vec![UserId(1)];
        let missed = |unknown, sessions, users| Missed {
            unknown,
            sessions,
            users,
            error: None,
        };
        check(missed(false, sessions(), Vec::new()), true, true, false);
        check(missed(false, Vec::new(), users()), true, false, true);
        check(missed(false, sessions(), users()), true, true, true);
        check(missed(true, Vec::new(), Vec::new()), true, true, true);
        check(missed(true, Vec::new(), Vec::new()), false, true, false);
    }
}
