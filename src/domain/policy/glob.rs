//! Texts with wildcards and variables, and what is left of them when the variables are known.

use super::context::{Context, Key, is_plain};

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// This character.
    Char(char),
    /// `?`: any one character.
    One,
    /// `*`: any characters, or none.
    Run,
    /// What is known of the connection.
    Variable(Key),
}

/// A template can not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// There is no such variable.
    #[error("the variable ${{{0}}} is not known")]
    Unknown(String),
    /// `${` without `}`.
    #[error("a variable is not closed by }}")]
    Open,
}

/// A text as a policy has it: wildcards, variables such as `${iot:ClientId}`, and the escapes `${*}`, `${?}`, `${$}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Token>);

impl Template {
    /// Reads a text in which `*` and `?` are wildcards.
    ///
    /// # Errors
    /// [`InvalidTemplate`], naming the variable.
    pub fn with_wildcards(text: &str) -> Result<Self, InvalidTemplate> {
        Self::read(text, true)
    }

    /// Reads a text in which they are not.
    ///
    /// # Errors
    /// [`InvalidTemplate`], naming the variable.
    pub fn without_wildcards(text: &str) -> Result<Self, InvalidTemplate> {
        Self::read(text, false)
    }

    fn read(mut text: &str, wildcards: bool) -> Result<Self, InvalidTemplate> {
        let mut tokens = Vec::new();
        while let Some(character) = text.chars().next() {
            if let Some(rest) = text.strip_prefix("${") {
                let (name, rest) = rest.split_once('}').ok_or(InvalidTemplate::Open)?;
                tokens.push(match name {
                    "*" => Token::Char('*'),
                    "?" => Token::Char('?'),
                    "$" => Token::Char('$'),
                    name => Key::variable(name)
                        .map(Token::Variable)
                        .ok_or_else(|| InvalidTemplate::Unknown(name.to_owned()))?,
                });
                text = rest;
                continue;
            }
            tokens.push(match character {
                '*' if wildcards => Token::Run,
                '?' if wildcards => Token::One,
                character => Token::Char(character),
            });
            text = &text[character.len_utf8()..];
        }
        Ok(Self(tokens))
    }

    /// Whether what it stands for depends on the connection.
    pub fn varies(&self) -> bool {
        self.0
            .iter()
            .any(|token| matches!(token, Token::Variable(_)))
    }

    /// The pattern for one connection. A variable without a value, or with a value that could be mistaken for a
    /// wildcard, matches nothing (M4, M5), or anything where `unknown_is_any`: what is uncertain shall deny.
    pub(super) fn resolve(&self, context: &Context, unknown_is_any: bool) -> Option<Resolved> {
        let mut tokens = Vec::with_capacity(self.0.len());
        for token in &self.0 {
            match token {
                Token::Variable(key) => match context.value(*key).filter(|text| is_plain(text)) {
                    Some(text) => tokens.extend(text.chars().map(Token::Char)),
                    None if unknown_is_any => tokens.push(Token::Run),
                    None => return None,
                },
                token => tokens.push(token.clone()),
            }
        }
        Some(Resolved(tokens))
    }
}

/// A template whose variables have been replaced.
#[derive(Debug, Clone)]
pub(super) struct Resolved(Vec<Token>);

impl Resolved {
    /// The pattern as it is.
    pub(super) fn pattern(&self) -> Pattern {
        Pattern::of(&self.0)
    }

    /// The pattern, for texts in lower case if case does not count.
    pub(super) fn folded(&self, ignore_case: bool) -> Pattern {
        if !ignore_case {
            return self.pattern();
        }
        let folded = self.0.iter().flat_map(|token| match token {
            Token::Char(character) => character.to_lowercase().map(Token::Char).collect(),
            token => vec![token.clone()],
        });
        Pattern::of(&folded.collect::<Vec<_>>())
    }

    /// What a text must match after `prefix`, so that `prefix` and the text together match this. Several, if a `*`
    /// stands where it may end inside of the prefix or after it.
    pub(super) fn after(&self, prefix: &str) -> Vec<Pattern> {
        let mut states = vec![0];
        for character in prefix.chars() {
            let mut next = Vec::new();
            for state in self.closed(&states) {
                let to = match self.0.get(state) {
                    Some(Token::Run) => state,
                    Some(Token::One) => state + 1,
                    Some(Token::Char(expected)) if *expected == character => state + 1,
                    _ => continue,
                };
                if !next.contains(&to) {
                    next.push(to);
                }
            }
            states = next;
        }
        states
            .iter()
            .map(|state| Pattern::of(&self.0[*state..]))
            .collect()
    }

    /// The states, and those that they reach because a `*` may stand for nothing.
    fn closed(&self, states: &[usize]) -> Vec<usize> {
        let mut all = states.to_vec();
        for state in states {
            let mut state = *state;
            while self.0.get(state) == Some(&Token::Run) {
                state += 1;
                if !all.contains(&state) {
                    all.push(state);
                }
            }
        }
        all
    }
}

/// A pattern, ready to be compared with: the texts between its `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Box<[Piece]>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    /// With `?`, which is `None`.
    Holes(Box<[Option<char>]>),
}

impl Pattern {
    /// A pattern without variables and escapes.
    pub(super) fn plain(text: &str) -> Self {
        let tokens: Vec<_> = text
            .chars()
            .map(|character| match character {
                '*' => Token::Run,
                '?' => Token::One,
                character => Token::Char(character),
            })
            .collect();
        Self::of(&tokens)
    }

    fn of(tokens: &[Token]) -> Self {
        let mut pieces: Vec<_> = tokens
            .split(|token| *token == Token::Run)
            .map(Piece::of)
            .collect();
        // Of several `*` in a row one is as good.
        let last = pieces.len() - 1;
        let mut index = 0;
        pieces.retain(|piece| {
            let inside = index > 0 && index < last;
            index += 1;
            !(inside && piece.is_empty())
        });
        Self(pieces.into())
    }

    /// Whether it begins with this text, wildcards aside.
    pub(super) fn begins_with(&self, text: &str) -> bool {
        matches!(self.0.first(), Some(Piece::Text(first)) if first.starts_with(text))
    }

    /// Whether it stands for any text.
    pub(super) fn is_any(&self) -> bool {
        self.0.len() == 2 && self.0.iter().all(Piece::is_empty)
    }

    /// Whether the text fits. Time: at most the product of both lengths.
    pub(super) fn matches(&self, text: &str) -> bool {
        match &*self.0 {
            [] => text.is_empty(),
            [only] => only.strip(text) == Some(""),
            [first, inside @ .., last] => {
                let Some(mut rest) = first.strip(text) else {
                    return false;
                };
                // The earliest place for each piece leaves the most for those that follow.
                for piece in inside {
                    match piece.find(rest) {
                        Some(after) => rest = after,
                        None => return false,
                    }
                }
                last.ends(rest)
            }
        }
    }
}

impl Piece {
    fn of(tokens: &[Token]) -> Self {
        let characters: Vec<_> = tokens
            .iter()
            .map(|token| match token {
                Token::Char(character) => Some(*character),
                _ => None,
            })
            .collect();
        match characters.iter().copied().collect::<Option<String>>() {
            Some(text) => Self::Text(text.into()),
            None => Self::Holes(characters.into()),
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }

    /// What follows it at the beginning of a text.
    fn strip<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Text(piece) => text.strip_prefix(&**piece),
            Self::Holes(holes) => {
                let mut characters = text.chars();
                for hole in holes {
                    let character = characters.next()?;
                    if hole.is_some_and(|expected| expected != character) {
                        return None;
                    }
                }
                Some(characters.as_str())
            }
        }
    }

    /// What follows the first place where it is.
    fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Text(piece) => text
                .find(&**piece)
                .map(|start| &text[start + piece.len()..]),
            Self::Holes(_) => text
                .char_indices()
                .find_map(|(start, _)| self.strip(&text[start..])),
        }
    }

    fn ends(&self, text: &str) -> bool {
        match self {
            Self::Text(piece) => text.ends_with(&**piece),
            Self::Holes(holes) => {
                let start = text.char_indices().rev().nth(holes.len() - 1);
                start.is_some_and(|(start, _)| self.strip(&text[start..]) == Some(""))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it says, the slow way.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
            (['?', rest @ ..], [_, text @ ..]) => naive(rest, text),
            ([a, rest @ ..], [b, text @ ..]) => a == b && naive(rest, text),
            _ => false,
        }
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?é]{0,8}", text in "[abé]{0,8}", at in 0..9_usize) {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = naive(&chars(&pattern), &chars(&text));
            proptest::prop_assert_eq!(Pattern::plain(&pattern).matches(&text), expected);
            let characters = chars(&text);
            let at = at.min(characters.len());
            let (prefix, rest): (String, String) =
                (characters[..at].iter().collect(), characters[at..].iter().collect());
            let resolved = Template::with_wildcards(&pattern).unwrap().resolve(&Context::default(), false).unwrap();
            let after = resolved.after(&prefix);
            proptest::prop_assert_eq!(after.iter().any(|pattern| pattern.matches(&rest)), expected);
        }
    }

    #[test]
    fn many_stars_are_one() {
        let pattern = Pattern::plain(&"*".repeat(8000));
        assert!(pattern.is_any() && pattern.matches("x"));
        let pattern = Pattern::plain(&"a*".repeat(1000));
        assert!(!pattern.matches(&"a".repeat(999)));
        assert!(pattern.matches(&"a".repeat(1000)));
    }

    #[test]
    fn variables_and_escapes() {
        let context = Context {
            client_id: Some("me".into()),
            ..Context::default()
        };
        let check = |template: &str, text: &str, expect: bool| {
            let template = Template::with_wildcards(template).unwrap();
            let pattern = template.resolve(&context, false);
            let found = pattern.is_some_and(|pattern| pattern.pattern().matches(text));
            assert_eq!(found, expect, "{template:?} {text}");
        };
        check("a/${iot:ClientId}/b", "a/me/b", true);
        check("a/${iot:clientid}/b", "a/me/b", true);
        check("a/${aws:SourceIp}", "a/", false);
        check("${*}${?}${$}", "*?$", true);
        check("${*}", "x", false);
        assert_eq!(
            Template::with_wildcards("${nobody}"),
            Err(InvalidTemplate::Unknown("nobody".into()))
        );
        assert_eq!(Template::with_wildcards("a${x"), Err(InvalidTemplate::Open));
    }
}
