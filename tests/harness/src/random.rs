//! Random names and secrets, from the operating system. Reads.

use ring::rand::{SecureRandom, SystemRandom};

/// `bytes` random bytes as lower-case hexadecimal digits.
///
/// # Panics
/// When the operating system gives no randomness: nothing here can go on without.
pub(crate) fn hex(bytes: usize) -> String {
    let mut buffer = vec![0; bytes];
    SystemRandom::new()
        .fill(&mut buffer)
        .expect("the operating system gives randomness");
    buffer.iter().map(|byte| format!("{byte:02x}")).collect()
}
