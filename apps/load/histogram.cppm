/// A log-linear histogram of durations, as HdrHistogram lays it out: every power of two is split
/// into 128 equal buckets, so a reported value is at most 0.8 % above the true one. Recording costs
/// a few instructions and never allocates.
export module load:histogram;

import ringfort.std;

export namespace load {

/// Counts values in nanoseconds. Values above `highest` (73 minutes) are counted as `highest`.
class Histogram {
public:
    static constexpr std::uint64_t highest = (std::uint64_t{1} << 42) - 1;

    /// Counts one value.
    void record(std::uint64_t value_ns);

    /// Adds another histogram's counts.
    void merge(const Histogram& other);

    /// Returns how many values were recorded.
    [[nodiscard]] std::uint64_t count() const { return count_; }

    /// Returns the largest value recorded, exactly; 0 when empty.
    [[nodiscard]] std::uint64_t max() const { return max_; }

    /// Returns the value that a share `q` (0..1) of the recorded ones does not exceed, rounded up
    /// by at most 0.8 %; 0 when empty.
    [[nodiscard]] std::uint64_t quantile(double q) const;

private:
    static constexpr unsigned sub_bits = 7;
    static constexpr std::size_t sub_buckets = std::size_t{1} << sub_bits;
    static constexpr std::size_t buckets = (42 - sub_bits + 1) * sub_buckets;

    static std::size_t index_of(std::uint64_t value);
    static std::uint64_t last_value_in(std::size_t index);

    std::array<std::uint64_t, buckets> counts_{};
    std::uint64_t count_ = 0;
    std::uint64_t max_ = 0;
};

}  // namespace load
