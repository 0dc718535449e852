//! The envelope parser: whatever a queue holds is opened or refused, and one text only opens to a message.

#![no_main]

use std::sync::LazyLock;

use fanfare::envelope::{AesKey, Envelope, SessionCipher};
use libfuzzer_sys::fuzz_target;

static V1: LazyLock<SessionCipher> = LazyLock::new(|| cipher(Envelope::V1));
static V2: LazyLock<SessionCipher> = LazyLock::new(|| {
    cipher(Envelope::V2 {
        session_id: "session".into(),
    })
});

fn cipher(format: Envelope) -> SessionCipher {
    SessionCipher::new(&AesKey::from_bytes([7; 32]), format)
}

fuzz_target!(|text: &str| {
    if let Ok(message) = V1.open(text) {
        let (number, _) = text.split_once('|').expect("an opened envelope has a bar");
        let number = number.parse().expect("an opened envelope has a number");
        assert_eq!(
            V1.seal(number, &message),
            text,
            "two spellings of one envelope"
        );
    }
    // A random text does not carry a valid tag: what opens here breaks the integrity.
    assert!(V2.open(text).is_err(), "opened {text:?}");
});
