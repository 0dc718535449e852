//! The REST route table: raw paths, matched segment by segment, parameters decoded exactly once.

use actix_web::http::Method;
use percent_encoding::percent_decode_str;

use crate::wire::{Params, Refusal};

/// One segment of a pattern. The order is the order of preference when two patterns match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(&'static str),
    Param(&'static str),
    Rest(&'static str),
}

impl Segment {
    fn parse(text: &'static str) -> Self {
        let name = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
        match name {
            Some(name) => match name.strip_suffix('*') {
                Some(name) => Self::Rest(name),
                None => Self::Param(name),
            },
            None => Self::Literal(text),
        }
    }

    /// Equal for two patterns that match the same paths, whatever they call their parameters.
    fn shape(self) -> (u8, &'static str) {
        match self {
            Self::Literal(text) => (0, text),
            Self::Param(_) => (1, ""),
            Self::Rest(_) => (2, ""),
        }
    }
}

/// A pattern, the methods it answers, and what is found there.
#[derive(Debug)]
struct Leaf<T> {
    segments: Vec<Segment>,
    methods: &'static [Method],
    target: T,
}

/// All routes. Built once; a path costs one pass over the patterns of its own length.
#[derive(Debug)]
pub(super) struct Router<T> {
    /// By number of segments, each list most specific first.
    by_length: Vec<Vec<Leaf<T>>>,
    /// Patterns that end in a rest, most specific first.
    rests: Vec<Leaf<T>>,
}

impl<T> Router<T> {
    pub(super) fn new() -> Self {
        Self {
            by_length: Vec::new(),
            rests: Vec::new(),
        }
    }

    /// Adds a route.
    ///
    /// # Panics
    /// If a route of the same shape and method is there already: which one answers must never depend on the
    /// order of registration.
    pub(super) fn add(&mut self, path: &'static str, methods: &'static [Method], target: T) {
        let segments: Vec<_> = split(path)
            .unwrap_or_default()
            .into_iter()
            .map(Segment::parse)
            .collect();
        let rest = matches!(segments.last(), Some(Segment::Rest(_)));
        let leaves = if rest {
            &mut self.rests
        } else {
            let length = segments.len();
            if self.by_length.len() <= length {
                self.by_length.resize_with(length + 1, Vec::new);
            }
            &mut self.by_length[length]
        };
        let shape = |leaf: &[Segment]| leaf.iter().map(|s| s.shape()).collect::<Vec<_>>();
        for other in leaves.iter() {
            let overlap = methods.iter().any(|method| other.methods.contains(method));
            assert!(
                !(overlap && shape(&other.segments) == shape(&segments)),
                "two routes answer {path}"
            );
        }
        let at = leaves.partition_point(|leaf| shape(&leaf.segments) <= shape(&segments));
        leaves.insert(
            at,
            Leaf {
                segments,
                methods,
                target,
            },
        );
    }

    /// The route for a request.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`Refusal::MethodNotAllowed`], or [`Refusal::Malformed`] if a parameter is not
    /// percent-encoded UTF-8.
    pub(super) fn find(&self, method: &Method, raw_path: &str) -> Result<(&T, Params), Refusal> {
        let path = split(raw_path).ok_or(Refusal::NotFound)?;
        let same_length = self.by_length.get(path.len()).into_iter().flatten();
        let mut allowed: Vec<&Method> = Vec::new();
        for leaf in same_length.chain(&self.rests) {
            if !matches(&leaf.segments, &path) {
                continue;
            }
            if answers(leaf.methods, method) {
                return Ok((&leaf.target, decode(&leaf.segments, &path)?));
            }
            allowed.extend(leaf.methods);
        }
        if allowed.is_empty() {
            return Err(Refusal::NotFound);
        }
        Err(Refusal::MethodNotAllowed {
            allow: allow_header(&allowed),
        })
    }
}

/// The segments of a path without its leading and one trailing slash; `None` if a segment is empty, so
/// that no two spellings of a path with different signatures reach the same route unnoticed.
fn split(path: &str) -> Option<Vec<&str>> {
    let inner = path.strip_prefix('/')?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if inner.is_empty() {
        return (path.len() <= 1).then(Vec::new);
    }
    let segments: Vec<_> = inner.split('/').collect();
    segments
        .iter()
        .all(|segment| !segment.is_empty())
        .then_some(segments)
}

fn matches(pattern: &[Segment], path: &[&str]) -> bool {
    if path.len() < pattern.len() {
        return false;
    }
    pattern
        .iter()
        .zip(path)
        .all(|(segment, text)| match segment {
            Segment::Literal(literal) => literal == text,
            Segment::Param(_) | Segment::Rest(_) => true,
        })
}

fn answers(methods: &[Method], method: &Method) -> bool {
    methods.contains(method) || (method == Method::HEAD && methods.contains(&Method::GET))
}

fn decode(pattern: &[Segment], path: &[&str]) -> Result<Params, Refusal> {
    pattern
        .iter()
        .enumerate()
        .filter_map(|(at, segment)| match segment {
            Segment::Literal(_) => None,
            Segment::Param(name) => Some(decoded(path[at]).map(|value| (*name, value))),
            Segment::Rest(name) => Some(decoded(&path[at..].join("/")).map(|value| (*name, value))),
        })
        .collect()
}

/// Percent-decodes once. A `%` that starts no escape is an error, not itself: the sender meant something else.
fn decoded(text: &str) -> Result<String, Refusal> {
    let malformed = || Refusal::Malformed(format!("The path segment {text:?} is malformed."));
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        match rest.get(at + 1..at + 3) {
            Some([a, b]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                rest = &rest[at + 3..];
            }
            _ => return Err(malformed()),
        }
    }
    percent_decode_str(text)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| malformed())
}

fn allow_header(methods: &[&Method]) -> String {
    let mut names: Vec<&str> = methods.iter().map(|method| method.as_str()).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.push("OPTIONS");
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[Method] = &[Method::GET];
    const BOTH: &[Method] = &[Method::GET, Method::POST];

    fn router() -> Router<&'static str> {
        let mut router = Router::new();
        for (path, methods) in [
            ("/", GET),
            ("/notify/{account}", BOTH),
            ("/notify", BOTH),
            ("/notify/{account}/user/{user}", BOTH),
            ("/notify/user/{user}", BOTH),
            ("/notify/account/{account}", BOTH),
            ("/notify/user/{user}/session/{session}", BOTH),
            ("/topics/{topic*}", &[Method::POST] as &[Method]),
            ("/topics/list", GET),
        ] {
            router.add(path, methods, path);
        }
        router
    }

    #[track_caller]
    fn check(path: &str, expect: &str, params: &[(&'static str, &str)]) {
        let router = router();
        let (found, got) = router.find(&Method::POST, path).expect(path);
        assert_eq!(*found, expect, "{path}");
        let params = params.iter().map(|(name, value)| (*name, (*value).into()));
        assert_eq!(got, params.collect(), "{path}");
    }

    #[test]
    fn finds_the_most_specific_route() {
        check("/notify", "/notify", &[]);
        check("/notify/", "/notify", &[]);
        check("/notify/7", "/notify/{account}", &[("account", "7")]);
        check("/notify/user/3", "/notify/user/{user}", &[("user", "3")]);
        check(
            "/notify/7/user/3",
            "/notify/{account}/user/{user}",
            &[("account", "7"), ("user", "3")],
        );
        check(
            "/notify/user/3/session/s",
            "/notify/user/{user}/session/{session}",
            &[("user", "3"), ("session", "s")],
        );
    }

    #[test]
    fn decodes_once_and_after_splitting() {
        check("/notify/a%2Fb", "/notify/{account}", &[("account", "a/b")]);
        check("/notify/%252F", "/notify/{account}", &[("account", "%2F")]);
        check("/notify/a+b", "/notify/{account}", &[("account", "a+b")]);
        check(
            "/notify/%F0%9F%98%80",
            "/notify/{account}",
            &[("account", "😀")],
        );
        check("/topics/a/b%2Fc", "/topics/{topic*}", &[("topic", "a/b/c")]);
        check("/topics/a%2Fb", "/topics/{topic*}", &[("topic", "a/b")]);
        check("/notify/..", "/notify/{account}", &[("account", "..")]);
    }

    #[track_caller]
    fn check_refused(method: Method, path: &str, expect: &Refusal) {
        let refusal = router()
            .find(&method, path)
            .map(|(found, _)| *found)
            .expect_err(path);
        match expect {
            Refusal::Malformed(_) => assert!(matches!(refusal, Refusal::Malformed(_)), "{path}"),
            expect => assert_eq!(refusal, *expect, "{path}"),
        }
    }

    #[test]
    fn refuses_what_is_not_there() {
        for path in [
            "/nope",
            "//",
            "/notify//",
            "//notify",
            "/notify//7",
            "/a/b/c/d/e/f/g",
            "",
            "*",
            "/Notify",
            "/n%6ftify",
        ] {
            check_refused(Method::POST, path, &Refusal::NotFound);
        }
        for path in ["/notify/%", "/notify/%4", "/notify/%zz", "/notify/%ff"] {
            check_refused(Method::GET, path, &Refusal::Malformed(String::new()));
        }
    }

    #[test]
    fn names_the_methods_it_would_take() {
        let allow = |allow: &str| Refusal::MethodNotAllowed {
            allow: allow.into(),
        };
        check_refused(
            Method::DELETE,
            "/notify/7",
            &allow("GET, HEAD, OPTIONS, POST"),
        );
        check_refused(Method::POST, "/", &allow("GET, HEAD, OPTIONS"));
        // Both patterns match, and between them they take these.
        check_refused(
            Method::PUT,
            "/topics/list",
            &allow("GET, HEAD, OPTIONS, POST"),
        );
        let router = router();
        assert!(router.find(&Method::HEAD, "/").is_ok());
        assert!(router.find(&Method::HEAD, "/topics/x/y").is_err());
    }

    #[test]
    #[should_panic(expected = "two routes answer")]
    fn two_routes_of_one_shape_are_a_bug() {
        let mut router = router();
        router.add("/notify/{other}", GET, "again");
    }
}
