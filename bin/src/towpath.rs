//! The Towpath client.

fn main() {
    towpath::client::main()
}
