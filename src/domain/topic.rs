//! Topic names and topic filters (MQTT 5.0 section 4.7). A value of such a type is valid.

use std::fmt;
use std::hash::Hasher;

use bytestring::ByteString;

/// Why a text is no topic name or filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTopic {
    /// There must be at least one character.
    #[error("a topic must not be empty")]
    Empty,
    /// MQTT carries at most 65,535 bytes.
    #[error("a topic must have at most 65535 bytes")]
    TooLong,
    /// More than [`LEVELS`]: each level costs memory wherever the topic is subscribed to.
    #[error("a topic must have at most 32 levels")]
    TooManyLevels,
    /// `U+0000`, another control character, or a Unicode non-character.
    #[error("a topic must not contain control characters or non-characters")]
    Character,
    /// `#` or `+` in a name.
    #[error("a topic name must not contain the wildcards # and +")]
    Wildcard,
    /// `#` that is not the whole last level, or `+` that is not a whole level.
    #[error("a wildcard must be a whole level, and # the last one")]
    MisplacedWildcard,
    /// `$share` without a group name and a filter.
    #[error("a shared subscription must have the form $share/name/filter")]
    Share,
}

/// What `#` at the end of a filter matches besides everything below its parent level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hash {
    /// The parent level, too: `sensor/#` matches `sensor` (MQTT 5.0 section 4.7.1.2).
    #[default]
    WithParent,
    /// Nothing else, as with AWS IoT Core.
    WithoutParent,
}

/// Levels that a topic may have. Ours; beyond it the name or filter is refused.
pub const LEVELS: usize = 32;

/// What MQTT's two-byte length can carry.
const BYTES: usize = 65_535;

/// A name that a publication carries: no wildcards.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicName(ByteString);

impl TopicName {
    /// Takes a valid name. The bytes are shared, not copied.
    ///
    /// # Errors
    /// [`InvalidTopic`], saying what is wrong.
    pub fn parse(text: ByteString) -> Result<Self, InvalidTopic> {
        check(&text)?;
        if text.bytes().any(|byte| matches!(byte, b'#' | b'+')) {
            return Err(InvalidTopic::Wildcard);
        }
        Ok(Self(text))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as shared bytes.
    pub fn as_bytes(&self) -> &bytes::Bytes {
        self.0.as_bytes()
    }

    /// The same in memory of its own: a name that was read shares the memory of all that was read with it.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(ByteString::from(self.as_str().to_owned()))
    }

    /// Whether it starts with `$`: reserved for the server, and not matched by a wildcard in a filter's first level.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('$')
    }

    /// The levels in order.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

/// As its text, so that a table by topic name can be asked with a text.
impl std::hash::Hash for TopicName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// What a subscription asks for: a topic filter, and the group if it is a shared subscription.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, std::hash::Hash)]
pub struct TopicFilter {
    /// As the client wrote it, with `$share/name/` if it is shared.
    text: ByteString,
    /// Where the filter proper begins: 0 unless it is shared.
    start: usize,
}

impl TopicFilter {
    /// Takes a valid filter. The bytes are shared, not copied.
    ///
    /// # Errors
    /// [`InvalidTopic`], saying what is wrong.
    pub fn parse(text: ByteString) -> Result<Self, InvalidTopic> {
        let start = share(&text)?;
        let filter = &text[start..];
        check(filter)?;
        if text.len() > BYTES {
            return Err(InvalidTopic::TooLong);
        }
        let mut levels = filter.split('/').peekable();
        while let Some(level) = levels.next() {
            let wild = level.bytes().any(|byte| matches!(byte, b'#' | b'+'));
            if wild && !(level == "+" || level == "#" && levels.peek().is_none()) {
                return Err(InvalidTopic::MisplacedWildcard);
            }
        }
        Ok(Self { text, start })
    }

    /// As the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// As shared bytes, as the client wrote it.
    pub fn as_bytes(&self) -> &bytes::Bytes {
        self.text.as_bytes()
    }

    /// The filter that topics are matched with, without `$share/name/`.
    pub fn filter(&self) -> &str {
        &self.text[self.start..]
    }

    /// The name of the group, if it is a shared subscription.
    pub fn group(&self) -> Option<&str> {
        let name = self.text.get(SHARE.len()..self.start.checked_sub(1)?)?;
        Some(name)
    }

    /// The same in memory of its own: a filter that was read shares the memory of all that was read with it.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self {
            text: ByteString::from(self.as_str().to_owned()),
            start: self.start,
        }
    }

    /// The levels of [`TopicFilter::filter`] in order.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.filter().split('/')
    }

    /// Whether it has a wildcard.
    pub fn is_wild(&self) -> bool {
        self.levels().any(|level| matches!(level, "#" | "+"))
    }

    /// Whether it matches a topic, as the specification has it.
    pub fn matches(&self, topic: &TopicName) -> bool {
        self.matches_with(topic, Hash::WithParent)
    }

    /// Whether it matches a topic. A wildcard in the first level matches no topic that starts with `$` (4.7.2).
    pub fn matches_with(&self, topic: &TopicName, hash: Hash) -> bool {
        let mut filter = self.levels();
        let mut name = topic.levels();
        let mut first = true;
        loop {
            let wanted = filter.next();
            if first && topic.is_reserved() && matches!(wanted, Some("#" | "+")) {
                return false;
            }
            first = false;
            match (wanted, name.next()) {
                (Some("#"), None) => return hash == Hash::WithParent,
                (Some("#"), Some(_)) | (None, None) => return true,
                (Some("+"), Some(_)) => {}
                (Some(wanted), Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

const SHARE: &str = "$share/";

/// Where the filter begins in a shared subscription's text (MQTT 5.0 section 4.8.2), else 0.
fn share(text: &str) -> Result<usize, InvalidTopic> {
    if text == "$share" {
        return Err(InvalidTopic::Share);
    }
    let Some(rest) = text.strip_prefix(SHARE) else {
        return Ok(0);
    };
    let (name, filter) = rest.split_once('/').ok_or(InvalidTopic::Share)?;
    if name.is_empty() || filter.is_empty() || name.contains(['#', '+']) {
        return Err(InvalidTopic::Share);
    }
    Ok(text.len() - filter.len())
}

/// What names and filters have in common.
fn check(text: &str) -> Result<(), InvalidTopic> {
    if text.is_empty() {
        return Err(InvalidTopic::Empty);
    }
    if text.len() > BYTES {
        return Err(InvalidTopic::TooLong);
    }
    if text.bytes().filter(|byte| *byte == b'/').count() >= LEVELS {
        return Err(InvalidTopic::TooManyLevels);
    }
    // Plain ASCII, the usual case, is decided byte by byte.
    let plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if !plain && text.chars().any(is_forbidden) {
        return Err(InvalidTopic::Character);
    }
    Ok(())
}

/// What the specification lets a server refuse in any text (1.5.4), and does not let it keep: control characters and
/// non-characters.
fn is_forbidden(character: char) -> bool {
    let code = u32::from(character);
    character.is_control() || (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn name(text: &str, expect: Result<(), InvalidTopic>) {
        assert_eq!(
            TopicName::parse(text.into()).map(|_| ()),
            expect,
            "{text:?}"
        );
    }

    #[test]
    fn names() {
        for good in ["a", "/", "/a", "a/", "a//b", "$aws/x", "é/✓", "a b"] {
            name(good, Ok(()));
        }
        name("", Err(InvalidTopic::Empty));
        for wild in ["#", "+", "a/#", "a/+/b", "a#", "+a"] {
            name(wild, Err(InvalidTopic::Wildcard));
        }
        for text in [
            "a\0",
            "a\nb",
            "\u{7f}",
            "\u{85}",
            "\u{fffe}",
            "\u{fdd0}",
            "\u{1ffff}",
        ] {
            name(text, Err(InvalidTopic::Character));
        }
        name(&"a".repeat(65_535), Ok(()));
        name(&"a".repeat(65_536), Err(InvalidTopic::TooLong));
        name(&"/".repeat(31), Ok(()));
        name(&"/".repeat(32), Err(InvalidTopic::TooManyLevels));
    }

    #[track_caller]
    fn filter(text: &str, expect: Result<(&str, Option<&str>), InvalidTopic>) {
        let parsed = TopicFilter::parse(text.into());
        let found = parsed
            .as_ref()
            .map(|filter| (filter.filter(), filter.group()));
        assert_eq!(found.map_err(|error| *error), expect, "{text:?}");
    }

    #[test]
    fn filters() {
        for good in [
            "#",
            "+",
            "a/#",
            "+/+",
            "/+",
            "+/a/#",
            "$SYS/#",
            "a//+",
            "$shared/x",
        ] {
            filter(good, Ok((good, None)));
        }
        for bad in ["a/#/b", "a#", "#a", "a+", "+a/b", "a/b#", "##", "++"] {
            filter(bad, Err(InvalidTopic::MisplacedWildcard));
        }
        filter("", Err(InvalidTopic::Empty));
        filter("$share/g/a/#", Ok(("a/#", Some("g"))));
        filter("$share/g//", Ok(("/", Some("g"))));
        for bad in [
            "$share",
            "$share/",
            "$share/g",
            "$share/g/",
            "$share//a",
            "$share/g+/a",
            "$share/#/a",
        ] {
            filter(bad, Err(InvalidTopic::Share));
        }
        filter(&"/".repeat(32), Err(InvalidTopic::TooManyLevels));
    }

    #[track_caller]
    fn matching(filter: &str, topic: &str, expect: bool) {
        let parsed = TopicFilter::parse(filter.into()).unwrap();
        let topic = TopicName::parse(topic.into()).unwrap();
        assert_eq!(parsed.matches(&topic), expect, "{filter} {topic}");
    }

    #[test]
    fn matches_as_section_4_7_says() {
        for (filter, topic) in [
            ("a/b", "a/b"),
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
            (
                "sport/tennis/player1/#",
                "sport/tennis/player1/score/wimbledon",
            ),
            ("sport/#", "sport"),
            ("#", "a"),
            ("#", "/a"),
            ("sport/tennis/+", "sport/tennis/player1"),
            ("sport/+", "sport/"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("$SYS/#", "$SYS/x"),
            ("$SYS/monitor/+", "$SYS/monitor/Clients"),
            ("$share/g/a/+", "a/b"),
        ] {
            matching(filter, topic, true);
        }
        for (filter, topic) in [
            ("a/b", "a/c"),
            ("a/b", "a/b/c"),
            ("a/b/c", "a/b"),
            ("sport/tennis/+", "sport/tennis/player1/ranking"),
            ("sport/+", "sport"),
            ("+", "/finance"),
            ("#", "$SYS/x"),
            ("+/x", "$SYS/x"),
            ("a", "A"),
            ("a", "a/"),
        ] {
            matching(filter, topic, false);
        }
    }
}
