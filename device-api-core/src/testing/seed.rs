// SPDX-License-Identifier: Apache-2.0
//! Seeds of randomised cases.

/// The environment variable that replays a randomised case with the seed that it printed.
pub(crate) const SEED_VARIABLE: &str = "DEVICE_API_SEED";

/// The seed of one run. It is printed when the run panics.
#[derive(Debug)]
pub(crate) struct Seed(u64);

impl Seed {
    /// The seed that [`SEED_VARIABLE`] names, or a random one.
    pub(crate) fn new() -> Self {
        match std::env::var(SEED_VARIABLE) {
            Ok(text) => Self(text.parse().unwrap_or_else(|_| panic!("{SEED_VARIABLE} is a number, not {text:?}"))),
            Err(_) => Self(fastrand::u64(..)),
        }
    }

    /// Random numbers that are the same for the same seed and `stream`.
    pub(crate) fn random(&self, stream: u64) -> fastrand::Rng {
        // Neighbouring seeds give unrelated numbers only after a first step.
        let mut random = fastrand::Rng::with_seed(self.0);
        fastrand::Rng::with_seed(random.u64(..).wrapping_add(stream.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to replay this failure: {SEED_VARIABLE}={}", self.0);
        }
    }
}
