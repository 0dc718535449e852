//! Limits and the tests that reach them: a bound that no test has reached may not be one.

use super::sizes::is_test;
use super::source;
use super::{File, Problem};

/// Where the limits are, together with the folder beside it.
const LIMITS: &str = "src/config/limits.rs";

/// Limits, and settings that bound something, which their test reaches without naming them: mostly because it works with a
/// smaller one. The test's name must exist.
const REACHED: &[(&str, &str)] = &[
    (
        "HISTORIES",
        "what_has_expired_leaves_and_its_history_is_forgotten",
    ),
    (
        "COMMIT_QUEUE_JOBS",
        "what_waits_is_bounded_in_jobs_and_in_bytes",
    ),
    (
        "COMMIT_QUEUE_BYTES",
        "what_waits_is_bounded_in_jobs_and_in_bytes",
    ),
    ("COMMIT_BATCH_BYTES", "a_batch_ends_when_it_has_its_bytes"),
    (
        "SESSION_RETENTION_DEFAULT",
        "test_options_come_by_query_or_by_json",
    ),
    ("SQS_MESSAGE_BYTES", "of_messages_in_sqs"),
    ("RESUME", "test_a_connection_that_breaks_is_gone_on_with"),
    ("SEND_BATCH", "test_calls_are_few_when_messages_are_many"),
    (
        "HISTORY_TEXT_BYTES",
        "test_messages_are_refused_by_size_before_anything_is_done",
    ),
    (
        "LEASED_SESSIONS",
        "so_many_outboxes_are_kept_and_busy_ones_always",
    ),
    (
        "CHANGE_TRIES",
        "test_a_session_that_others_always_change_first_is_refused",
    ),
    (
        "RELAY_GROUP",
        "test_a_stream_is_relayed_in_the_order_of_each_key",
    ),
    (
        "READ_RECORDS",
        "test_a_stream_is_relayed_in_the_order_of_each_key",
    ),
    ("READ_BYTES", "reading_waits_for_what_is_not_relayed_yet"),
    (
        "RECORD_TRIES",
        "test_what_is_refused_for_good_is_given_up_and_the_shard_goes_on",
    ),
    (
        "aws.consume_bytes",
        "reading_waits_for_what_is_not_relayed_yet",
    ),
    ("aws.spill_bytes", "so_many_bytes_wait_and_no_more"),
    (
        "SPILL_READ_BYTES",
        "a_forged_length_is_refused_before_it_is_allocated",
    ),
    (
        "SEND_PART",
        "a_message_is_sent_to_so_many_sessions_at_a_time",
    ),
    (
        "aws.hold_bytes",
        "test_what_waits_is_bounded_and_refused_beyond",
    ),
    ("MOVE_RATE", "a_start_is_read_in_both_protocols"),
    ("SETTINGS", "every_key_has_a_rule_and_every_rule_a_key"),
    ("BODY_PATIENCE", "h02_slow_heads_and_bodies_end"),
    (
        "SIGNING_KEYS",
        "a_cache_of_one_slot_still_answers_right_for_everybody",
    ),
    (
        "http.max_connections",
        "beyond_the_limit_connections_wait_in_the_backlog",
    ),
    ("http.body_limit_bytes", "of_requests"),
    ("http.head_timeout", "h02_slow_heads_and_bodies_end"),
    ("http.body_timeout", "h02_slow_heads_and_bodies_end"),
    (
        "store.min_free_bytes",
        "a_full_disk_refuses_growth_and_serves_the_rest",
    ),
    ("sessions.max_sessions", "limits_are_reached_and_not_passed"),
    (
        "sessions.queue_limit",
        "a_full_queue_gets_no_receipt_message_and_stops_no_receipt",
    ),
    ("queues.max_messages", "limits_refuse"),
    ("queues.max_in_flight", "limits_refuse"),
    ("queues.max_waiting", "limits_refuse"),
    (
        "queues.mailbox",
        "so_many_requests_wait_in_a_queues_mailbox",
    ),
    ("FRAGMENTS", "w02_w03_w05_what_is_no_good_frame_is_told_so"),
    ("CROWDED_FROM", "what_pacing_saves_does_not_end_it"),
    ("CROWDED_UNTIL", "what_pacing_saves_does_not_end_it"),
    (
        "CHEAP_FRAMES",
        "w02_w03_w05_what_is_no_good_frame_is_told_so",
    ),
    ("SESSION_BYTES", "what_can_not_be_is_refused_as_sts_does"),
    (
        "NARROWED_TOPICS",
        "guests_may_what_the_configuration_says_narrowed_by_what_they_asked_for",
    ),
    (
        "TOPIC_BYTES",
        "guests_may_what_the_configuration_says_narrowed_by_what_they_asked_for",
    ),
    ("GUEST_LIFE", "s11_keys_that_have_ended_end_the_principal"),
    (
        "CONNECT_TOKEN_LIFE",
        "a_connect_token_lets_in_whom_it_was_made_for",
    ),
    (
        "LOGIN_FAILURES",
        "failed_logins_are_rationed_by_address_and_name",
    ),
    (
        "LOGIN_PAUSE",
        "failed_logins_are_rationed_by_address_and_name",
    ),
    (
        "SUBSCRIPTION_RESULTS",
        "test_subscriptions_are_listed_page_by_page",
    ),
    (
        "SUBSCRIPTION_RESULTS_DEFAULT",
        "test_subscriptions_are_listed_page_by_page",
    ),
    (
        "CONFIRMATION_S",
        "test_what_is_wrong_with_a_direct_message_is_said",
    ),
    (
        "CONFIRMATION_DEFAULT_S",
        "test_a_message_that_is_not_confirmed_is_said_to_be_so",
    ),
    (
        "SURVEYED",
        "a_survey_looks_at_so_many_subscriptions_and_says_so",
    ),
    (
        "console.traces",
        "so_many_messages_are_kept_and_the_oldest_goes",
    ),
    (
        "queues.cached_body_bytes",
        "bodies_beyond_the_budget_are_read_when_needed",
    ),
];

/// Constants beside the limits at which nothing is refused, and limits that no test reaches yet, each with the reason.
const UNREACHED: &[(&str, &str)] = &[
    ("TEXT_BYTES", "what MQTT's own two-byte length can carry"),
    ("FAN_OUT_BATCH", "a size of work: nothing is refused at it"),
    (
        "CACHED_TOPICS",
        "beyond it a cache begins anew; nothing is refused",
    ),
    ("CERTIFICATE_LOOK", "an interval"),
    ("TICK", "an interval"),
    ("CROWDED_PACE", "an interval"),
    ("READ_BYTES", "a buffer's size"),
    ("TURN_BYTES", "a size of work"),
    ("CHUNK_BYTES", "a buffer's size"),
    (
        "SHARED_BYTES",
        "a choice between two ways to the same result",
    ),
    ("BUFFER_BYTES", "a buffer's size"),
    ("SPARE_BYTES", "memory kept for reuse"),
    ("DIRTY_KEPT", "memory kept for reuse"),
    ("WRITE_PARTS", "a size of work"),
    ("CHEAP_PERIOD", "a period that CHEAP_FRAMES is counted in"),
];

/// Reports limits that neither a test names nor [`REACHED`] lists, and rows of that which lead nowhere.
pub fn check(files: &[File]) -> Vec<Problem> {
    let (limits, others): (Vec<&File>, Vec<&File>) =
        files.iter().partition(|file| has_limits(&file.path));
    if limits.is_empty() {
        return Vec::new();
    }
    let of_tests = |file: &&File| match file.path.rsplit_once('.')?.1 {
        "rs" => Some(test_code(files, file)),
        "py" => Some(file.text.clone()),
        _ => None,
    };
    let tests: Vec<String> = others.iter().filter_map(of_tests).collect();
    check_against(&limits, &tests, REACHED)
}

fn has_limits(path: &str) -> bool {
    let below = path.strip_prefix(LIMITS.trim_end_matches(".rs"));
    below.is_some_and(|below| below == ".rs" || below.starts_with('/'))
}

fn check_against(limits: &[&File], tests: &[String], reached: &[(&str, &str)]) -> Vec<Problem> {
    let problem = |path: &str, line, what| Problem {
        rule: "limit-test",
        path: path.to_owned(),
        line,
        what,
    };
    let codes = limits.iter().map(|file| source::code(&file.text));
    let codes: Vec<String> = codes.collect();
    let mut problems = Vec::new();
    for (file, code) in limits.iter().zip(&codes) {
        for (line, name) in constants(code) {
            let is_row = |(limit, _): &(&str, &str)| *limit == name;
            let listed = reached.iter().any(is_row) || UNREACHED.iter().any(is_row);
            if !listed && !tests.iter().any(|test| has_word(test, name)) {
                let what =
                    format!("no test names `{name}`: add one that reaches it, or a row in REACHED");
                problems.push(problem(&file.path, line, what));
            }
        }
    }
    let all: Vec<&str> = codes
        .iter()
        .flat_map(|code| constants(code))
        .map(|(_, name)| name)
        .collect();
    for (limit, test) in reached {
        let setting = format!("(\"{limit}\",");
        let there = all.contains(limit) || limits.iter().any(|file| file.text.contains(&setting));
        if !there {
            let what = format!("REACHED lists `{limit}`, which is no limit");
            problems.push(problem(LIMITS, 0, what));
        }
        let ways = [format!("fn {test}("), format!("def {test}(")];
        let is_in = |code: &String| ways.iter().any(|way| code.contains(way));
        if !tests.iter().any(is_in) {
            let what = format!("REACHED names the test `{test}`, which does not exist");
            problems.push(problem(LIMITS, 0, what));
        }
    }
    problems
}

/// The public constants, with their lines.
fn constants(code: &str) -> Vec<(usize, &str)> {
    let lines = code.lines().enumerate();
    let found = lines.filter_map(|(index, line)| {
        let (name, _) = line
            .trim_start()
            .strip_prefix("pub const ")?
            .split_once(':')?;
        Some((index + 1, name))
    });
    found.collect()
}

/// The part of a file that is compiled for tests only.
fn test_code(files: &[File], file: &File) -> String {
    let code = source::code(&file.text);
    if file.path.starts_with("tests/") || is_test(files, &file.path) {
        return code;
    }
    let (rest, _) = source::without_tests(&code);
    // Both are as long: what was taken out is what differs.
    let kept = code.chars().zip(rest.chars());
    kept.map(|(whole, rest)| if whole == rest { ' ' } else { whole })
        .collect()
}

fn has_word(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(is_part) && !code[at + word.len()..].starts_with(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;

    /// What is wrong with these limits, if this is the only other file.
    fn check(limits: &str, path: &str, text: &str, reached: &[(&str, &str)]) -> Vec<String> {
        let files = [file(LIMITS, limits), file(path, text)];
        let tests = [test_code(&files, &files[1])];
        let problems = check_against(&[&files[0]], &tests, reached);
        problems.into_iter().map(|problem| problem.what).collect()
    }

    #[test]
    fn a_limit_is_named_by_a_test_or_listed_with_one() {
        let limits =
            "/// Doc.\npub const MOST: usize = 1;\npub mod x {\n    pub const LEAST: u8 = 2;\n}\n";
        let code = "fn f() { MOST; LEAST; }\n";
        let test = "#[cfg(test)]\nmod tests {\n    fn reaches() { MOST; limits::LEAST; }\n}\n";
        assert_eq!(
            check(limits, "src/a.rs", code, &[]).len(),
            2,
            "code is no test"
        );
        assert!(check(limits, "src/a.rs", &format!("{code}{test}"), &[]).is_empty());
        assert!(check(limits, "tests/a.rs", code, &[]).is_empty());
        let longer = test.replace("LEAST", "LEAST_OF_ALL");
        assert_eq!(check(limits, "src/a.rs", &longer, &[]).len(), 1);
        let listed = [("LEAST", "reaches")];
        assert!(check(limits, "src/a.rs", &longer, &listed).is_empty());
    }

    #[test]
    fn limits_are_in_one_file_and_the_folder_beside_it() {
        for (path, expect) in [
            ("src/config/limits.rs", true),
            ("src/config/limits/mqtt.rs", true),
            ("src/config/limitsof.rs", false),
            ("src/app/tests/limits.rs", false),
        ] {
            assert_eq!(has_limits(path), expect, "{path}");
        }
        let parts = [
            file(LIMITS, "pub const MOST: usize = 1;\n"),
            file("src/config/limits/a.rs", "\npub const LEAST: usize = 1;\n"),
        ];
        let problems = check_against(&[&parts[0], &parts[1]], &["MOST".into()], &[]);
        let found = problems.iter().map(|p| (p.path.as_str(), p.line));
        assert_eq!(found.collect::<Vec<_>>(), [("src/config/limits/a.rs", 2)]);
    }

    #[test]
    fn a_row_leads_to_a_limit_and_a_test() {
        let limits = "pub const MOST: usize = 1;\n(\"a.setting\", 1, 2, \"things\")\n";
        let test = "#[cfg(test)]\nmod tests {\n    fn reaches() { MOST; }\n}\n";
        let check = |row| check(limits, "src/a.rs", test, &[row]);
        assert!(check(("a.setting", "reaches")).is_empty());
        assert_eq!(check(("a.other", "reaches")).len(), 1);
        assert_eq!(check(("MOST", "gone")).len(), 1);
    }
}
