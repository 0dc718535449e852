//! The cases, and what they share: the binary under test, a signing client, a load, and a ledger
//! that knows what the server has promised.

mod check;
mod client;
mod ledger;
mod load;
mod power;
mod server;
mod setting;

mod cuts;
mod full_disk;
mod kills;
mod process;
