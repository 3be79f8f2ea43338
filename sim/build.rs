//! Nothing to do: the build dependency alone is what is wanted, see Cargo.toml.

fn main() {}
