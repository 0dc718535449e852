//! S13 and S14 by the clock: whether the time of a refusal tells how much of a signature was right, or whether the key
//! is known. Welch's t-test over many refusals, as dudect does it; a comparison that stops at the first difference is
//! measured beside it and must be found out.
//!
//! Ignored by default, for it wants a quiet machine and a minute:
//! `cargo test --lib timing -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::Instant;

use super::super::claim::Signature;
use super::*;

/// Refusals of each kind.
const SAMPLES: usize = 500_000;

/// Beyond this |t| two kinds of refusal are told apart (RELIABILITY S13).
const TOLD_APART: f64 = 4.5;

/// The published signature of `GET /`.
const RIGHT: &str = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";

/// Times of two kinds of work in nanoseconds, taken in random turns; the slowest tenth, when something else ran, is left out.
fn race(work: [&mut dyn FnMut(); 2]) -> [Vec<f64>; 2] {
    let mut times = [Vec::with_capacity(SAMPLES), Vec::with_capacity(SAMPLES)];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    while times.iter().any(|kind| kind.len() < SAMPLES) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let kind = usize::from(random >> 32 & 1 == 1);
        let started = Instant::now();
        work[kind]();
        let taken = started.elapsed().as_nanos() as f64;
        if times[kind].len() < SAMPLES {
            times[kind].push(taken);
        }
    }
    // One bound for both, so that the cut itself favours neither.
    let mut all = times.concat();
    all.sort_unstable_by(f64::total_cmp);
    let bound = all[all.len() / 10 * 9];
    times.map(|kind| kind.into_iter().filter(|time| *time < bound).collect())
}

/// Mean, and variance of the mean.
fn moments(times: &[f64]) -> (f64, f64) {
    let count = times.len() as f64;
    let mean = times.iter().sum::<f64>() / count;
    let squares: f64 = times.iter().map(|time| (time - mean).powi(2)).sum();
    (mean, squares / (count - 1.0) / count)
}

/// Welch's t, and the means it came of.
fn welch([a, b]: [Vec<f64>; 2]) -> (f64, f64, f64) {
    let ((first, first_variance), (second, second_variance)) = (moments(&a), moments(&b));
    let t = (first - second) / (first_variance + second_variance).sqrt();
    (t.abs(), first, second)
}

fn with_signature(signature: &str) -> Sent {
    Sent::new("GET", "/", &[], "")
        .header("Host", "example.amazonaws.com")
        .header("X-Amz-Date", NOW)
        .authorized("service", "host;x-amz-date", signature)
}

/// What must not be done: stops at the first byte that differs.
fn carelessly(a: &[u8], b: &[u8]) -> bool {
    for (a, b) in a.iter().zip(b) {
        if black_box(a) != black_box(b) {
            return false;
        }
    }
    true
}

/// Whatever has `==` has two ways to be one of these, and then the test below does not compile.
trait HasNoEquality<Way> {
    fn shown() {}
}

impl<T> HasNoEquality<()> for T {}

struct ByEquality;

impl<T: PartialEq> HasNoEquality<ByEquality> for T {}

/// The clock needs a quiet machine; that there is no other comparison than the one that takes as long whatever differs
/// can be said without it.
#[test]
fn s13_a_signature_can_only_be_compared_in_constant_time() {
    <Signature as HasNoEquality<_>>::shown();
    let all = [0x5a; 32];
    let sent = Signature::sent(all);
    assert!(sent.is(&all));
    for bit in 0..256 {
        let mut other = all;
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(!sent.is(&other), "bit {bit}");
    }
}

#[test]
#[ignore = "statistics: wants a quiet machine and a minute"]
fn s13_s14_refusals_take_as_long_whatever_is_wrong() {
    let regions = regions();
    let rules = Rules::http(stamp(NOW), &["service"], &regions);
    let verifier = Verifier::new(4);
    let known = permanent();
    assert_eq!(with_signature(RIGHT).decide("service"), Ok(()));
    let early = with_signature(&format!("0{}", &RIGHT[1..]));
    let late = with_signature(&format!("{}0", &RIGHT[..63]));
    let careless = |claimed: &str| carelessly(claimed.as_bytes(), RIGHT.as_bytes());
    let [wrong_early, wrong_late] = [format!("0{}", &RIGHT[1..]), format!("{}0", &RIGHT[..63])];
    let same = with_signature(&wrong_early);
    early.with(|first| {
        late.with(|last| {
            same.with(|twin| {
                let claims =
                    [first, last, twin].map(|request| Claim::parse(request).unwrap().unwrap());
                let refuse = |request, claim, credential| {
                    let refused = verifier.verify(request, claim, credential, &rules);
                    assert_eq!(black_box(refused), MISMATCH);
                };
                let (t, a, b) = welch(race([
                    &mut || refuse(first, &claims[0], Some(&known)),
                    &mut || refuse(last, &claims[1], Some(&known)),
                ]));
                println!("S13: wrong at once {a:.1} ns, wrong at the end {b:.1} ns, |t| = {t:.2}");
                let (alike, a, b) = welch(race([
                    &mut || refuse(first, &claims[0], Some(&known)),
                    &mut || refuse(twin, &claims[2], Some(&known)),
                ]));
                println!("the same twice: {a:.1} ns and {b:.1} ns, |t| = {alike:.2}");
                let (control, a, b) = welch(race([
                    &mut || {
                        refuse(first, &claims[0], Some(&known));
                        black_box(careless(&wrong_early));
                    },
                    &mut || {
                        refuse(last, &claims[1], Some(&known));
                        black_box(careless(&wrong_late));
                    },
                ]));
                println!("control: {a:.1} ns and {b:.1} ns, |t| = {control:.2}");
                let (_, a, b) = welch(race([
                    &mut || refuse(first, &claims[0], Some(&known)),
                    &mut || refuse(first, &claims[0], None),
                ]));
                println!("S14: known key {a:.1} ns, unknown key {b:.1} ns");
                assert!(
                    control > TOLD_APART,
                    "the measure would not notice: {control}"
                );
                assert!(t < TOLD_APART, "|t| = {t}");
                assert!(
                    (a / b - 1.0).abs() < 0.05,
                    "an unknown key takes {b} ns, a known {a}"
                );
            });
        });
    });
}
