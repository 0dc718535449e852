//! The contract of the session plane, kept by each backend. The `aws` backend's cases need servers, which
//! `cargo xtask test --only aws` starts and names.

use serde_json::{Value, json};

use super::*;
use crate::actors::dispatcher::Neighbours;
use crate::backends::plane::contract::{self, Subject, directory, history, relay};
use crate::backends::plane::{MessageRelay, SessionDirectory, UserHistory};
use crate::domain::session::Session;

impl Composed {
    fn composed_relay(&self) -> Arc<dyn MessageRelay> {
        let registry = self.core.store.clone();
        let routes = Routes::default();
        SessionRegistry::routes(&*registry, &mut |route| routes.add(&route)).unwrap();
        Arc::new(Neighbours {
            routes: Arc::new(routes),
            user_message_ttl: contract::HISTORY_LIFE,
            ..self.neighbours(registry)
        })
    }
}

impl Subject for Composed {
    fn directory(&self) -> Arc<dyn SessionDirectory> {
        self.core.store.clone()
    }

    fn other_directory(&self) -> Arc<dyn SessionDirectory> {
        self.directory()
    }

    fn relay(&self) -> Arc<dyn MessageRelay> {
        self.composed_relay()
    }

    fn other_relay(&self) -> Arc<dyn MessageRelay> {
        self.composed_relay()
    }

    fn history(&self) -> Arc<dyn UserHistory> {
        Arc::new(self.core.users.clone())
    }

    fn clock(&self) -> Clock {
        self.core.clock
    }

    async fn envelopes(&self, session: &Session) -> Vec<String> {
        let found = self.directory().find(session.key.clone()).await.unwrap();
        let keys = found.expect("it is there").credentials;
        let url = format!(
            "http://x/{}/{}",
            super::super::testing::ACCOUNT,
            session.queue_name
        );
        let mut all = Vec::new();
        loop {
            let ask = json!({ "QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 0 });
            let answer = self.sqs(&keys, "ReceiveMessage", &ask).await.json();
            let Some(messages) = answer["Messages"].as_array() else {
                return all;
            };
            for message in messages {
                all.push(message["Body"].as_str().unwrap().to_owned());
                let delete = json!({ "QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"] });
                let deleted: Value = self.sqs(&keys, "DeleteMessage", &delete).await.json();
                assert_eq!(deleted, json!({}));
            }
        }
    }
}

mod embedded {
    use super::*;

    async fn subject() -> Composed {
        Composed::tuned(|settings| settings.user_message_ttl = contract::HISTORY_LIFE)
    }

    cases! {
        subject(),
        directory::a_refresh_keeps_what_a_client_has,
        directory::a_renewal_is_for_the_living,
        directory::a_closed_session_is_gone,
        directory::accounts_are_apart,
        directory::a_listing_has_each_once,
        directory::an_expired_session_counts_as_none,
        directory::what_is_over_is_removed_once,
        directory::what_is_over_is_found_part_by_part,
        directory::who_opens_at_a_time_gets_one_session,
        relay::targets_are_whom_they_say,
        relay::a_session_is_found_by_its_id_alone,
        relay::history_has_it_once_for_each_user,
        relay::a_group_keeps_its_order,
        relay::no_counter_is_used_twice,
        history::pages_are_what_is_asked_for,
        history::an_id_that_comes_again_replaces,
        history::what_has_expired_is_gone,
        history::receipts_are_made_once_and_told,
    }
}

#[cfg(feature = "aws")]
mod aws_servers {
    use super::*;
    use crate::backends::aws::history::History;
    use crate::backends::aws::relay::Relay;
    use crate::backends::aws::sessions::Sessions;
    use crate::backends::aws::{AwsOptions, Services, tables};

    /// Two nodes on the same tables.
    struct Nodes {
        services: Arc<Services>,
        sessions: [Sessions; 2],
        relays: [Arc<Relay>; 2],
        clock: Clock,
    }

    fn server(name: &str) -> Option<String> {
        let variable = format!("FANFARE_TEST_{name}");
        let url = std::env::var(&variable);
        Some(url.unwrap_or_else(|_| panic!("{variable} is not set: cargo xtask test --only aws")))
    }

    async fn subject() -> Nodes {
        let name = |table: &str| format!("contract-{}-{table}", uuid::Uuid::new_v4());
        let services = Services::connect(AwsOptions {
            region: "us-east-1".into(),
            account: "000000000000".into(),
            sqs_endpoint: server("SQS"),
            dynamodb_endpoint: server("DYNAMODB"),
            sts_endpoint: server("STS"),
            kinesis_endpoint: None,
            cognito_endpoint: None,
            sessions_table: name("sessions"),
            messages_table: name("messages"),
            session_role: "arn:aws:iam::000000000000:role/session".into(),
            identities: None,
            patience: Duration::from_secs(20),
            hold_bytes: 16 << 20,
            spill_bytes: 0,
            sweep_interval: Duration::from_secs(300),
            user_message_ttl: contract::HISTORY_LIFE,
            stream: None,
        })
        .await;
        for table in tables::all(&services) {
            let tag = ("fanfare:env", "contract");
            tables::create(&services, &table, tag).await.unwrap();
        }
        let sessions = [(); 2].map(|()| Sessions::new(services.clone()));
        let relay =
            |sessions: &Sessions| Arc::new(Relay::new(services.clone(), sessions.clone(), None));
        Nodes {
            relays: sessions.each_ref().map(relay),
            sessions,
            services,
            clock: Clock::start(),
        }
    }

    impl Subject for Nodes {
        fn directory(&self) -> Arc<dyn SessionDirectory> {
            Arc::new(self.sessions[0].clone())
        }

        fn other_directory(&self) -> Arc<dyn SessionDirectory> {
            Arc::new(self.sessions[1].clone())
        }

        fn relay(&self) -> Arc<dyn MessageRelay> {
            self.relays[0].clone()
        }

        fn other_relay(&self) -> Arc<dyn MessageRelay> {
            self.relays[1].clone()
        }

        fn history(&self) -> Arc<dyn UserHistory> {
            let (services, relay) = (self.services.clone(), self.relays[1].clone());
            Arc::new(History::new(services, relay, self.clock))
        }

        fn clock(&self) -> Clock {
            self.clock
        }

        async fn envelopes(&self, session: &Session) -> Vec<String> {
            let (sqs, url) = (&self.services.sqs, session.queue_url.as_deref().unwrap());
            let mut all = Vec::new();
            loop {
                let ask = sqs
                    .receive_message()
                    .queue_url(url)
                    .max_number_of_messages(10);
                let messages = ask.send().await.unwrap().messages.unwrap_or_default();
                if messages.is_empty() {
                    return all;
                }
                for message in messages {
                    all.push(message.body.unwrap());
                    let delete = sqs.delete_message().queue_url(url);
                    let delete = delete.set_receipt_handle(message.receipt_handle);
                    delete.send().await.unwrap();
                }
            }
        }
    }

    cases! {
        subject(),
        #[ignore = "needs servers"] directory::a_refresh_keeps_what_a_client_has,
        #[ignore = "needs servers"] directory::a_renewal_is_for_the_living,
        #[ignore = "needs servers"] directory::a_closed_session_is_gone,
        #[ignore = "needs servers"] directory::accounts_are_apart,
        #[ignore = "needs servers"] directory::a_listing_has_each_once,
        #[ignore = "needs servers"] directory::an_expired_session_counts_as_none,
        #[ignore = "needs servers"] directory::what_is_over_is_removed_once,
        #[ignore = "needs servers"] directory::what_is_over_is_found_part_by_part,
        #[ignore = "needs servers"] directory::who_opens_at_a_time_gets_one_session,
        #[ignore = "needs servers"] relay::targets_are_whom_they_say,
        #[ignore = "needs servers"] relay::a_session_is_found_by_its_id_alone,
        #[ignore = "needs servers"] relay::history_has_it_once_for_each_user,
        #[ignore = "needs servers"] relay::a_group_keeps_its_order,
        #[ignore = "needs servers"] relay::no_counter_is_used_twice,
        #[ignore = "needs servers"] history::pages_are_what_is_asked_for,
        #[ignore = "needs servers"] history::an_id_that_comes_again_replaces,
        #[ignore = "needs servers"] history::what_has_expired_is_gone,
        #[ignore = "needs servers"] history::receipts_are_made_once_and_told,
    }
    /// One node of all has its turn, and whoever has read much puts the next one off for all.
    #[actix::test]
    #[ignore = "needs servers"]
    async fn turns_to_look_for_expired_sessions_are_taken_by_one_and_put_off_by_what_was_read() {
        let nodes = subject().await;
        let [one, other] = &nodes.sessions;
        let began = nodes.clock.wall();
        let at = |seconds| began.plus(Duration::from_secs(seconds));
        assert!(one.take_turn(began).await.unwrap());
        assert!(!other.take_turn(at(299)).await.unwrap());
        // Little: the interval holds.
        one.end_turn(began, 1000).await.unwrap();
        assert!(other.take_turn(at(300)).await.unwrap());
        other.end_turn(at(300), 900_000).await.unwrap();
        // Whoever ends a turn when another has begun has nothing to say.
        one.end_turn(began, 0).await.unwrap();
        assert!(!one.take_turn(at(1199)).await.unwrap());
        assert!(one.take_turn(at(1200)).await.unwrap());
        // It is given as long as the last one has earned, and has read less.
        assert!(!other.take_turn(at(2099)).await.unwrap());
        one.end_turn(at(1200), 1000).await.unwrap();
        assert!(!other.take_turn(at(1499)).await.unwrap());
        assert!(other.take_turn(at(1500)).await.unwrap());
    }
}
