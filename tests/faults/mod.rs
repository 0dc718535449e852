//! The cases, and what they share: the binary under test, a signing client, a load, and a ledger
//! that knows what the server has promised.

mod check;
mod ledger;
mod load;
mod power;
mod setting;

use crate::{
    mqtt_client,
    server::{self, client},
};

mod cuts;
mod exactly_once;
mod full_disk;
mod kills;
mod mqtt;
mod process;
#[cfg(feature = "aws")]
mod spill_cuts;
mod stalled_disk;
mod topic_cuts;
