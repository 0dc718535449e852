//! What the two clients do.

use fanfare::domain::publication::{QoS, RetainHandling};
use fanfare::wire::mqtt::codec::Version;

use crate::client::{Q0, Q1, Q2, V5, V311};

/// A number generator whose sequence is known by its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, count: u64) -> u64 {
        (self.next() >> 11) % count
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn of<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[usize::try_from(self.below(choice.len() as u64)).unwrap()]
    }

    fn qos(&mut self) -> QoS {
        self.of(&[Q0, Q1, Q2])
    }
}

/// What a client does. `who` is 0 or 1.
#[derive(Debug, Clone)]
pub enum Step {
    Connect {
        who: usize,
        clean: bool,
        lasts: bool,
        will: Option<(String, QoS, bool)>,
        /// Whether it leaves unanswered what it gets.
        lazy: bool,
    },
    Subscribe {
        who: usize,
        filter: String,
        qos: QoS,
        no_local: bool,
        as_published: bool,
        handling: RetainHandling,
        id: Option<u32>,
    },
    Unsubscribe {
        who: usize,
        filter: String,
    },
    Publish {
        who: usize,
        topic: String,
        payload: String,
        qos: QoS,
        retain: bool,
    },
    Disconnect {
        who: usize,
        with_will: bool,
        lasts: Option<bool>,
    },
    Vanish {
        who: usize,
    },
}

/// What is known of a client while steps are made.
#[derive(Clone, Copy, Default)]
struct Known {
    connected: bool,
    lasts: bool,
    has_will: bool,
}

pub struct Script {
    random: Random,
    prefix: String,
    pub versions: [Version; 2],
    known: [Known; 2],
    count: u32,
}

const TOPICS: [&str; 4] = ["a", "a/b", "a/c", "d"];

const FILTERS: [&str; 8] = ["a", "a/b", "a/+", "a/#", "#", "+", "+/b", "d"];

impl Script {
    /// A sequence of its own for each seed, under topics that begin with `prefix`.
    pub fn new(seed: u64, prefix: &str) -> Self {
        let mut random = Random(seed);
        (0..10).for_each(|_| _ = random.next());
        Self {
            versions: [random.of(&[V311, V5]), random.of(&[V311, V5])],
            random,
            prefix: prefix.to_owned(),
            known: [Known::default(); 2],
            count: 0,
        }
    }

    pub fn next(&mut self) -> Step {
        let who = usize::try_from(self.random.below(2)).unwrap();
        if !self.known[who].connected {
            return self.connect(who);
        }
        match self.random.below(20) {
            0..=1 => self.connect(who),
            2..=6 => self.subscribe(who),
            7 => Step::Unsubscribe {
                who,
                filter: self.filter(),
            },
            8..=16 => self.publish(who),
            17..=18 => {
                self.known[who].connected = false;
                Step::Vanish { who }
            }
            _ => self.disconnect(who),
        }
    }

    fn connect(&mut self, who: usize) -> Step {
        let is_v5 = self.versions[who] == V5;
        let clean = self.random.one_in(3);
        // 3.1.1 has one flag for both.
        let lasts = if is_v5 {
            !self.random.one_in(4)
        } else {
            !clean
        };
        let will = self
            .random
            .one_in(3)
            .then(|| (self.topic(), self.random.qos(), self.random.one_in(3)));
        let before = self.known[who];
        if before.connected && before.has_will && before.lasts && !clean {
            // See EXPLAINED.
            return self.publish(who);
        }
        self.known[who] = Known {
            connected: true,
            lasts,
            has_will: will.is_some(),
        };
        Step::Connect {
            who,
            clean,
            lasts,
            will,
            lazy: self.random.one_in(3),
        }
    }

    fn subscribe(&mut self, who: usize) -> Step {
        let is_v5 = self.versions[who] == V5;
        let handling = [
            RetainHandling::Always,
            RetainHandling::New,
            RetainHandling::Never,
        ];
        let filter = self.filter();
        // The same for this filter whenever it is asked for, see EXPLAINED.
        let options = filter.bytes().map(usize::from).sum::<usize>() + who;
        let no_local = is_v5 && options.is_multiple_of(4);
        Step::Subscribe {
            who,
            filter,
            qos: self.random.qos(),
            no_local,
            as_published: is_v5 && options.is_multiple_of(3),
            handling: match (is_v5, no_local) {
                (false, _) => RetainHandling::Always,
                (true, true) => RetainHandling::Never,
                (true, false) => self.random.of(&handling),
            },
            id: (is_v5 && self.random.one_in(3)).then(|| 1 + self.random.below(9) as u32),
        }
    }

    fn publish(&mut self, who: usize) -> Step {
        self.count += 1;
        let retain = self.random.one_in(4);
        let payload = if retain && self.random.one_in(3) {
            String::new()
        } else {
            format!("{}", self.count)
        };
        Step::Publish {
            who,
            topic: self.topic(),
            payload,
            qos: self.random.qos(),
            retain,
        }
    }

    fn disconnect(&mut self, who: usize) -> Step {
        let is_v5 = self.versions[who] == V5;
        let known = &mut self.known[who];
        known.connected = false;
        Step::Disconnect {
            who,
            with_will: is_v5 && self.random.one_in(2),
            lasts: (is_v5 && known.lasts && self.random.one_in(3)).then(|| self.random.one_in(2)),
        }
    }

    fn topic(&mut self) -> String {
        format!("{}/{}", self.prefix, self.random.of(&TOPICS))
    }

    fn filter(&mut self) -> String {
        format!("{}/{}", self.prefix, self.random.of(&FILTERS))
    }
}
