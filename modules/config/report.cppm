export module ringfort.config:report;

import ringfort.std;
import :node;
import :problem;
import :source;

export namespace ringfort::config {

/// Collects the problems of one text while its values are read. Borrows the source.
class Report {
public:
    /// The source's overrides are told of as of a file "--set", a line each.
    explicit Report(const Source& source);
    Report(const Report&) = delete;
    Report& operator=(const Report&) = delete;

    /// Adds a problem at `where`, of very many only the first ones in the text; a span of line 0
    /// means the text as a whole. Returns it, so that notes can be added; valid until the next
    /// call.
    Problem& add(Span where, std::string message, std::string help = {});
    /// Cuts the underlined part out of the text.
    [[nodiscard]] Snippet snippet(Span where) const;
    /// Returns what is written at `where`, on its first line.
    [[nodiscard]] std::string_view text(Span where) const { return lines_.text(where); }
    [[nodiscard]] std::string_view file() const { return source_.name; }
    /// Returns the line that the first override counts as.
    [[nodiscard]] std::uint32_t first_override() const noexcept { return first_override_; }

    /// Remembers that parts of the text could not be read: what is missing may be there.
    void mark_incomplete() { incomplete_ = true; }
    [[nodiscard]] bool incomplete() const { return incomplete_; }
    [[nodiscard]] std::size_t count() const { return problems_.size() + left_out_; }

    /// Tells in which table a key belongs, for those who wrote it into another one.
    void add_home(std::string key, std::string table);
    /// Returns the table that `key` belongs in, empty if there is none.
    [[nodiscard]] std::string_view home(std::string_view key) const;

    /// Gives away the problems found, in the order of the text.
    [[nodiscard]] Problems take();

private:
    void prune();
    void rename(Snippet& snippet) const noexcept;

    const Source& source_;
    std::string text_;  ///< of the source, and each override on a line of its own
    Lines lines_;
    std::uint32_t first_override_;
    std::vector<Problem> problems_;
    std::map<std::string, std::string, std::less<>> homes_;
    std::size_t left_out_ = 0;
    bool incomplete_ = false;
};

/// A key, or an index into an array.
using PathPart = std::variant<std::string, std::size_t>;
/// The way from a table to a value in it: {"listener", 2, "address"}.
using Path = std::vector<PathPart>;

/// What a check over several keys found.
struct Fault {
    Path at;  ///< underlines this value, or the nearest one above it that is in the text
    std::string message;
    std::string help = {};
    Path see = {};          ///< a second value, shown below; empty: none
    std::string note = {};  ///< what is to be seen there
};

/// Lets a table's check report what is wrong with values that are right one by one.
class Faults {
public:
    Faults(const Node& table, Report& report) : table_{table}, report_{report} {}
    /// Reports a fault.
    void add(const Fault& fault);
    /// Says whether the text has a value at `path`, as opposed to its default.
    [[nodiscard]] bool has(const Path& path) const;

private:
    const Node& table_;
    Report& report_;
};

/// Returns the candidate that `name` was most probably meant to be; empty if none is near. Counts
/// letters inserted, left out, replaced or swapped; a third of the letters may be wrong. The
/// beginning of a candidate, from three letters on, is near as well.
[[nodiscard]] std::string nearest(std::string_view name,
                                  const std::vector<std::string>& candidates);

/// Joins names for a message: "`a`, `b` and `c`", or with another word before the last one.
[[nodiscard]] std::string enumerate(const std::vector<std::string>& names,
                                    std::string_view last = "and");

}  // namespace ringfort::config
