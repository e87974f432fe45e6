//! Client and server against each other, in virtual time.

mod apps;
mod hostile;
mod login;
mod pair;
mod rogue;
mod rogue_client;
mod rogue_server;
mod rogue_uploader;
mod tls;
mod transfers;
