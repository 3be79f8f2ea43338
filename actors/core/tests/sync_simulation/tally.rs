//! How eventful lives were: faults that never come about prove nothing.

/// What happened, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) steps: u64,
    pub(crate) calls: u64,
    pub(crate) created: u64,
    pub(crate) updated: u64,
    pub(crate) adopted: u64,
    pub(crate) deleted: u64,
    pub(crate) keys_set: u64,
    pub(crate) unavailable: u64,
    pub(crate) refused: u64,
    pub(crate) lost: u64,
    /// Others came between a look and what it led to.
    pub(crate) raced: u64,
    pub(crate) crashes: u64,
    pub(crate) claims_checked: u64,
    pub(crate) conflicts: u64,
    pub(crate) rejections: u64,
    pub(crate) tombstones: u64,
}

impl Tally {
    fn fields(&mut self) -> [&mut u64; 16] {
        [
            &mut self.steps,
            &mut self.calls,
            &mut self.created,
            &mut self.updated,
            &mut self.adopted,
            &mut self.deleted,
            &mut self.keys_set,
            &mut self.unavailable,
            &mut self.refused,
            &mut self.lost,
            &mut self.raced,
            &mut self.crashes,
            &mut self.claims_checked,
            &mut self.conflicts,
            &mut self.rejections,
            &mut self.tombstones,
        ]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let mut other = *other;
        for (sum, count) in self.fields().into_iter().zip(other.fields()) {
            *sum += *count;
        }
    }

    pub(crate) fn assert_eventful(mut self) {
        let told = format!("{self:?}");
        for count in self.fields() {
            assert!(*count >= 5, "{told}");
        }
    }
}
