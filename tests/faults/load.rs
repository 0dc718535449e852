//! A world of sessions and a load on it, every promise noted in the ledger.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use aes::cipher::{KeyIvInit, StreamCipher};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use powercut::Seed;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use super::client::{Answer, Client, Keys, Unknown};
use super::ledger::{Ledger, Moment, Number, Queue, User};

/// How long the load hides what it receives; a check waits longer than that.
pub const LOAD_VISIBILITY_SECONDS: u32 = 2;

/// A session that the load writes to.
#[derive(Debug, Clone)]
pub struct Session {
    pub account: u64,
    pub user: User,
    pub queue: Queue,
    name: String,
    aes_key: [u8; 32],
    keys: Keys,
}

/// The sessions, their users, and one plain queue of the operator.
#[derive(Debug, Clone)]
pub struct World {
    pub sessions: Vec<Session>,
    pub plain_queue: Queue,
}

impl World {
    /// Makes `accounts` × `users` × `sessions` sessions. User numbers differ between accounts.
    ///
    /// # Panics
    /// If the server refuses.
    pub async fn create(client: &Client, accounts: u64, users: u64, sessions: u64) -> Self {
        let mut made = Vec::new();
        for account in 1..=accounts {
            for user in (1..=users).map(|user| account * 100 + user) {
                for name in (1..=sessions).map(|session| format!("crash-{user}-{session}")) {
                    made.push(Session::create(client, account, user, name).await);
                }
            }
        }
        let body = json!({"QueueName": "crash-plain"});
        let answer = client
            .sqs("CreateQueue", None, body, &Keys::operator())
            .await;
        let answer = answer.expect("the server answers");
        assert!(answer.is_success(), "CreateQueue: {answer:?}");
        let plain_queue = path_of(&answer.body["QueueUrl"]);
        Self {
            sessions: made,
            plain_queue,
        }
    }

    /// Each user once.
    pub fn users(&self) -> Vec<User> {
        let mut users: Vec<User> = self.sessions.iter().map(|session| session.user).collect();
        users.dedup();
        users
    }

    fn queues_where(&self, matches: impl Fn(&Session) -> bool) -> (Vec<Queue>, Vec<User>) {
        let found = self.sessions.iter().filter(|session| matches(session));
        let (queues, mut users): (Vec<_>, Vec<_>) = found
            .map(|session| (session.queue.clone(), session.user))
            .unzip();
        users.dedup();
        (queues, users)
    }
}

impl Session {
    async fn create(client: &Client, account: u64, user: User, name: String) -> Self {
        let path = format!("/create/{account}/{name}/{user}?MessageRetentionPeriod=86400");
        let answer = client
            .post(&path, &json!({}))
            .await
            .expect("the server answers");
        assert!(answer.is_success(), "{path}: {answer:?}");
        let session = &answer.body["session"];
        let key = session["aesKey"].as_str().expect("a session has a key");
        let key = BASE64.decode(key).expect("the key is base64");
        Self {
            account,
            user,
            queue: path_of(&session["sqsUrl"]),
            name,
            aes_key: key.try_into().expect("the key has 32 bytes"),
            keys: Keys::of_session(session),
        }
    }

    /// Opens an envelope: its first counter, its blocks, its JSON.
    fn open(&self, envelope: &str) -> Result<(u64, u64, Value), String> {
        let (counter, sealed) = envelope.split_once('|').ok_or("an envelope has a `|`")?;
        let counter: u64 = counter
            .parse()
            .map_err(|_| format!("not a counter: {counter}"))?;
        let mut text = BASE64.decode(sealed).map_err(|error| error.to_string())?;
        let start = u128::from(counter).to_be_bytes();
        let mut cipher = ctr::Ctr128BE::<aes::Aes256>::new(&self.aes_key.into(), &start.into());
        cipher.apply_keystream(&mut text);
        let message =
            serde_json::from_slice(&text).map_err(|error| format!("not JSON: {error}"))?;
        Ok((counter, (text.len() as u64).div_ceil(16), message))
    }
}

/// What stays of a queue's URL when the server moves to another port.
pub fn path_of(url: &Value) -> Queue {
    let url = url.as_str().expect("a queue has a URL");
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    after_scheme
        .find('/')
        .map_or_else(String::new, |start| after_scheme[start..].to_owned())
}

/// One message out of a queue.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub number: Number,
    pub handle: String,
}

/// One run against one server.
pub struct Run {
    pub client: Client,
    pub world: World,
    pub ledger: RefCell<Ledger>,
    /// Promises that were seen to be broken while the load ran.
    pub broken: RefCell<Vec<String>>,
    /// Answers that refused something, the first of each kind.
    pub refused: RefCell<Vec<Answer>>,
    clock: Box<dyn Fn() -> Moment>,
    seed: RefCell<Seed>,
    stopped: Cell<bool>,
}

impl Run {
    /// A run whose moments `clock` tells.
    pub fn new(
        client: Client,
        world: World,
        ledger: Ledger,
        seed: Seed,
        clock: impl Fn() -> Moment + 'static,
    ) -> Rc<Self> {
        Rc::new(Self {
            client,
            world,
            ledger: RefCell::new(ledger),
            broken: RefCell::new(Vec::new()),
            refused: RefCell::new(Vec::new()),
            clock: Box::new(clock),
            seed: RefCell::new(seed),
            stopped: Cell::new(false),
        })
    }

    /// Starts the load: 12 senders, 4 consumers, 2 readers of history.
    pub fn start(self: &Rc<Self>) -> Vec<JoinHandle<()>> {
        let mut tasks = Vec::new();
        for number in 0..18 {
            let run = Rc::clone(self);
            tasks.push(spawn_local(async move {
                while !run.stopped.get() {
                    let done = match number {
                        0..10 => run.notify().await.map(drop),
                        10..12 => run.send_plain().await.map(drop),
                        12..16 => run.consume().await,
                        _ => run.receipt().await,
                    };
                    if done.is_err() {
                        // The server is gone or going; the test decides when to stop.
                        sleep(Duration::from_millis(20)).await;
                    }
                }
            }));
        }
        tasks
    }

    /// Ends the load and waits for the answers under way.
    pub async fn stop(&self, tasks: Vec<JoinHandle<()>>) {
        self.stopped.set(true);
        for task in tasks {
            task.await.expect("no load task panics");
        }
    }

    fn now(&self) -> Moment {
        (self.clock)()
    }

    fn below(&self, bound: usize) -> usize {
        self.seed.borrow_mut().below(bound as u64) as usize
    }

    /// Posts one message to a session, a user, an account or everyone.
    pub async fn notify(&self) -> Result<bool, Unknown> {
        let session = &self.world.sessions[self.below(self.world.sessions.len())];
        let Session {
            account,
            user,
            name,
            ..
        } = session;
        let (path, (queues, users)) = match self.below(100) {
            0..60 => (
                format!("/notify/{account}/user/{user}/session/{name}"),
                (vec![session.queue.clone()], vec![*user]),
            ),
            60..85 => (
                format!("/notify/{account}/user/{user}"),
                self.world.queues_where(|other| other.user == *user),
            ),
            85..95 => (
                format!("/notify/account/{account}"),
                self.world.queues_where(|other| other.account == *account),
            ),
            _ => ("/notify".to_owned(), self.world.queues_where(|_| true)),
        };
        let number = self.ledger.borrow_mut().send(self.now(), queues, users);
        let padding = "x".repeat(self.below(300));
        let message = json!({"messageId": format!("m-{number}"), "_type": "crash", "n": number, "pad": padding});
        let answer = self.client.post(&path, &message).await?;
        if self.accept(&answer) {
            self.ledger.borrow_mut().sent(self.now(), number);
        }
        Ok(answer.is_success())
    }

    /// Sends one message to the operator's queue.
    pub async fn send_plain(&self) -> Result<bool, Unknown> {
        let queue = &self.world.plain_queue;
        let number = self
            .ledger
            .borrow_mut()
            .send(self.now(), vec![queue.clone()], Vec::new());
        let body = json!({"MessageBody": json!({"n": number}).to_string()});
        let answer = self
            .client
            .sqs("SendMessage", Some(queue), body, &Keys::operator())
            .await?;
        if self.accept(&answer) {
            self.ledger.borrow_mut().sent(self.now(), number);
        }
        Ok(answer.is_success())
    }

    /// Takes messages from one queue and deletes about two in three.
    async fn consume(&self) -> Result<(), Unknown> {
        let index = self.below(self.world.sessions.len() + 1);
        let session = self.world.sessions.get(index);
        let wait = u32::from(self.below(4) == 0);
        for delivery in self.receive(session, LOAD_VISIBILITY_SECONDS, wait).await? {
            if self.below(3) > 0 {
                self.delete(session, &delivery).await?;
            }
        }
        Ok(())
    }

    /// Marks some of a user's newest messages as read.
    async fn receipt(&self) -> Result<(), Unknown> {
        sleep(Duration::from_millis(10)).await;
        let user = self.world.sessions[self.below(self.world.sessions.len())].user;
        let mut numbers = self.ledger.borrow().newest_of(user, 20);
        numbers.retain(|_| self.below(4) == 0);
        if numbers.is_empty() {
            return Ok(());
        }
        let now = self.now();
        numbers
            .iter()
            .for_each(|number| self.ledger.borrow_mut().receipt(now, user, *number));
        let ids: Vec<String> = numbers.iter().map(|number| format!("m-{number}")).collect();
        let answer = self
            .client
            .post(&format!("/messages/set-read/user/{user}"), &json!(ids))
            .await?;
        if self.accept(&answer) {
            let now = self.now();
            numbers
                .iter()
                .for_each(|number| self.ledger.borrow_mut().receipted(now, user, *number));
        }
        Ok(())
    }

    /// Receives from a session's queue with its own keys, or from the plain one.
    pub async fn receive(
        &self,
        session: Option<&Session>,
        visibility_seconds: u32,
        wait_seconds: u32,
    ) -> Result<Vec<Delivery>, Unknown> {
        let (queue, keys) = self.queue_and_keys(session);
        let body = json!({
            "MaxNumberOfMessages": 10,
            "VisibilityTimeout": visibility_seconds,
            "WaitTimeSeconds": wait_seconds,
        });
        let answer = self
            .client
            .sqs("ReceiveMessage", Some(queue), body, &keys)
            .await?;
        self.accept(&answer);
        let messages = answer.body["Messages"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let mut deliveries = Vec::new();
        for message in messages {
            match self.read(session, &message) {
                Ok(Some(delivery)) => deliveries.push(delivery),
                Ok(None) => {}
                Err(reason) => self
                    .broken
                    .borrow_mut()
                    .push(format!("{queue}: {reason}: {message}")),
            }
        }
        Ok(deliveries)
    }

    /// Deletes what was received.
    pub async fn delete(
        &self,
        session: Option<&Session>,
        delivery: &Delivery,
    ) -> Result<(), Unknown> {
        let (queue, keys) = self.queue_and_keys(session);
        self.ledger
            .borrow_mut()
            .delete(self.now(), queue, delivery.number);
        let body = json!({"ReceiptHandle": delivery.handle});
        let answer = self
            .client
            .sqs("DeleteMessage", Some(queue), body, &keys)
            .await?;
        if self.accept(&answer) {
            self.ledger
                .borrow_mut()
                .deleted(self.now(), queue, delivery.number);
        }
        Ok(())
    }

    /// Deletes up to ten at once.
    pub async fn delete_all(
        &self,
        session: Option<&Session>,
        deliveries: &[Delivery],
    ) -> Result<(), Unknown> {
        let (queue, keys) = self.queue_and_keys(session);
        let now = self.now();
        let entry = |(index, delivery): (usize, &Delivery)| {
            self.ledger.borrow_mut().delete(now, queue, delivery.number);
            json!({"Id": index.to_string(), "ReceiptHandle": delivery.handle})
        };
        let entries: Vec<Value> = deliveries.iter().enumerate().map(entry).collect();
        let body = json!({"Entries": entries});
        let answer = self
            .client
            .sqs("DeleteMessageBatch", Some(queue), body, &keys)
            .await?;
        self.accept(&answer);
        for done in answer.body["Successful"].as_array().into_iter().flatten() {
            let index = done["Id"].as_str().and_then(|id| id.parse::<usize>().ok());
            if let Some(delivery) = index.and_then(|index| deliveries.get(index)) {
                self.ledger
                    .borrow_mut()
                    .deleted(self.now(), queue, delivery.number);
            }
        }
        Ok(())
    }

    /// Takes receipt messages out of a session's queue that holds no others: the ids they name, none at the end.
    pub async fn notices(&self, session: &Session) -> Result<Vec<String>, Unknown> {
        let body = json!({"MaxNumberOfMessages": 10, "VisibilityTimeout": 120});
        let client = &self.client;
        let answer = client
            .sqs("ReceiveMessage", Some(&session.queue), body, &session.keys)
            .await?;
        let mut named = Vec::new();
        for message in answer.body["Messages"].as_array().into_iter().flatten() {
            let body = message["Body"].as_str().unwrap_or_default();
            let (.., content) = session.open(body).map_err(Unknown)?;
            let ids = content["messages-receipted"]
                .as_array()
                .into_iter()
                .flatten();
            named.extend(ids.filter_map(Value::as_str).map(str::to_owned));
        }
        Ok(named)
    }

    fn queue_and_keys<'a>(&'a self, session: Option<&'a Session>) -> (&'a str, Keys) {
        match session {
            Some(session) => (&session.queue, session.keys.clone()),
            None => (&self.world.plain_queue, Keys::operator()),
        }
    }

    /// Reads a received message; `None` for a read receipt, which the ledger does not follow.
    fn read(&self, session: Option<&Session>, message: &Value) -> Result<Option<Delivery>, String> {
        let body = message["Body"].as_str().ok_or("a message has a body")?;
        let handle = message["ReceiptHandle"]
            .as_str()
            .ok_or("a message has a handle")?
            .to_owned();
        let content = match session {
            None => serde_json::from_str(body).map_err(|error| error.to_string())?,
            Some(session) => {
                let (first, blocks, content) = session.open(body)?;
                // Receipts have no number; each of them is a message of its own to the counters.
                let number = content["n"].as_u64().unwrap_or(u64::MAX - first);
                let now = self.now();
                self.ledger
                    .borrow_mut()
                    .envelope(now, &session.queue, first, blocks, number)?;
                content
            }
        };
        if content["_type"] == "message-read-receipt" {
            return Ok(None);
        }
        let number = content["n"]
            .as_u64()
            .ok_or("a message of the load has a number")?;
        Ok(Some(Delivery { number, handle }))
    }

    /// True for a promise; keeps the first refusal of each status.
    fn accept(&self, answer: &Answer) -> bool {
        let mut refused = self.refused.borrow_mut();
        if !answer.is_success() && refused.iter().all(|other| other.status != answer.status) {
            refused.push(answer.clone());
        }
        answer.is_success()
    }
}
