//! Attributes of queues, read and shown.

use super::*;

fn changes(given: &[(&str, &str)]) -> Result<Changes, Fault> {
    let read: Result<_, _> = given
        .iter()
        .map(|(name, value)| change(name, value))
        .collect();
    read.map(Changes)
}

fn queue(given: &[(&str, &str)], fifo: bool) -> Result<QueueRecord, Fault> {
    Ok(QueueRecord {
        attributes: changes(given)?.for_new(fifo)?,
        ..super::super::tests::test_queue("q")
    })
}

fn listed(queue: &QueueRecord, wanted: &str) -> Vec<(String, String)> {
    let counts = QueueCounts {
        visible: 1,
        in_flight: 2,
        delayed: 3,
    };
    Wanted(vec![wanted.into()])
        .of(queue, "ARN".into(), counts)
        .into_iter()
        .map(|(name, value)| match value {
            Value::Text(text) => (name.into_owned(), text.into_owned()),
            other => panic!("{name} is not a text: {other:?}"),
        })
        .collect()
}

fn has(list: &[(String, String)], name: &str) -> Option<String> {
    list.iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.clone())
}

#[test]
fn a_new_standard_queue_has_awss_defaults() {
    let list = listed(&queue(&[], false).unwrap(), "All");
    let expect = [
        ("QueueArn", "ARN"),
        ("ApproximateNumberOfMessages", "1"),
        ("ApproximateNumberOfMessagesNotVisible", "2"),
        ("ApproximateNumberOfMessagesDelayed", "3"),
        ("CreatedTimestamp", "10"),
        ("LastModifiedTimestamp", "20"),
        ("VisibilityTimeout", "30"),
        ("MaximumMessageSize", "1048576"),
        ("MessageRetentionPeriod", "345600"),
        ("DelaySeconds", "0"),
        ("ReceiveMessageWaitTimeSeconds", "0"),
        ("SqsManagedSseEnabled", "true"),
    ];
    assert_eq!(list, expect.map(|(n, v)| (n.to_owned(), v.to_owned())));
}

#[test]
fn what_is_set_comes_back() {
    let redrive =
        r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:123456789012:d","maxReceiveCount":3}"#;
    for (name, value) in [
        ("VisibilityTimeout", "43200"),
        ("DelaySeconds", "900"),
        ("MessageRetentionPeriod", "60"),
        ("MaximumMessageSize", "1024"),
        ("ReceiveMessageWaitTimeSeconds", "20"),
        ("SqsManagedSseEnabled", "false"),
        ("ContentBasedDeduplication", "true"),
        ("DeduplicationScope", "messageGroup"),
        ("FifoThroughputLimit", "perQueue"),
        ("FifoQueue", "true"),
        ("KmsMasterKeyId", "alias/x"),
        ("KmsDataKeyReusePeriodSeconds", "60"),
        ("Policy", r#"{"Statement":[]}"#),
        ("RedrivePolicy", redrive),
        ("RedriveAllowPolicy", r#"{"redrivePermission":"denyAll"}"#),
    ] {
        let queue = queue(&[(name, value)], true).unwrap();
        assert_eq!(listed(&queue, name), [(name.to_owned(), value.to_owned())]);
        assert_eq!(has(&listed(&queue, "All"), name).as_deref(), Some(value));
        assert!(is_attribute(name), "{name}");
    }
}

#[test]
fn values_out_of_range_are_refused() {
    for (name, value) in [
        ("VisibilityTimeout", "43201"),
        ("VisibilityTimeout", "-1"),
        ("VisibilityTimeout", "x"),
        ("VisibilityTimeout", ""),
        ("DelaySeconds", "901"),
        ("MessageRetentionPeriod", "59"),
        ("MessageRetentionPeriod", "1209601"),
        ("MaximumMessageSize", "1023"),
        ("MaximumMessageSize", "1048577"),
        ("ReceiveMessageWaitTimeSeconds", "21"),
        ("KmsDataKeyReusePeriodSeconds", "59"),
        ("SqsManagedSseEnabled", "yes"),
        ("DeduplicationScope", "all"),
        ("FifoThroughputLimit", "none"),
        ("Policy", "[]"),
        ("Policy", "{"),
    ] {
        let found = changes(&[(name, value)]);
        let refused =
            matches!(&found, Err(Fault::InvalidAttributeValue { name: n, .. }) if *n == name);
        assert!(refused, "{name}={value}: {found:?}");
    }
    let unknown = Err(QueueError::InvalidAttributeName("Foo".into()).into());
    assert_eq!(changes(&[("Foo", "1")]), unknown);
    // These can be read but not set.
    assert!(changes(&[("QueueArn", "x")]).is_err());
}

#[test]
fn fifo_attributes_need_a_fifo_queue() {
    let refused = |name: &str| Some(QueueError::InvalidAttributeName(name.into()).into());
    for name in FIFO_ONLY {
        let value = match name {
            "DeduplicationScope" => "queue",
            "FifoThroughputLimit" => "perQueue",
            _ => "true",
        };
        assert_eq!(queue(&[(name, value)], false).err(), refused(name));
        assert!(queue(&[(name, value)], true).is_ok(), "{name}");
    }
    let found = queue(&[("FifoQueue", "false")], true).unwrap_err();
    assert_eq!(
        found.to_string(),
        "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported."
    );
    assert!(queue(&[("FifoThroughputLimit", "perMessageGroupId")], true).is_err());
    let both = [
        ("FifoThroughputLimit", "perMessageGroupId"),
        ("DeduplicationScope", "messageGroup"),
    ];
    assert!(queue(&both, true).is_ok());
}

#[test]
fn encryption_is_of_one_kind() {
    let with_key = queue(&[("KmsMasterKeyId", "k")], false).unwrap();
    let sse = has(&listed(&with_key, "All"), "SqsManagedSseEnabled");
    assert_eq!(sse.as_deref(), Some("false"));

    let managed = changes(&[("SqsManagedSseEnabled", "true")]).unwrap();
    let found = managed.check(&with_key.attributes);
    assert!(
        matches!(found, Err(Fault::InvalidAttributeName(_))),
        "{found:?}"
    );
    assert_eq!(managed.check(&QueueAttributes::default()), Ok(()));

    let swap = changes(&[("SqsManagedSseEnabled", "true"), ("KmsMasterKeyId", "")]).unwrap();
    assert_eq!(swap.check(&with_key.attributes), Ok(()));
    let mut attributes = with_key.attributes;
    swap.apply(&mut attributes);
    assert!(attributes.sqs_managed_sse && attributes.kms_master_key_id.is_none());
}

#[test]
fn an_empty_text_clears() {
    let mut attributes = QueueAttributes {
        policy: Some("{}".into()),
        redrive_allow: Some("{}".into()),
        redrive: Some(RedrivePolicy {
            dead_letter_target_arn: "a".into(),
            max_receive_count: 1,
        }),
        ..QueueAttributes::default()
    };
    let names = ["Policy", "RedrivePolicy", "RedriveAllowPolicy"];
    changes(&names.map(|name| (name, "")))
        .unwrap()
        .apply(&mut attributes);
    assert_eq!(attributes, QueueAttributes::default());
}

#[test]
fn names_that_are_asked_for_must_exist() {
    let wanted = |query: &str| Wanted::parse(&mut Fields::of_query(b"", query.as_bytes()).unwrap());
    assert!(!wanted("").unwrap().counts());
    assert!(!wanted("AttributeName.1=QueueArn").unwrap().counts());
    assert!(wanted("AttributeName.1=All").unwrap().counts());
    assert!(
        wanted("AttributeName.1=ApproximateNumberOfMessages")
            .unwrap()
            .counts()
    );
    let unknown = QueueError::InvalidAttributeName("Foo".into());
    assert_eq!(wanted("AttributeName.1=Foo"), Err(unknown.into()));
}
