//! Numbers that look drawn, the same in every run. Decides.

/// The numbers so far.
#[derive(Debug, Default)]
pub(crate) struct Drawn(u64);

impl Drawn {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 += 1;
        // Splitmix64: no two of the same, and none like its neighbour.
        let mut mixed = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
