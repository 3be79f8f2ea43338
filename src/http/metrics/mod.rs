//! Figures: of the service for Prometheus, of commands for people.

pub(super) mod downlinks;
mod figures;
pub(super) mod prometheus;

/// A share in percent, to two decimals; 0 of nothing.
#[expect(
    clippy::cast_precision_loss,
    reason = "a share of counts far below 2^52"
)]
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (part as f64 * 10_000.0 / whole as f64).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn shares_have_two_decimals_and_nothing_of_nothing_is_nothing() {
        let shares = [(0, 0), (1, 3), (2, 3), (3, 3)].map(|(part, whole)| percent(part, whole));
        assert_eq!(
            shares.map(|share| share.to_string()),
            ["0", "33.33", "66.67", "100"]
        );
    }
}
